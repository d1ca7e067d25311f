//! Answers the controller's questions about what only this host has: a serial console's log, and what is not
//! as it should be.

use crate::consoles;
use crate::desired::Known;
use crate::files;
use crate::inspect;
use crate::prefetch::prefetch;
use crate::record::ServerDir;
use crate::shared::Shared;
use canopy_agent_api::{Answer, Ask, Question};
use canopy_types::{Error, HostId};
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Most of a log that is ever answered: 1 MiB.
const LIMIT: u64 = 1 << 20;
/// Questions answered at once.
const AT_ONCE: usize = 8;
/// Between two polls that bring nothing, should the controller not wait.
const LEAST: Duration = Duration::from_millis(50);

/// Asks for questions for ever. Reading is quick, so answers are made in bounded parallel.
pub async fn run(
    shared: Arc<Shared>,
    mut host: watch::Receiver<Option<HostId>>,
    known: watch::Receiver<Option<Known>>,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut failures = 0u32;
    loop {
        let Ok(id) = host.wait_for(Option::is_some).await.map(|id| *id) else { return };
        let (Some(id), Ok(permit)) = (id, Arc::clone(&room).acquire_owned().await) else { continue };
        let begun = Instant::now();
        match shared.controller.next_question(id, shared.config.poll).await {
            Ok(Some(question)) => {
                failures = 0;
                let (shared, known) = (Arc::clone(&shared), known.clone());
                tokio::spawn(async move {
                    let answer = answer(&shared, id, &known, question).await;
                    // A lost answer is asked for again by whoever still waits.
                    if let Err(error) = shared.controller.answer(id, answer).await {
                        tracing::warn!(error = %error.chain(), "an answer did not arrive");
                    }
                    drop(permit);
                });
            }
            Ok(None) => {
                failures = 0;
                tokio::time::sleep_until(begun + LEAST).await;
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::debug!(error = %error.chain(), failures, "no questions from the controller");
                tokio::time::sleep(shared.config.pause(failures)).await;
            }
        }
    }
}

async fn answer(
    shared: &Arc<Shared>,
    host: HostId,
    known: &watch::Receiver<Option<Known>>,
    question: Question,
) -> Answer {
    let outcome = match (question.ask, question.server_id) {
        (Ask::ConsoleOutput { lines }, Some(server_id)) => {
            // The path is made from a uuid: nothing from outside is followed.
            let log = ServerDir::new(&shared.config.state_dir, server_id).console_log();
            files::blocking(move || read(&log, lines)).await
        }
        (Ask::Diagnostics, Some(server_id)) => match shared.hypervisor.diagnostics(server_id).await {
            Ok(told) => serde_json::to_string(&told).map_err(|e| Error::internal("agent.diagnostics", e)),
            Err(error) => Err(error),
        },
        (Ask::Console { kind, session }, Some(server_id)) => {
            match consoles::console(shared, host, server_id, kind, session.as_deref()).await {
                Ok(state) => serde_json::to_string(&state).map_err(|e| Error::internal("agent.console", e)),
                Err(error) => Err(error),
            }
        }
        (Ask::SetPassword { user, password }, Some(server_id)) => {
            match shared.hypervisor.set_password(server_id, &user, &password.0).await {
                Ok(outcome) => {
                    serde_json::to_string(&outcome).map_err(|e| Error::internal("agent.password", e))
                }
                Err(error) => Err(error),
            }
        }
        (
            Ask::ConsoleOutput { .. } | Ask::Diagnostics | Ask::Console { .. } | Ask::SetPassword { .. },
            None,
        ) => Err(Error::bad_request("agent.question", "The question names no server.")),
        (Ask::Inspect { repair }, _) => match inspect::inspect(shared, known, repair).await {
            Ok(inspection) => {
                serde_json::to_string(&inspection).map_err(|e| Error::internal("agent.inspection", e))
            }
            Err(error) => Err(error),
        },
        (Ask::Prefetch { blobs }, _) => {
            serde_json::to_string(&prefetch(shared, blobs)).map_err(|e| Error::internal("agent.prefetch", e))
        }
    };
    let outcome = outcome.map_err(|error| {
        tracing::error!(server_id = ?question.server_id, error = %error.chain(), "a question is not answered");
        error.message
    });
    Answer { id: question.id, outcome }
}

/// The last `lines` of the log, all when `None`; never more than [`LIMIT`] bytes of it. Whatever the
/// guest printed becomes valid text. No log yet is an empty one. Blocking.
fn read(log: &Path, lines: Option<u32>) -> Result<String, Error> {
    let mut bytes = tail(log, LIMIT)?;
    let missing = LIMIT - bytes.len() as u64;
    if missing > 0 {
        // What libvirt rotated away last.
        let mut older = log.as_os_str().to_owned();
        older.push(".0");
        let mut all = tail(&PathBuf::from(older), missing)?;
        all.append(&mut bytes);
        bytes = all;
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if let Some(lines) = lines {
        // As nova counts, and clients after it: what stands behind the last line break is a line, be it empty.
        let at = match lines.checked_sub(1) {
            None => text.len(),
            Some(skip) => text.rmatch_indices('\n').nth(skip as usize).map_or(0, |(at, _)| at + 1),
        };
        text.drain(..at);
    }
    Ok(text)
}

/// The last `limit` bytes, from the beginning of a line if cut.
fn tail(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let mut file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(files::error("read", path, e)),
    };
    let mut read = || {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let start = metadata.len().saturating_sub(limit);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        (&file).take(limit).read_to_end(&mut bytes)?;
        if start > 0
            && let Some(end) = bytes.iter().position(|b| *b == b'\n')
        {
            bytes.drain(..=end);
        }
        Ok(bytes)
    };
    read().map_err(|e| files::error("read", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_cut_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("console.log");
        assert_eq!(read(&log, None).unwrap(), "", "no log yet");
        std::fs::write(&log, "one\ntwo\n\nthree\n").unwrap();
        assert_eq!(read(&log, Some(0)).unwrap(), "");
        assert_eq!(read(&log, Some(1)).unwrap(), "");
        assert_eq!(read(&log, Some(2)).unwrap(), "three\n");
        assert_eq!(read(&log, Some(3)).unwrap(), "\nthree\n");
        for lines in 1..=5 {
            assert_eq!(read(&log, Some(lines)).unwrap().split('\n').count(), lines as usize);
        }
        assert_eq!(read(&log, Some(u32::MAX)).unwrap(), "one\ntwo\n\nthree\n");
        std::fs::write(dir.path().join("console.log.0"), "zero\n").unwrap();
        assert_eq!(read(&log, None).unwrap(), "zero\none\ntwo\n\nthree\n");
        std::fs::write(&log, b"bad \xff byte").unwrap();
        assert_eq!(read(&log, Some(1)).unwrap(), "bad \u{fffd} byte");
    }

    #[test]
    fn a_long_log_is_bounded_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("console.log");
        std::fs::write(&log, "0123456789\n".repeat(200_000)).unwrap();
        let text = read(&log, None).unwrap();
        assert!(text.len() as u64 <= LIMIT && text.starts_with("0123456789\n"));
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert!(read(&log, None).is_err());
    }
}
