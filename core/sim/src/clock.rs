//! CPU time of this thread: what other programs do at the same time does not count.

use std::time::Duration;

/// Since the thread began; 0 where the system cannot say.
pub fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(Duration::ZERO, Duration::from)
}
