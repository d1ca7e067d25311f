//! Who may do what: Cedar policies from files, asked once beside each write and once per list.
//!
//! The application names an [`Action`] and describes the [`Target`]; roles, scope and ownership go to
//! Cedar as typed entities. Nothing is ever granted by an error: a request that cannot be evaluated is
//! denied and logged.

pub mod actions;
mod answers;
mod authorizer;
mod bundle;
pub mod cases;
mod depth;
pub mod explain;
pub mod files;
pub mod format;
mod load;
mod matrix;
mod request;
pub mod roles;
mod visible;
pub mod who_can;

pub use authorizer::{Authorizer, Decision, Snapshot};
pub use bundle::SCHEMA;
pub use depth::DECISION_STACK;
pub use load::{Bundle, Prepared, embedded_files};
pub use matrix::matrix;

use canopy_types::{DomainId, ProjectId, UserId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An action of the policy schema, e.g. `compute:servers:create`, and the type of what it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    pub name: &'static str,
    /// Cedar entity type of the resource, e.g. `Server`.
    pub resource: &'static str,
}

/// The caller, as a validated token and the role view describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub user_id: UserId,
    pub user_name: String,
    pub user_domain_id: DomainId,
    /// Names of the roles held in `scope`, implied ones included.
    pub roles: Vec<String>,
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Unscoped,
    Project { id: ProjectId, name: String, domain_id: DomainId },
    Domain { id: DomainId },
    System,
}

impl Principal {
    pub fn project_id(&self) -> Option<&ProjectId> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id),
            _ => None,
        }
    }

    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role == name)
    }
}

/// How a request comes, as far as policies look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The client's address; none where it is not known, as for what Canopy asks itself.
    pub source: Option<IpAddr>,
    /// How the token was got: `password`, `token`, `application_credential`, …
    pub methods: Vec<String>,
    /// Id of the application credential that the token came from, or empty.
    pub application_credential: String,
}

/// What is acted on, as far as policies look. Empty strings mean "none".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    pub id: String,
    pub project_id: String,
    pub domain_id: String,
    /// The user that it belongs to (key pairs, users themselves).
    pub user_id: String,
    /// Readable by everybody: public images and flavors, shared networks.
    pub public: bool,
    /// Shared with the caller's project by its owner, which need not have been accepted.
    pub shared: bool,
    /// The resource's tags, which policies call labels: Cedar's own tags hold the metadata.
    pub labels: Vec<String>,
    /// A server's metadata, an image's properties.
    pub metadata: BTreeMap<String, String>,
    /// What a new server is to be.
    pub wanted: Option<Box<Wanted>>,
    /// What changing a user, a group or a grant puts at stake.
    pub at_stake: Option<Box<AtStake>>,
}

/// The power that an administration of users hands on, takes over or takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AtStake {
    /// Names of the roles, without those that they imply: of a grant its own, of a user or group all that it is
    /// given anywhere. A domain's role is named as all that it implies.
    pub roles: Vec<String>,
    /// The domain of the user or group that holds them, or is to.
    pub holder_domain_id: String,
}

/// The fields of a request for a server, resolved: what the flavor means, not only what it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub flavor: String,
    pub vcpus: i64,
    pub ram_mib: i64,
    pub disk_gib: i64,
    pub image: String,
    pub networks: Vec<String>,
    pub zone: String,
}

impl Target {
    pub fn in_project(project_id: &ProjectId) -> Self {
        Self { project_id: project_id.0.clone(), ..Self::default() }
    }

    #[must_use]
    pub fn id(mut self, id: impl ToString) -> Self {
        self.id = id.to_string();
        self
    }

    #[must_use]
    pub fn owner(mut self, user_id: &UserId) -> Self {
        self.user_id = user_id.0.clone();
        self
    }

    #[must_use]
    pub fn public(mut self, public: bool) -> Self {
        self.public = public;
        self
    }

    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }
}
