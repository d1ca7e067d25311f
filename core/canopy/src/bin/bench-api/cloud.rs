//! A cloud to measure: a controller with eight hosts whose guests are in memory and whose agents are the real ones.
//!
//! The hosts' disks are in memory like their guests, where the machine has a place for that: the genuine services' fake
//! hypervisors write none. The controller's data is on the disk of the temporary folder.

use super::{Client, Cloud, Res, words};
use async_trait::async_trait;
use canopy::config::Config;
use canopy::server::{self, Overrides};
use canopy_agent::network::NoNetwork;
use canopy_agent::{Agent, AgentConfig, HttpController, NetworkPlanner};
use canopy_agent_api::NetworkSpec;
use canopy_hypervisor::fake::FakeHypervisor;
use canopy_plugin_host::Item;
use canopy_types::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::watch;

const HOSTS: usize = 8;
const SERVE: &str = "--serve";
/// Written when the cloud answers.
const READY: &str = "ready";
/// The hosts' folders, in the cloud's.
const AGENTS: &str = "agents";
/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// The folder, where this process is to be the cloud.
pub fn asked_to_serve() -> Option<PathBuf> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next().as_deref() == Some(SERVE)).then(|| arguments.next().map(PathBuf::from)).flatten()
}

/// Until this process is killed.
pub async fn serve(dir: &Path) -> Res<()> {
    let mut config =
        Config { listen: ([127, 0, 0, 1], 0).into(), data_dir: dir.join("data"), ..Config::default() };
    config.agent.name = Some("host-1".into());
    let plugin = |name: &str| std::fs::read_link(dir.join("plugins")).map(|plugins| plugins.join(name));
    config.plugins.scheduler = Some(plugin("scheduler-binpack").map_err(words)?);
    config.plugins.quota = Some(plugin("quota-limits").map_err(words)?);
    let overrides = Overrides {
        hypervisor: Some(Arc::new(FakeHypervisor::new())),
        network: Some(Arc::new(NoNetwork)),
        ..Overrides::default()
    };
    let running = server::start(&config, overrides).await.map_err(words)?;
    let url = format!("http://{}", running.address);
    let (_stop, stopped) = watch::channel(false);
    for host in 2..=HOSTS {
        let controller = Arc::new(HttpController::new(&url, running.agent_token.clone()).map_err(words)?);
        let folder = dir.join(AGENTS).join(host.to_string());
        let config = AgentConfig::new(format!("host-{host}"), folder);
        let hypervisor = Arc::new(FakeHypervisor::new());
        let agent = Agent::new(config, controller, hypervisor, NoPlans, Arc::new(NoNetwork));
        let stopped = stopped.clone();
        tokio::spawn(async move { agent.run(stopped).await });
    }
    std::fs::write(dir.join("part"), &url).map_err(words)?;
    std::fs::rename(dir.join("part"), dir.join(READY)).map_err(words)?;
    std::future::pending().await
}

/// Servers without networks need none.
struct NoPlans;

#[async_trait]
impl NetworkPlanner for NoPlans {
    async fn plan_host(&self, _: Vec<NetworkSpec>) -> Result<Vec<Item>, Error> {
        Ok(Vec::new())
    }
}

/// The process that serves; it goes with this.
pub struct Own {
    child: Child,
    dir: PathBuf,
    agents: PathBuf,
    began: Instant,
}

impl Own {
    pub async fn start(plugins: &Path) -> Res<Self> {
        let name = format!("canopy-bench-api-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        let agents =
            if Path::new(MEMORY).is_dir() { Path::new(MEMORY).join(name) } else { dir.join("hosts") };
        std::fs::create_dir_all(dir.join("data")).map_err(words)?;
        std::fs::create_dir_all(agents.join("1")).map_err(words)?;
        std::os::unix::fs::symlink(&agents, dir.join(AGENTS)).map_err(words)?;
        // The host that is in the controller's own process.
        std::os::unix::fs::symlink(agents.join("1"), dir.join("data/agent")).map_err(words)?;
        let plugins = plugins.canonicalize().map_err(|e| format!("{e}: run `cargo xtask plugins`"))?;
        std::os::unix::fs::symlink(plugins, dir.join("plugins")).map_err(words)?;
        let log = std::fs::File::create(dir.join("log")).map_err(words)?;
        let own = std::env::current_exe().map_err(words)?;
        let mut command = Command::new(own);
        command.arg(SERVE).arg(&dir).stdout(log.try_clone().map_err(words)?).stderr(log).kill_on_drop(true);
        let began = Instant::now();
        Ok(Self { child: command.spawn().map_err(words)?, dir, agents, began })
    }

    /// When it answers, and all of its hosts are there.
    pub async fn cloud(&self) -> Res<Cloud> {
        let until = self.began + Duration::from_secs(60);
        let url = loop {
            if let Ok(url) = std::fs::read_to_string(self.dir.join(READY)) {
                break url;
            }
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                return Err(format!("the cloud does not start:\n{log}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let password = std::fs::read_to_string(self.dir.join("data/admin-password")).map_err(words)?;
        let password = password.trim().to_owned();
        let client = Client::login(&format!("{url}/identity/v3"), &password).await?;
        client.count("/servers", 0).await?;
        let start = Some(self.began.elapsed());
        client.until_hosts(HOSTS, until).await?;
        client.overcommit_disks().await?;
        let pid = self.child.id().ok_or("the cloud has ended")?;
        Ok(Cloud { client, password, pids: vec![i32::try_from(pid).map_err(words)?], start })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for folder in [&self.agents, &self.dir] {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
