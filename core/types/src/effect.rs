//! Named side effects, each with a crash point before and after it.
//!
//! Every commit and every change to the world (a disk, a domain, a bridge, a rule) runs inside
//! [`effect`]. A test sets `CANOPY_CRASH_AT=before:NAME` (or `after:NAME`) and the process aborts
//! there, as a power failure would; `CANOPY_CRASH_TRACE=FILE` records the names that were passed, so
//! the test finds them by itself and fails when one is missing from its list.

use std::future::Future;
use std::io::Write;
use std::sync::OnceLock;

struct Plan {
    crash_at: Option<String>,
    trace: Option<std::sync::Mutex<std::fs::File>>,
}

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| Plan {
        crash_at: std::env::var("CANOPY_CRASH_AT").ok().filter(|v| !v.is_empty()),
        trace: std::env::var_os("CANOPY_CRASH_TRACE").and_then(|path| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path).ok()?;
            Some(std::sync::Mutex::new(file))
        }),
    })
}

fn point(side: &str, name: &str) {
    let plan = plan();
    if let Some(trace) = &plan.trace
        && let Ok(mut file) = trace.lock()
    {
        let _ = writeln!(file, "{side}:{name}");
    }
    if plan.crash_at.as_deref().is_some_and(|at| at.strip_prefix(side) == Some(&format!(":{name}"))) {
        eprintln!("crash point {side}:{name}");
        std::process::abort();
    }
}

/// Runs a side effect between its two crash points.
pub async fn effect<F: Future>(name: &'static str, action: F) -> F::Output {
    point("before", name);
    let output = action.await;
    point("after", name);
    output
}

/// The same for blocking code.
pub fn effect_sync<T>(name: &'static str, action: impl FnOnce() -> T) -> T {
    point("before", name);
    let output = action();
    point("after", name);
    output
}
