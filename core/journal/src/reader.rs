//! Reading a journal back. Nothing here writes, so a journal can be read while it is written.

use crate::entry::{Asked, Entry, Round};
use crate::{line, takes};
use canopy_placement::{Engine, Fleet, PluginUse};
use canopy_types::{Error, Kind, Result, Timestamp};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".journal";

pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Number of its first request.
    pub(crate) next: i64,
    pub(crate) bytes: u64,
}

/// Sorted by number, then by time: a segment may have been begun again without a request in it.
pub(crate) fn file_name(next: i64, at: Timestamp) -> String {
    format!("{next:016}-{:016x}{SUFFIX}", at.0)
}

/// In order, oldest first.
pub(crate) fn segments(dir: &Path) -> Result<Vec<Segment>> {
    let failed = |e: std::io::Error| {
        Error::unavailable("journal.read", format!("The journal in {} cannot be read.", dir.display()))
            .with_source(e)
    };
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_suffix(SUFFIX).and_then(|name| name.split('-').next()?.parse().ok());
        let Some(next) = number else { continue };
        // One that was removed meanwhile has no size.
        let Ok(about) = entry.metadata() else { continue };
        segments.push(Segment { path: entry.path(), next, bytes: about.len() });
    }
    segments.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(segments)
}

/// The number after the last that was written.
pub(crate) fn next(dir: &Path) -> Result<i64> {
    let Some(last) = segments(dir)?.pop() else { return Ok(1) };
    let mut next = last.next;
    for entry in entries(&last.path)? {
        if let Entry::Round(round) = entry {
            next = round.first + i64::try_from(round.asked.len()).unwrap_or(0);
        }
    }
    Ok(next)
}

/// The whole entries of a segment, up to a torn one.
pub(crate) fn entries(path: &Path) -> Result<impl Iterator<Item = Entry> + use<>> {
    let file = File::open(path).map_err(|e| {
        Error::new(Kind::Gone, "journal.gone", "The journal does not reach back that far any more.")
            .with_source(e)
    })?;
    let mut file = BufReader::new(file);
    let mut buffer = Vec::new();
    Ok(std::iter::from_fn(move || {
        buffer.clear();
        file.by_ref().take(line::MAX as u64).read_until(b'\n', &mut buffer).ok()?;
        line::decode(&buffer)
    }))
}

/// A journal to read.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

/// What a request was decided on.
pub struct Scene {
    /// The fleet before the request's first server.
    pub fleet: Fleet,
    pub seed: u64,
    pub plugin: PluginUse,
    /// Where the journal keeps the plugin's files.
    pub files: Option<PathBuf>,
    pub at: Timestamp,
    pub asked: Asked,
}

impl Reader {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Of the journal itself; empty when there is none.
    pub fn id(&self) -> String {
        fs::read_to_string(self.dir.join("id")).unwrap_or_default().trim().to_owned()
    }

    /// The scene of request `number`. [`Kind::Gone`] when the journal does not reach back that far, or never
    /// got it. Reads one segment; blocking.
    pub fn scene(&self, number: i64) -> Result<Scene> {
        let gone = || {
            Error::new(
                Kind::Gone,
                "journal.gone",
                format!(
                    "The journal does not hold request {number} any more: what is left is the decision itself."
                ),
            )
        };
        let mut segments = segments(&self.dir)?;
        segments.retain(|segment| segment.next <= number);
        // The last that begins at or before it; earlier ones of the same number are empty.
        let segment = segments.pop().ok_or_else(gone)?;
        let mut world = World::default();
        for entry in entries(&segment.path)? {
            match entry {
                Entry::Round(round) if round.first + round.asked.len() as i64 > number => {
                    let skip = usize::try_from(number - round.first).map_err(|_| gone())?;
                    let asked = world.up_to(&round, skip).ok_or_else(gone)?;
                    return Ok(Scene {
                        fleet: world.engine.fleet().clone(),
                        seed: world.seed,
                        files: world.files.map(|name| self.dir.join("plugins").join(name)),
                        plugin: world.plugin,
                        at: round.at,
                        asked,
                    });
                }
                entry => world.pass(&entry),
            }
        }
        Err(gone())
    }

    /// Every entry in order, over all segments. Blocking.
    pub fn entries(&self) -> Result<impl Iterator<Item = Entry> + use<>> {
        let segments = segments(&self.dir)?;
        Ok(segments.into_iter().filter_map(|segment| entries(&segment.path).ok()).flatten())
    }
}

/// A fleet that follows the journal.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) seed: u64,
    pub(crate) plugin: PluginUse,
    pub(crate) files: Option<String>,
}

impl Default for World {
    fn default() -> Self {
        let (seed, plugin, files) = (0, PluginUse::default(), None);
        Self { engine: Engine::new(Fleet::default()), seed, plugin, files }
    }
}

impl World {
    pub(crate) fn pass(&mut self, entry: &Entry) {
        match entry {
            Entry::Checkpoint { fleet, seed, .. } => {
                self.engine = Engine::with_seed(fleet.clone(), *seed);
                self.seed = *seed;
            }
            Entry::Plugin { plugin, files } => {
                self.plugin = plugin.clone();
                self.files.clone_from(files);
            }
            Entry::Round(round) => {
                self.up_to(round, round.asked.len());
            }
        }
    }

    /// Applies the round's changes and what its first `skip` requests took; answers the next one.
    fn up_to(&mut self, round: &Round, skip: usize) -> Option<Asked> {
        for change in &round.changes {
            self.engine.apply(change);
        }
        for (host, recorded) in round.asked.iter().take(skip).flat_map(Asked::placed) {
            self.engine.apply(&takes(host, &recorded.request, 1));
        }
        round.asked.get(skip).cloned()
    }
}
