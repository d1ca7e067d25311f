//! The shape of a row of the route table.

use crate::request::{Query, Reply, Req};
use crate::version::Microversion;
use canopy_authz::Action;
use canopy_types::{Error, Result};
use futures::future::BoxFuture;
use http::Method;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Identity,
    Compute,
    Image,
    Network,
    Placement,
    Native,
    Console,
    Agent,
}

impl Service {
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Compute,
        Self::Image,
        Self::Network,
        Self::Placement,
        Self::Native,
        Self::Console,
        Self::Agent,
    ];

    /// Where it is mounted.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Identity => "/identity",
            Self::Compute => "/compute",
            Self::Image => "/image",
            Self::Network => "/network",
            Self::Placement => "/placement",
            Self::Native => "/canopy/v1",
            Self::Console => "/console",
            Self::Agent => canopy_agent_api::PATH,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Compute => "compute",
            Self::Image => "image",
            Self::Network => "network",
            Self::Placement => "placement",
            Self::Native => "canopy",
            Self::Console => "console",
            Self::Agent => "agent",
        }
    }

    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| {
            path.strip_prefix(service.prefix()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Who may call at all; what they may do is the action's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Discovery and logging in.
    Public,
    Token,
    /// A host's agent, with the agent token.
    Agent,
}

pub type Schema = fn() -> serde_json::Value;

/// What a request carries.
#[derive(Clone, Copy)]
pub enum Body {
    None,
    /// JSON, checked against the schema of the newest version that is not newer than the request's.
    Json(&'static [(Microversion, Schema)]),
    /// Read by the handler as it comes.
    Stream,
}

pub type Handler = fn(Req) -> BoxFuture<'static, Result<Reply>>;

pub struct Route {
    pub service: Service,
    pub method: Method,
    /// Below the service's prefix, axum's syntax: `/v2.1/servers/{id}`.
    pub path: &'static str,
    /// For `…/action`: the only key of the body.
    pub key: Option<&'static str>,
    /// Microversions in which it exists; `None` where the service has none.
    pub versions: Option<(Microversion, Microversion)>,
    /// Outside `versions` the method is not allowed, instead of the path not being there.
    pub method_outside: bool,
    pub auth: Auth,
    /// What policies are asked. `None` needs a reason in the coverage test.
    pub action: Option<Action>,
    pub body: Body,
    /// The names that a query may hold from a version on. Before the first of them others are passed over.
    pub query: &'static [(Microversion, &'static [&'static str])],
    pub success: &'static [u16],
    /// Beside 400, 401, 403 and 5xx, which any route may answer.
    pub errors: &'static [u16],
    pub summary: &'static str,
    pub handler: Handler,
}

impl Route {
    pub fn new(
        service: Service,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Self {
        Self {
            service,
            method,
            path,
            key: None,
            versions: None,
            method_outside: false,
            auth: Auth::Token,
            action: None,
            body: Body::None,
            query: &[],
            success: &[200],
            errors: &[],
            summary,
            handler,
        }
    }

    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }

    #[must_use]
    pub fn public(mut self) -> Self {
        self.auth = Auth::Public;
        self
    }

    #[must_use]
    pub fn agent(mut self) -> Self {
        self.auth = Auth::Agent;
        self
    }

    #[must_use]
    pub fn key(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    #[must_use]
    pub fn versions(mut self, from: Microversion, to: Microversion) -> Self {
        self.versions = Some((from, to));
        self
    }

    #[must_use]
    pub fn method_not_allowed_outside(mut self) -> Self {
        self.method_outside = true;
        self
    }

    #[must_use]
    pub fn json(mut self, schemas: &'static [(Microversion, Schema)]) -> Self {
        self.body = Body::Json(schemas);
        self
    }

    #[must_use]
    pub fn query(mut self, known: &'static [(Microversion, &'static [&'static str])]) -> Self {
        self.query = known;
        self
    }

    #[must_use]
    pub fn stream(mut self) -> Self {
        self.body = Body::Stream;
        self
    }

    #[must_use]
    pub fn answers(mut self, success: &'static [u16], errors: &'static [u16]) -> Self {
        self.success = success;
        self.errors = errors;
        self
    }

    /// Refuses a query with a name that `version` does not know.
    pub fn check_query(&self, version: Microversion, query: &Query) -> Result<()> {
        let Some((_, known)) = self.query.iter().rev().find(|(from, _)| *from <= version) else {
            return Ok(());
        };
        let Some((name, _)) = query.0.iter().find(|(name, _)| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let shown: String = name.chars().take(64).collect();
        Err(Error::bad_request(
            "query.unknown",
            format!("Additional properties are not allowed ('{shown}' was unexpected)"),
        ))
    }

    pub fn full_path(&self) -> String {
        format!("{}{}", self.service.prefix(), self.path)
    }
}

/// `handler!(servers::create)`: an async function as a table entry.
#[macro_export]
macro_rules! handler {
    ($path:path) => {
        |req| Box::pin($path(req))
    };
}
