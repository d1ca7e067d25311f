//! The one way this module starts a program: bounded in time and in output.
//!
//! `ip`, `nft` and `dnsmasq` are the interfaces that every Linux host documents and an operator can run
//! by hand to see the same; each call is a few milliseconds.

use canopy_types::{Error, Kind};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A program that takes longer is killed.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Longest standard output, bytes: some 8000 interfaces in detail.
const MAX_STDOUT: u64 = 16 << 20;
/// Kept of the standard error, bytes.
const MAX_STDERR: u64 = 4096;

/// Code of an error of a program that ended and said no: what it was to do was not done, from there on.
pub const REFUSED: &str = "network.command_failed";
/// Of one that may have done it.
const LOST: &str = "network.command_lost";

/// How a program ended; a non-zero exit is not an error here.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with `input` on its standard input. An error means that it could not be started, did
/// not end within [`DEADLINE`], or wrote too much.
pub async fn output(program: &str, args: &[&str], input: &str) -> Result<Output, Error> {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(REFUSED, program, args, &format!("it could not be started ({e}); install it")))?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let feed = async {
            if let Some(mut pipe) = stdin {
                // A program that has seen enough may close its input: its exit status tells.
                let _ = pipe.write_all(input.as_bytes()).await;
            }
        };
        tokio::join!(feed, read(stdout, MAX_STDOUT), read(stderr, MAX_STDERR), child.wait())
    };
    let Ok(((), stdout, stderr, status)) = tokio::time::timeout(DEADLINE, work).await else {
        return Err(failed(LOST, program, args, &format!("it did not end within {} s", DEADLINE.as_secs())));
    };
    let status = status.map_err(|e| failed(LOST, program, args, &e.to_string()))?;
    let Some(stdout) = stdout else {
        return Err(failed(LOST, program, args, &format!("it wrote more than {MAX_STDOUT} bytes")));
    };
    Ok(Output { success: status.success(), stdout, stderr: stderr.unwrap_or_default() })
}

/// The same, where a non-zero exit is an error that carries the program's own words.
pub async fn run(program: &str, args: &[&str], input: &str) -> Result<String, Error> {
    let output = output(program, args, input).await?;
    if output.success {
        return Ok(output.stdout);
    }
    Err(failed(REFUSED, program, args, output.stderr.trim()))
}

/// Runs `ip` commands, one a line, in one process; stops at the first that fails.
pub async fn ip_batch(namespace: Option<&str>, commands: &[String]) -> Result<(), Error> {
    if commands.is_empty() {
        return Ok(());
    }
    let input = commands.join("\n") + "\n";
    let outcome = match namespace {
        Some(name) => run("ip", &["-n", name, "-batch", "-"], &input).await,
        None => run("ip", &["-batch", "-"], &input).await,
    };
    outcome.map(drop).map_err(|error| {
        let detail = format!("{}; the commands were: {}", error.chain(), commands.join("; "));
        error.with_source(io::Error::other(detail))
    })
}

/// `None` when there is more than `limit`; reads on to the end, so that the program is not blocked.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Option<String> {
    let Some(pipe) = pipe else { return Some(String::new()) };
    let mut bytes = Vec::new();
    let mut limited = pipe.take(limit);
    limited.read_to_end(&mut bytes).await.ok()?;
    let mut rest = limited.into_inner();
    let more = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.ok()?;
    (more == 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn failed(code: &'static str, program: &str, args: &[&str], why: &str) -> Error {
    let why: String = why.chars().take(600).collect();
    Error::new(Kind::Internal, code, "The host's network could not be changed.")
        .with_source(io::Error::other(format!("`{program} {}`: {why}", args.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_input_and_tells_failure() {
        assert_eq!(run("cat", &[], "hello").await.unwrap(), "hello");
        let error = run("sh", &["-c", "echo no such thing >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.code, "network.command_failed");
        assert!(error.chain().contains("no such thing"), "{}", error.chain());
        assert!(run("canopy-no-such-program", &[], "").await.is_err());
        assert!(!output("false", &[], &"x".repeat(1 << 20)).await.unwrap().success);
    }

    #[tokio::test]
    async fn refuses_endless_output() {
        let error = run("sh", &["-c", "head -c 17000000 /dev/zero"], "").await.unwrap_err();
        assert!(error.chain().contains("more than"), "{}", error.chain());
    }
}
