//! Runs a helper program with a deadline and limits on memory and CPU time.
//!
//! `prlimit` sets the limits, because setting them between fork and exec would need `unsafe`. The
//! program is killed when the deadline passes or the caller goes away. Its output is kept for the log
//! only, and bounded.

use canopy_types::{Error, Kind};
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Address space of a helper: 1 GiB.
const MEMORY: u64 = 1 << 30;
/// CPU seconds of a helper.
const CPU_SECONDS: u64 = 60;
const DEADLINE: Duration = Duration::from_secs(120);
/// Kept of what it wrote to stderr.
const OUTPUT: u64 = 8 << 10;

/// For whole disks: 4 hours, of which as many may be the processor's.
const LONG: u64 = 4 * 3_600;

/// Runs `program` to its end. `code` and `doing` name the failure for the log and the user.
pub async fn run<S: AsRef<OsStr>>(
    program: &'static str,
    arguments: &[S],
    code: &'static str,
    doing: &'static str,
) -> Result<(), Error> {
    run_for(program, arguments, (code, doing), (CPU_SECONDS, DEADLINE)).await
}

/// The same for what reads or writes a whole disk.
pub async fn run_long<S: AsRef<OsStr>>(
    program: &'static str,
    arguments: &[S],
    code: &'static str,
    doing: &'static str,
) -> Result<(), Error> {
    run_for(program, arguments, (code, doing), (LONG, Duration::from_secs(LONG))).await
}

async fn run_for<S: AsRef<OsStr>>(
    program: &'static str,
    arguments: &[S],
    (code, doing): (&'static str, &'static str),
    (cpu_seconds, deadline): (u64, Duration),
) -> Result<(), Error> {
    let failed = |why: String| {
        Error::new(Kind::Internal, code, format!("The host could not {doing}."))
            .with_source(std::io::Error::other(format!("{program}: {why}")))
    };
    let mut child = Command::new("prlimit")
        .arg(format!("--as={MEMORY}"))
        .arg(format!("--cpu={cpu_seconds}"))
        .arg("--core=0")
        .arg(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(format!("could not be started (is prlimit of util-linux installed?): {e}")))?;
    let stderr = child.stderr.take();
    let finished = async {
        let mut text = Vec::new();
        if let Some(mut pipe) = stderr {
            let _ = (&mut pipe).take(OUTPUT).read_to_end(&mut text).await;
            // Drain the rest, or a talkative program would block for ever on its pipe.
            let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
        }
        (child.wait().await, text)
    };
    let (status, text) = tokio::time::timeout(deadline, finished)
        .await
        .map_err(|_| failed(format!("not finished after {} s", deadline.as_secs())))?;
    let status = status.map_err(|e| failed(e.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.contains("No space left on device") {
        return Err(Error::new(Kind::StorageFull, "agent.disk_full", "The host's disk is full."));
    }
    Err(failed(format!("{status}: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_keeps_the_reason_for_the_log_only() {
        run("true", &[] as &[&str], "agent.test", "run it").await.unwrap();
        let error = run("sh", &["-c", "echo reason >&2; exit 3"], "agent.test", "run it").await.unwrap_err();
        assert_eq!(error.message, "The host could not run it.");
        assert!(error.chain().contains("reason"), "{}", error.chain());
        let full =
            run("sh", &["-c", "echo 'x: No space left on device' >&2; exit 1"], "agent.test", "run it");
        assert_eq!(full.await.unwrap_err().kind, Kind::StorageFull);
    }

    #[tokio::test]
    async fn limits_reach_the_program() {
        let limited = ["-c", "test \"$(ulimit -v)\" = 1048576 && test \"$(ulimit -t)\" = 60"];
        run("bash", &limited, "agent.test", "run it").await.unwrap();
    }
}
