//! The agent of one host: makes the host what the controller wants of it, and says what it finds.
//!
//! ```text
//! controller ─desired─▶ desired.json ─┬▶ wiring   (network plan → executor)
//!                                     ├▶ metadata (who stands behind an address)
//!                                     └▶ servers ─▶ a worker per server: look, decide, one step
//! controller ◀─observed─ board ◀──────────┘            ▲
//!                             domains (one listing) ───┘ hints: events, resync
//! ```
//!
//! *Architecture invariant*: nothing here decides what should exist; it only converges, with every step
//! safe to repeat and every effect between two crash points. Losing the controller stops nothing, and
//! nothing is removed on a guess: only a desired state received in this run removes, and only what
//! carries this agent's own marker. The same library runs inside `canopy serve` and as `canopy agent`.

mod config;
mod config_drive;
mod console;
mod consoles;
mod decide;
mod desired;
mod disk;
mod domain;
mod domains;
mod exec;
mod files;
mod fresh;
mod images;
mod inspect;
mod iso9660;
mod load;
mod mends;
pub mod network;
mod observed;
mod prefetch;
mod qcow2;
mod record;
mod remote;
mod scope;
mod servers;
mod shared;
mod space;
mod steps;
mod wiring;
mod worker;

/// What guests are told about themselves.
pub mod metadata {
    pub mod content;
    mod ec2;
    mod network_data;
    pub mod server;
    pub mod table;
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::AgentConfig;
pub use remote::{HttpController, NetworkChoice};
pub use wiring::NetworkPlanner;

use canopy_agent_api::{Controller, Inventory, Registered, Registration, VERSION};
use canopy_hypervisor::Hypervisor;
use canopy_types::{Error, ServerId};
use desired::Known;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Disks copied at once for images: each is a stream through the host's disk.
const COPIES: usize = 2;
/// Before a part that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

pub struct Agent {
    shared: Arc<shared::Shared>,
    stop: watch::Sender<bool>,
}

impl Agent {
    /// Touches nothing yet. The network executor is given `config.metadata` by whoever makes it.
    pub fn new(
        config: AgentConfig,
        controller: Arc<dyn Controller>,
        hypervisor: Arc<dyn Hypervisor>,
        network_plugin: impl NetworkPlanner,
        network: Arc<dyn network::NetworkExecutor>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let boot_id = config.boot_id.clone().unwrap_or_else(kernel_boot_id);
        let shared = shared::Shared {
            images: images::Images::new(&config.state_dir, Arc::clone(&controller), config.downloads),
            domains: domains::Domains::new(Arc::clone(&hypervisor)),
            wiring: wiring::Wiring::new(Arc::new(network_plugin), network),
            board: observed::Board::default(),
            prefetches: Default::default(),
            mends: mends::Mends::default(),
            builds: Semaphore::new(config.builds.max(1)),
            copies: Semaphore::new(COPIES),
            host: Arc::new(watch::Sender::new(None)),
            boot_id,
            stop: stopped,
            config,
            controller,
            hypervisor,
        };
        Self { shared: Arc::new(shared), stop }
    }

    /// Runs until `shutdown` becomes true or its sender goes; guests keep running. Every failure is
    /// retried with bounded pauses. Returns after at most some ten seconds.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let shared = &self.shared;
        if record::ServerDir::new(&shared.config.state_dir, ServerId::random()).console_socket().is_none() {
            let state_dir = shared.config.state_dir.display();
            tracing::warn!(%state_dir, "this path is too long for sockets: guests' serial ports cannot be joined");
        }
        tracing::info!(host = shared.config.name, scope = shared.config.network_scope, "agent starts");
        tokio::select! {
            () = prepare(shared) => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        let (known, _) = watch::channel(None);
        let known = Arc::new(known);
        let state_dir = shared.config.state_dir.clone();
        let saved = files::blocking(move || Ok(desired::load(&state_dir))).await.ok().flatten();
        if let Some(desired) = saved {
            let desired = scope::on_host(Arc::new(desired), &shared.config.network_scope);
            publish(shared, &known, Known { desired, fresh: false });
        }

        let host = Arc::clone(&shared.host);
        let mut services = JoinSet::new();
        let s = Arc::clone(shared);
        service(&mut services, "domains", move || {
            let s = Arc::clone(&s);
            async move { s.domains.run(s.config.resync).await }
        });
        let (s, to) = (Arc::clone(shared), Arc::clone(&known));
        service(&mut services, "wiring", move || {
            let (s, seen) = (Arc::clone(&s), to.subscribe());
            async move { s.wiring.run(&s.config, seen).await }
        });
        let (s, id) = (Arc::clone(shared), Arc::clone(&host));
        service(&mut services, "observed", move || {
            let (s, id) = (Arc::clone(&s), Arc::clone(&id));
            async move { s.board.run(&s.config, &*s.controller, &id, || register(&s)).await }
        });
        let (s, id, to) = (Arc::clone(shared), Arc::clone(&host), Arc::clone(&known));
        let (keep, kept) = watch::channel(None);
        let keeper = tokio::spawn(desired::keep(shared.config.state_dir.clone(), kept, shared.stop.clone()));
        let keep = Arc::new(keep);
        service(&mut services, "desired", move || {
            let (s, id, to, keep) = (Arc::clone(&s), id.subscribe(), Arc::clone(&to), Arc::clone(&keep));
            async move { desired::poll(&s.config, &*s.controller, id, &keep, |news| publish(&s, &to, news)).await }
        });
        let (s, id, to) = (Arc::clone(shared), Arc::clone(&host), Arc::clone(&known));
        service(&mut services, "console", move || {
            console::run(Arc::clone(&s), id.subscribe(), to.subscribe())
        });
        let (s, to) = (Arc::clone(shared), Arc::clone(&known));
        service(&mut services, "servers", move || servers::run(Arc::clone(&s), to.subscribe()));

        let _ = shutdown.wait_for(|stop| *stop).await;
        self.stop.send_replace(true);
        // Only the servers' part ends by itself, after the steps under way.
        services.join_next().await;
        services.shutdown().await;
        // Has nobody to hear from any more, so it ends with the last state.
        let _ = keeper.await;
    }
}

/// Runs a part of the agent for ever: one that panicked is started again, because half an agent is worse
/// than a late one. A part that returns is done.
fn service<F>(services: &mut JoinSet<()>, name: &'static str, make: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    services.spawn(async move {
        loop {
            // A set of its own: dropping it aborts the part.
            let mut part = JoinSet::new();
            part.spawn(make());
            match part.join_next().await {
                Some(Err(error)) if error.is_panic() => {
                    tracing::error!(part = name, %error, "a part of the agent panicked; starting it again");
                    tokio::time::sleep(AFTER_PANIC).await;
                }
                _ => return,
            }
        }
    });
}

/// Hands a desired state to everything that follows it.
fn publish(shared: &shared::Shared, known: &watch::Sender<Option<Known>>, news: Known) {
    shared.config.metadata.set(&news.desired);
    // Before any task can need one.
    shared.images.set_referenced(servers::referenced(&news.desired));
    shared.board.seen(news.desired.revision);
    known.send_replace(Some(news));
}

/// Makes the agent's folders, however long that takes.
async fn prepare(shared: &Arc<shared::Shared>) {
    let mut failures = 0u32;
    loop {
        let s = Arc::clone(shared);
        let made = files::blocking(move || {
            files::make_dir(&s.config.state_dir)?;
            files::make_dir(&record::all(&s.config.state_dir))?;
            s.images.open()
        })
        .await;
        let Err(error) = made else { return };
        failures = failures.saturating_add(1);
        tracing::error!(error = %error.chain(), "the agent's folders could not be made");
        tokio::time::sleep(shared.config.pause(failures)).await;
    }
}

/// Registers this host, however long that takes.
async fn register(shared: &shared::Shared) -> Registered {
    let mut failures = 0u32;
    loop {
        let outcome = async {
            let inventory = inventory(shared).await?;
            let name = shared.config.name.clone();
            shared.controller.register(Registration { version: VERSION, name, inventory }).await
        };
        match outcome.await {
            Ok(registered) => {
                tracing::info!(host_id = %registered.host_id, "registered with the controller");
                return registered;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(error = %error.chain(), failures, "not registered with the controller");
                tokio::time::sleep(shared.config.pause(failures)).await;
            }
        }
    }
}

async fn inventory(shared: &shared::Shared) -> Result<Inventory, Error> {
    let host = shared.hypervisor.host().await?;
    let disk_gib = match shared.config.disk_gib {
        Some(disk_gib) => disk_gib,
        None => {
            let state_dir = shared.config.state_dir.clone();
            files::blocking(move || space::total_gib(&state_dir)).await?
        }
    };
    Ok(Inventory {
        vcpus: host.vcpus,
        memory_mib: host.memory_mib,
        disk_gib,
        hypervisor_type: host.hypervisor_type,
        hypervisor_version: host.hypervisor_version,
        acceleration: host.acceleration,
        physical_networks: shared.wiring.physical_networks().await?,
    })
}

/// The same until the host boots again. Without it every start would look like the same boot, which
/// only means that guests are not started again by themselves.
fn kernel_boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(error) => {
            tracing::warn!(%error, "the kernel's boot id is unreadable");
            String::new()
        }
    }
}
