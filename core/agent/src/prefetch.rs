//! Images that are fetched before a server needs them.

use crate::shared::Shared;
use canopy_agent_api::{Blob, Cached};
use canopy_types::Error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Images under way or failed at once.
const MOST: usize = 64;

/// By digest: why it could not be fetched, or `None` while it is.
#[derive(Default)]
pub struct Prefetches(Mutex<HashMap<String, Option<String>>>);

impl Prefetches {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one is to be fetched now; an earlier failure is told once, and then tried again.
    fn begin(&self, digest: &str) -> Result<bool, Error> {
        let mut all = self.lock();
        match all.get(digest) {
            Some(None) => return Ok(false),
            Some(Some(_)) => {
                let message = all.remove(digest).flatten().unwrap_or_default();
                return Err(Error::unavailable("agent.prefetch", message));
            }
            None => {}
        }
        if all.len() >= MOST {
            all.retain(|_, outcome| outcome.is_none());
        }
        if all.len() >= MOST {
            return Err(Error::unavailable(
                "agent.prefetches",
                format!("The host fetches {MOST} images already. Ask again when some have come."),
            ));
        }
        all.insert(digest.to_owned(), None);
        Ok(true)
    }

    fn end(&self, digest: &str, outcome: Result<(), Error>) {
        let mut all = self.lock();
        match outcome {
            Ok(()) => {
                all.remove(digest);
            }
            Err(error) => {
                all.insert(digest.to_owned(), Some(error.message));
            }
        }
    }
}

/// Begins to fetch what is not here, and says how far all of it is.
pub fn prefetch(shared: &Arc<Shared>, blobs: Vec<Blob>) -> Cached {
    let mut far = Cached::Present;
    for blob in blobs {
        if shared.images.has(&blob) {
            continue;
        }
        match shared.prefetches.begin(&blob.digest) {
            Ok(now) => {
                far = Cached::Fetching;
                if now {
                    tokio::spawn(fetch(Arc::clone(shared), blob));
                }
            }
            Err(error) => return Cached::Failed { message: error.message },
        }
    }
    far
}

async fn fetch(shared: Arc<Shared>, blob: Blob) {
    let mut stop = shared.stop.clone();
    let outcome = tokio::select! {
        outcome = shared.images.ensure(&blob) => outcome.map(drop),
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match &outcome {
        Ok(()) => tracing::info!(digest = blob.digest, "fetched ahead"),
        Err(error) => tracing::warn!(digest = blob.digest, error = %error.chain(), "not fetched ahead"),
    }
    shared.prefetches.end(&blob.digest, outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_tried_again() {
        let all = Prefetches::default();
        assert!(all.begin("a").unwrap());
        assert!(!all.begin("a").unwrap(), "it is under way");
        all.end("a", Err(Error::unavailable("test", "The controller is gone.")));
        assert_eq!(all.begin("a").unwrap_err().message, "The controller is gone.");
        assert!(all.begin("a").unwrap());
        all.end("a", Ok(()));
        assert!(all.lock().is_empty());
    }

    #[test]
    fn there_is_a_bound_and_failures_make_room() {
        let all = Prefetches::default();
        for n in 0..MOST {
            assert!(all.begin(&n.to_string()).unwrap());
        }
        let full = all.begin("more").unwrap_err();
        assert!(full.message.contains("Ask again"), "{full:?}");
        all.end("0", Err(Error::unavailable("test", "no")));
        assert!(all.begin("more").unwrap());
    }
}
