//! Named side effects, each with a point before and after it at which tests let it go wrong.
//!
//! Every commit and every change to the world (a disk, a domain, a bridge, a rule) runs inside
//! [`effect`]. A point is `before:NAME` or `after:NAME`. These variables of the environment name points:
//!
//! * `CANOPY_CRASH_AT=POINT`: the process aborts there, as a power failure would.
//! * `CANOPY_FAIL_AT=POINT`: the effect fails there each time. Before: nothing was done. After: it was done,
//!   and whoever asked for it does not know, so that it is done again.
//! * `CANOPY_FAIL_ONCE_AT=PREFIX,…`: the same, for all points that begin so, and once at each.
//! * `CANOPY_CRASH_TRACE=FILE` records the points that were passed, so that a test finds them by itself and
//!   fails when one is missing from its list.

use crate::Error;
use std::collections::HashSet;
use std::future::Future;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

struct Plan {
    crash_at: Option<String>,
    fail_at: Option<String>,
    fail_once_at: Vec<String>,
    /// Points that have failed and will not again.
    failed: Mutex<HashSet<String>>,
    trace: Option<Mutex<std::fs::File>>,
}

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let word = |name| std::env::var(name).ok().filter(|word| !word.is_empty());
        let once = word("CANOPY_FAIL_ONCE_AT").unwrap_or_default();
        Plan {
            crash_at: word("CANOPY_CRASH_AT"),
            fail_at: word("CANOPY_FAIL_AT"),
            fail_once_at: once.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            failed: Mutex::default(),
            trace: std::env::var_os("CANOPY_CRASH_TRACE").and_then(|path| {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path).ok()?;
                Some(Mutex::new(file))
            }),
        }
    })
}

impl Plan {
    /// Whether anything is to happen at any point: it never is outside of tests.
    fn is_empty(&self) -> bool {
        self.crash_at.is_none()
            && self.fail_at.is_none()
            && self.fail_once_at.is_empty()
            && self.trace.is_none()
    }

    fn fails(&self, point: &str) -> bool {
        let once = self.fail_once_at.iter().any(|prefix| point.starts_with(prefix.as_str()));
        self.fail_at.as_deref() == Some(point)
            || once && self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(point.to_owned())
    }
}

/// Passes a point. An error is what the effect is to end with there.
fn pass<E: Injected>(side: &str, name: &str) -> Result<(), E> {
    let plan = plan();
    if plan.is_empty() {
        return Ok(());
    }
    let point = format!("{side}:{name}");
    if let Some(trace) = &plan.trace
        && let Ok(mut file) = trace.lock()
    {
        let _ = writeln!(file, "{point}");
    }
    if plan.crash_at.as_deref() == Some(&point) {
        eprintln!("crash point {point}");
        std::process::abort();
    }
    if plan.fails(&point) {
        eprintln!("failure point {point}");
        return Err(E::injected(format!("A test lets this fail: {point}.")));
    }
    Ok(())
}

/// An error that a test can let an effect end with.
pub trait Injected {
    fn injected(message: String) -> Self;
}

impl Injected for Error {
    fn injected(message: String) -> Self {
        Self::unavailable("test.injected", message)
    }
}

impl Injected for io::Error {
    fn injected(message: String) -> Self {
        Self::other(message)
    }
}

/// Runs a side effect between its two points.
pub async fn effect<T, E: Injected>(
    name: &'static str,
    action: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    pass("before", name)?;
    let output = action.await;
    pass("after", name)?;
    output
}

/// The same for blocking code.
pub fn effect_sync<T, E: Injected>(
    name: &'static str,
    action: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    pass("before", name)?;
    let output = action();
    pass("after", name)?;
    output
}
