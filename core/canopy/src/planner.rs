//! The network plans of an agent in this process: by whichever plugin is in force, with a shadow beside it.

use async_trait::async_trait;
use canopy_agent::NetworkPlanner;
use canopy_agent_api::NetworkSpec;
use canopy_app::App;
use canopy_app::plugins::shadow;
use canopy_plugin_host::Item;
use canopy_types::Error;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Planner(pub Arc<App>);

#[async_trait]
impl NetworkPlanner for Planner {
    async fn plan_host(&self, networks: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        let plan = self.0.plugins.network().now().plan_host(networks.clone()).await?;
        shadow::network(&self.0, networks, &plan);
        Ok(plan)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.0.plugins.network().versions()
    }
}
