//! One task per server: looks, decides, does one step, looks again.
//!
//! The task owns everything of its server on this host. It is told the newest specification through a
//! watch (older ones are simply overwritten) and sees the domains through the shared listing. Whatever it
//! does can be repeated, so it may be killed anywhere.

use crate::decide::{Local, Shutdown, Step, View, decide, is_on, settled};
use crate::record::{Failure, Record, ServerDir};
use crate::shared::Shared;
use crate::steps;
use crate::{disk, domain, files};
use canopy_agent_api::{NetworkSpec, ServerObserved, ServerSpec};
use canopy_hypervisor::DomainState;
use canopy_types::server::Phase;
use canopy_types::{Error, Kind, NetworkId, ServerId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;

/// What one server's task needs of the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub spec: Arc<ServerSpec>,
    /// Those of its ports, without other guests' ports.
    pub networks: Vec<NetworkSpec>,
    /// Desired revision in which this was first so.
    pub revision: i64,
}

impl Target {
    /// Those that its ports are on.
    pub fn network_ids(&self) -> Vec<NetworkId> {
        self.spec.ports.iter().chain(&self.spec.leaving).map(|port| port.network_id).collect()
    }
}

/// `None`: the controller does not know this server any more.
pub type Mailbox = watch::Receiver<Option<Arc<Target>>>;

pub struct Worker {
    pub shared: Arc<Shared>,
    pub id: ServerId,
    pub dir: ServerDir,
    pub record: Option<Record>,
    /// The record is not what is kept.
    unsaved: bool,
    /// When the guest was asked to power off.
    pub shutdown_asked: Option<Instant>,
    /// In a row, of the same wish.
    failures: u32,
    /// Power intent and deletion that the failures belong to.
    wish: Option<(i64, bool)>,
    /// The last step that went well, and how often it did in a row.
    last: Option<(Step, u32)>,
}

/// A step that went well so often in a row and is still due has no effect.
const REPEATS: u32 = 3;

/// Runs until the server is gone and forgotten, or the agent ends.
pub async fn run(shared: Arc<Shared>, id: ServerId, mut mailbox: Mailbox) {
    let dir = ServerDir::new(&shared.config.state_dir, id);
    let mut worker = Worker {
        shared,
        id,
        dir,
        record: None,
        unsaved: false,
        shutdown_asked: None,
        failures: 0,
        wish: None,
        last: None,
    };
    worker.load().await;
    let mut domains = worker.shared.domains.subscribe();
    let mut stop = worker.shared.stop.clone();
    let mut mends = worker.shared.mends.subscribe();
    while !*stop.borrow() {
        mends.borrow_and_update();
        let target = mailbox.borrow_and_update().clone();
        let seen = domains.borrow_and_update().state(id);
        let wait = match seen {
            // Unknown is not absent: wait until the hypervisor answers.
            None => None,
            Some(domain) => {
                let request_id = target.as_ref().map(|t| t.spec.request_id.to_string());
                let span = tracing::info_span!("server", server_id = %id, request_id);
                // One span per round, so that the work carries the request that wanted it.
                match Box::pin(worker.round(target.as_deref(), domain, &mailbox)).instrument(span).await {
                    Round::Forget => {
                        worker.shared.board.forget(id);
                        worker.shared.mends.take(id);
                        return;
                    }
                    Round::Again => continue,
                    Round::Pause(pause) => {
                        // A new wish or the end of the agent cuts the pause short; a new listing does not.
                        tokio::select! {
                            changed = mailbox.changed() => if changed.is_err() { return },
                            _ = stop.changed() => {}
                            () = tokio::time::sleep(pause) => {}
                        }
                        continue;
                    }
                    Round::Wait(deadline) => deadline,
                }
            }
        };
        let alarm = async {
            match wait {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mailbox.changed() => if changed.is_err() { return },
            changed = domains.wait_for(|listing| listing.state(id) != seen) => if changed.is_err() { return },
            changed = mends.changed() => if changed.is_err() { return },
            _ = stop.changed() => {}
            () = alarm => {}
        }
    }
}

enum Round {
    /// A step was done: look again.
    Again,
    /// A step failed: not before this.
    Pause(Duration),
    /// Nothing to do until something changes, or this time.
    Wait(Option<Instant>),
    Forget,
}

impl Worker {
    async fn load(&mut self) {
        let (dir, id) = (self.dir.clone(), self.id);
        match files::blocking(move || Record::load(dir.path(), id)).await {
            Ok(record) => self.record = record,
            // As if it were missing: what is there is adopted.
            Err(error) => tracing::error!(server_id = %id, error = %error.chain(), "unreadable record"),
        }
    }

    async fn round(
        &mut self,
        target: Option<&Target>,
        domain: Option<DomainState>,
        mailbox: &Mailbox,
    ) -> Round {
        let wish = target.map(|t| (t.spec.power.n, t.spec.deleted));
        if self.wish != wish {
            self.wish = wish;
            self.failures = 0;
            self.last = None;
            self.shutdown_asked = None;
        }
        let local = match self.local(target).await {
            Ok(local) => local,
            Err(error) => return self.failed(target, Step::Nothing, error).await,
        };
        let definition = target.and_then(|t| {
            let (images, scope) = (&self.shared.images, &self.shared.config.network_scope);
            let spec = domain::build(&t.spec, &t.networks, &self.dir, images, scope).ok()?;
            domain::hash(&spec).ok()
        });
        let view = View {
            spec: target.map(|t| &*t.spec),
            definition: definition.as_deref(),
            domain,
            record: self.record.as_ref(),
            local,
            rebooted: self.record.as_ref().is_some_and(|r| r.boot_id != self.shared.boot_id),
            shutdown: self.shutdown(),
        };
        let step = decide(&view);
        let phase = step.phase().unwrap_or_else(|| settled(&view));
        self.publish(target, phase);
        match step {
            Step::Forget => Round::Forget,
            // Only what is settled is repaired: everything else is being made right anyway.
            Step::Nothing if self.mend(target).await => Round::Again,
            Step::Nothing => match self.remember(domain).await {
                Ok(()) => {
                    self.last = None;
                    Round::Wait(self.deadline())
                }
                Err(error) => self.failed(target, step, error).await,
            },
            _ => {
                let outcome =
                    self.act(step, target, domain, mailbox).await.and_then(|()| self.progress(step));
                let word = if outcome.is_ok() { "ok" } else { "error" };
                metrics::counter!("canopy_agent_steps_total", "step" => step.as_str(), "outcome" => word)
                    .increment(1);
                // Whatever was tried, the next decision must see its effect.
                self.shared.domains.fresh().await;
                match outcome {
                    Ok(()) => {
                        tracing::info!(step = step.as_str(), "done");
                        self.failures = 0;
                        Round::Again
                    }
                    Err(error) => self.failed(target, step, error).await,
                }
            }
        }
    }

    /// Does the repairs that were asked for; whether there were any.
    async fn mend(&mut self, target: Option<&Target>) -> bool {
        let asked = self.shared.mends.take(self.id);
        let Some(target) = target.filter(|_| !asked.is_empty()) else { return false };
        for mend in asked {
            match steps::mend(self, target, mend).await {
                Ok(()) => tracing::info!(?mend, "repaired"),
                // Whoever asked sees it in the next inspection.
                Err(error) => tracing::warn!(?mend, error = %error.chain(), "not repaired"),
            }
        }
        self.shared.domains.fresh().await;
        true
    }

    /// Turns a step that seems to work and changes nothing into a failure, or it would be done for ever
    /// without a pause.
    fn progress(&mut self, step: Step) -> Result<(), Error> {
        let times = match self.last {
            Some((last, times)) if last == step => times.saturating_add(1),
            _ => 1,
        };
        self.last = Some((step, times));
        if times <= REPEATS {
            return Ok(());
        }
        Err(Error::unavailable(
            "agent.no_effect",
            "The host did as it was asked, but nothing came of it. Its log may tell why.",
        ))
    }

    /// Only looks when something is to be made or removed: an idle server costs no system call.
    async fn local(&self, target: Option<&Target>) -> Result<Local, Error> {
        let (dir, shared) = (self.dir.clone(), Arc::clone(&self.shared));
        let network = target.is_none_or(|t| self.shared.wiring.in_force(t.revision, &t.network_ids()));
        let blobs: Vec<_> = target.iter().flat_map(|t| domain::blobs(&t.spec)).cloned().collect();
        let settled = match (target, &self.record) {
            (Some(t), Some(r)) => {
                !t.spec.deleted && t.spec.power.n <= r.power_n && r.boot_id == self.shared.boot_id
            }
            _ => false,
        };
        if settled {
            return Ok(Local { network, ..Local::DONE });
        }
        let wanted = target.map_or(0, |t| disk::wanted(&t.spec));
        let kept_n = target.and_then(|t| t.spec.kept_n);
        let rescues = target.is_some_and(|t| t.spec.rescue.is_some());
        files::blocking(move || {
            let exists =
                |path: &std::path::Path| path.try_exists().map_err(|e| files::error("read", path, e));
            Ok(Local {
                folder: exists(dir.path())?,
                network,
                images: blobs.iter().all(|blob| shared.images.has(blob)),
                disk: exists(&dir.disk())?,
                small: disk::smaller(&dir.disk(), wanted)?,
                kept: match kept_n {
                    Some(n) => exists(&dir.kept_disk(n))?,
                    None => false,
                },
                keeps_any: dir.keeps_any()?,
                rescue: !rescues || exists(&dir.rescue_disk())?,
                config_drive: exists(&dir.config_drive())?,
            })
        })
        .await
    }

    fn shutdown(&self) -> Shutdown {
        match self.deadline() {
            None => Shutdown::NotAsked,
            Some(at) if Instant::now() >= at => Shutdown::Expired,
            Some(_) => Shutdown::Waiting,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.shutdown_asked.map(|at| at + self.shared.config.shutdown_deadline)
    }

    /// Steps that only wait are given up when the server is to go or the agent ends.
    async fn act(
        &mut self,
        step: Step,
        target: Option<&Target>,
        domain: Option<DomainState>,
        mailbox: &Mailbox,
    ) -> Result<(), Error> {
        if !matches!(step, Step::PrepareNetwork | Step::FetchImages) {
            return steps::act(self, step, target, domain).await;
        }
        let mut mailbox = mailbox.clone();
        let unwanted = mailbox.wait_for(|t| t.as_ref().is_none_or(|t| t.spec.deleted));
        let mut stop = self.shared.stop.clone();
        tokio::select! {
            _ = unwanted => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            outcome = steps::act(self, step, target, domain) => outcome,
        }
    }

    /// Keeps what must be known after a reboot: whether it ran.
    async fn remember(&mut self, domain: Option<DomainState>) -> Result<(), Error> {
        let Some(record) = &self.record else { return Ok(()) };
        let known = record.boot_id != self.shared.boot_id || record.was_running == is_on(domain);
        if known && !self.unsaved {
            return Ok(());
        }
        if known {
            return self.save(record.clone()).await;
        }
        let record = Record { was_running: is_on(domain), ..record.clone() };
        self.save(record).await
    }

    pub async fn save(&mut self, record: Record) -> Result<(), Error> {
        self.dir.save(&record).await?;
        self.unsaved = false;
        self.record = Some(record);
        Ok(())
    }

    /// The same where nothing waits for it to be kept: it is known at once, and kept when it can be. Until then a
    /// restart of the agent may do again what the record tells of.
    pub async fn note(&mut self, record: Record) {
        let kept = self.dir.save(&record).await;
        if let Err(error) = &kept {
            tracing::error!(error = %error.chain(), "the record could not be kept");
        }
        self.unsaved = kept.is_err();
        self.record = Some(record);
    }

    /// Counts the failure and decides between another try and giving up.
    async fn failed(&mut self, target: Option<&Target>, step: Step, error: Error) -> Round {
        self.failures = self.failures.saturating_add(1);
        let config = &self.shared.config;
        let last = permanent(step, error.kind) || self.failures >= config.attempts;
        tracing::warn!(step = step.as_str(), failures = self.failures, error = %error.chain(), "failed");
        let given_up = last && (step.may_fail() || step.may_be_dropped());
        let Some(target) = target.filter(|_| given_up) else {
            return Round::Pause(config.pause(self.failures));
        };
        tracing::error!(step = step.as_str(), error = %error.chain(), "given up");
        // Where not even a record could be begun, nothing that is there is of this try.
        let new = || Record { found: true, ..Record::new(self.id, &self.shared.boot_id) };
        let mut record = self.record.clone().unwrap_or_else(new);
        let failure = Failure { n: target.spec.power.n, message: error.message };
        if step.may_be_dropped() {
            record.power_n = record.power_n.max(failure.n);
            record.dropped = Some(failure);
        } else {
            record.failed = Some(failure);
            // A host that boots again tries once more, and then no longer.
            record.boot_id.clone_from(&self.shared.boot_id);
        }
        self.note(record).await;
        self.shutdown_asked = None;
        self.failures = 0;
        Round::Again
    }

    fn publish(&self, target: Option<&Target>, phase: Phase) {
        let Some(target) = target else { return };
        let record = self.record.as_ref();
        // Gone or not, what was satisfied stays so.
        let power_n = record.map_or(0, |r| r.power_n.min(target.spec.power.n));
        let failure = match phase {
            Phase::Failed => record.and_then(|r| r.failed.as_ref()),
            _ => record.and_then(|r| r.dropped.as_ref()).filter(|dropped| dropped.n == power_n),
        };
        let error = failure.map(|f| f.message.clone());
        let failed_n = failure.filter(|_| phase == Phase::Failed).map(|f| f.n);
        self.shared.board.set(ServerObserved { id: self.id, phase, power_n, failed_n, error });
    }
}

/// Trying again would not help.
fn permanent(step: Step, kind: Kind) -> bool {
    match kind {
        // The image is gone; a domain that is gone is defined again.
        Kind::NotFound | Kind::Gone => {
            matches!(step, Step::FetchImages | Step::MakeDisk | Step::MakeRescueDisk | Step::Snapshot)
        }
        // It may not be stored.
        Kind::OverQuota => step == Step::Snapshot,
        _ => matches!(
            kind,
            Kind::StorageFull
                | Kind::BadRequest
                | Kind::Unprocessable
                | Kind::Forbidden
                | Kind::NotImplemented
                | Kind::TooLarge
                | Kind::UnsupportedMediaType
        ),
    }
}
