//! What the agent needs of a hypervisor: described domains, their states, events and consoles.
//!
//! `canopy-libvirt` implements it on libvirt/QEMU; [`fake`] in memory, with fault injection, for unit
//! tests and for measuring the control plane without guests.

pub mod fake;

use async_trait::async_trait;
use canopy_types::diagnostics::Diagnostics;
pub use canopy_types::server::PasswordOutcome;
use canopy_types::{ConsoleKind, Error, ServerId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::sync::broadcast;

/// Bytes of a Unix socket's path, less the terminator.
pub const MAX_SOCKET_PATH: usize = 107;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostInfo {
    pub vcpus: i64,
    pub memory_mib: i64,
    pub hypervisor_type: String,
    pub hypervisor_version: i64,
    /// `kvm` or `tcg`.
    pub acceleration: String,
    /// Why that one, for the log and the operator.
    pub acceleration_reason: String,
}

/// One guest, complete: the driver needs nothing else to define it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainSpec {
    pub id: ServerId,
    /// `instance-%08x`, with the agent's scope behind it where it has one.
    pub name: String,
    /// Shown by `virsh` and kept in the domain's metadata; any text.
    pub title: String,
    /// `smbios` family data: cloud-init finds the OpenStack source by the product name.
    pub project_id: String,
    pub vcpus: i64,
    pub memory_mib: i64,
    pub boot: Boot,
    /// In order: the first is the root disk (`vda`).
    pub disks: Vec<Disk>,
    pub config_drive: Option<PathBuf>,
    pub nics: Vec<Nic>,
    /// Where the serial console is logged.
    pub console_log: PathBuf,
    /// The Unix socket on which the serial console is joined; without one it is only logged.
    pub console_socket: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Boot {
    /// BIOS from the first disk.
    Disk,
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        cmdline: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    pub path: PathBuf,
    /// `qcow2` or `raw`.
    pub format: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nic {
    pub mac: String,
    pub bridge: String,
    /// Name of the tap device: known before it exists, so that filters can name it.
    pub tap: String,
    pub mtu: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DomainState {
    Running,
    Paused,
    /// Off, with its memory kept: a start goes on where it was.
    Suspended,
    Stopped,
    Crashed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainStatus {
    pub id: ServerId,
    pub name: String,
    pub state: DomainState,
}

/// Where a guest's console is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// On this Unix socket, whose owner lets several in.
    At(PathBuf),
    /// Nowhere, as the guest does not run.
    Off,
    /// Nowhere, as the guest was started with a definition that had none.
    Outdated,
    /// This hypervisor has none.
    Unavailable,
}

/// A hint that something happened; the truth is what [`Hypervisor::list`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This domain changed.
    Changed(ServerId),
    /// The connection was lost and is back: everything may have changed.
    Resync,
}

/// Every call is idempotent, has a deadline inside, and fails with a message fit for a server's fault.
/// Only domains that carry Canopy's metadata are listed or touched.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    async fn host(&self) -> Result<HostInfo, Error>;

    async fn list(&self) -> Result<Vec<DomainStatus>, Error>;

    /// Defines the domain, replacing an earlier definition of the same server.
    async fn define(&self, domain: &DomainSpec) -> Result<(), Error>;

    /// Parts of the guest's definition, as it will start next, that are not what this one says; empty when there
    /// is no such domain. In words, for an operator.
    async fn differences(&self, domain: &DomainSpec) -> Result<Vec<String>, Error>;

    /// From off, from paused, and from suspended with its memory. No error when it runs already.
    async fn start(&self, id: ServerId) -> Result<(), Error>;

    /// Asks the guest to power off (ACPI); the caller waits for the state.
    async fn shutdown(&self, id: ServerId) -> Result<(), Error>;

    /// Stops the guest's processors; it keeps its memory. No error when it is paused already; a conflict when
    /// it is off.
    async fn pause(&self, id: ServerId) -> Result<(), Error>;

    /// Writes the guest's memory to the host's disk and ends its process. No error when that was done
    /// already; a conflict when it is off.
    async fn suspend(&self, id: ServerId) -> Result<(), Error>;

    /// Forgets the memory that [`Self::suspend`] kept. No error when there is none.
    async fn discard_memory(&self, id: ServerId) -> Result<(), Error>;

    /// Copies the first disk of a guest that runs or is paused, with all that it stands on, into a new qcow2 file.
    /// The guest goes on; the copy is of the moment at which the call returns. A conflict when it is off.
    async fn copy_disk(&self, id: ServerId, to: &Path) -> Result<(), Error>;

    /// Gives a guest that runs or is paused one more network device. No error when it has it already; a conflict
    /// when it is off.
    async fn plug(&self, id: ServerId, nic: &Nic) -> Result<(), Error>;

    /// Takes a network device off a guest that runs or is paused, and returns when it has let it go. No error when
    /// it has none such or is off.
    async fn unplug(&self, id: ServerId, nic: &Nic) -> Result<(), Error>;

    /// What a guest that runs or is paused uses. A conflict when it is off.
    async fn diagnostics(&self, id: ServerId) -> Result<Diagnostics, Error>;

    /// Sets a user's password within the guest, which its own agent does.
    async fn set_password(&self, id: ServerId, user: &str, password: &str) -> Result<PasswordOutcome, Error>;

    /// Where a console of the guest that runs now is joined.
    async fn console(&self, id: ServerId, kind: ConsoleKind) -> Result<Console, Error>;

    /// Cuts the power. No error when it does not run or does not exist.
    async fn destroy(&self, id: ServerId) -> Result<(), Error>;

    /// Forgets the domain, destroying it first. No error when it does not exist.
    async fn undefine(&self, id: ServerId) -> Result<(), Error>;

    /// Bounded; a receiver that lags must list.
    fn events(&self) -> broadcast::Receiver<Event>;
}
