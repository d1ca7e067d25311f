//! What one guest may use, enforced while it runs.

use crate::manifest::Limits;
use wasmtime::ResourceLimiter;

/// Core instances, memories and tables of one component: tool chains make up to a few dozen.
const INSTANCES: usize = 64;
const MEMORIES: usize = 16;
const TABLES: usize = 64;
/// Entries of all tables together, 8 bytes each.
const TABLE_ENTRIES: usize = 1_000_000;

/// Counts what a store has handed out and remembers a refusal: a guest that gets no memory usually ends in
/// an ordinary trap, from which the cause could not be told.
pub(crate) struct Limiter {
    memory: usize,
    memory_limit: usize,
    table: usize,
    refused: Option<String>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory_limit = usize::try_from(limits.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        Self { memory: 0, memory_limit, table: 0, refused: None }
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
        if !granted {
            self.refused = Some(format!("the limit of {} MiB was reached", self.memory_limit >> 20));
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused.get_or_insert_with(|| format!("memory could not grow: {error}"));
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let granted = Self::grow(&mut self.table, TABLE_ENTRIES, current, desired);
        if !granted {
            self.refused = Some(format!("the limit of {TABLE_ENTRIES} table entries was reached"));
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
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
        let mut limiter = Limiter::new(&Limits { memory_mib: 2, deadline_ms: 1 });
        let mib = 1 << 20;
        assert!(limiter.memory_growing(0, mib, None).unwrap());
        assert!(limiter.memory_growing(0, mib, None).unwrap());
        assert_eq!(limiter.take_refusal(), None);
        assert!(!limiter.memory_growing(mib, mib + 1, None).unwrap());
        assert!(limiter.take_refusal().is_some_and(|why| why.contains("2 MiB")));
        assert_eq!(limiter.take_refusal(), None);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.table_growing(0, TABLE_ENTRIES + 1, None).unwrap());
    }
}
