//! What one guest may use, enforced while it runs.

use crate::manifest::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// Memories of one component: tool chains make one or two.
const MEMORIES: usize = 16;

/// Counts what a store has handed out and remembers a refusal: a guest that gets no memory usually ends in
/// an ordinary trap, from which the cause could not be told.
pub(crate) struct Limiter {
    memory: usize,
    memory_limit: usize,
    table: usize,
    table_limit: usize,
    instances: usize,
    /// Most bytes that any instance of the plugin has had.
    peak: Arc<AtomicU64>,
    refused: Option<String>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, peak: Arc<AtomicU64>) -> Self {
        let of = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            memory: 0,
            memory_limit: of(limits.memory_mib).saturating_mul(1 << 20),
            table: 0,
            table_limit: of(limits.table_entries),
            instances: of(limits.instances),
            peak,
            refused: None,
        }
    }

    /// What was refused since the last question, if anything.
    pub(crate) fn take_refusal(&mut self) -> Option<String> {
        self.refused.take()
    }

    fn grow(used: &mut usize, limit: usize, current: usize, desired: usize) -> bool {
        let total = used.checked_add(desired.saturating_sub(current)).filter(|total| *total <= limit);
        if let Some(total) = total {
            *used = total;
        }
        total.is_some()
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = Self::grow(&mut self.memory, self.memory_limit, current, desired);
        if granted {
            self.peak.fetch_max(u64::try_from(self.memory).unwrap_or(u64::MAX), Ordering::Relaxed);
        } else {
            self.refused = Some(format!("the limit of {} MiB was reached", self.memory_limit >> 20));
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert_with(|| format!("memory could not grow: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = Self::grow(&mut self.table, self.table_limit, current, desired);
        if !granted {
            self.refused = Some(format!("the limit of {} table entries was reached", self.table_limit));
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_over_all_memories_and_a_refusal_is_remembered_once() {
        let peak = Arc::new(AtomicU64::new(0));
        let limits = Limits { memory_mib: 2, table_entries: 1_000, ..Limits::default() };
        let mut limiter = Limiter::new(&limits, peak.clone());
        let mib = 1 << 20;
        assert!(limiter.memory_growing(0, mib, None).unwrap());
        assert!(limiter.memory_growing(0, mib, None).unwrap());
        assert_eq!(limiter.take_refusal(), None);
        assert!(!limiter.memory_growing(mib, mib + 1, None).unwrap());
        assert!(limiter.take_refusal().is_some_and(|why| why.contains("2 MiB")));
        assert_eq!(limiter.take_refusal(), None);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert_eq!(peak.load(Ordering::Relaxed), 2 << 20);
        assert!(limiter.table_growing(0, 1_000, None).unwrap());
        assert!(!limiter.table_growing(1_000, 1_001, None).unwrap());
    }
}
