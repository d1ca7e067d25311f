//! One connection to libvirtd with its events and its threads, from opening to closing.

use crate::callbacks::{self, Sink, Subscription};
use crate::pool::Pool;
use canopy_types::ServerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;
use virt::connect::Connect;
use virt::error::Error;

/// Lifecycle events waiting for the driver; more at once become a resync.
const NOTES: usize = 1024;

/// What all sessions of one driver report to.
#[derive(Debug)]
pub struct Link {
    notes: mpsc::Sender<ServerId>,
    missed: AtomicBool,
    /// The serial number of the newest session known to be lost.
    lost: watch::Sender<u64>,
}

impl Link {
    pub fn new() -> (Arc<Self>, mpsc::Receiver<ServerId>, watch::Receiver<u64>) {
        let (notes, on_note) = mpsc::channel(NOTES);
        let (lost, on_lost) = watch::channel(0);
        (Arc::new(Self { notes, missed: AtomicBool::new(false), lost }), on_note, on_lost)
    }

    /// Whether events were dropped since the last time.
    pub fn take_missed(&self) -> bool {
        self.missed.swap(false, Ordering::AcqRel)
    }

    /// This session is of no more use. Cheap, repeatable, from any thread.
    pub fn report_lost(&self, serial: u64) {
        self.lost.send_if_modified(|newest| {
            let news = serial > *newest;
            *newest = serial.max(*newest);
            news
        });
    }

    fn note(&self, domain: Uuid) {
        match self.notes.try_send(ServerId(domain)) {
            Err(mpsc::error::TrySendError::Full(_)) => self.missed.store(true, Ordering::Release),
            // A closed channel means that the driver is gone.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

struct SessionSink {
    link: Arc<Link>,
    serial: u64,
}

impl Sink for SessionSink {
    fn changed(&self, domain: Uuid) {
        self.link.note(domain);
    }

    fn closed(&self) {
        self.link.report_lost(self.serial);
    }
}

/// An open connection; closed when the last call that uses it has returned.
pub struct Session {
    /// Taken by `drop` only.
    open: Option<(Connect, Subscription)>,
    pub serial: u64,
}

impl Session {
    fn open(uri: &str, keepalive: (i32, u32), serial: u64, link: Arc<Link>) -> Result<Self, Error> {
        callbacks::start_event_loop()?;
        let mut conn = Connect::open(Some(uri))?;
        // Without it a hung libvirtd would never be noticed. A driver without a daemon has no need.
        if let Err(error) = conn.set_keep_alive(keepalive.0, keepalive.1) {
            tracing::debug!(%error, "the connection has no keepalive");
        }
        match callbacks::subscribe(&conn, Arc::new(SessionSink { link, serial })) {
            Ok(subscription) => Ok(Self { open: Some((conn, subscription)), serial }),
            Err(error) => {
                let _ = conn.close();
                Err(error)
            }
        }
    }

    pub fn conn(&self) -> &Connect {
        &self.open.as_ref().expect("only drop takes it").0
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some((mut conn, subscription)) = self.open.take() else { return };
        let close = move || {
            callbacks::unsubscribe(&conn, &subscription);
            let _ = conn.close();
        };
        // Closing asks the daemon and may hang with it, so not on the thread of whoever came last.
        if let Err(error) = std::thread::Builder::new().name("libvirt-close".into()).spawn(close) {
            tracing::error!(%error, "a libvirt connection stays open for want of a thread");
        }
    }
}

/// A session and the threads that work on it.
pub struct Live {
    pub session: Arc<Session>,
    pub pool: Pool,
}

/// How to make a [`Live`].
#[derive(Clone, Debug)]
pub struct Opener {
    pub uri: String,
    pub threads: usize,
    pub queue: usize,
    pub keepalive: (i32, u32),
    pub link: Arc<Link>,
    /// Hanging threads of all sessions.
    pub stuck: Arc<AtomicUsize>,
}

impl Opener {
    /// Opens on a thread of its own, since opening may hang with the daemon. The receiver's error means
    /// that the thread could not be made.
    pub fn open(&self, serial: u64) -> oneshot::Receiver<Result<Live, Error>> {
        let (tell, opened) = oneshot::channel();
        let opener = self.clone();
        let open = move || {
            let live = opener.open_here(serial);
            // With nobody waiting any more, the value is dropped and so closed.
            let _ = tell.send(live);
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-open".into()).spawn(open) {
            tracing::error!(%error, "no thread to open a libvirt connection");
        }
        opened
    }

    fn open_here(&self, serial: u64) -> Result<Live, Error> {
        let session = Session::open(&self.uri, self.keepalive, serial, Arc::clone(&self.link))?;
        let link = Arc::clone(&self.link);
        let exhausted = move || {
            tracing::error!(serial, "all libvirt threads hang; opening a new connection");
            link.report_lost(serial);
        };
        let made = Pool::new("libvirt", self.threads, self.queue, Arc::clone(&self.stuck), exhausted);
        match made {
            Ok(pool) => Ok(Live { session: Arc::new(session), pool }),
            Err(error) => {
                tracing::error!(%error, "no threads for libvirt calls");
                Err(Error::last_error())
            }
        }
    }
}
