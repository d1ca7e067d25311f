//! What all tasks of one agent share.

use crate::config::AgentConfig;
use crate::domains::Domains;
use crate::images::Images;
use crate::mends::Mends;
use crate::observed::Board;
use crate::prefetch::Prefetches;
use crate::wiring::Wiring;
use canopy_agent_api::Controller;
use canopy_hypervisor::Hypervisor;
use canopy_types::HostId;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

pub struct Shared {
    pub config: AgentConfig,
    pub controller: Arc<dyn Controller>,
    pub hypervisor: Arc<dyn Hypervisor>,
    pub images: Images,
    pub prefetches: Prefetches,
    pub domains: Domains,
    pub wiring: Wiring,
    pub board: Board,
    pub mends: Mends,
    /// Guests being built or started.
    pub builds: Semaphore,
    /// Disks being copied for images.
    pub copies: Semaphore,
    /// Under which id the controller knows this host, once it does.
    pub host: Arc<watch::Sender<Option<HostId>>>,
    /// Identity of this boot of the host.
    pub boot_id: String,
    /// Becomes true when the agent ends: tasks finish the step they are in.
    pub stop: watch::Receiver<bool>,
}
