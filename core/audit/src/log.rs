//! Writing: requests hand their events over and go on; one thread puts them in order, chains and appends.

use crate::chain::{self, END, REMOVED, START};
use crate::event::{Event, Outcome};
use canopy_types::{Error, Result, Timestamp};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Events that wait for the disk. Beyond it they are lost, which the next line says.
const QUEUE: usize = 16_384;
/// Lines that share one write.
const BATCH: usize = 512;
/// Until what is written is also on the disk, at most.
const SYNC: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    pub dir: PathBuf,
    /// A file is followed by the next at this size, bytes.
    pub file_bytes: u64,
    /// The oldest files go when all are larger together, bytes.
    pub total_bytes: u64,
}

/// The log of this process. Closing or dropping it ends the chain in order.
pub struct Log {
    process: String,
    sender: SyncSender<Job>,
    lost: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Job {
    Event(Box<Event>),
    /// Answers when everything before it is written.
    Flush(SyncSender<()>),
    End,
}

impl Log {
    /// Makes the folder and starts the writer.
    pub fn open(options: Options, now: Timestamp) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.dir)
            .map_err(|e| unusable(&options.dir, &e))?;
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|e| Error::internal("random", e.to_string()))?;
        let random = canopy_types::hex(bytes);
        let process = format!("{:016}-{random}", now.0.max(0));
        let (sender, receiver) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            options,
            process: process.clone(),
            part: 0,
            file: None,
            length: 0,
            sequence: 0,
            previous: START.to_owned(),
            lost: lost.clone(),
            dirty: false,
        };
        // Told at the start, not at the first denial.
        writer.next_file().map_err(|e| unusable(&writer.options.dir, &e))?;
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&receiver))
            .map_err(|e| Error::internal("audit.thread", e))?;
        Ok(Self { process, sender, lost, thread: Mutex::new(Some(thread)) })
    }

    /// The name of this process's chain.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Hands an event over. Never waits.
    pub fn record(&self, event: Event) {
        if self.sender.try_send(Job::Event(Box::new(event))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("canopy_audit_lost_total").increment(1);
        }
    }

    /// Waits until everything recorded before is in the file, at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.sender.send(Job::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

impl Log {
    /// Writes what is recorded, ends the chain and stops the writer. What is recorded later is lost.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let _ = self.sender.send(Job::End);
        if thread.join().is_err() {
            tracing::error!("the audit log's writer panicked");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn unusable(dir: &Path, error: &std::io::Error) -> Error {
    Error::unavailable("audit.folder", format!("{}: the audit log cannot be written: {error}", dir.display()))
}

struct Writer {
    options: Options,
    process: String,
    part: u32,
    file: Option<File>,
    /// Bytes of the file that are whole lines.
    length: u64,
    sequence: u64,
    previous: String,
    lost: Arc<AtomicU64>,
    dirty: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Job>) {
        let mut ended = false;
        while !ended {
            let first = match receiver.recv_timeout(SYNC) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => Job::End,
            };
            let mut batch = String::new();
            let mut waiting = Vec::new();
            let more = std::iter::once(first).chain(std::iter::from_fn(|| receiver.try_recv().ok()));
            for job in more.take(BATCH) {
                match job {
                    Job::Event(event) => self.add(&mut batch, &event),
                    Job::Flush(done) => waiting.push(done),
                    Job::End => ended = true,
                }
            }
            self.write(&batch);
            for done in waiting {
                let _ = done.try_send(());
            }
        }
        let mut batch = String::new();
        self.push(&mut batch, json!({"action": END}));
        self.write(&batch);
        self.sync();
        tracing::info!(process = self.process, head = self.previous, "the audit log ends here");
    }

    fn add(&mut self, batch: &mut String, event: &Event) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            // What is missing is part of the chain as well.
            self.push(batch, json!({"action": "audit/lost", "left_out": lost}));
        }
        let result = match event.outcome {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
        };
        metrics::counter!("canopy_audit_lines_total", "outcome" => result).increment(1);
        let value = event.cadf(&self.process, self.sequence);
        self.push(batch, value);
    }

    fn push(&mut self, batch: &mut String, event: Value) {
        let (line, hash) = chain::seal(event, &self.process, self.sequence, &self.previous);
        batch.push_str(&line);
        batch.push('\n');
        self.sequence += 1;
        self.previous = hash;
    }

    /// Appends whole lines. A disk that is full is tried again, and nothing overtakes what waits.
    fn write(&mut self, batch: &str) {
        if batch.is_empty() {
            return;
        }
        let mut failures = 0_u32;
        while let Err(error) = self.append(batch) {
            failures += 1;
            metrics::counter!("canopy_audit_errors_total").increment(1);
            if failures % 60 == 1 {
                tracing::error!(%error, "the audit log cannot be written; trying again");
            }
            if failures > 600 {
                // Ten minutes: the process may want to end.
                tracing::error!("lines of the audit log are lost");
                return;
            }
            std::thread::sleep(SYNC);
        }
        if self.length >= self.options.file_bytes {
            self.sync();
            if let Err(error) = self.next_file() {
                tracing::error!(%error, "the audit log goes on in a file that is too large");
            }
        }
    }

    fn append(&mut self, batch: &str) -> std::io::Result<()> {
        if self.file.is_none() {
            self.next_file()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        // Whatever half a line an attempt before has left.
        if file.metadata()?.len() != self.length {
            file.set_len(self.length)?;
        }
        file.write_all(batch.as_bytes())?;
        self.length += batch.len() as u64;
        self.dirty = true;
        Ok(())
    }

    fn sync(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.dirty) {
            match file.sync_data() {
                Ok(()) => self.dirty = false,
                Err(error) => tracing::error!(%error, "the audit log is not on the disk"),
            }
        }
    }

    fn next_file(&mut self) -> std::io::Result<()> {
        let name = format!("audit-{}-{:06}.jsonl", self.process, self.part);
        let path = self.options.dir.join(name);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        self.file = Some(file);
        self.length = 0;
        self.part += 1;
        self.remove_oldest()
    }

    /// Makes room by whole files, the oldest first. That they go is a line of the chain, written before: a log
    /// from whose front somebody else has taken lines looks otherwise.
    fn remove_oldest(&mut self) -> std::io::Result<()> {
        let files = crate::read::files(&self.options.dir)?;
        let mut total: u64 = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| m.len()).sum();
        let keep = files.len().saturating_sub(1);
        let most = self.options.total_bytes.saturating_sub(self.options.file_bytes);
        let mut going = Vec::new();
        for path in files.into_iter().take(keep) {
            if total <= most {
                break;
            }
            total = total.saturating_sub(fs::metadata(&path).map_or(0, |meta| meta.len()));
            going.push(path);
        }
        if going.is_empty() {
            return Ok(());
        }
        let heads: Vec<String> = going.iter().filter_map(|path| crate::read::head_of(path)).collect();
        let before = (self.sequence, self.previous.clone());
        let mut line = String::new();
        self.push(&mut line, json!({"action": REMOVED, "heads": heads}));
        if let Err(error) = self.append(&line) {
            (self.sequence, self.previous) = before;
            return Err(error);
        }
        self.sync();
        for path in going {
            fs::remove_file(&path)?;
            tracing::info!(file = %path.display(), "the oldest file of the audit log was removed");
        }
        Ok(())
    }
}
