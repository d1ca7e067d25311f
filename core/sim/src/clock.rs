//! CPU time: what other programs do at the same time does not count.

use std::time::Duration;

/// Of this thread, since it began; 0 where the system cannot say.
pub fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(Duration::ZERO, Duration::from)
}

/// Of all threads of another process; `None` when there is none, or it is not ours to ask.
pub fn of(pid: i32) -> Option<Duration> {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).ok()?;
    clock.now().ok().map(Duration::from)
}

/// Of all threads of this process; 0 where the system cannot say.
pub fn process() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map_or(Duration::ZERO, Duration::from)
}
