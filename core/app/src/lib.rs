//! Use cases by resource: what a request means, apart from how it arrives and how it is stored.
//!
//! A use case takes the [`App`] and the caller's [`Ctx`], authorizes beside each write, asks plugins
//! before the transaction, and commits everything a request wants in one transaction. It never sees HTTP,
//! SQL, libvirt or WASM types.

pub mod access;
pub mod audit;
pub mod compute;
pub mod fsck;
pub mod identity;
pub mod image;
pub mod network;
pub mod placement;
pub mod plugins;
pub mod policies;
pub mod quota;
pub mod reconcilers;

use canopy_authz::{Authorizer, Circumstances, Principal, Snapshot};
use canopy_plugin_host::{Live, QuotaPlugin};
use canopy_store::Store;
use canopy_types::{Clock, RequestId, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// What the operator configures, as far as use cases need it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub region: String,
    /// Blobs live under `<data_dir>/images`, keys under `<data_dir>/keys`.
    pub data_dir: PathBuf,
    /// Scheme and authority of links when the request's Host header is not to be used.
    pub public_url: Option<String>,
    /// This controller among those that share a database, for people: where its own files can be asked about.
    pub controller: String,
    pub zone: String,
    /// Largest image, bytes.
    pub image_max_bytes: u64,
    /// Life of a token, seconds.
    pub token_seconds: i64,
    /// How long a resize waits for its user before it is confirmed, seconds; 0 is for ever.
    pub resize_confirm_seconds: i64,
    /// How long a deleted server can be restored, seconds; 0: it goes at once.
    pub reclaim_seconds: i64,
    /// Default limit per countable resource, by name (`instances`, `cores`, `ram`, …); −1 is no limit.
    pub quota_defaults: std::collections::BTreeMap<String, i64>,
    /// What passwords must be, and what follows failed logins.
    pub compliance: identity::Compliance,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<std::net::IpAddr>,
    pub console: compute::consoles::ConsoleSettings,
}

impl Settings {
    pub fn new(data_dir: PathBuf) -> Self {
        let defaults = canopy_types::quota::COUNTABLES.iter().map(|one| (one.name.to_owned(), one.default));
        Self {
            region: "RegionOne".into(),
            data_dir,
            public_url: None,
            controller: String::new(),
            zone: "nova".into(),
            image_max_bytes: 64 << 30,
            token_seconds: 3_600,
            resize_confirm_seconds: 0,
            reclaim_seconds: 0,
            compliance: identity::Compliance::default(),
            trusted_proxies: Vec::new(),
            console: compute::consoles::ConsoleSettings::default(),
            quota_defaults: defaults.collect(),
        }
    }
}

/// Everything a use case may need. Built once by the binary.
pub struct App {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub authorizer: Authorizer,
    pub policies: policies::Policies,
    pub audit: audit::Audit,
    /// The rule in force.
    pub quota: Live<QuotaPlugin>,
    pub plugins: plugins::Plugins,
    pub quota_desk: quota::Desk,
    pub identity: identity::Identity,
    pub blobs: image::Blobs,
    pub placement: compute::placement::Placement,
    /// The journal's folder, to read; `None` when none is kept.
    pub journal: Option<compute::decisions::Scenes>,
    pub questions: compute::questions::Questions,
    pub revisions: compute::revisions::Revisions,
    pub consoles: compute::consoles::Sessions,
    /// Where images may be fetched from; `None` where imports from the web are off.
    pub web: Option<Arc<dyn image::WebSource>>,
    pub supply: placement::SupplyCache,
    pub settings: Settings,
}

impl App {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// One authenticated request.
#[derive(Clone)]
pub struct Ctx {
    pub request_id: RequestId,
    pub who: Principal,
    pub how: Circumstances,
    /// By whose leave the token speaks.
    pub delegation: identity::Delegation,
    /// The policies in force when the request came.
    pub policies: Snapshot,
    /// Method and path, for the audit log.
    pub asked: String,
    /// Whether the request is one that changes something.
    pub mutating: bool,
    /// Which policies decided, for who may know.
    pub trail: access::Trail,
}
