//! How many lines a second those may cause who are nobody yet.

use canopy_types::Timestamp;
use std::sync::{Mutex, PoisonError};

/// A bucket that fills by `per_second` up to `burst`.
pub struct Limit {
    per_second: i64,
    burst: i64,
    state: Mutex<State>,
}

struct State {
    /// Millionths of a line.
    left: i64,
    at: Timestamp,
    left_out: u64,
}

const UNIT: i64 = 1_000_000;

impl Limit {
    pub fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (i64::from(per_second), i64::from(burst));
        let state = State { left: burst * UNIT, at: Timestamp(0), left_out: 0 };
        Self { per_second, burst, state: Mutex::new(state) }
    }

    /// Whether there is room for one at `now`, and how many had none since the last that had.
    pub fn take(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.0.saturating_sub(state.at.0).max(0);
        state.at = now;
        state.left = state.left.saturating_add(passed.saturating_mul(self.per_second)).min(self.burst * UNIT);
        if state.left < UNIT {
            state.left_out += 1;
            return None;
        }
        state.left -= UNIT;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_a_burst_then_a_trickle_and_the_count_of_the_rest() {
        let limit = Limit::new(2, 3);
        let now = Timestamp(1_000 * UNIT);
        let taken = (0..10).filter(|_| limit.take(now).is_some()).count();
        assert_eq!(taken, 3);
        assert_eq!(limit.take(Timestamp(now.0 + UNIT / 2)), Some(7));
        assert_eq!(limit.take(Timestamp(now.0 + UNIT / 2)), None);
        // A clock that goes back gives nothing away and does not panic.
        assert_eq!(limit.take(Timestamp(0)), None);
        assert_eq!(limit.take(Timestamp(now.0 + 10 * UNIT)), Some(2));
    }
}
