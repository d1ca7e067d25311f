//! Opening, migrating, and the two ways in: `read` and `write`.

use crate::batch::{Job, Writer};
use crate::migrations::migrate;
use crate::readers::Readers;
use crate::{BoxFuture, Conn, Recent, dialect};
use canopy_types::{Error, Result};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Connection, Executor};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a caller waits for a connection before the database counts as gone.
pub(crate) const ACQUIRE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: String,
    /// Connections for reads (SQLite) or for everything (PostgreSQL).
    pub connections: u32,
}

impl Options {
    pub fn sqlite(path: &Path) -> Self {
        Self { url: format!("sqlite:{}", path.display()), connections: 4 }
    }

    pub fn url(url: impl Into<String>) -> Self {
        Self { url: url.into(), connections: 16 }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Counts commits; a wake-up, not a revision.
    commits: watch::Sender<u64>,
    recent: Recent,
}

enum Database {
    /// The single writer shares commits between requests.
    Sqlite { readers: Readers, writer: Writer },
    /// `aside` has a connection for what must not wait behind others.
    Postgres { pool: AnyPool, aside: AnyPool },
}

impl Store {
    /// Opens and migrates. A schema newer than this program's is refused.
    pub async fn open(options: &Options) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (commits, _) = watch::channel(0);
        let database = if let Some(path) = options.url.strip_prefix("sqlite:") {
            make_private(Path::new(path)).await?;
            let url = format!("sqlite:{path}?mode=rwc");
            let writer = pool(&url, 1, dialect::SQLITE_PRAGMAS).await?;
            migrate(&writer).await?;
            let connections = options.connections.max(1);
            let readers = pool(&url, connections, dialect::SQLITE_READ_PRAGMAS).await?;
            let readers = Readers::new(readers, connections);
            Database::Sqlite { readers, writer: Writer::spawn(writer, commits.clone())? }
        } else {
            let most = pool(&options.url, options.connections.max(2), dialect::POSTGRES_SETUP).await?;
            migrate(&most).await?;
            let aside = pool(&options.url, 1, dialect::POSTGRES_SETUP).await?;
            Database::Postgres { pool: most, aside }
        };
        Ok(Self { inner: Arc::new(Inner { database, commits, recent: Recent::default() }) })
    }

    /// Runs a read. It sees committed state only; several statements may see different commits.
    pub async fn read<T, F>(&self, run: F) -> Result<T>
    where
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, T>,
    {
        match &self.inner.database {
            Database::Sqlite { readers, .. } => {
                let mut reader = readers.take().await?;
                let outcome = run(reader.conn()?).await;
                if outcome.is_ok() {
                    reader.done();
                }
                outcome
            }
            Database::Postgres { pool, .. } => run(&mut *pool.acquire().await.map_err(db)?).await,
        }
    }

    /// As [`Self::read`], on PostgreSQL with a connection of its own: for single statements that must not wait behind
    /// other requests.
    pub async fn aside<T, F>(&self, run: F) -> Result<T>
    where
        F: for<'c> FnOnce(&'c mut Conn) -> BoxFuture<'c, T>,
    {
        match &self.inner.database {
            Database::Sqlite { .. } => self.read(run).await,
            Database::Postgres { aside, .. } => run(&mut *aside.acquire().await.map_err(db)?).await,
        }
    }

    /// Runs `work` in one transaction and answers after its commit. `work` may run again (a shared commit
    /// that failed, a serialization failure), so it must not act on anything but the transaction. Once
    /// called it runs to its end even when the caller goes away. `name` names its crash points.
    pub async fn write<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
    {
        let pool = match &self.inner.database {
            Database::Sqlite { writer, .. } => return writer.submit(name, work).await,
            Database::Postgres { pool, .. } => pool.clone(),
        };
        let commits = self.inner.commits.clone();
        let task = tokio::spawn(async move {
            let outcome = write_postgres(&pool, name, &work).await;
            if outcome.is_ok() {
                commits.send_modify(|n| *n += 1);
            }
            outcome
        });
        task.await.map_err(|e| Error::internal("store.panicked", e))?
    }

    /// Whether nobody but this process writes: [`Self::commits`] then tells of every commit.
    pub fn is_only_writer(&self) -> bool {
        matches!(self.inner.database, Database::Sqlite { .. })
    }

    /// Changes after every commit of this process: a hint to look, never the news itself.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Servers that were read lately.
    pub fn recent(&self) -> Recent {
        self.inner.recent.clone()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.read(|c| Box::pin(async move { c.execute("SELECT 1").await.map_err(db).map(|_| ()) })).await
    }

    pub async fn close(&self) {
        match &self.inner.database {
            Database::Sqlite { readers, writer } => {
                writer.close().await;
                readers.close().await;
            }
            Database::Postgres { pool, aside } => {
                aside.close().await;
                pool.close().await;
            }
        }
    }
}

/// The database holds password hashes and user data: only its owner reads it. SQLite gives its side files the
/// mode of the file itself.
async fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let work = async {
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).open(path).await?;
        for end in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(end);
            match tokio::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    work.await.map_err(|e| Error::unavailable("store.file", format!("Cannot open {}: {e}", path.display())))
}

async fn pool(url: &str, size: u32, setup: &'static str) -> Result<AnyPool> {
    // A file does not go away as a server does, and asking costs as much as most statements.
    let may_be_gone = !url.starts_with("sqlite:");
    AnyPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(may_be_gone)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |conn, _| {
            Box::pin(async move {
                // One by one: SQLite answers some of these with rows, and a failed one must say which.
                for statement in setup.split(';').map(str::trim).filter(|s| !s.is_empty()) {
                    sqlx::query(statement).execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .connect(url)
        .await
        .map_err(db)
}

const ATTEMPTS: u32 = 8;

async fn write_postgres<T, F>(pool: &AnyPool, name: &'static str, work: &F) -> Result<T>
where
    F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut conn = pool.acquire().await.map_err(db)?;
        let mut tx = conn.begin().await.map_err(db)?;
        let outcome = match work(&mut tx).await {
            Ok(value) => {
                let commit = async { tx.commit().await.map_err(db) };
                canopy_types::effect::effect(name, commit).await.map(|()| value)
            }
            Err(error) => {
                let _ = tx.rollback().await;
                Err(error)
            }
        };
        match outcome {
            Err(error) if attempt < ATTEMPTS && dialect::retryable(&error) => {
                tokio::time::sleep(Duration::from_millis(5 << attempt)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Writer {
    async fn submit<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Conn) -> BoxFuture<'t, T> + Send + Sync + 'static,
    {
        self.run(Job::new(name, work)).await
    }
}

/// Every driver error, named for the caller: gone (503), duplicate (409) or unexpected.
pub(crate) fn db(error: sqlx::Error) -> Error {
    dialect::classify(error)
}
