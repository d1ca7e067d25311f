//! Threads for calls that block and may hang.
//!
//! A libvirt call cannot be cancelled: when a guest's monitor hangs, so does the thread that asked it.
//! So calls run on K lanes of one thread each, the calls of one domain always on the same lane and so in
//! order. A call past its deadline makes its domain *unresponsive*: its thread is left to wait and is
//! counted, the lane goes on with a fresh thread, and only what can cure the domain (destroying it) is
//! still let through to it. With K threads lost the pool asks for a new connection, once.

use canopy_types::ServerId;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The lane's queue is full.
    Busy,
    /// An earlier call to this domain hangs.
    Unresponsive,
    /// The call hangs. It may still take effect.
    Timeout,
    /// It waited for its turn until its deadline, and has not been made.
    Queued,
    /// The pool was given up, or the call panicked.
    Gone,
}

/// One call's place in the pool.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// Chooses the lane; without one it is the lane for questions about the host.
    pub domain: Option<ServerId>,
    /// Let through even when the domain is unresponsive.
    pub cure: bool,
    /// For the wait in the queue, and again for the call itself.
    pub deadline: Duration,
}

/// Runs the call; true when the thread has been replaced meanwhile and must end.
type Job = Box<dyn FnOnce() -> bool + Send>;

struct Lane {
    name: String,
    jobs: mpsc::SyncSender<Job>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
}

struct Shared {
    lanes: Vec<Lane>,
    /// Hanging calls by domain.
    unresponsive: Mutex<HashMap<ServerId, usize>>,
    /// Threads of this pool that hang.
    stuck: AtomicUsize,
    /// Threads of all pools of one driver that hang.
    lost: Arc<AtomicUsize>,
    exhausted: AtomicBool,
    on_exhausted: Box<dyn Fn() + Send + Sync>,
}

/// Dropping it ends its threads once they are done with what they run.
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Overdue,
    Done,
    Cancelled,
}

impl Pool {
    /// `lanes` threads for domains and one for the host, with `depth` calls queued for each at most.
    /// `lost` counts hanging threads across pools; `on_exhausted` is called when `lanes` of them hang.
    pub fn new(
        name: &str,
        lanes: usize,
        depth: usize,
        lost: Arc<AtomicUsize>,
        on_exhausted: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let mut made = Vec::with_capacity(lanes + 1);
        for index in 0..=lanes.max(1) {
            let (jobs, queue) = mpsc::sync_channel(depth.max(1));
            let lane = Lane { name: format!("{name}-{index}"), jobs, queue: Arc::new(Mutex::new(queue)) };
            lane.spawn()?;
            made.push(lane);
        }
        let shared = Shared {
            lanes: made,
            unresponsive: Mutex::default(),
            stuck: AtomicUsize::new(0),
            lost,
            exhausted: AtomicBool::new(false),
            on_exhausted: Box::new(on_exhausted),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Domains with a hanging call.
    pub fn unresponsive(&self) -> Vec<ServerId> {
        let mut ids: Vec<_> = lock(&self.shared.unresponsive).keys().copied().collect();
        ids.sort();
        ids
    }

    /// Runs `call` on its lane. When the returned future is dropped the call is still made and still
    /// watched.
    pub async fn run<T: Send + 'static>(
        &self,
        ticket: Ticket,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = &self.shared;
        if let Some(id) = ticket.domain
            && !ticket.cure
            && lock(&shared.unresponsive).contains_key(&id)
        {
            return Err(Failure::Unresponsive);
        }
        let lane = shared.lane(ticket.domain);
        let stage = Arc::new(Mutex::new(Stage::Waiting));
        let (started, on_start) = oneshot::channel();
        let (done, on_done) = oneshot::channel();
        let job = {
            let stage = Arc::clone(&stage);
            let shared = Arc::downgrade(shared);
            let lost = Arc::clone(&self.shared.lost);
            move || {
                {
                    let mut stage = lock(&stage);
                    if *stage == Stage::Cancelled {
                        return false;
                    }
                    *stage = Stage::Running;
                }
                // Nobody listens when the watch has gone with its runtime.
                let _ = started.send(());
                // A panic must cost this call, not the lane.
                let result = std::panic::catch_unwind(AssertUnwindSafe(call));
                let overdue = std::mem::replace(&mut *lock(&stage), Stage::Done) == Stage::Overdue;
                if overdue {
                    lost.fetch_sub(1, Ordering::Relaxed);
                    if let Some(shared) = shared.upgrade() {
                        shared.recovered(ticket.domain);
                    }
                }
                if let Ok(result) = result {
                    let _ = done.send(result);
                }
                overdue
            }
        };
        match shared.lanes[lane].jobs.try_send(Box::new(job)) {
            Ok(()) => {}
            Err(mpsc::TrySendError::Full(_)) => return Err(Failure::Busy),
            Err(mpsc::TrySendError::Disconnected(_)) => return Err(Failure::Gone),
        }
        // A task of its own, so that a caller who stops waiting does not stop the watch.
        let shared = Arc::clone(shared);
        let watch = tokio::spawn(watch(shared, lane, ticket, stage, on_start, on_done));
        watch.await.unwrap_or(Err(Failure::Gone))
    }
}

async fn watch<T: Send + 'static>(
    shared: Arc<Shared>,
    lane: usize,
    ticket: Ticket,
    stage: Arc<Mutex<Stage>>,
    on_start: oneshot::Receiver<()>,
    mut on_done: oneshot::Receiver<T>,
) -> Result<T, Failure> {
    if tokio::time::timeout(ticket.deadline, on_start).await.is_err() {
        let mut stage = lock(&stage);
        if *stage == Stage::Waiting {
            *stage = Stage::Cancelled;
            return Err(Failure::Queued);
        }
    }
    if let Ok(result) = tokio::time::timeout(ticket.deadline, &mut on_done).await {
        return result.map_err(|_| Failure::Gone);
    }
    {
        let mut stage = lock(&stage);
        if *stage == Stage::Running {
            *stage = Stage::Overdue;
            shared.overdue(ticket.domain);
            drop(stage);
            shared.replace(lane);
            return Err(Failure::Timeout);
        }
    }
    // It ended just now.
    on_done.await.map_err(|_| Failure::Gone)
}

impl Lane {
    fn spawn(&self) -> std::io::Result<()> {
        let queue = Arc::clone(&self.queue);
        let serve = move || {
            loop {
                let job = lock(&queue).recv();
                match job {
                    Ok(job) => {
                        if job() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        };
        std::thread::Builder::new().name(self.name.clone()).spawn(serve).map(drop)
    }
}

impl Shared {
    fn lane(&self, domain: Option<ServerId>) -> usize {
        let lanes = self.lanes.len() - 1;
        // Random ids need no hash; the modulus is far below usize::MAX.
        domain.map_or(lanes, |id| (id.0.as_u128() % lanes as u128) as usize)
    }

    /// Called with the call's stage locked, so that `recovered` cannot come first.
    fn overdue(&self, domain: Option<ServerId>) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.stuck.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = domain {
            *lock(&self.unresponsive).entry(id).or_default() += 1;
        }
    }

    fn recovered(&self, domain: Option<ServerId>) {
        self.stuck.fetch_sub(1, Ordering::Relaxed);
        if let Some(id) = domain {
            let mut unresponsive = lock(&self.unresponsive);
            if let Some(count) = unresponsive.get_mut(&id) {
                *count -= 1;
                if *count == 0 {
                    unresponsive.remove(&id);
                }
            }
        }
    }

    /// Gives the lane a new thread, or gives the pool up.
    fn replace(&self, lane: usize) {
        let exhausted = self.stuck.load(Ordering::Relaxed) >= self.lanes.len() - 1;
        if exhausted && !self.exhausted.swap(true, Ordering::Relaxed) {
            (self.on_exhausted)();
        }
        // An exhausted pool gets no more threads, so that their number stays bounded; what is queued
        // there fails at its deadline, and new calls go to the new connection's pool.
        if !exhausted && let Err(error) = self.lanes[lane].spawn() {
            tracing::error!(%error, "no thread for libvirt calls");
            (self.on_exhausted)();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole at every await and unwind point.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
