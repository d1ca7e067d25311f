//! The thread that writes. It keeps a fleet of its own, brought along by the same changes, so that a checkpoint
//! costs those who decide nothing.

use crate::entry::{Asked, Entry, PluginFiles, Round};
use crate::{line, reader, takes};
use canopy_placement::engine::class_hash;
use canopy_placement::{Engine, Fleet, PluginUse};
use canopy_types::{Error, Result, Timestamp};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Entries that may wait for the disk.
const QUEUE: usize = 1_024;

/// How long a reader waits for the disk.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a journal may take of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all segments together; the oldest are removed beyond it.
    pub bytes: u64,
    /// Bytes after which a segment is closed.
    pub segment: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 20, segment: 16 << 20 }
    }
}

enum Message {
    Plugin(PluginUse, Option<PluginFiles>),
    Round(Box<Round>),
    /// The fleet as those who decide have it, after something could not be told.
    Begin(Box<Fleet>, u64, Timestamp),
    Flush(SyncSender<()>),
}

/// A handle to the thread, which ends with its last handle.
pub struct Writer {
    queue: SyncSender<Message>,
    id: String,
    next: i64,
    /// Something was not told: a new segment must begin.
    behind: bool,
}

impl Writer {
    /// Opens the journal in `dir`, made when missing. Blocking.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self> {
        let failed = |e: std::io::Error| {
            Error::unavailable("journal.open", format!("The journal in {} cannot be opened.", dir.display()))
                .with_source(e)
        };
        fs::create_dir_all(dir.join("plugins")).map_err(failed)?;
        let id = identity(dir).map_err(failed)?;
        let next = reader::next(dir)?;
        let (queue, messages) = sync_channel(QUEUE);
        let thread = Thread {
            dir: dir.to_owned(),
            limits,
            engine: Engine::new(Fleet::default()),
            seed: 0,
            next,
            plugin: None,
            file: None,
            line: Vec::new(),
        };
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || thread.serve(&messages))
            .map_err(failed)?;
        Ok(Self { queue, id, next, behind: true })
    }

    /// Tells this journal from others that share a database.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A number of this journal's own, never 0: breaks ties otherwise than other journals do.
    pub fn seed(&self) -> u64 {
        u64::from(crc32fast::hash(self.id.as_bytes())) + 1
    }

    /// The number of the next request.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether [`Self::begin`] must come before the next round.
    pub fn behind(&self) -> bool {
        self.behind
    }

    /// The fleet was made anew: what is told next does not follow from what was told.
    pub fn lose(&mut self) {
        self.behind = true;
    }

    /// Starts a segment with this fleet.
    pub fn begin(&mut self, fleet: Fleet, seed: u64, at: Timestamp) {
        self.behind = !self.send(Message::Begin(Box::new(fleet), seed, at));
    }

    /// Who scores from here on, with the files to keep.
    pub fn plugin(&mut self, plugin: PluginUse, files: Option<PluginFiles>) {
        self.behind |= !self.send(Message::Plugin(plugin, files));
    }

    /// Numbers the round's requests and has them written. Never waits: when the disk cannot follow, what is
    /// lost is said in the log, and a checkpoint closes the gap.
    pub fn round(&mut self, mut round: Round) {
        round.first = self.next;
        self.next += i64::try_from(round.asked.len()).unwrap_or(0);
        if !self.behind && !self.send(Message::Round(Box::new(round))) {
            self.behind = true;
        }
    }

    fn send(&self, message: Message) -> bool {
        match self.queue.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                tracing::error!(
                    "the journal's disk does not follow: decisions are lost to explain and replay"
                );
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// For those who read and cannot find what was told a moment ago.
    pub fn flusher(&self) -> Flusher {
        Flusher(self.queue.clone())
    }
}

/// Has what was told so far written.
#[derive(Clone)]
pub struct Flusher(SyncSender<Message>);

impl Flusher {
    /// Returns when it is written, or after a bounded wait. Blocking.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = flushed.recv_timeout(PATIENCE);
        }
    }
}

/// The journal's own id, made once.
fn identity(dir: &Path) -> std::io::Result<String> {
    let file = dir.join("id");
    match fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        _ => {
            let id = canopy_types::DecisionId::random().to_string();
            fs::write(&file, format!("{id}\n"))?;
            Ok(id)
        }
    }
}

struct Thread {
    dir: PathBuf,
    limits: Limits,
    engine: Engine,
    seed: u64,
    next: i64,
    plugin: Option<(PluginUse, Option<String>)>,
    /// The open segment and its bytes; none until a checkpoint begins one.
    file: Option<(BufWriter<File>, u64)>,
    /// The line that is written, whose room the next one has too.
    line: Vec<u8>,
}

impl Thread {
    fn serve(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            self.take(message);
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            if let Some((file, _)) = &mut self.file
                && let Err(error) = file.flush()
            {
                self.broken(&error.to_string());
            }
        }
    }

    fn take(&mut self, message: Message) {
        let outcome = match message {
            Message::Flush(done) => {
                if let Some((file, _)) = &mut self.file {
                    let _ = file.flush();
                }
                let _ = done.send(());
                Ok(())
            }
            Message::Begin(fleet, seed, at) => {
                self.engine = Engine::new(*fleet);
                self.seed = seed;
                self.begin(at)
            }
            Message::Plugin(plugin, files) => {
                let files = files.and_then(|files| match keep(&self.dir, &plugin, &files) {
                    Ok(name) => Some(name),
                    Err(error) => {
                        tracing::error!(%error, plugin = &*plugin.name, "the journal cannot keep the plugin's files");
                        None
                    }
                });
                self.plugin = Some((plugin, files));
                self.write_plugin()
            }
            Message::Round(round) => self.round(*round),
        };
        if let Err(error) = outcome {
            self.broken(&error.chain());
        }
    }

    fn round(&mut self, mut round: Round) -> Result<()> {
        let at = round.at;
        let put_off = round.put_off.iter_mut().map(|other| &mut other.asked);
        for recorded in round.asked.iter_mut().chain(put_off).flat_map(|asked| &mut asked.decisions) {
            recorded.class = class_hash(&recorded.request);
        }
        for change in &round.changes {
            self.engine.apply(change);
        }
        for (host, recorded) in round.asked.iter().flat_map(Asked::placed) {
            self.engine.apply(&takes(host, &recorded.request, 1));
        }
        self.next = round.first + i64::try_from(round.asked.len()).unwrap_or(0);
        if self.file.is_none() {
            // What this round changed is in the checkpoint; what it decided is lost with the old segment.
            return self.begin(at);
        }
        self.write(&Entry::Round(round))?;
        if self.file.as_ref().is_some_and(|(_, bytes)| *bytes > self.limits.segment) {
            self.begin(at)?;
        }
        Ok(())
    }

    /// Closes the segment, begins one with a checkpoint, and removes those beyond the limit.
    fn begin(&mut self, at: Timestamp) -> Result<()> {
        if let Some((mut file, _)) = self.file.take() {
            file.flush().and_then(|()| file.get_ref().sync_data()).map_err(failed)?;
        }
        let path = self.dir.join(reader::file_name(self.next, at));
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        self.file = Some((BufWriter::new(file), 0));
        let fleet = self.engine.fleet().clone();
        self.write(&Entry::Checkpoint { v: 1, at, next: self.next, seed: self.seed, fleet })?;
        self.write_plugin()?;
        self.retain(&path)
    }

    fn write_plugin(&mut self) -> Result<()> {
        match (&self.plugin, &self.file) {
            (Some((plugin, files)), Some(_)) => {
                let entry = Entry::Plugin { plugin: plugin.clone(), files: files.clone() };
                self.write(&entry)
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        line::encode(entry, &mut self.line)?;
        if let Some((file, bytes)) = &mut self.file {
            file.write_all(&self.line).map_err(failed)?;
            *bytes += self.line.len() as u64;
        }
        Ok(())
    }

    fn retain(&self, open: &Path) -> Result<()> {
        let mut segments = reader::segments(&self.dir)?;
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        segments.retain(|segment| segment.path != open);
        for segment in segments {
            if bytes <= self.limits.bytes {
                break;
            }
            fs::remove_file(&segment.path).map_err(failed)?;
            bytes -= segment.bytes.min(bytes);
        }
        Ok(())
    }

    fn broken(&mut self, error: &str) {
        tracing::error!(error, "the journal cannot be written: decisions are lost to explain and replay");
        // The next round begins a new segment.
        self.file = None;
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::unavailable("journal.write", "The journal cannot be written.").with_source(error)
}

/// Copies the plugin's files beside the journal, once per component and configuration.
fn keep(dir: &Path, plugin: &PluginUse, files: &PluginFiles) -> std::io::Result<String> {
    let short = |digest: &str| digest.chars().take(32).collect::<String>();
    let name = format!("{}-{}", short(&plugin.digest), short(&plugin.config));
    let to = dir.join("plugins").join(&name);
    if to.join("config.json").is_file() {
        return Ok(name);
    }
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&files.dir)? {
        let entry = entry?;
        let wanted =
            [Some("toml"), Some("wasm")].contains(&entry.path().extension().and_then(|e| e.to_str()));
        if wanted && entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    // Last: a folder with it is whole.
    fs::write(to.join("config.json"), files.config.to_string())?;
    Ok(name)
}
