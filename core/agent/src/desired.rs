//! What this host should have: pulled from the controller, kept on disk.
//!
//! The last desired state outlives the agent and the controller, so that a host that restarts alone
//! keeps and starts its guests and serves their metadata. What was read from disk is never a reason to
//! remove anything: only a state received in this run is *fresh*.

use crate::config::AgentConfig;
use crate::{files, scope};
use canopy_agent_api::{Controller, Desired, ServerSpec};
use canopy_types::effect::effect;
use canopy_types::{Error, HostId, ServerId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const VERSION: u32 = 1;
/// Some 10,000 servers.
const LIMIT: u64 = 256 << 20;
/// Between two polls that bring nothing, should the controller not wait.
const LEAST: Duration = Duration::from_millis(100);
/// Between two states that are kept.
const KEEP: Duration = Duration::from_secs(1);

/// A desired state and where it came from.
#[derive(Clone, Debug)]
pub struct Known {
    pub desired: Arc<Desired>,
    /// Received from the controller in this run, with a revision above 0.
    pub fresh: bool,
}

#[derive(Serialize)]
struct Save<'a> {
    v: u32,
    desired: &'a Desired,
}

#[derive(Deserialize)]
struct Saved {
    v: u32,
    desired: Desired,
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("desired.json")
}

/// The state that an earlier run kept; `None` when there is none that this version understands. Blocking.
pub fn load(state_dir: &Path) -> Option<Desired> {
    let path = path(state_dir);
    let bytes = match files::read(&path, LIMIT) {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::error!(error = %error.chain(), "the kept desired state could not be read");
            return None;
        }
    };
    match serde_json::from_slice::<Saved>(&bytes) {
        Ok(saved) if saved.v == VERSION => Some(saved.desired),
        Ok(saved) => {
            tracing::warn!(
                version = saved.v,
                "the kept desired state is of another version: waiting for a new one"
            );
            None
        }
        Err(error) => {
            tracing::error!(%error, "the kept desired state is damaged: waiting for a new one");
            None
        }
    }
}

async fn save(state_dir: &Path, desired: Arc<Desired>) -> Result<(), Error> {
    let path = path(state_dir);
    effect(
        "agent.state.save",
        files::blocking(move || {
            let save = Save { v: VERSION, desired: &desired };
            let bytes = serde_json::to_vec(&save).map_err(|e| Error::internal("agent.desired", e))?;
            // User data is in it.
            files::replace(&path, &bytes, 0o600)
        }),
    )
    .await
}

/// Keeps the newest state until nobody can send one any more: at once, and during a burst one of many, because each
/// holds everything. What is lost with the host's power is at most the last [`KEEP`]: such servers wait for the
/// controller. A state that cannot be kept (full disk) is acted on all the same: it may be the deletion that makes room.
pub async fn keep(
    state_dir: PathBuf,
    mut news: watch::Receiver<Option<Arc<Desired>>>,
    mut stop: watch::Receiver<bool>,
) {
    while news.changed().await.is_ok() {
        let Some(desired) = news.borrow_and_update().clone() else { continue };
        if let Err(error) = save(&state_dir, desired).await {
            tracing::error!(error = %error.chain(), "the desired state could not be kept");
        }
        let _ = tokio::time::timeout(KEEP, stop.wait_for(|stop| *stop)).await;
    }
}

/// The state with every server that is as it was `last` in the very allocation of then: a burst brings many states, and
/// each differs from the one before in a few servers.
fn shared(mut desired: Desired, last: &mut HashMap<ServerId, Arc<ServerSpec>>) -> Desired {
    for spec in &mut desired.servers {
        if let Some(known) = last.get(&spec.id).filter(|known| *known == spec) {
            *spec = Arc::clone(known);
        }
    }
    *last = desired.servers.iter().map(|spec| (spec.id, Arc::clone(spec))).collect();
    desired
}

/// Polls for ever and hands each new state to `publish` and to [`keep`].
pub async fn poll(
    config: &AgentConfig,
    controller: &dyn Controller,
    mut host: watch::Receiver<Option<HostId>>,
    kept: &watch::Sender<Option<Arc<Desired>>>,
    publish: impl Fn(Known),
) {
    let (mut since, mut failures, mut known_as) = (0, 0u32, None);
    let mut last = HashMap::new();
    loop {
        let Ok(id) = host.wait_for(Option::is_some).await.map(|id| *id) else { return };
        let Some(id) = id else { continue };
        if known_as.replace(id) != Some(id) {
            // Revisions belong to the host's record at the controller.
            since = 0;
        }
        let begun = Instant::now();
        match controller.desired(id, since, config.poll).await {
            Ok(desired) => {
                failures = 0;
                // Revision 0 is a controller that knows nothing yet. A lower one is a controller that
                // was restored from an earlier copy: it is still the owner of what is desired.
                if desired.revision > 0 && desired.revision != since {
                    since = desired.revision;
                    let desired = Arc::new(shared(desired, &mut last));
                    kept.send_replace(Some(Arc::clone(&desired)));
                    let desired = scope::on_host(desired, &config.network_scope);
                    publish(Known { desired, fresh: true });
                    tokio::time::sleep_until(begun + config.pace).await;
                } else {
                    tokio::time::sleep_until(begun + LEAST).await;
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(error = %error.chain(), failures, "the controller gave no desired state");
                tokio::time::sleep(config.pause(failures)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn of_a_burst_the_last_state_is_kept_and_the_last_of_all_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (send, news) = watch::channel(None);
        let (_stop, stopped) = watch::channel(false);
        let keeper = tokio::spawn(keep(dir.path().to_owned(), news, stopped));
        let state = |revision| Some(Arc::new(Desired { revision, servers: vec![], networks: vec![] }));
        let mut kept = std::collections::BTreeSet::new();
        for revision in 1..=40 {
            send.send_replace(state(revision));
            tokio::time::sleep(Duration::from_millis(100)).await;
            kept.extend(load(dir.path()).map(|desired| desired.revision));
        }
        assert!((2..=6).contains(&kept.len()), "{kept:?}");
        send.send_replace(state(41));
        drop(send);
        keeper.await.unwrap();
        assert_eq!(load(dir.path()).map(|desired| desired.revision), Some(41));
    }

    #[test]
    fn what_did_not_change_is_shared_with_the_state_before() {
        let (one, other) = (Arc::new(testing::spec()), Arc::new(testing::spec()));
        let copy = |spec: &Arc<ServerSpec>| Arc::new(ServerSpec::clone(spec));
        let state = |servers| Desired { revision: 1, servers, networks: vec![] };
        let mut last = HashMap::new();
        shared(state(vec![one.clone(), other.clone()]), &mut last);
        let mut changed = ServerSpec::clone(&other);
        changed.name.push('x');
        let next = shared(state(vec![copy(&one), Arc::new(changed.clone())]), &mut last);
        assert!(Arc::ptr_eq(&next.servers[0], &one));
        assert_eq!(*next.servers[1], changed);
        shared(state(vec![copy(&one)]), &mut last);
        assert_eq!(last.len(), 1, "what went is forgotten");
    }

    #[tokio::test]
    async fn the_kept_state_is_read_back_and_damage_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        let (spec, networks) = testing::spec_with_network();
        let desired = Arc::new(Desired { revision: 7, servers: vec![spec.into()], networks });
        save(dir.path(), Arc::clone(&desired)).await.unwrap();
        assert_eq!(load(dir.path()).as_ref(), Some(&*desired));
        let kept = std::fs::read_to_string(path(dir.path())).unwrap();
        std::fs::write(path(dir.path()), kept.replace("{\"v\":1,", "{\"v\":9,")).unwrap();
        assert_eq!(load(dir.path()), None);
        std::fs::write(path(dir.path()), &kept[..kept.len() / 2]).unwrap();
        assert_eq!(load(dir.path()), None);
    }
}
