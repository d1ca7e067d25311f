//! Keeps one task for every server that this host should have or still has.
//!
//! Each new desired state is dealt out to the tasks; a server that it no longer names is told so. What
//! lies on the host unnamed is removed too, but only once a *fresh* desired state was received, and only
//! what carries our own marker: a domain without a folder of ours belongs to somebody else.

use crate::desired::Known;
use crate::record;
use crate::shared::Shared;
use crate::worker::{self, Target};
use crate::{domain, files};
use canopy_agent_api::{Desired, NetworkSpec, ServerSpec};
use canopy_types::ServerId;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Given to steps that are under way when the agent ends; whatever is cut is repeated at the next start.
const GRACE: Duration = Duration::from_secs(10);
/// Before a task that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

struct Servers {
    shared: Arc<Shared>,
    mailboxes: HashMap<ServerId, watch::Sender<Option<Arc<Target>>>>,
    tasks: JoinSet<()>,
    ids: HashMap<Id, ServerId>,
    known: Option<Known>,
    swept: bool,
}

/// Runs until the agent ends, then waits for the steps under way.
pub async fn run(shared: Arc<Shared>, mut known: watch::Receiver<Option<Known>>) {
    let mut stop = shared.stop.clone();
    let mut sweeps = shared.mends.sweeps();
    let mut servers = Servers {
        shared,
        mailboxes: HashMap::new(),
        tasks: JoinSet::new(),
        ids: HashMap::new(),
        known: None,
        swept: false,
    };
    while !*stop.borrow() {
        let next = known.borrow_and_update().clone();
        servers.known = next;
        servers.deal().await;
        loop {
            tokio::select! {
                changed = known.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => std::future::pending().await,
                },
                Some(ended) = servers.tasks.join_next_with_id() => {
                    let (task, panicked) = match ended {
                        Ok((task, ())) => (task, false),
                        Err(error) => (error.id(), error.is_panic()),
                    };
                    servers.ended(task, panicked);
                }
                Ok(()) = sweeps.changed() => {
                    servers.swept = false;
                    break;
                }
                _ = stop.changed() => break,
            }
        }
    }
    let rest = async { while servers.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::warn!("steps under way were cut short; the next start repeats them");
    }
    servers.tasks.shutdown().await;
}

impl Servers {
    async fn deal(&mut self) {
        let Some(Known { desired, fresh }) = self.known.clone() else { return };
        for spec in &desired.servers {
            self.tell(spec.id, Some(target(&desired, spec)));
        }
        if !fresh {
            return;
        }
        let wanted: BTreeSet<ServerId> = desired.servers.iter().map(|s| s.id).collect();
        let gone: Vec<ServerId> = self.mailboxes.keys().filter(|id| !wanted.contains(id)).copied().collect();
        for id in gone {
            self.tell(id, None);
        }
        self.sweep(&wanted).await;
    }

    /// Once, and when it is asked for: what earlier runs left here and nobody wants. Later leftovers have a task.
    async fn sweep(&mut self, wanted: &BTreeSet<ServerId>) {
        if self.swept {
            return;
        }
        let state_dir = self.shared.config.state_dir.clone();
        match files::blocking(move || record::scan(&state_dir)).await {
            Ok(records) => {
                self.swept = true;
                for id in records.into_iter().map(|r| r.id).filter(|id| !wanted.contains(id)) {
                    tracing::warn!(server_id = %id, "left over and not desired: removed");
                    self.tell(id, None);
                }
            }
            Err(error) => tracing::error!(error = %error.chain(), "leftovers could not be looked for"),
        }
    }

    fn tell(&mut self, id: ServerId, target: Option<Target>) {
        if let Some(mailbox) = self.mailboxes.get(&id) {
            mailbox.send_if_modified(|present| {
                let same = match (present.as_deref(), &target) {
                    // The revision alone is no news.
                    (Some(a), Some(b)) => same(&a.spec, &b.spec) && a.networks == b.networks,
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    *present = target.map(Arc::new);
                }
                !same
            });
            return;
        }
        let (sender, receiver) = watch::channel(target.map(Arc::new));
        self.mailboxes.insert(id, sender);
        self.spawn(id, receiver, Duration::ZERO);
    }

    fn spawn(&mut self, id: ServerId, mailbox: worker::Mailbox, after: Duration) {
        let shared = Arc::clone(&self.shared);
        let task = self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            worker::run(shared, id, mailbox).await;
        });
        self.ids.insert(task.id(), id);
    }

    /// A task ends by itself when nothing is left of its server; meanwhile it may be wanted again.
    fn ended(&mut self, task: Id, panicked: bool) {
        let Some(id) = self.ids.remove(&task) else { return };
        let Some(mailbox) = self.mailboxes.get(&id) else { return };
        if panicked {
            tracing::error!(server_id = %id, "the server's task panicked; starting it again");
            let receiver = mailbox.subscribe();
            self.spawn(id, receiver, AFTER_PANIC);
        } else if mailbox.borrow().is_some() && !*self.shared.stop.borrow() {
            let receiver = mailbox.subscribe();
            self.spawn(id, receiver, Duration::ZERO);
        } else {
            self.mailboxes.remove(&id);
        }
    }
}

fn target(desired: &Desired, spec: &Arc<ServerSpec>) -> Target {
    let ports = spec.ports.iter().chain(&spec.leaving).map(|port| port.network_id);
    let mine = |network: &&NetworkSpec| ports.clone().any(|id| id == network.id);
    let networks = desired
        .networks
        .iter()
        .filter(mine)
        // Other guests' ports would wake this task for nothing.
        .map(|network| NetworkSpec { ports: Vec::new(), ..network.clone() })
        .collect();
    Target { spec: Arc::clone(spec), networks, revision: desired.revision }
}

/// What did not change is mostly the same allocation, see [`crate::desired`].
pub fn same(a: &Arc<ServerSpec>, b: &Arc<ServerSpec>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Digests that must stay in the cache.
pub fn referenced(desired: &Desired) -> BTreeSet<String> {
    let live = desired.servers.iter().filter(|s| !s.deleted);
    live.flat_map(|spec| domain::blobs(spec)).map(|blob| blob.digest.clone()).collect()
}
