//! What domains there are: one listing shared by every server's task.
//!
//! Events are hints: each only asks for a new listing, as does a reconnect and, as a backstop, the clock.
//! A listing that failed is *unknown*, never *empty*: nobody acts on a guess.

use canopy_hypervisor::{DomainState, Event, Hypervisor};
use canopy_types::{Error, ServerId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};

/// A listing that began after request number `asked` was made.
#[derive(Clone, Default)]
pub struct Listing {
    asked: u64,
    /// `None` before the first, and while the hypervisor does not answer.
    states: Option<Arc<HashMap<ServerId, DomainState>>>,
}

impl Listing {
    /// Outer `None`: not known. Inner `None`: there is no such domain.
    pub fn state(&self, id: ServerId) -> Option<Option<DomainState>> {
        self.states.as_ref().map(|states| states.get(&id).copied())
    }
}

/// Shows an operator whether events come, or only the clock notices what happens.
fn count(event: &Result<Event, broadcast::error::RecvError>) {
    let kind = match event {
        Ok(Event::Changed(_)) => "changed",
        Ok(Event::Resync) => "resync",
        Err(broadcast::error::RecvError::Lagged(_)) => "lagged",
        Err(broadcast::error::RecvError::Closed) => "closed",
    };
    metrics::counter!("canopy_agent_domain_events_total", "kind" => kind).increment(1);
}

pub struct Domains {
    hypervisor: Arc<dyn Hypervisor>,
    asked: AtomicU64,
    wanted: Notify,
    listing: watch::Sender<Listing>,
}

impl Domains {
    pub fn new(hypervisor: Arc<dyn Hypervisor>) -> Self {
        Self {
            hypervisor,
            asked: AtomicU64::new(0),
            wanted: Notify::new(),
            listing: watch::Sender::new(Listing::default()),
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<Listing> {
        self.listing.subscribe()
    }

    /// A listing that was begun after this call; calls at the same time share one.
    pub async fn fresh(&self) -> Listing {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut listing = self.listing.subscribe();
        self.wanted.notify_one();
        // The sender lives as long as `self`.
        match listing.wait_for(|l| l.asked >= number).await {
            Ok(listing) => listing.clone(),
            Err(_) => Listing::default(),
        }
    }

    /// Lists for ever: when asked, after an event, and every `resync`.
    pub async fn run(&self, resync: Duration) {
        let mut events = self.hypervisor.events();
        let mut open = true;
        loop {
            let asked = self.asked.load(Ordering::SeqCst);
            let result = self.hypervisor.list().await;
            self.publish(asked, result);
            tokio::select! {
                () = self.wanted.notified() => {}
                event = events.recv(), if open => {
                    count(&event);
                    match event {
                    // Whatever else came meanwhile is seen by the same listing.
                    Ok(Event::Changed(_) | Event::Resync) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        while let Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) = events.try_recv() {}
                    }
                    Err(broadcast::error::RecvError::Closed) => open = false,
                    }
                },
                () = tokio::time::sleep(resync) => {
                    events = self.hypervisor.events();
                    open = true;
                }
            }
        }
    }

    fn publish(&self, asked: u64, result: Result<Vec<canopy_hypervisor::DomainStatus>, Error>) {
        let listing = match result {
            Ok(domains) => {
                let states = domains.into_iter().map(|d| (d.id, d.state)).collect();
                Listing { asked, states: Some(Arc::new(states)) }
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "domains could not be listed");
                Listing { asked, states: None }
            }
        };
        self.listing.send_replace(listing);
    }
}
