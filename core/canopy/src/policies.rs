//! Where a policy bundle comes from: a folder as it is, or a commit of a git repository.
//!
//! A folder of a git work tree is read at the commit that is checked out, not as the files are: what
//! decides is then always what some commit says, and never half of a checkout in progress.

use canopy_app::policies as app;
use canopy_authz::{Bundle, SCHEMA, files};
use canopy_types::{Error, Kind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// For one git command.
const PATIENCE: Duration = Duration::from_secs(30);
/// A folder that changes while it is read is read anew, so often.
const TRIES: usize = 5;

/// The files of a bundle, and the commit they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub files: files::Files,
    pub commit: Option<String>,
}

impl Source {
    /// The bundle of these files. Validating takes a moment: off the async threads.
    pub async fn bundle(self) -> Result<Bundle> {
        tokio::task::spawn_blocking(move || Ok(Bundle::build(&self.files)?.at(self.commit)))
            .await
            .map_err(|e| Error::internal("policy.load", e))?
    }

    /// As [`Source::bundle`], for one to compare with: it may know fewer actions than this program.
    pub async fn other_version(self) -> Result<Bundle> {
        tokio::task::spawn_blocking(move || Ok(Bundle::build_other_version(&self.files)?.at(self.commit)))
            .await
            .map_err(|e| Error::internal("policy.load", e))?
    }
}

/// What a server decides by: a folder at its commit, or as it is if it is in no commit.
pub async fn deployed(dir: &Path) -> Result<Source> {
    match commit_of(dir).await {
        Some((root, commit, path)) => at_commit(&root, &commit, &path).await,
        None => {
            distrusted(dir).await?;
            folder(dir).await
        }
    }
}

/// A work tree that git does not read for us, mostly since it is somebody else's, is not taken for a plain folder:
/// what is not committed would decide.
async fn distrusted(dir: &Path) -> Result<()> {
    match git(dir, ["rev-parse", "--show-toplevel"]).await {
        Err(error) if error.message.contains("dubious ownership") => Err(Error::new(
            Kind::Unprocessable,
            "policy.git_ownership",
            format!(
                "{}: is in a git work tree of another user, which git refuses to read. Make it this user's, or have \
                 this user run: git config --global --add safe.directory FOLDER. git says: {}",
                dir.display(),
                error.message
            ),
        )),
        _ => Ok(()),
    }
}

/// A folder as it is.
pub async fn folder(dir: &Path) -> Result<Source> {
    let dir = dir.to_owned();
    let read = move || {
        let mut last = files::read_dir(&dir)?;
        for _ in 0..TRIES {
            let again = files::read_dir(&dir)?;
            if again == last {
                return Ok(Source { files: again, commit: None });
            }
            last = again;
        }
        let message = format!("{}: changes while it is read; try again", dir.display());
        Err(Error::new(Kind::Conflict, "policy.changing", message))
    };
    tokio::task::spawn_blocking(read).await.map_err(|e| Error::internal("policy.read", e))?
}

/// What a person names: a folder, or `REVISION` or `REVISION:FOLDER` of the repository one stands in.
/// Without a folder it is `policies`.
pub async fn named(text: &str) -> Result<Source> {
    if Path::new(text).is_dir() {
        return folder(Path::new(text)).await;
    }
    let (revision, path) = text.split_once(':').unwrap_or((text, "policies"));
    let neither = |why: &str| {
        let message = format!("{text}: is neither a folder nor a git revision with policies in it: {why}");
        Error::new(Kind::NotFound, "policy.source", message)
    };
    if revision.is_empty() || revision.starts_with('-') {
        return Err(neither("it does not name a revision"));
    }
    let here = Path::new(".");
    let root = git(here, ["rev-parse", "--show-toplevel"]).await.map_err(|e| neither(&e.message))?;
    let root = PathBuf::from(root.trim());
    let commit = format!("{revision}^{{commit}}");
    let commit = git(&root, ["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])
        .await
        .map_err(|_| neither("there is no such commit"))?;
    at_commit(&root, commit.trim(), path.trim_end_matches('/')).await
}

/// The repository, the commit and the folder in it, if the folder is in a work tree whose commit has it.
async fn commit_of(dir: &Path) -> Option<(PathBuf, String, String)> {
    let root = git(dir, ["rev-parse", "--show-toplevel"]).await.ok()?;
    let commit = git(dir, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await.ok()?;
    let path = git(dir, ["rev-parse", "--show-prefix"]).await.ok()?;
    let (root, commit) = (PathBuf::from(root.trim()), commit.trim().to_owned());
    let path = path.trim().trim_end_matches('/').to_owned();
    let schema = if path.is_empty() { SCHEMA.to_owned() } else { format!("{path}/{SCHEMA}") };
    git(&root, ["cat-file", "-e", &format!("{commit}:{schema}")]).await.ok()?;
    Some((root, commit, path))
}

/// A folder that the configuration names.
pub struct Deployed(pub PathBuf);

impl app::Source for Deployed {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }

    /// Of the files where they decide, of the commit where that does.
    fn fingerprint(&self) -> BoxFuture<'_, String> {
        async {
            if let Some((_, commit, _)) = commit_of(&self.0).await {
                return commit;
            }
            let dir = self.0.clone();
            tokio::task::spawn_blocking(move || stamps(&dir)).await.unwrap_or_default()
        }
        .boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Bundle>> {
        async { deployed(&self.0).await?.bundle().await }.boxed()
    }
}

/// Name, size and time of change of each file.
fn stamps(dir: &Path) -> String {
    let mut stamps: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| files::belongs(&entry.file_name().to_string_lossy()))
        .map(|entry| {
            // Through a link to what it names: a deployment may switch links.
            let meta = std::fs::metadata(entry.path());
            format!("{:?} {:?}", entry.file_name(), meta.map(|m| (m.len(), m.modified().ok(), m.ino())).ok())
        })
        .collect();
    stamps.sort();
    stamps.join("\n")
}

/// The bundle that came with this program.
pub struct Embedded;

impl app::Source for Embedded {
    fn describe(&self) -> String {
        "compiled in".into()
    }

    fn fingerprint(&self) -> BoxFuture<'_, String> {
        async { String::new() }.boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Bundle>> {
        async { Source { files: canopy_authz::embedded_files(), commit: None }.bundle().await }.boxed()
    }
}

async fn at_commit(root: &Path, commit: &str, path: &str) -> Result<Source> {
    let tree = format!("{commit}:{path}");
    let names = git(root, ["ls-tree", "-z", "--name-only", &tree]).await?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| files::belongs(name)) {
        if files.len() == files::MAX_FILES {
            let message = format!("{tree}: holds more than {} policy files", files::MAX_FILES);
            return Err(Error::new(Kind::Unprocessable, "policy.invalid", message));
        }
        let object = if path.is_empty() { format!("{commit}:{name}") } else { format!("{tree}/{name}") };
        let size: u64 = git(root, ["cat-file", "-s", &object]).await?.trim().parse().unwrap_or(u64::MAX);
        if size > files::MAX_FILE {
            let message = format!("{object}: is larger than {} bytes", files::MAX_FILE);
            return Err(Error::new(Kind::Unprocessable, "policy.invalid", message));
        }
        files.push((name.to_owned(), git(root, ["cat-file", "blob", &object]).await?));
    }
    files.sort();
    Ok(Source { files, commit: Some(commit.to_owned()) })
}

async fn git<const N: usize>(dir: &Path, arguments: [&str; N]) -> Result<String> {
    let failed = |why: String| Error::unavailable("policy.git", format!("git in {}: {why}", dir.display()));
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(arguments.map(OsStr::new));
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| failed("does not answer".into()))?
        .map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("the answer is not UTF-8".into()))
}
