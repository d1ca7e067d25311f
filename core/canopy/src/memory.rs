//! How the allocator holds memory.
//!
//! glibc gives each of many threads a heap of its own and keeps what was freed in it: a controller with a thousand
//! servers held 240 MB of which it used 110. Two heaps serve as quickly, and what is free goes back, but for the last
//! MiB, which the next request takes again. What a long list is written to is in the heaps too: pages that are mapped
//! for one answer cost more than writing it. The allocator reads its environment before `main`, so a process that began
//! without begins once more as itself.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the allocator reads, and as what.
const HELD: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "1048576"), ("MALLOC_MMAP_THRESHOLD_", "4194304")];
/// Says that this process has begun anew, so that it never does so twice.
const AGAIN: &str = "CANOPY_ALLOCATOR_SET";

/// Begins this process anew with fewer heaps, the same process id, words and files. What an operator has set stays. Where
/// that cannot be, this returns, and all goes on with more memory.
pub fn hold_little() {
    if std::env::var_os(AGAIN).is_some() || HELD.iter().all(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let mut words = std::env::args_os();
    let mut again = Command::new(own);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let unset = HELD.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    // `exec` answers only when it failed.
    let _ = again.args(words).envs(unset).env(AGAIN, "1").exec();
}
