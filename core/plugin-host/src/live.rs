//! A handle that can be exchanged while others hold it.

use std::sync::Arc;
use tokio::sync::watch;

/// The plugin in force. Who works takes [`Self::now`] once and keeps it until the work is done, so one piece
/// of work never sees two plugins; who waits is told of changes.
pub struct Live<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: watch::Sender<T>,
    version: watch::Sender<u64>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Live<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value: watch::Sender::new(value), version: watch::Sender::new(0) }))
    }

    /// The one in force at this moment.
    pub fn now(&self) -> T {
        self.0.value.borrow().clone()
    }

    /// Those that hold the old one go on with it; it ends with its last holder.
    pub fn set(&self, value: T) {
        self.0.value.send_replace(value);
        self.0.version.send_modify(|version| *version += 1);
    }

    /// Changes after each [`Self::set`].
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_holds_one_keeps_it_and_who_waits_is_told() {
        let live = Live::new(1);
        let (held, mut versions) = (live.now(), live.clone().versions());
        live.set(2);
        assert_eq!((held, live.now()), (1, 2));
        versions.changed().await.unwrap();
        assert_eq!(*versions.borrow_and_update(), 1);
    }
}
