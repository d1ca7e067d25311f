//! Keeps the host's network what the network backend plans for the desired networks.
//!
//! One task owns it. It plans and applies at each new desired state and, as a backstop, every minute;
//! servers wait until their revision is in force on their own networks, so that a network that cannot be
//! made holds back nobody else. An error of the whole plan leaves the last one in force.

use crate::config::AgentConfig;
use crate::desired::Known;
use crate::network::items::Plan;
use crate::network::{Applied, NetworkExecutor, NoNetwork, Taps, ownership};
use async_trait::async_trait;
use canopy_agent_api::{Desired, HostFinding, NetworkSpec};
use canopy_plugin_host::{Item, Live, NetworkPlugin};
use canopy_types::{Error, NetworkId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const BACKSTOP: Duration = Duration::from_secs(60);

/// Decides what the host's network is to be; a plugin does, outside of tests.
#[async_trait]
pub trait NetworkPlanner: Send + Sync + 'static {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error>;

    /// Changes when plans may come out otherwise than before, because another plugin decides; here: never.
    fn versions(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

#[async_trait]
impl NetworkPlanner for NetworkPlugin {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        NetworkPlugin::plan_host(self, networks).await
    }
}

/// Whichever is in force.
#[async_trait]
impl NetworkPlanner for Live<NetworkPlugin> {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        self.now().plan_host(networks).await
    }

    fn versions(&self) -> watch::Receiver<u64> {
        Live::versions(self)
    }
}

#[async_trait]
impl NetworkPlanner for NoNetwork {
    async fn plan_host(&self, _networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        Ok(Vec::new())
    }
}

/// How far the network has come.
#[derive(Clone, Debug, Default)]
pub struct Wired {
    /// Desired revision whose networks are in force, but for those that failed.
    pub revision: i64,
    pub failed: BTreeMap<NetworkId, Error>,
    /// Why a newer one is not.
    pub error: Option<Error>,
}

impl Wired {
    fn in_force(&self, revision: i64, networks: &[NetworkId]) -> bool {
        self.revision >= revision && !networks.iter().any(|network| self.failed.contains_key(network))
    }

    /// Fit for a server's fault.
    fn why_not(&self, networks: &[NetworkId]) -> Error {
        let failed = networks.iter().find_map(|network| Some((network, self.failed.get(network)?)));
        let (what, cause) = match failed {
            Some((network, cause)) => (format!("network {network}"), Some(cause)),
            None => ("the server's network".to_owned(), self.error.as_ref()),
        };
        let why = cause.map_or("it took too long.", |cause| &cause.message);
        let error = Error::unavailable("agent.network", format!("The host could not prepare {what}: {why}"));
        match cause {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        }
    }
}

pub struct Wiring {
    planner: Arc<dyn NetworkPlanner>,
    executor: Arc<dyn NetworkExecutor>,
    wired: watch::Sender<Wired>,
}

impl Wiring {
    pub fn new(planner: Arc<dyn NetworkPlanner>, executor: Arc<dyn NetworkExecutor>) -> Self {
        Self { planner, executor, wired: watch::Sender::new(Wired::default()) }
    }

    /// The operator's networks that this host has now.
    pub async fn physical_networks(&self) -> Result<Vec<String>, Error> {
        self.executor.physical_networks().await
    }

    pub fn in_force(&self, revision: i64, networks: &[NetworkId]) -> bool {
        self.wired.borrow().in_force(revision, networks)
    }

    /// Waits until these networks of `revision` are in force.
    pub async fn wait(&self, revision: i64, networks: &[NetworkId], deadline: Duration) -> Result<(), Error> {
        let mut wired = self.wired.subscribe();
        let in_force = wired.wait_for(|wired| wired.in_force(revision, networks));
        if matches!(tokio::time::timeout(deadline, in_force).await, Ok(Ok(_))) {
            return Ok(());
        }
        Err(self.wired.borrow().why_not(networks))
    }

    /// Never returns. Does nothing before the first desired state: an empty one would be a guess.
    pub async fn run(&self, config: &AgentConfig, mut known: watch::Receiver<Option<Known>>) {
        let mut failures = 0u32;
        let mut versions = self.planner.versions();
        loop {
            versions.borrow_and_update();
            let present = known.borrow_and_update().clone();
            let pause = match present {
                None => BACKSTOP,
                Some(Known { desired, .. }) => {
                    let outcome = self.apply(&desired).await;
                    let whole = outcome.as_ref().is_ok_and(|applied| applied.failure().is_none());
                    failures = if whole { 0 } else { failures.saturating_add(1) };
                    self.publish(&desired, outcome, failures);
                    if whole { BACKSTOP } else { config.pause(failures) }
                }
            };
            tokio::select! {
                changed = known.changed() => if changed.is_err() {
                    // The agent is ending.
                    std::future::pending::<()>().await;
                },
                Ok(()) = versions.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What is not as planned for these networks.
    pub async fn inspect(&self, desired: &Desired, taps: &Taps) -> Result<Vec<HostFinding>, Error> {
        let items = self.plan(desired).await?;
        self.executor.inspect(&items, taps).await
    }

    /// Makes it as planned, also what was changed so that applying the plan would not notice.
    pub async fn mend(&self, desired: &Desired, taps: &Taps) -> Result<(), Error> {
        let items = self.plan(desired).await?;
        let applied = self.executor.mend(&items, taps).await?;
        applied.failure().map_or(Ok(()), |error| Err(error.clone()))
    }

    async fn apply(&self, desired: &Desired) -> Result<Applied, Error> {
        let items = self.plan(desired).await?;
        self.executor.apply(&items).await
    }

    /// A plan that speaks of these networks only.
    async fn plan(&self, desired: &Desired) -> Result<Vec<Item>, Error> {
        let items = self.planner.plan_host(desired.networks.clone()).await?;
        // What does not parse is refused by the executor, which knows what it can carry out.
        if let Ok(plan) = Plan::parse(&items) {
            ownership::check(&plan, &desired.networks)?;
        }
        Ok(items)
    }

    fn publish(&self, desired: &Desired, outcome: Result<Applied, Error>, failures: u32) {
        let wired = match outcome {
            Ok(applied) => {
                if let Some(error) = applied.failure() {
                    let networks = applied.failed.len();
                    let error = error.chain();
                    tracing::error!(error, networks, failures, "part of the network could not be applied");
                }
                Wired { revision: desired.revision, failed: applied.failed, error: None }
            }
            Err(error) => {
                tracing::error!(error = %error.chain(), failures, "the network could not be applied");
                Wired { error: Some(error), ..self.wired.borrow().clone() }
            }
        };
        let count = u32::try_from(wired.failed.len()).unwrap_or(u32::MAX);
        metrics::gauge!("canopy_agent_networks_failed").set(count);
        self.wired.send_replace(wired);
    }
}
