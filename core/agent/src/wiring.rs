//! Keeps the host's network what the network backend plans for the desired networks.
//!
//! One task owns it. It plans and applies at each new desired state and, as a backstop, every minute;
//! servers wait until their revision is in force. An error leaves the last plan in force.

use crate::config::AgentConfig;
use crate::desired::Known;
use crate::network::{NetworkExecutor, NoNetwork};
use async_trait::async_trait;
use canopy_agent_api::{Desired, NetworkSpec};
use canopy_plugin_host::{Item, NetworkPlugin};
use canopy_types::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const BACKSTOP: Duration = Duration::from_secs(60);

/// Decides what the host's network is to be; a plugin does, outside of tests.
#[async_trait]
pub trait NetworkPlanner: Send + Sync + 'static {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error>;
}

#[async_trait]
impl NetworkPlanner for NetworkPlugin {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        NetworkPlugin::plan_host(self, networks).await
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
    /// Desired revision whose networks are in force.
    pub revision: i64,
    /// Why a newer one is not.
    pub error: Option<Error>,
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

    pub fn in_force(&self, revision: i64) -> bool {
        self.wired.borrow().revision >= revision
    }

    /// Waits until the networks of `revision` are in force.
    pub async fn wait(&self, revision: i64, deadline: Duration) -> Result<(), Error> {
        let mut wired = self.wired.subscribe();
        let outcome = tokio::time::timeout(deadline, wired.wait_for(|w| w.revision >= revision)).await;
        if matches!(outcome, Ok(Ok(_))) {
            return Ok(());
        }
        let error = Error::unavailable("agent.network", "The host could not prepare the server's network.");
        Err(match &self.wired.borrow().error {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        })
    }

    /// Never returns. Does nothing before the first desired state: an empty one would be a guess.
    pub async fn run(&self, config: &AgentConfig, mut known: watch::Receiver<Option<Known>>) {
        let mut failures = 0u32;
        loop {
            let present = known.borrow_and_update().clone();
            let pause = match present {
                None => BACKSTOP,
                Some(Known { desired, .. }) => match self.apply(&desired).await {
                    Ok(()) => {
                        failures = 0;
                        self.wired.send_replace(Wired { revision: desired.revision, error: None });
                        BACKSTOP
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        tracing::error!(error = %error.chain(), failures, "the network could not be applied");
                        self.wired.send_modify(|wired| wired.error = Some(error));
                        config.pause(failures)
                    }
                },
            };
            tokio::select! {
                changed = known.changed() => if changed.is_err() {
                    // The agent is ending.
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn apply(&self, desired: &Desired) -> Result<(), Error> {
        let items = self.planner.plan_host(desired.networks.clone()).await?;
        self.executor.apply(&items).await
    }
}
