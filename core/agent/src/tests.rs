//! A whole agent against a controller and a hypervisor in memory, with real files.

use crate::network::{Applied, NetworkExecutor, NoNetwork};
use crate::testing::{self, FakeController};
use crate::{Agent, AgentConfig, qcow2, record};
use async_trait::async_trait;
use canopy_agent_api::{Ask, Question, ServerObserved, ServerSpec};
use canopy_hypervisor::fake::{FakeHypervisor, Op};
use canopy_hypervisor::{DomainSpec, DomainState, DomainStatus, Event, HostInfo, Hypervisor};
use canopy_plugin_host::Item;
use canopy_types::server::{How, Phase, PowerIntent};
use canopy_types::{Error, NetworkId, ServerId};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

mod given_up;
mod longer;

/// One host over several runs of its agent.
pub(crate) struct Host {
    pub state: tempfile::TempDir,
    pub controller: Arc<FakeController>,
    pub hypervisor: FakeHypervisor,
    /// Events never arrive: only the resync notices.
    deaf: bool,
    /// Domains are never listed either.
    blind: bool,
    boot_id: &'static str,
    scope: &'static str,
    network: Arc<dyn NetworkExecutor>,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Host {
    pub fn new() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
            controller: Arc::default(),
            hypervisor: FakeHypervisor::new(),
            deaf: false,
            blind: false,
            boot_id: "boot-1",
            scope: "",
            network: Arc::new(NoNetwork),
            running: None,
        }
    }

    pub fn start(&mut self) {
        let config = AgentConfig {
            resync: Duration::from_millis(50),
            retry: Duration::from_millis(5),
            retry_max: Duration::from_millis(20),
            poll: Duration::from_millis(500),
            shutdown_deadline: Duration::from_millis(150),
            network_deadline: Duration::from_millis(300),
            boot_id: Some(self.boot_id.into()),
            network_scope: self.scope.into(),
            ..AgentConfig::new("host-1", self.state.path())
        };
        let hypervisor: Arc<dyn Hypervisor> = if self.deaf {
            Arc::new(Deaf(self.hypervisor.clone(), broadcast::channel(1).0, self.blind))
        } else {
            Arc::new(self.hypervisor.clone())
        };
        let controller = Arc::clone(&self.controller);
        let agent = Agent::new(config, controller, hypervisor, NoNetwork, Arc::clone(&self.network));
        let (stop, stopped) = watch::channel(false);
        self.running = Some((stop, tokio::spawn(async move { agent.run(stopped).await })));
    }

    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().expect("the agent runs");
        stop.send_replace(true);
        task.await.unwrap();
    }

    /// As a power failure of the agent alone: cut at whatever await it stands.
    async fn abort(&mut self) {
        let (_, task) = self.running.take().expect("the agent runs");
        task.abort();
        assert!(task.await.is_err_and(|e| e.is_cancelled()));
    }

    /// A small server whose image the controller has.
    pub fn spec(&self) -> ServerSpec {
        let (mut spec, _) = testing::spec_with_network();
        spec.ports.clear();
        spec.image = Some(testing::image(self.controller.image(&qcow2::header(1 << 20))));
        spec
    }

    pub async fn reaches(&self, id: ServerId, phase: Phase) -> ServerObserved {
        until(&format!("{phase:?}"), || self.controller.observed(id).is_some_and(|o| o.phase == phase)).await;
        self.controller.observed(id).unwrap()
    }

    /// Runs the agent until this server runs.
    async fn running(&mut self) -> ServerSpec {
        let spec = self.spec();
        self.controller.want(vec![spec.clone()], vec![]);
        self.start();
        until("running and satisfied", || {
            self.controller.observed(spec.id).is_some_and(|o| o.phase == Phase::Running && o.power_n == 1)
        })
        .await;
        spec
    }

    pub fn dir(&self, id: ServerId) -> PathBuf {
        record::all(self.state.path()).join(id.to_string())
    }

    fn count(&self, op: Op) -> usize {
        self.hypervisor.calls().iter().filter(|(o, _)| *o == op).count()
    }

    /// Long enough for several listings and reports.
    async fn several_rounds(&self) {
        let (lists, reports) = (self.count(Op::List), self.controller.reports().len());
        until("rounds", || self.count(Op::List) > lists + 3 && self.controller.reports().len() > reports + 3)
            .await;
    }
}

struct Deaf(FakeHypervisor, broadcast::Sender<Event>, bool);

#[async_trait]
impl Hypervisor for Deaf {
    async fn host(&self) -> Result<HostInfo, Error> {
        self.0.host().await
    }
    async fn list(&self) -> Result<Vec<DomainStatus>, Error> {
        let domains = self.0.list().await?;
        Ok(if self.2 { Vec::new() } else { domains })
    }
    async fn define(&self, domain: &DomainSpec) -> Result<(), Error> {
        self.0.define(domain).await
    }
    async fn differences(&self, domain: &DomainSpec) -> Result<Vec<String>, Error> {
        self.0.differences(domain).await
    }
    async fn start(&self, id: ServerId) -> Result<(), Error> {
        self.0.start(id).await
    }
    async fn shutdown(&self, id: ServerId) -> Result<(), Error> {
        self.0.shutdown(id).await
    }
    async fn pause(&self, id: ServerId) -> Result<(), Error> {
        self.0.pause(id).await
    }
    async fn suspend(&self, id: ServerId) -> Result<(), Error> {
        self.0.suspend(id).await
    }
    async fn discard_memory(&self, id: ServerId) -> Result<(), Error> {
        self.0.discard_memory(id).await
    }
    async fn copy_disk(&self, id: ServerId, to: &std::path::Path) -> Result<(), Error> {
        self.0.copy_disk(id, to).await
    }
    async fn diagnostics(&self, id: ServerId) -> Result<canopy_types::diagnostics::Diagnostics, Error> {
        self.0.diagnostics(id).await
    }
    async fn set_password(
        &self,
        id: ServerId,
        user: &str,
        password: &str,
    ) -> Result<canopy_hypervisor::PasswordOutcome, Error> {
        self.0.set_password(id, user, password).await
    }
    async fn console(
        &self,
        id: ServerId,
        kind: canopy_types::ConsoleKind,
    ) -> Result<canopy_hypervisor::Console, Error> {
        self.0.console(id, kind).await
    }
    async fn plug(&self, id: ServerId, nic: &canopy_hypervisor::Nic) -> Result<(), Error> {
        self.0.plug(id, nic).await
    }
    async fn unplug(&self, id: ServerId, nic: &canopy_hypervisor::Nic) -> Result<(), Error> {
        self.0.unplug(id, nic).await
    }
    async fn destroy(&self, id: ServerId) -> Result<(), Error> {
        self.0.destroy(id).await
    }
    async fn undefine(&self, id: ServerId) -> Result<(), Error> {
        self.0.undefine(id).await
    }
    fn events(&self) -> broadcast::Receiver<Event> {
        self.1.subscribe()
    }
}

pub(crate) async fn until(what: &str, mut level: impl FnMut() -> bool) {
    let reached = async {
        while !level() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), reached).await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn create_runs_in_order_and_delete_leaves_nothing() {
    let mut host = Host::new();
    let (mut spec, networks) = testing::spec_with_network();
    spec.image = Some(testing::image(host.controller.image(&qcow2::header(1 << 20))));
    spec.config_drive = true;
    spec.name = "ü<&>'\"".repeat(40);
    host.controller.want(vec![spec.clone()], networks);
    host.start();
    host.reaches(spec.id, Phase::Running).await;
    let order =
        [Phase::Pending, Phase::Networking, Phase::BlockDeviceMapping, Phase::Spawning, Phase::Running];
    let places: Vec<_> =
        host.controller.phases(spec.id).iter().map(|p| order.iter().position(|o| o == p).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    let domain = host.hypervisor.spec(spec.id).unwrap();
    assert_eq!((domain.title.as_str(), domain.nics.len()), (spec.name.as_str(), 1));
    assert!(domain.disks[0].path.exists() && domain.config_drive.unwrap().exists());

    host.controller.change(|s| s.deleted = true);
    host.reaches(spec.id, Phase::Gone).await;
    assert_eq!(host.hypervisor.state(spec.id), None);
    assert!(!host.dir(spec.id).exists());
    // Repeated until the controller has dropped it.
    let reports = host.controller.reports().len();
    until("repeated", || {
        host.controller.reports()[reports..].iter().any(|r| r.servers.iter().any(|s| s.phase == Phase::Gone))
    })
    .await;
    host.controller.want(vec![], vec![]);
    until("no more reported", || host.controller.reports().last().is_some_and(|r| r.servers.is_empty()))
        .await;
    let generations: Vec<_> = host.controller.reports().iter().map(|r| r.generation).collect();
    assert!(generations[0] > 40 && generations.is_sorted_by(|a, b| a < b));
    host.stop().await;
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_stays_off() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.hypervisor.power_off(spec.id);
    assert_eq!(host.reaches(spec.id, Phase::Stopped).await.power_n, 1);
    // Neither another change nor a restart of the agent wakes it.
    host.controller.change(|s| s.name = "renamed".into());
    host.several_rounds().await;
    host.stop().await;
    host.start();
    host.several_rounds().await;
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Stopped));
    assert_eq!(host.count(Op::Start), 1);
    // A newer intent does.
    host.controller.change(|s| s.power = PowerIntent::plain(true, 2));
    assert_eq!(host.reaches(spec.id, Phase::Running).await.id, spec.id);
    until("satisfied", || host.controller.observed(spec.id).unwrap().power_n == 2).await;
    host.stop().await;
}

#[tokio::test]
async fn a_kill_behind_our_back_is_noticed_also_without_events() {
    let mut host = Host::new();
    host.deaf = true;
    let spec = host.running().await;
    host.hypervisor.kill(spec.id);
    host.reaches(spec.id, Phase::Stopped).await;
    host.several_rounds().await;
    assert_eq!(host.count(Op::Start), 1, "reported, not restarted");
    host.stop().await;
}

#[tokio::test]
async fn a_restarted_agent_adopts_what_runs() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.stop().await;
    let (defines, starts) = (host.count(Op::Define), host.count(Op::Start));
    // Killed between starting the guest and remembering it.
    let path = host.dir(spec.id).join("record.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"power_n\":1", "\"power_n\":0")).unwrap();
    host.start();
    host.several_rounds().await;
    until("adopted", || host.controller.observed(spec.id).unwrap().power_n == 1).await;
    assert_eq!((host.count(Op::Define), host.count(Op::Start)), (defines, starts));
    host.stop().await;
}

#[tokio::test]
async fn after_a_reboot_guests_start_again_also_without_the_controller() {
    let mut host = Host::new();
    let (on, off) = (host.spec(), host.spec());
    host.controller.want(vec![on.clone(), off.clone()], vec![]);
    host.start();
    host.reaches(on.id, Phase::Running).await;
    host.reaches(off.id, Phase::Running).await;
    host.hypervisor.power_off(off.id);
    host.reaches(off.id, Phase::Stopped).await;
    until("remembered", || {
        std::fs::read_to_string(host.dir(off.id).join("record.json")).is_ok_and(|text| {
            text.ends_with('}')
                && text.lines().last().is_some_and(|line| line.contains("\"was_running\":false"))
        })
    })
    .await;
    host.stop().await;
    host.hypervisor.power_failure();
    host.controller.down(true);
    host.boot_id = "boot-2";
    host.start();
    until("started again", || host.hypervisor.state(on.id) == Some(DomainState::Running)).await;
    assert_eq!(host.hypervisor.state(off.id), Some(DomainState::Stopped));
    // From now on it may power itself off again.
    host.controller.down(false);
    host.reaches(on.id, Phase::Running).await;
    host.hypervisor.power_off(on.id);
    host.reaches(on.id, Phase::Stopped).await;
    host.several_rounds().await;
    assert_eq!(host.hypervisor.state(on.id), Some(DomainState::Stopped));
    host.stop().await;
}

#[tokio::test]
async fn a_bad_image_fails_at_once_and_gives_its_space_back() {
    let mut host = Host::new();
    let spec = host.spec();
    host.controller.corrupt(&spec.image.as_ref().unwrap().blob);
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    let observed = host.reaches(spec.id, Phase::Failed).await;
    assert!(observed.error.unwrap().contains("checksum"));
    assert_eq!((observed.power_n, host.controller.fetches()), (0, 1));
    host.controller.change(|s| s.deleted = true);
    host.reaches(spec.id, Phase::Gone).await;
    assert!(!host.dir(spec.id).exists());
    host.stop().await;
}

#[tokio::test]
async fn passing_failures_are_repeated_but_not_for_ever() {
    let mut host = Host::new();
    let hypervisor = host.hypervisor.clone();
    let fail = |n| {
        for _ in 0..n {
            hypervisor.fail_next(Op::Start, Error::unavailable("libvirt.timeout", "It took too long."));
        }
    };
    fail(2);
    host.controller.fail_fetch(Error::unavailable("test.fetch", "No."));
    let spec = host.running().await;
    fail(3);
    let failing = host.spec();
    host.controller.want(vec![spec.clone(), failing.clone()], vec![]);
    let observed = host.reaches(failing.id, Phase::Failed).await;
    assert_eq!(observed.error.as_deref(), Some("It took too long."));
    until("given back", || host.hypervisor.state(failing.id).is_none()).await;
    until("given back", || std::fs::read_dir(host.dir(failing.id)).unwrap().count() == 1).await;
    // Only the failure is kept, over a restart too.
    host.stop().await;
    host.start();
    host.several_rounds().await;
    assert_eq!(host.controller.observed(failing.id).unwrap().phase, Phase::Failed);
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Running));
    host.stop().await;
}

#[tokio::test]
async fn a_failed_restart_keeps_the_disk() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.hypervisor.power_off(spec.id);
    host.reaches(spec.id, Phase::Stopped).await;
    for _ in 0..3 {
        host.hypervisor.fail_next(Op::Start, Error::unavailable("libvirt.timeout", "It took too long."));
    }
    host.controller.change(|s| s.power = PowerIntent::plain(true, 2));
    host.reaches(spec.id, Phase::Failed).await;
    host.several_rounds().await;
    assert!(host.dir(spec.id).join("root.qcow2").exists());
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Stopped));
    host.controller.change(|s| s.power = PowerIntent::plain(true, 3));
    host.reaches(spec.id, Phase::Running).await;
    host.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_said_in_words() {
    let mut host = Host::new();
    let mut spec = host.spec();
    spec.flavor.root_gib = 1 << 30;
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    let error = host.reaches(spec.id, Phase::Failed).await.error.unwrap();
    assert!(error.starts_with("The host's disk is full: 1073741824 GiB needed, "), "{error}");
    host.stop().await;
}

#[tokio::test]
async fn stop_asks_first_and_then_cuts_the_power() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.controller.change(|s| s.power = PowerIntent::plain(false, 2));
    until("stopped", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    assert_eq!(host.count(Op::Destroy), 0, "the guest obeyed");
    host.controller.change(|s| s.power = PowerIntent::plain(true, 3));
    host.reaches(spec.id, Phase::Running).await;
    host.hypervisor.ignore_shutdown(spec.id, true);
    host.controller.change(|s| s.power = PowerIntent::plain(false, 4));
    until("stopped", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 4)).await;
    assert_eq!(host.count(Op::Destroy), 1);
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Stopped));
    host.stop().await;
}

#[tokio::test]
async fn pause_suspend_and_reboot_end_where_they_should_also_when_repeated() {
    let mut host = Host::new();
    let spec = host.running().await;
    let steps = [
        (How::Pause, true, Phase::Paused),
        (How::Unpause, true, Phase::Running),
        (How::Suspend, false, Phase::Suspended),
        (How::Resume, true, Phase::Running),
        (How::SoftReboot, true, Phase::Running),
        (How::HardReboot, true, Phase::Running),
        (How::Suspend, false, Phase::Suspended),
        (How::HardReboot, true, Phase::Running),
        (How::Rebuild, true, Phase::Running),
        (How::Suspend, false, Phase::Suspended),
        (How::Rebuild, false, Phase::Stopped),
        (How::HardReboot, true, Phase::Running),
        (How::Accept, true, Phase::Running),
    ];
    for (n, (how, on, phase)) in (2..).zip(steps) {
        // The agent is cut off right after the wish, and again at its end.
        host.controller.change(|s| s.power = s.power.next(on, how));
        host.abort().await;
        host.start();
        until(&format!("{how:?}"), || {
            host.controller.observed(spec.id).is_some_and(|o| o.phase == phase && o.power_n == n)
        })
        .await;
        let starts = host.count(Op::Start);
        host.stop().await;
        host.start();
        host.several_rounds().await;
        assert_eq!(host.count(Op::Start), starts, "{how:?} once more");
        assert_eq!(host.controller.observed(spec.id).unwrap().phase, phase, "{how:?}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_pause_that_cannot_be_is_dropped_and_the_guest_runs_on() {
    let mut host = Host::new();
    let spec = host.running().await;
    for _ in 0..3 {
        host.hypervisor.fail_next(Op::Pause, Error::unavailable("test.no", "The guest cannot be paused."));
    }
    host.controller.change(|s| s.power = s.power.next(true, How::Pause));
    until("dropped", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 2)).await;
    let observed = host.controller.observed(spec.id).unwrap();
    assert_eq!(
        (observed.phase, observed.error.as_deref()),
        (Phase::Running, Some("The guest cannot be paused."))
    );
    host.controller.change(|s| s.power = s.power.next(true, How::Pause));
    until("paused", || host.controller.observed(spec.id).is_some_and(|o| o.power_n == 3)).await;
    let paused = host.controller.observed(spec.id).unwrap();
    assert_eq!((paused.phase, paused.error), (Phase::Paused, None), "what came to nothing before is over");
    host.stop().await;
}

#[tokio::test]
async fn nothing_is_removed_on_a_guess_and_nothing_foreign_ever() {
    let mut host = Host::new();
    let spec = host.running().await;
    host.stop().await;
    let foreign = host.dir(ServerId::random());
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("root.qcow2"), b"theirs").unwrap();
    let elsewhere = testing::spec();
    let theirs = DomainSpec { id: elsewhere.id, ..host.hypervisor.spec(spec.id).unwrap() };
    host.hypervisor.define(&DomainSpec { name: "instance-of-another-agent".into(), ..theirs }).await.unwrap();

    // A controller that knows nothing, and an agent that lost what it kept.
    let (empty, wanted) = (Arc::new(FakeController::default()), Arc::clone(&host.controller));
    std::fs::remove_file(host.state.path().join("desired.json")).unwrap();
    host.controller = Arc::clone(&empty);
    host.start();
    host.several_rounds().await;
    assert_eq!(host.hypervisor.state(spec.id), Some(DomainState::Running));
    host.stop().await;

    // One that says: you have nothing.
    host.start();
    empty.want(vec![], vec![]);
    until("removed", || host.hypervisor.state(spec.id).is_none() && !host.dir(spec.id).exists()).await;
    host.several_rounds().await;
    assert!(foreign.join("root.qcow2").exists());
    assert!(host.hypervisor.state(elsewhere.id).is_some(), "a domain without a folder of ours");
    drop(wanted);
    host.stop().await;
}

#[tokio::test]
async fn an_unreachable_hypervisor_changes_nothing() {
    let mut host = Host::new();
    let spec = host.running().await;
    let late = host.spec();
    host.hypervisor.disconnect();
    host.controller.want(vec![spec.clone(), late.clone()], vec![]);
    host.several_rounds().await;
    assert_eq!(host.controller.observed(spec.id).unwrap().phase, Phase::Running, "unknown is not stopped");
    host.hypervisor.reconnect();
    host.reaches(late.id, Phase::Running).await;
    assert_eq!(host.controller.observed(spec.id).unwrap().phase, Phase::Running);
    host.stop().await;
}

#[tokio::test]
async fn the_console_is_answered() {
    let mut host = Host::new();
    let spec = host.running().await;
    std::fs::write(host.dir(spec.id).join("console.log"), "one\ntwo\n").unwrap();
    host.controller.ask(Question {
        id: 9,
        server_id: Some(spec.id),
        ask: Ask::ConsoleOutput { lines: Some(2) },
    });
    until("answered", || !host.controller.answers().is_empty()).await;
    assert_eq!(host.controller.answers()[0].outcome.as_deref(), Ok("two\n"));
    host.stop().await;
}

/// Fails this many times before it works.
struct Flaky(AtomicU32);

#[async_trait]
impl NetworkExecutor for Flaky {
    async fn apply(&self, _: &[Item]) -> Result<Applied, Error> {
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(Error::unavailable("test.network", "Not now.")),
            Err(_) => Ok(Applied::default()),
        }
    }

    async fn observed(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn no_guest_starts_before_its_network_is_in_force() {
    let mut host = Host::new();
    host.network = Arc::new(Flaky(AtomicU32::new(4)));
    host.running().await;
    host.stop().await;

    let mut host = Host::new();
    host.network = Arc::new(Flaky(AtomicU32::new(u32::MAX)));
    let spec = host.spec();
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    let observed = host.reaches(spec.id, Phase::Failed).await;
    assert_eq!(observed.error.as_deref(), Some("The host could not prepare the server's network: Not now."));
    assert_eq!(host.count(Op::Define), 0);
    assert_eq!(host.controller.fetches(), 0);
    host.stop().await;
}

/// One network never works.
struct Broken(watch::Receiver<Option<NetworkId>>);

#[async_trait]
impl NetworkExecutor for Broken {
    async fn apply(&self, _: &[Item]) -> Result<Applied, Error> {
        let why = Error::conflict("test.taken", "Its bridge is somebody else's.");
        let failed = self.0.borrow().iter().map(|network| (*network, why.clone())).collect();
        Ok(Applied { failed, leftover: Some(Error::unavailable("test.leftover", "A device stays.")) })
    }

    async fn observed(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_network_that_cannot_be_made_holds_back_only_its_own_servers() {
    let mut host = Host::new();
    let (broken, nobody) = watch::channel(None);
    host.network = Arc::new(Broken(nobody));
    let image = testing::image(host.controller.image(&qcow2::header(1 << 20)));
    let mut servers = Vec::new();
    let mut networks = Vec::new();
    for _ in 0..3 {
        let (mut spec, network) = testing::spec_with_network();
        spec.image = Some(image.clone());
        servers.push(spec);
        networks.extend(network);
    }
    // One on a good network, one on the bad one, one on both.
    let both = networks[1].ports.first().cloned().unwrap();
    servers[2].ports.push(both);
    broken.send_replace(Some(networks[1].id));
    host.controller.want(servers.clone(), networks.clone());
    host.start();
    host.reaches(servers[0].id, Phase::Running).await;
    let why =
        format!("The host could not prepare network {}: Its bridge is somebody else's.", networks[1].id);
    for server in &servers[1..] {
        assert_eq!(host.reaches(server.id, Phase::Failed).await.error.as_deref(), Some(why.as_str()));
        assert!(host.hypervisor.state(server.id).is_none(), "nothing was made");
    }
    // Newer servers on good networks are not held back either, and the bad one may come to work.
    let (mut late, network) = testing::spec_with_network();
    late.image = Some(image);
    let mut again = servers[1].clone();
    again.power = PowerIntent::plain(true, 2);
    networks.extend(network);
    broken.send_replace(None);
    host.controller.want(vec![servers[0].clone(), again.clone(), late.clone()], networks);
    host.reaches(late.id, Phase::Running).await;
    host.reaches(again.id, Phase::Running).await;
    host.stop().await;
}

#[tokio::test]
async fn a_delete_does_not_wait_for_an_image_that_never_comes() {
    let mut host = Host::new();
    host.controller.hang_fetch();
    let spec = host.spec();
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    until("fetching", || host.controller.fetches() == 1).await;
    host.controller.change(|s| s.deleted = true);
    host.reaches(spec.id, Phase::Gone).await;
    assert!(!host.dir(spec.id).exists());
    let fetching = host.state.path().join("images/fetching");
    assert_eq!(std::fs::read_dir(fetching).unwrap().count(), 0);
    host.stop().await;
}

#[tokio::test]
async fn cut_anywhere_it_ends_with_one_guest_and_then_with_none() {
    let mut host = Host::new();
    let mut spec = host.spec();
    spec.config_drive = true;
    host.controller.want(vec![spec.clone()], vec![]);
    // Each run gets a little further than the last.
    for milliseconds in 0..30 {
        host.start();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        host.abort().await;
    }
    host.start();
    until("running", || {
        host.controller.observed(spec.id).is_some_and(|o| o.phase == Phase::Running && o.power_n == 1)
    })
    .await;
    assert_eq!(host.hypervisor.list().await.unwrap().len(), 1);
    host.stop().await;
    host.controller.change(|s| s.deleted = true);
    for milliseconds in 0..15 {
        host.start();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        host.abort().await;
    }
    host.start();
    host.reaches(spec.id, Phase::Gone).await;
    assert!(host.hypervisor.list().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(record::all(host.state.path())).unwrap().count(), 0);
    host.stop().await;
}

#[tokio::test]
async fn a_name_of_another_cloud_is_an_error_and_a_scope_avoids_it() {
    let mut host = Host::new();
    let spec = host.spec();
    host.hypervisor.add_foreign(spec.domain_name.clone());
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    let error = host.reaches(spec.id, Phase::Failed).await.error.unwrap();
    assert!(error.contains("name"), "{error}");
    host.stop().await;
    host.scope = "second";
    host.start();
    host.controller.change(|s| s.power = PowerIntent::plain(true, 2));
    host.reaches(spec.id, Phase::Running).await;
    assert_eq!(host.hypervisor.spec(spec.id).unwrap().name, format!("{}-second", spec.domain_name));
    host.stop().await;
}

#[tokio::test]
async fn work_without_effect_is_not_repeated_for_ever() {
    let mut host = Host::new();
    (host.deaf, host.blind) = (true, true);
    let spec = host.spec();
    host.controller.want(vec![spec.clone()], vec![]);
    host.start();
    let observed = host.reaches(spec.id, Phase::Failed).await;
    assert!(observed.error.unwrap().contains("nothing came of it"));
    host.several_rounds().await;
    assert!(host.count(Op::Define) <= 8, "{}", host.count(Op::Define));
    host.stop().await;
}
