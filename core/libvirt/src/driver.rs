//! The driver: one current session, replaced when it is lost, and [`Hypervisor`] on top of it.

use crate::accel::{self, Accel, Acceleration};
use crate::calls;
use crate::copy::Job;
use crate::errors::{Asked, CallError, cannot_connect, failed, no_answer, unavailable};
use crate::pool::Ticket;
use crate::session::{Link, Live, Opener};
use async_trait::async_trait;
use canopy_hypervisor::{
    Console, DomainSpec, DomainStatus, Event, HostInfo, Hypervisor, Nic, PasswordOutcome,
};
use canopy_types::diagnostics::Diagnostics;
use canopy_types::{ConsoleKind, Error, ServerId};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;
use virt::connect::Connect;

/// The longest that the copy of a disk may take.
const COPY_DEADLINE: Duration = Duration::from_secs(4 * 3_600);
/// Between two looks at it.
const COPY_POLL: Duration = Duration::from_millis(200);
/// How long a guest may take to let go of a device, and between two looks.
const UNPLUG_DEADLINE: Duration = Duration::from_secs(10);
const UNPLUG_POLL: Duration = Duration::from_millis(200);
/// Events kept for a slow receiver.
const EVENTS: usize = 1024;
/// How long the first connection may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Waits between attempts to reconnect: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A restarted libvirtd takes its guests over while it already answers, and gives no event for one that
/// ends just then; so there is a second resync this long after the first.
const SETTLE: Duration = Duration::from_secs(3);
/// No new connection while this many times `threads` calls hang on the old ones.
const STUCK_FACTOR: usize = 8;

/// How to talk to libvirt. The default suits `qemu:///system`.
#[derive(Clone, Debug)]
pub struct Options {
    pub accel: Accel,
    /// Calls to different guests at the same time, 1 to 64.
    pub threads: usize,
    /// Calls waiting for each thread, 1 to 4096.
    pub queue: usize,
    /// For every call but a start, 10 ms to 10 minutes.
    pub deadline: Duration,
    /// For a start, 10 ms to 10 minutes.
    pub start_deadline: Duration,
    /// For writing a guest's memory to disk, 10 ms to 10 minutes.
    pub save_deadline: Duration,
    /// Seconds between keepalive messages and how many may go unanswered.
    pub keepalive: (i32, u32),
    /// Where the probe guest's files are made; QEMU's user must be able to enter it.
    pub probe_dir: PathBuf,
    /// How long the probe guest may take to say that it lives, 10 ms to 10 minutes.
    pub probe_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accel: Accel::Auto,
            threads: 4,
            queue: 64,
            deadline: Duration::from_secs(30),
            start_deadline: Duration::from_secs(60),
            save_deadline: Duration::from_secs(600),
            keepalive: (5, 3),
            probe_dir: "/var/tmp".into(),
            probe_deadline: Duration::from_secs(5),
        }
    }
}

impl Options {
    fn check(&self, uri: &str) -> Result<(), Error> {
        let bad = |what: &str| Err(Error::bad_request("libvirt.bad_options", what));
        let sane = Duration::from_millis(10)..=Duration::from_secs(600);
        if uri.is_empty() || uri.contains('\0') {
            return bad("Give the URI of a libvirt daemon, such as qemu:///system.");
        }
        if !(1..=64).contains(&self.threads) || !(1..=4096).contains(&self.queue) {
            return bad("libvirt needs 1 to 64 threads and queues of 1 to 4096 calls.");
        }
        let deadlines = [self.deadline, self.start_deadline, self.save_deadline, self.probe_deadline];
        if !deadlines.iter().all(|d| sane.contains(d)) {
            return bad("Deadlines of libvirt calls must be 10 ms to 10 minutes.");
        }
        if !(1..=300).contains(&self.keepalive.0) || !(1..=100).contains(&self.keepalive.1) {
            return bad("Keepalive messages to libvirt must be 1 to 300 s apart, and 1 to 100 may be lost.");
        }
        Ok(())
    }
}

/// How the driver fares, for metrics and readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub connected: bool,
    /// Calls that hang, past their deadline.
    pub stuck_calls: usize,
    /// Guests with such a call.
    pub unresponsive: Vec<ServerId>,
}

/// A handle on libvirt; clones share the connection, which is closed with the last of them.
#[derive(Clone)]
pub struct Libvirt {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    opener: Opener,
    /// Of the newest session opened or tried.
    serial: AtomicU64,
    /// None while there is no connection.
    live: RwLock<Option<Arc<Live>>>,
    /// Domains known to be ours: their events need no question first.
    known: Mutex<HashSet<ServerId>>,
    acceleration: OnceLock<Acceleration>,
    events: broadcast::Sender<Event>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

impl Libvirt {
    /// Connects, chooses the acceleration and starts listening to events. Fails, saying what to do,
    /// when libvirt is not there; once connected, the driver reconnects by itself for ever.
    pub async fn connect(uri: &str, options: Options) -> Result<Self, Error> {
        options.check(uri)?;
        let (link, on_note, on_lost) = Link::new();
        let opener = Opener {
            uri: uri.to_owned(),
            threads: options.threads,
            queue: options.queue,
            keepalive: options.keepalive,
            link,
            stuck: Arc::new(AtomicUsize::new(0)),
        };
        let live = match tokio::time::timeout(OPEN_DEADLINE, opener.open(1)).await {
            Ok(Ok(Ok(live))) => live,
            Ok(Ok(Err(error))) => return Err(cannot_connect(uri, Some(error))),
            Ok(Err(_)) | Err(_) => return Err(cannot_connect(uri, None)),
        };
        let inner = Arc::new(Inner {
            options,
            opener,
            serial: AtomicU64::new(1),
            live: RwLock::new(Some(Arc::new(live))),
            known: Mutex::default(),
            acceleration: OnceLock::new(),
            events: broadcast::channel(EVENTS).0,
            tasks: Mutex::default(),
        });
        let tasks = [
            tokio::spawn(supervise(Arc::downgrade(&inner), on_lost)).abort_handle(),
            tokio::spawn(forward(Arc::downgrade(&inner), on_note)).abort_handle(),
        ];
        lock(&inner.tasks).extend(tasks);
        inner.choose_acceleration().await?;
        Ok(Self { inner })
    }

    /// Starts the probe guest under KVM or TCG and tells how long it took to live, for diagnosis.
    pub async fn probe(&self, kvm: bool) -> Result<Duration, Error> {
        let Options { probe_dir, probe_deadline, start_deadline, .. } = self.inner.options.clone();
        let ticket = Ticket { domain: None, cure: false, deadline: start_deadline + probe_deadline };
        let asked = Asked { name: "probe", phrase: "run a probe guest" };
        let probe = move |conn: &Connect| {
            accel::run_probe(conn, &probe_dir, kvm, probe_deadline).map_err(|why| {
                let message =
                    format!("A probe guest does not run under {}.", if kvm { "KVM" } else { "TCG" });
                CallError::Canopy(Error::unavailable("libvirt.probe_failed", message).with_source(why))
            })
        };
        self.inner.call(asked, ticket, probe).await
    }

    pub fn health(&self) -> Health {
        let live = self.inner.live();
        Health {
            connected: live.is_some(),
            stuck_calls: self.inner.opener.stuck.load(Ordering::Relaxed),
            unresponsive: live.map(|live| live.pool.unresponsive()).unwrap_or_default(),
        }
    }
}

impl Inner {
    fn live(&self) -> Option<Arc<Live>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_live(&self, live: Option<Live>) {
        // The old one is dropped after the lock.
        let old = {
            let mut place = self.live.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, live.map(Arc::new))
        };
        drop(old);
    }

    async fn call<T: Send + 'static>(
        &self,
        asked: Asked,
        ticket: Ticket,
        call: impl FnOnce(&Connect) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(live) = self.live() else { return Err(unavailable(asked)) };
        let domain = ticket.domain.map(tracing::field::display);
        let span = tracing::debug_span!("libvirt", op = asked.name, domain);
        let session = Arc::clone(&live.session);
        let inside = span.clone();
        let blocking = move || {
            let result = inside.in_scope(|| call(session.conn()));
            // Only asked after a failure: it is what tells a refusal from a lost connection.
            let dead =
                matches!(result, Err(CallError::Libvirt(_))) && !session.conn().is_alive().unwrap_or(false);
            (result, dead)
        };
        let result = match live.pool.run(ticket, blocking).await {
            Ok((Ok(value), _)) => return Ok(value),
            Ok((Err(CallError::Canopy(error)), _)) => Err(error),
            Ok((Err(CallError::Libvirt(error)), false)) => Err(failed(asked, error)),
            Ok((Err(CallError::Libvirt(error)), true)) => {
                self.opener.link.report_lost(live.session.serial);
                Err(unavailable(asked).with_source(error))
            }
            Err(failure) => Err(no_answer(asked, failure, ticket.deadline)),
        };
        if let Err(error) = &result {
            span.in_scope(|| tracing::warn!(error = error.chain(), "libvirt call failed"));
        }
        result
    }

    fn ticket(&self, domain: Option<ServerId>) -> Ticket {
        Ticket { domain, cure: false, deadline: self.options.deadline }
    }

    async fn choose_acceleration(&self) -> Result<(), Error> {
        let Options { accel, probe_dir, probe_deadline, start_deadline, .. } = self.options.clone();
        let chosen = match accel::without_probe(accel, Path::new("/dev/kvm")) {
            Some(chosen) => chosen,
            None => {
                let ticket = Ticket { domain: None, cure: false, deadline: start_deadline + probe_deadline };
                let asked = Asked { name: "probe", phrase: "start a probe guest" };
                let probe =
                    move |conn: &Connect| Ok::<_, CallError>(accel::probe(conn, &probe_dir, probe_deadline));
                match self.call(asked, ticket, probe).await {
                    Ok(chosen) => chosen,
                    Err(error) if error.code == "libvirt.timeout" => {
                        Acceleration::tcg("/dev/kvm exists, but libvirt hung over the probe guest")
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        tracing::info!(acceleration = chosen.name(), reason = chosen.reason, "chose how guests run");
        // Set once, before anyone else has the driver.
        let _ = self.acceleration.set(chosen);
        Ok(())
    }

    fn acceleration(&self) -> Acceleration {
        self.acceleration.get().cloned().unwrap_or_else(|| Acceleration::tcg("not probed yet"))
    }

    fn send(&self, event: Event) {
        // No receiver is no error: whoever subscribes lists first.
        let _ = self.events.send(event);
    }
}

/// Replaces the session whenever it is reported lost.
async fn supervise(inner: Weak<Inner>, mut lost: watch::Receiver<u64>) {
    while lost.changed().await.is_ok() {
        let serial = *lost.borrow_and_update();
        {
            let Some(inner) = inner.upgrade() else { return };
            match inner.live() {
                Some(live) if live.session.serial <= serial => inner.set_live(None),
                _ => continue,
            }
            tracing::warn!(uri = inner.opener.uri, "lost the connection to libvirt; reconnecting");
        }
        if !reconnect(&inner).await {
            return;
        }
    }
}

/// True once there is a new session, false when the driver is gone.
async fn reconnect(inner: &Weak<Inner>) -> bool {
    let (mut delay, longest) = BACKOFF;
    loop {
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(longest);
        let attempt = {
            let Some(inner) = inner.upgrade() else { return false };
            let stuck = inner.opener.stuck.load(Ordering::Relaxed);
            if stuck >= STUCK_FACTOR * inner.options.threads {
                tracing::error!(stuck, "too many libvirt calls hang to make another connection");
                continue;
            }
            inner.opener.open(inner.serial.fetch_add(1, Ordering::Relaxed) + 1)
        };
        // Without a deadline: an attempt that hangs with the daemon ends with it, and a second one
        // would only hang beside it.
        match attempt.await {
            Ok(Ok(live)) => {
                let Some(inner) = inner.upgrade() else { return false };
                inner.set_live(Some(live));
                tracing::info!(uri = inner.opener.uri, "connected to libvirt again");
                inner.send(Event::Resync);
                let again = Arc::downgrade(&inner);
                tokio::spawn(async move {
                    tokio::time::sleep(SETTLE).await;
                    if let Some(inner) = again.upgrade() {
                        inner.send(Event::Resync);
                    }
                });
                return true;
            }
            Ok(Err(error)) => tracing::warn!(%error, "libvirt cannot be reached yet"),
            Err(_) => {}
        }
    }
}

/// Passes on the events of our domains.
async fn forward(inner: Weak<Inner>, mut notes: mpsc::Receiver<ServerId>) {
    while let Some(id) = notes.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        if inner.opener.link.take_missed() {
            inner.send(Event::Resync);
        }
        let known = lock(&inner.known).contains(&id);
        if !known {
            let asked = Asked { name: "owns", phrase: "tell whose guest it is" };
            match inner.call(asked, inner.ticket(None), move |conn| calls::owns(conn, id)).await {
                Ok(true) => {
                    lock(&inner.known).insert(id);
                }
                Ok(false) => continue,
                // In doubt it is passed on, as a hint may be spurious but not lost.
                Err(_) => {}
            }
        }
        inner.send(Event::Changed(id));
    }
}

fn broken(why: &str) -> Error {
    Error::unavailable(
        "libvirt.copy_broken",
        format!("The hypervisor could not copy the guest's disk: {why}."),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Hypervisor for Libvirt {
    async fn host(&self) -> Result<HostInfo, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "host", phrase: "describe the host" };
        let (vcpus, memory_mib, hypervisor_type, hypervisor_version) =
            inner.call(asked, inner.ticket(None), calls::host).await?;
        let acceleration = inner.acceleration();
        Ok(HostInfo {
            vcpus,
            memory_mib,
            hypervisor_type,
            hypervisor_version,
            acceleration: acceleration.name().into(),
            acceleration_reason: acceleration.reason,
        })
    }

    async fn list(&self) -> Result<Vec<DomainStatus>, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "list", phrase: "list its guests" };
        let domains = inner.call(asked, inner.ticket(None), calls::list).await?;
        *lock(&inner.known) = domains.iter().map(|domain| domain.id).collect();
        Ok(domains)
    }

    async fn define(&self, domain: &DomainSpec) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "define", phrase: "define the guest" };
        let (id, spec, kvm) = (domain.id, domain.clone(), inner.acceleration().kvm);
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::define(conn, &spec, kvm)).await?;
        lock(&inner.known).insert(id);
        Ok(())
    }

    async fn differences(&self, domain: &DomainSpec) -> Result<Vec<String>, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "differences", phrase: "look at the guest's definition" };
        let (id, spec) = (domain.id, domain.clone());
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::differences(conn, &spec)).await
    }

    async fn start(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "start", phrase: "start the guest" };
        let ticket = Ticket { deadline: inner.options.start_deadline, ..inner.ticket(Some(id)) };
        inner.call(asked, ticket, move |conn| calls::start(conn, id)).await
    }

    async fn shutdown(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "shutdown", phrase: "ask the guest to shut down" };
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::shutdown(conn, id)).await
    }

    async fn pause(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "pause", phrase: "pause the guest" };
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::pause(conn, id)).await
    }

    async fn suspend(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "suspend", phrase: "write the guest's memory to disk" };
        let ticket = Ticket { deadline: inner.options.save_deadline, ..inner.ticket(Some(id)) };
        inner.call(asked, ticket, move |conn| calls::suspend(conn, id)).await
    }

    async fn discard_memory(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "discard_memory", phrase: "forget the guest's kept memory" };
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::discard_memory(conn, id)).await
    }

    async fn copy_disk(&self, id: ServerId, to: &Path) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "copy_disk", phrase: "copy the guest's disk" };
        let into = to.to_owned();
        let begin = move |conn: &Connect| calls::copy_begin(conn, id, &into);
        inner.call(asked, inner.ticket(Some(id)), begin).await?;
        let deadline = tokio::time::Instant::now() + COPY_DEADLINE;
        let outcome = loop {
            tokio::time::sleep(COPY_POLL).await;
            let job = inner.call(asked, inner.ticket(Some(id)), move |conn| calls::copy_job(conn, id)).await;
            match job {
                Ok(Job::Ready) => break Ok(()),
                Ok(Job::Going) if tokio::time::Instant::now() < deadline => {}
                Ok(Job::Going) => break Err(broken("it took too long")),
                Ok(Job::Absent) => break Err(broken("the guest went off, or the host's disk is full")),
                Err(error) => break Err(error),
            }
        };
        // The end makes it a copy of this moment; after a failure it only stops.
        let ended = inner.call(asked, inner.ticket(Some(id)), move |conn| calls::copy_end(conn, id)).await;
        outcome.and(ended)
    }

    async fn diagnostics(&self, id: ServerId) -> Result<Diagnostics, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "diagnostics", phrase: "say what the guest uses" };
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::diagnostics(conn, id)).await
    }

    async fn set_password(&self, id: ServerId, user: &str, password: &str) -> Result<PasswordOutcome, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "set_password", phrase: "set a password in the guest" };
        let (user, password) = (user.to_owned(), password.to_owned());
        let set = move |conn: &Connect| calls::set_password(conn, id, &user, &password);
        inner.call(asked, inner.ticket(Some(id)), set).await
    }

    async fn console(&self, id: ServerId, kind: ConsoleKind) -> Result<Console, Error> {
        let inner = &self.inner;
        let asked = Asked { name: "console", phrase: "say where the guest's console is" };
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::console(conn, id, kind)).await
    }

    async fn plug(&self, id: ServerId, nic: &Nic) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "plug", phrase: "give the guest a network device" };
        let nic = nic.clone();
        inner.call(asked, inner.ticket(Some(id)), move |conn| calls::plug(conn, id, &nic)).await
    }

    async fn unplug(&self, id: ServerId, nic: &Nic) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "unplug", phrase: "take a network device off the guest" };
        let wanted = nic.clone();
        let ask = move |conn: &Connect| calls::unplug(conn, id, &wanted);
        if inner.call(asked, inner.ticket(Some(id)), ask).await? {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + UNPLUG_DEADLINE;
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(UNPLUG_POLL).await;
            let wanted = nic.clone();
            let look = move |conn: &Connect| calls::unplugged(conn, id, &wanted);
            if inner.call(asked, inner.ticket(Some(id)), look).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable(
            "libvirt.unplug_ignored",
            "The guest does not let go of the network device. It may not have booted yet.",
        ))
    }

    async fn destroy(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "destroy", phrase: "cut the guest's power" };
        let ticket = Ticket { cure: true, ..inner.ticket(Some(id)) };
        inner.call(asked, ticket, move |conn| calls::destroy(conn, id)).await
    }

    async fn undefine(&self, id: ServerId) -> Result<(), Error> {
        let inner = &self.inner;
        let asked = Asked { name: "undefine", phrase: "remove the guest" };
        let ticket = Ticket { cure: true, ..inner.ticket(Some(id)) };
        inner.call(asked, ticket, move |conn| calls::undefine(conn, id)).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }
}
