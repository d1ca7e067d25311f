//! What was worked out for a state of the directory, kept for as long as that state is the newest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Belongs to one state of the directory and goes with it. Holds at most `MOST` answers: past it all are forgotten, as
/// what is asked for comes from clients.
pub(super) struct Memo<K, V, const MOST: usize>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V, const MOST: usize> Default for Memo<K, V, MOST> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V, const MOST: usize> Memo<K, V, MOST> {
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.lock().get(key).cloned()
    }

    pub fn keep(&self, key: K, value: Arc<V>) {
        let mut kept = self.lock();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, value);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_does_not_grow_without_end() {
        let memo: Memo<u32, u32, 8> = Memo::default();
        for n in 0..100 {
            assert_eq!(memo.get(&n), None);
            memo.keep(n, Arc::new(n + 1));
            assert_eq!(memo.get(&n).as_deref(), Some(&(n + 1)));
            assert!(memo.lock().len() <= 8);
        }
    }
}
