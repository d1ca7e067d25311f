//! What an agent is told at its start.

use crate::metadata::table::MetadataTable;
use std::path::PathBuf;
use std::time::Duration;

/// All durations have defaults fit for production; tests shorten them.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Unique host name.
    pub name: String,
    /// Everything the agent keeps. QEMU's user must be able to pass through its parents.
    pub state_dir: PathBuf,
    /// Tells guests and networks of two agents on one machine apart; empty for the usual single one. Whoever
    /// makes the network executor gives it this.
    pub network_scope: String,
    /// Instead of the size of the file system that holds `state_dir`.
    pub disk_gib: Option<i64>,
    /// Who is where: the agent writes it, the metadata servers in the namespaces read it.
    pub metadata: MetadataTable,
    /// Guests built or started at once.
    pub builds: usize,
    /// Images downloaded at once.
    pub downloads: usize,
    /// From the power button to cutting the power.
    pub shutdown_deadline: Duration,
    /// Listing of domains and full reports, when nothing happens.
    pub resync: Duration,
    /// How long what a build is at waits to be told with what comes of it.
    pub patience: Duration,
    /// Least time between two desired states and between two reports, so that a burst of changes comes in a few of each.
    pub pace: Duration,
    /// How long the controller may hold a question for news.
    pub poll: Duration,
    /// First pause after a failure; doubled each time up to `retry_max`.
    pub retry: Duration,
    pub retry_max: Duration,
    /// Failures in a row after which a build or start is given up.
    pub attempts: u32,
    /// How long a server waits for its networks before that counts as a failure.
    pub network_deadline: Duration,
    /// Tells how busy the machine is, at each resync.
    pub monitors: bool,
    /// Identity of this boot of the host, instead of the kernel's.
    pub boot_id: Option<String>,
}

impl AgentConfig {
    pub fn new(name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            state_dir: state_dir.into(),
            network_scope: String::new(),
            disk_gib: None,
            metadata: MetadataTable::default(),
            builds: 4,
            downloads: 2,
            shutdown_deadline: Duration::from_secs(60),
            resync: Duration::from_secs(10),
            patience: Duration::from_millis(200),
            pace: Duration::from_millis(50),
            poll: Duration::from_secs(20),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            attempts: 3,
            network_deadline: Duration::from_secs(30),
            monitors: false,
            boot_id: None,
        }
    }

    /// The pause after `failures` failures in a row.
    pub fn pause(&self, failures: u32) -> Duration {
        let factor = 1u32 << failures.saturating_sub(1).min(16);
        self.retry.saturating_mul(factor).min(self.retry_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let config = AgentConfig::new("h", "/nowhere");
        let seconds: Vec<_> = [0, 1, 2, 3, 6, u32::MAX].map(|n| config.pause(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 1, 2, 4, 30, 30]);
    }
}
