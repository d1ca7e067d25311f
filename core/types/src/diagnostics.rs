//! What a running guest uses, as its hypervisor counts it since the guest's start.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    pub paused: bool,
    /// `kvm` or `qemu`.
    pub hypervisor: String,
    pub cpus: Vec<CpuFigures>,
    pub memory: MemoryFigures,
    pub disks: Vec<DiskFigures>,
    pub nics: Vec<NicFigures>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuFigures {
    pub id: u32,
    /// Nanoseconds.
    pub time: u64,
}

/// KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryFigures {
    pub maximum: u64,
    pub used: u64,
    /// What the guest's process has of the host's memory, where the hypervisor knows it.
    pub resident: Option<u64>,
}

/// Bytes and counts; −1 is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFigures {
    /// As the guest calls it: `vda`.
    pub device: String,
    pub read_bytes: i64,
    pub read_requests: i64,
    pub write_bytes: i64,
    pub write_requests: i64,
    pub errors: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicFigures {
    /// The host's end.
    pub device: String,
    pub mac: String,
    /// To the guest.
    pub rx: Traffic,
    /// From the guest.
    pub tx: Traffic,
}

/// Counts; −1 is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub bytes: i64,
    pub packets: i64,
    pub errors: i64,
    pub drops: i64,
}
