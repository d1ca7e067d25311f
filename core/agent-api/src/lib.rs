//! What crosses between the controller and a host's agent, and nothing else.
//!
//! The agent pulls its whole desired state at a revision, converges, and reports what it observes.
//! Both messages are idempotent; order does not matter, because desired state carries a revision and
//! observed state a generation that the agent alone raises. The same types serve the in-process agent
//! (a direct call) and a separate one (HTTP under [`PATH`]).

use async_trait::async_trait;
pub use canopy_types::server::PasswordOutcome;
use canopy_types::server::{Phase, PowerIntent};
use canopy_types::{
    ConsoleKind, Error, HostId, ImageId, NetworkId, PortId, ProjectId, RequestId, ServerId, SubnetId,
    Timestamp, UserId,
};
use futures::io::{AsyncRead, AsyncWrite};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Version of these types. The controller serves N and N−1; the agent states its own.
pub const VERSION: u32 = 1;
/// `POST {PATH}/register`, `GET {PATH}/hosts/{id}/desired?since=&wait=`, `PUT {PATH}/hosts/{id}/observed`,
/// `GET {PATH}/images/{digest}`, `PUT {PATH}/hosts/{id}/servers/{id}/images/{id}`,
/// `GET {PATH}/hosts/{id}/sessions/{session}`, which becomes [`STREAM`]; `Authorization: Bearer <agent token>`.
pub const PATH: &str = "/agent/v1";
/// What a connection is upgraded to that carries the bytes of a console, both ways and as they are.
pub const STREAM: &str = "canopy-stream";

/// Sent once at each start of an agent. The controller answers with the host's id, kept under its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub version: u32,
    /// Unique host name; `OS-EXT-SRV-ATTR:host`.
    pub name: String,
    pub inventory: Inventory,
}

/// Totals that the agent owns. `reserved` and `allocation_ratio` belong to the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub vcpus: i64,
    pub memory_mib: i64,
    pub disk_gib: i64,
    pub hypervisor_type: String,
    pub hypervisor_version: i64,
    /// `kvm` or `tcg`, as a probe guest found it.
    pub acceleration: String,
    /// The operator's networks that the host is in, by [their names](is_physical_network).
    #[serde(default)]
    pub physical_networks: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    pub host_id: HostId,
    /// The highest generation that the controller has seen from this host: the agent goes on above it.
    pub generation: i64,
}

/// Everything one host should have. Whatever of ours is on the host and not in here is removed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    pub revision: i64,
    pub servers: Vec<Arc<ServerSpec>>,
    /// Networks with a port on this host.
    pub networks: Vec<NetworkSpec>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerSpec {
    pub id: ServerId,
    /// `instance-%08x`.
    pub domain_name: String,
    pub name: String,
    pub hostname: String,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub power: PowerIntent,
    /// Remove everything of it, then report [`Phase::Gone`].
    pub deleted: bool,
    pub flavor: FlavorSpec,
    pub image: Option<ImageSpec>,
    pub ports: Vec<PortSpec>,
    /// Ports whose devices the open intent takes off the guest.
    #[serde(default)]
    pub leaving: Vec<PortSpec>,
    pub config_drive: bool,
    /// As given by the client: base64.
    pub user_data: Option<String>,
    pub keys: Vec<KeySpec>,
    pub metadata: BTreeMap<String, String>,
    pub availability_zone: String,
    pub reservation_id: String,
    pub launch_index: i64,
    pub created_at: Timestamp,
    /// The request that wanted the present state: goes into every span of the work.
    pub request_id: RequestId,
    /// The intent of a resize that is not yet confirmed or reverted: what was kept then carries its number.
    #[serde(default)]
    pub kept_n: Option<i64>,
    /// Boots from this image, with the server's own disk as the second.
    #[serde(default)]
    pub rescue: Option<ImageSpec>,
    /// The open intent makes this image of the disk.
    #[serde(default)]
    pub snapshot: Option<ImageId>,
    #[serde(default)]
    pub device_tags: DeviceTags,
}

/// By which names the guest finds its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceTags {
    pub v: u32,
    /// Of the root disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    #[serde(default)]
    pub ports: BTreeMap<PortId, String>,
}

impl DeviceTags {
    pub fn is_empty(&self) -> bool {
        self.root.is_none() && self.ports.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlavorSpec {
    pub name: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    /// 0 means as large as the image.
    pub root_gib: i64,
    pub extra_specs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    pub id: ImageId,
    pub blob: Blob,
    /// `raw` or `qcow2`.
    pub disk_format: String,
    /// Direct kernel boot, from the image's `kernel_id` and `ramdisk_id`.
    pub kernel: Option<Blob>,
    pub ramdisk: Option<Blob>,
    /// `hw_*`, `os_*` and other properties of the image; `os_command_line` is the kernel's command line.
    pub properties: BTreeMap<String, String>,
}

/// Bytes named by their sha256 (64 lower-case hex digits).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    pub digest: String,
    pub size: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeySpec {
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    pub public_key: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortSpec {
    pub id: PortId,
    pub network_id: NetworkId,
    pub mac: String,
    pub fixed_ips: Vec<FixedIp>,
    pub admin_state_up: bool,
    pub port_security: bool,
    pub server_id: Option<ServerId>,
    /// For DHCP's host name.
    pub hostname: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    pub subnet_id: SubnetId,
    pub ip_address: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub id: NetworkId,
    pub project_id: ProjectId,
    /// Unique small number of the network, for names of devices (at most 15 characters).
    pub segment: i64,
    pub mtu: i64,
    pub dns_domain: String,
    pub subnets: Vec<SubnetSpec>,
    /// Every port on this network and this host, guests' and services' alike.
    pub ports: Vec<PortSpec>,
    /// Where it is in the operator's own networks; most are nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderSpec>,
}

/// A place in the operator's own networks; no two networks have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// As `agent.physical_networks` of each host names it: see [`is_physical_network`].
    pub physical_network: String,
    /// VLAN, 1 to 4094; untagged without.
    #[serde(default)]
    pub segmentation_id: Option<u16>,
}

/// Longest name of one of the operator's networks.
const MAX_PHYSICAL_NETWORK: usize = 64;
/// Of the operator's networks that one host is in.
pub const MAX_PHYSICAL_NETWORKS: usize = 64;

/// Whether this can name one of the operator's networks: 1 to 64 of `a-z 0-9 _`, so that it is the name of a trait, too.
pub fn is_physical_network(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=MAX_PHYSICAL_NETWORK).contains(&name.len()) && name.bytes().all(plain)
}

/// The trait of hosts that have this network of the operator's, as nova's agents name it.
pub fn physical_network_trait(name: &str) -> String {
    format!("CUSTOM_PHYSNET_{}", name.to_ascii_uppercase())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubnetSpec {
    pub id: SubnetId,
    pub cidr: IpNet,
    pub gateway_ip: Option<IpAddr>,
    pub enable_dhcp: bool,
    pub dns_nameservers: Vec<IpAddr>,
    pub host_routes: Vec<HostRoute>,
    /// The address of the DHCP and metadata namespace in this subnet (a port `network:dhcp`).
    pub service_ip: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

/// What one host has. A report replaces what was known of the servers in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The desired revision this was observed under.
    pub revision: i64,
    /// Raised by the agent with every report.
    pub generation: i64,
    pub servers: Vec<ServerObserved>,
    /// When it has changed, of an agent that was told to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// How busy a host's machine is, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub cpu_percent: u8,
    pub memory_percent: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerObserved {
    pub id: ServerId,
    pub phase: Phase,
    /// The last power intent that was satisfied; 0 before the first.
    pub power_n: i64,
    /// The power intent that [`Phase::Failed`] is about; without one, the newest there was.
    #[serde(default)]
    pub failed_n: Option<i64>,
    /// Why the phase is [`Phase::Failed`], for the server's `fault`; in another phase, why the intent `power_n`
    /// was given up, the guest being left as it is.
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The controller's present revision for this host: ask for it when it is newer.
    pub revision: i64,
}

/// The controller, as an agent sees it: a direct call in one process, HTTP between two.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    async fn register(&self, registration: Registration) -> Result<Registered, Error>;

    /// Answers at once when there is something newer than `since`, else after at most `wait`.
    async fn desired(&self, host: HostId, since: i64, wait: Duration) -> Result<Desired, Error>;

    async fn report(&self, host: HostId, observed: Observed) -> Result<Ack, Error>;

    /// Writes the image's bytes to `into` (a new file) and checks the digest.
    async fn fetch_image(&self, blob: &Blob, into: &Path) -> Result<(), Error>;

    /// Sends the file as the content of an image that the server's open intent asks for. Safe to repeat.
    async fn store_image(
        &self,
        host: HostId,
        server: ServerId,
        image: ImageId,
        from: &Path,
    ) -> Result<(), Error>;

    /// Console output lives on the host; the controller asks the agent for it through this queue of
    /// questions. `None` when there is none within `wait`.
    async fn next_question(&self, host: HostId, wait: Duration) -> Result<Option<Question>, Error>;

    async fn answer(&self, host: HostId, answer: Answer) -> Result<(), Error>;

    /// Hands a guest's console over to the session that waits for it. Whoever lets go of it first ends it.
    async fn join(&self, host: HostId, session: &str, console: ConsoleStream) -> Result<(), Error>;
}

/// Both directions of a guest's console.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub type ConsoleStream = Box<dyn Duplex>;

/// A read of something that only the host has. Bounded, never queued for long: the client waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    pub id: u64,
    /// Whom it is about; none when it is the whole host.
    pub server_id: Option<ServerId>,
    pub ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The last `lines` of the serial console, or all of the kept log (at most 1 MiB).
    ConsoleOutput { lines: Option<u32> },
    /// A running guest's [`canopy_types::diagnostics::Diagnostics`], as JSON.
    Diagnostics,
    /// How a guest's console is, as the JSON of a [`ConsoleState`]. With a session, a console that is
    /// [`ConsoleState::Ready`] has been [handed over](Controller::join) to it.
    Console { kind: ConsoleKind, session: Option<String> },
    /// Sets a user's password within a guest; a [`PasswordOutcome`] as JSON.
    SetPassword { user: String, password: Secret },
    /// An [`Inspection`] as JSON; with `repair`, after putting right what can only mean one thing.
    Inspect { repair: bool },
    /// Fetches what of this is not in the cache. Answered at once with [`Cached`] as JSON.
    Prefetch { blobs: Vec<Blob> },
}

/// How far a host is with images that it was to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cached {
    Present,
    Fetching,
    Failed { message: String },
}

/// Text that shows in no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsoleState {
    Ready,
    /// The guest does not run.
    Off,
    /// The guest was started without one: before an upgrade of its host.
    Outdated,
    /// Guests of this host have none.
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub id: u64,
    pub outcome: Result<String, String>,
}

/// What on a host is not as the controller wants it. What is being worked on is no finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The desired revision that the host was held against.
    pub revision: i64,
    /// At most [`MAX_FINDINGS`].
    pub findings: Vec<HostFinding>,
    /// What was put right.
    pub repaired: Vec<HostFinding>,
    /// What could not be looked at, and why; findings of it are not known.
    pub unseen: Vec<String>,
}

/// Findings of one host that are told at once.
pub const MAX_FINDINGS: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostFinding {
    pub kind: HostKind,
    pub problem: HostProblem,
    /// What it is about: the id of a server or network, a digest, the name of a device.
    pub subject: String,
    /// In words.
    pub detail: String,
    /// Whether a repair can only mean one thing. Otherwise a person decides.
    pub repairable: bool,
}

/// Kinds of things that a host has for the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    Domain,
    Disk,
    ConfigDrive,
    ImageCache,
    Tap,
    Bridge,
    Namespace,
    Dhcp,
    Filter,
}

impl HostKind {
    pub const ALL: [Self; 9] = [
        Self::Domain,
        Self::Disk,
        Self::ConfigDrive,
        Self::ImageCache,
        Self::Tap,
        Self::Bridge,
        Self::Namespace,
        Self::Dhcp,
        Self::Filter,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Disk => "disk",
            Self::ConfigDrive => "config_drive",
            Self::ImageCache => "image_cache",
            Self::Tap => "tap",
            Self::Bridge => "bridge",
            Self::Namespace => "namespace",
            Self::Dhcp => "dhcp",
            Self::Filter => "filter",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostProblem {
    /// It should be there.
    Missing,
    /// It belongs to nothing.
    Extra,
    /// It is not what it should be.
    Changed,
}

/// The tap device of a port: known before the device exists, so that filters can name it. 14 characters,
/// within the kernel's 15; 44 random bits keep two ports of one host apart.
pub fn tap_name(port: PortId) -> String {
    let hex = port.0.as_simple().to_string();
    format!("cnt{}", &hex[..11])
}

/// The bridge of a network, by its segment.
pub fn bridge_name(segment: i64) -> String {
    format!("cnb{segment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_fit_the_kernel_and_are_stable() {
        let port: PortId = "0123abcd-ef45-4678-9abc-def012345678".parse().expect("a uuid");
        assert_eq!(tap_name(port), "cnt0123abcdef4");
        assert_eq!(bridge_name(42), "cnb42");
        assert!(tap_name(PortId::random()).len() <= 15);
    }
}
