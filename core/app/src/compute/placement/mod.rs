//! Where servers go. One desk decides for all requests of this process, in order, on one long-lived engine; see
//! [`desk`]. This is what use cases see of it.

mod desk;
mod feed;
pub mod shadow;

pub use desk::run;

use canopy_journal::{PluginFiles, Writer};
use canopy_placement::{Change, Decision, Request};
use canopy_plugin_host::SchedulerPlugin;
use canopy_types::{Error, HostId, Result, ServerId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot};

/// Requests that may wait; beyond it the caller is told to come again.
const QUEUE: usize = 1_024;

/// The desk's front side.
pub struct Placement {
    asks: mpsc::Sender<Ask>,
    shared: Arc<Shared>,
    /// Taken by the desk when it starts.
    back: Mutex<Option<Back>>,
    /// Whose turn it is among requests that more than a host must serve, from the search to the commit.
    pub(crate) exact: tokio::sync::Mutex<()>,
}

struct Back {
    asks: mpsc::Receiver<Ask>,
    journal: Option<Writer>,
    seed: u64,
}

/// Servers of one request, decided together.
struct Ask {
    batch: Vec<(ServerId, Arc<Request>)>,
    all_or_nothing: bool,
    reply: oneshot::Sender<Result<Placed>>,
}

/// What changes beside requests.
#[derive(Default)]
struct Shared {
    wake: Notify,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    /// Reservations whose commit has ended, and whether it went through. No more than requests are in work.
    resolved: Vec<(u64, bool)>,
    /// Hosts to read again. No more than there are hosts.
    touched: BTreeSet<HostId>,
    /// The scheduler from now on.
    scheduler: Option<Scheduler>,
    /// The scheduler beside it from now on, or that there is none.
    shadow: Option<Option<shadow::Shadow>>,
}

/// A scheduler and the files that it came from.
#[derive(Clone)]
pub struct Scheduler {
    pub plugin: SchedulerPlugin,
    pub files: Option<PluginFiles>,
}

impl Shared {
    fn tell(&self, what: impl FnOnce(&mut News)) {
        what(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    fn take(&self) -> News {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Decisions with what they reserve.
pub struct Placed {
    /// One a server, in the order asked.
    pub decisions: Vec<Decision>,
    /// Which journal has the scene, and under which number.
    pub journal: String,
    pub number: i64,
    pub reservation: Reservation,
}

/// Keeps what was decided from being given to others until its commit has ended. Dropping it gives it back.
pub struct Reservation {
    id: u64,
    committed: bool,
    shared: Arc<Shared>,
}

impl Reservation {
    /// The claim is in the store.
    pub fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let (id, committed) = (self.id, self.committed);
        self.shared.tell(|news| news.resolved.push((id, committed)));
    }
}

impl Placement {
    /// Decisions are made once [`run`] runs. Controllers that share a database each have a `seed` of their own, so
    /// that they do not all run after the same host; 0 lets the first host by name win a tie.
    pub fn new(scheduler: Scheduler, journal: Option<Writer>, seed: u64) -> Self {
        let (asks, back) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        shared.tell(|news| news.scheduler = Some(scheduler));
        let back = Mutex::new(Some(Back { asks: back, journal, seed }));
        Self { asks, shared, back, exact: tokio::sync::Mutex::default() }
    }

    /// Decides where these servers go. With `all_or_nothing` either all find a host or none does. A refusal is
    /// a decision too; an error means that none could be made.
    pub async fn decide(&self, batch: Vec<(ServerId, Request)>, all_or_nothing: bool) -> Result<Placed> {
        let busy = |why| Error::unavailable("placement.overloaded", why);
        let (reply, answer) = oneshot::channel();
        let batch = batch.into_iter().map(|(server, request)| (server, Arc::new(request))).collect();
        self.asks
            .try_send(Ask { batch, all_or_nothing, reply })
            .map_err(|_| busy("Too many servers wait for a host. Try again in a second."))?;
        answer.await.map_err(|_| busy("No decision was made: the service is stopping. Try again."))?
    }

    /// This process has committed something that concerns the host's place in decisions.
    pub fn touch(&self, host: HostId) {
        self.shared.tell(|news| {
            news.touched.insert(host);
        });
    }

    /// Decides with another scheduler from the next round on.
    pub fn swap(&self, scheduler: Scheduler) {
        self.shared.tell(|news| news.scheduler = Some(scheduler));
    }

    /// Has another scheduler decide beside the one in force from the next round on, or none.
    pub fn shadow(&self, shadow: Option<shadow::Shadow>) {
        self.shared.tell(|news| news.shadow = Some(shadow));
    }
}

/// What gives back what was taken, last first.
fn inverse(taken: &[Change]) -> Vec<Change> {
    let back = |change: &Change| match change.clone() {
        Change::Taken { host, amounts, group, times } => {
            Some(Change::Taken { host, amounts, group, times: -times })
        }
        _ => None,
    };
    taken.iter().rev().filter_map(back).collect()
}
