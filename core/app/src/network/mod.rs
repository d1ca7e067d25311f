//! Networks, subnets, ports, security groups.
//!
//! A write commits what is wanted together with its addresses, its quota and its event, and raises the
//! desired revision of every host that it concerns; agents do the rest. Names of errors are neutron's,
//! which clients match on. Another project's resource and one that does not exist get the same answer.

mod addresses;
pub mod errors;
pub mod ipv4;
pub mod networks;
pub mod ports;
pub mod provider;
pub mod security_groups;
pub mod server_ports;
mod service_port;
pub mod subnets;

pub use server_ports::{
    MAX_INTERFACES, NetworkRequest, PortPlan, create_server_ports, plan_auto, plan_ports,
    release_server_port, release_server_ports, set_ports_status,
};

/// Rows and lists as the store keeps them, for those who show them.
pub mod rows {
    pub use canopy_store::listing::{Attribute, Filter, Kind, Listing, Scope, Value, pattern};
    pub use canopy_store::networks::{Network, attributes as network_attributes};
    pub use canopy_store::ports::{ATTRIBUTES as PORT_ATTRIBUTES, Port};
    pub use canopy_store::security_groups::{
        ATTRIBUTES as GROUP_ATTRIBUTES, RULE_ATTRIBUTES, Rule, SecurityGroup,
    };
    pub use canopy_store::subnets::{ATTRIBUTES as SUBNET_ATTRIBUTES, Pool, Route, Subnet};
}

use crate::quota::{Ask, charged};
use crate::{App, Ctx, access};
use canopy_authz::{Action, Target};
use canopy_store::listing::Scope;
use canopy_store::{BoxFuture, Conn, events};
use canopy_types::{Error, Kind, ProjectId, Result, Timestamp};

/// Resources that one request may create.
pub const MAX_BULK: usize = 200;

/// No project has this id, so who may list there may list anywhere.
const ANY_PROJECT: &str = "*";

/// Whose rows a list shows: everybody's to those who may list in any project, else the caller's own.
fn scope(app: &App, ctx: &Ctx, list: Action) -> Result<Scope> {
    if access::allowed(app, ctx, list, &anywhere()) {
        return Ok(Scope::All);
    }
    let project = access::project(ctx)?;
    access::require(app, ctx, list, &Target::in_project(project))?;
    Ok(Scope::Project(project.clone()))
}

/// What every project's resources are asked about.
fn anywhere() -> Target {
    Target::in_project(&ANY_PROJECT.into())
}

/// The caller sees the resource; to change it takes more. neutron answers 403 then.
fn change_needs(app: &App, ctx: &Ctx, action: Action, target: &Target) -> Result<()> {
    access::require(app, ctx, action, target)
}

/// The project that a new resource belongs to. To name another than one's own takes the right to create
/// there.
fn owner(app: &App, ctx: &Ctx, create: Action, named: Option<&ProjectId>) -> Result<ProjectId> {
    let own = ctx.who.project_id();
    let Some(project) = named.or(own) else {
        return Err(Error::bad_request(
            "network.HTTPBadRequest",
            "Name the project_id: this token has no project.",
        ));
    };
    let target = Target::in_project(project);
    if own != Some(project) && !access::allowed(app, ctx, create, &target) {
        return Err(Error::bad_request(
            "network.HTTPBadRequest",
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires \
             admin privileges",
        ));
    }
    access::require(app, ctx, create, &target)?;
    Ok(project.clone())
}

/// All of a bulk request belongs to one project: it is one charge.
fn one_owner(owners: &[ProjectId]) -> Result<ProjectId> {
    match owners {
        [] => Err(Error::bad_request("network.HTTPBadRequest", "Resources required")),
        [first, rest @ ..] if rest.iter().all(|project| project == first) => Ok(first.clone()),
        _ => Err(Error::bad_request(
            "network.HTTPBadRequest",
            "All resources of one request must belong to one project: send one request for each.",
        )),
    }
}

fn check_bulk(count: usize) -> Result<()> {
    if count > MAX_BULK {
        return Err(Error::bad_request(
            "network.HTTPBadRequest",
            format!("One request may create at most {MAX_BULK} resources, not {count}."),
        ));
    }
    Ok(())
}

/// Runs `work` with `count` of `resource` charged to `project`.
async fn charge<T, F>(
    app: &App,
    ctx: &Ctx,
    project: &ProjectId,
    resource: (&'static str, &'static str),
    count: usize,
    name: &'static str,
    work: F,
) -> Result<T>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
{
    let (singular, plural) = resource;
    let amount = i64::try_from(count).unwrap_or(i64::MAX);
    let ask = Ask::new(project, &ctx.who.user_id, plural, amount);
    charged(app, &ask, name, work).await.map_err(|error| {
        if error.kind != Kind::OverQuota {
            return error;
        }
        let text = format!("Quota exceeded for resources: ['{singular}']. {}", error.message);
        Error::new(Kind::OverQuota, "network.OverQuota", text)
    })
}

/// Takes what is being removed off its owner's usage. First in a transaction, before any other lock.
async fn refund(conn: &mut Conn, project: &ProjectId, resource: &str, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let amount = i64::try_from(count).unwrap_or(i64::MAX);
    crate::quota::refund(conn, project, resource, amount).await
}

pub(crate) async fn event(
    conn: &mut Conn,
    now: Timestamp,
    kind: &str,
    project_id: &ProjectId,
    subject: impl ToString,
) -> Result<()> {
    let subject = subject.to_string();
    events::append(conn, &events::NewEvent { at: now, kind, project_id, subject, host_id: None }).await?;
    Ok(())
}

/// A row that this one points at has gone meanwhile: the answer is as if it had never been there.
fn or_gone(error: Error, absent: impl FnOnce() -> Error) -> Error {
    if error.code == "store.in_use" { absent() } else { error }
}

/// Somebody changed in between what this transaction had read: it is run again from the start.
fn changed_meanwhile() -> Error {
    Error::unavailable(
        "store.serialization",
        "It is being changed by another request. Try again in a second.",
    )
}
