//! Everything that token checks need, read at once.

use super::{
    Assignment, Domain, Group, Project, Role, User,
    application_credentials::{self, ApplicationCredential},
    catalog, domains, endpoint_groups,
    extras::{self, Extras},
    grants, groups, projects, revision, roles, tokens,
    trusts::{self, Trust},
    users,
};
use crate::Conn;
use canopy_types::{Error, GroupId, ProjectId, Result, RoleId, Timestamp, UserId};

/// Tries at reading between two writes. Each write is one row's update, so more than one retry is rare.
const ATTEMPTS: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    pub revision: i64,
    pub domains: Vec<Domain>,
    pub projects: Vec<Project>,
    pub users: Vec<User>,
    pub roles: Vec<Role>,
    pub groups: Vec<Group>,
    pub members: Vec<(GroupId, UserId)>,
    pub assignments: Vec<Assignment>,
    /// (prior, implied), beyond what the built-in roles imply.
    pub implications: Vec<(RoleId, RoleId)>,
    pub credentials: Vec<ApplicationCredential>,
    pub trusts: Vec<Trust>,
    pub regions: Vec<catalog::Region>,
    pub services: Vec<catalog::Service>,
    pub endpoints: Vec<catalog::Endpoint>,
    /// (project, endpoint): a project that has any is shown only these.
    pub shown_endpoints: Vec<(ProjectId, String)>,
    pub endpoint_groups: Vec<endpoint_groups::EndpointGroup>,
    /// (project, endpoint group)
    pub shown_groups: Vec<(ProjectId, String)>,
    pub extras: Extras,
}

/// Who is who, all of one revision.
pub async fn load(conn: &mut Conn) -> Result<Directory> {
    for _ in 0..ATTEMPTS {
        let before = revision(conn).await?.directory;
        let directory = Directory {
            revision: before,
            domains: domains(conn).await?,
            projects: projects::all(conn).await?,
            users: users::all(conn).await?,
            roles: roles(conn).await?,
            groups: groups::all(conn).await?,
            members: groups::all_members(conn).await?,
            assignments: grants::all(conn).await?,
            implications: roles::implications(conn).await?,
            credentials: application_credentials::all(conn).await?,
            trusts: trusts::all(conn).await?,
            regions: catalog::regions(conn).await?,
            services: catalog::services(conn).await?,
            endpoints: catalog::endpoints(conn).await?,
            shown_endpoints: catalog::shown(conn).await?,
            endpoint_groups: endpoint_groups::all(conn).await?,
            shown_groups: endpoint_groups::shown(conn).await?,
            extras: extras::all(conn).await?,
        };
        if revision(conn).await?.directory == before {
            return Ok(directory);
        }
    }
    Err(Error::unavailable(
        "identity.busy",
        "Identity data changes too fast to be read. Try again in a second.",
    ))
}

/// Revoked tokens' audit ids that still matter at `now`, and the revision they are of or a later one.
pub async fn load_revoked(conn: &mut Conn, now: Timestamp) -> Result<(i64, Vec<String>)> {
    // Read before the rows: a revocation between the two is seen early, and again at the next look.
    let before = revision(conn).await?.revoked;
    Ok((before, tokens::revoked(conn, now).await?))
}
