//! Images: what is known of them; their bytes are files named by digest.
//!
//! Status moves queued → saving → active by conditional updates only, so two uploads never both write one.

mod list;
pub mod members;
pub mod tasks;

pub use list::{Cursor, Direction, Filter, Moment, Scope, SortKey, Than, list};
pub use members::{Member, MemberStatus};

use crate::rows::{Columns, to_json};
use crate::store::db;
use crate::words::words;
use crate::{Conn, dialect};
use canopy_types::{Error, ImageId, ProjectId, Result, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

words! {
    /// `saving` while bytes arrive, `uploading` while they arrive or wait to be imported, `importing` while they
    /// are; what fails goes back to `queued`. The bytes of a `deactivated` image stay, and are kept from its users.
    Status {
        Queued = "queued", Saving = "saving", Uploading = "uploading", Importing = "importing",
        Active = "active", Deactivated = "deactivated",
    }
}

words! {
    /// `public` and `community` images are readable by everybody; only public ones show in others' lists.
    Visibility { Public = "public", Private = "private", Shared = "shared", Community = "community" }
}

impl Visibility {
    pub fn readable_by_all(self) -> bool {
        matches!(self, Self::Public | Self::Community)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub id: ImageId,
    pub project_id: ProjectId,
    pub name: Option<String>,
    pub status: Status,
    pub visibility: Visibility,
    pub disk_format: Option<String>,
    pub container_format: Option<String>,
    /// GiB.
    pub min_disk: i64,
    /// MiB.
    pub min_ram: i64,
    pub protected: bool,
    pub hidden: bool,
    /// Present exactly while `active` or `deactivated`.
    pub content: Option<Content>,
    pub properties: BTreeMap<String, String>,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What an upload left behind. The digests are lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub size: i64,
    /// Bytes of the disk that a guest sees; none for kernels and ramdisks.
    pub virtual_size: Option<i64>,
    /// md5.
    pub checksum: String,
    /// sha512.
    pub os_hash_value: String,
    /// sha256: the name of the blob.
    pub digest: String,
}

/// The value of `os_hash_algo` wherever there is an `os_hash_value`.
pub const HASH_ALGORITHM: &str = "sha512";

const COLUMNS: &str = "id, project_id, name, status, visibility, disk_format, container_format, min_disk, min_ram, \
     protected, hidden, size, virtual_size, checksum, os_hash_value, digest, properties, tags, created_at, updated_at";

fn image(row: &AnyRow) -> Result<Image> {
    let content = match row.text_opt("digest")? {
        None => None,
        Some(digest) => Some(Content {
            size: row.int("size")?,
            virtual_size: row.int_opt("virtual_size")?,
            checksum: row.text("checksum")?,
            os_hash_value: row.text("os_hash_value")?,
            digest,
        }),
    };
    let word =
        |name: &str, text: String| Error::internal("store.corrupt", format!("column {name} holds {text:?}"));
    let (status, visibility) = (row.text("status")?, row.text("visibility")?);
    Ok(Image {
        id: row.parsed("id")?,
        project_id: ProjectId(row.text("project_id")?),
        name: row.text_opt("name")?,
        status: status.parse().map_err(|()| word("status", status))?,
        visibility: visibility.parse().map_err(|()| word("visibility", visibility))?,
        disk_format: row.text_opt("disk_format")?,
        container_format: row.text_opt("container_format")?,
        min_disk: row.int("min_disk")?,
        min_ram: row.int("min_ram")?,
        protected: row.flag("protected")?,
        hidden: row.flag("hidden")?,
        content,
        properties: row.json("properties")?,
        tags: row.json("tags")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// A new image, always without content. A taken id is a conflict `store.duplicate`.
pub async fn insert(conn: &mut Conn, image: &Image) -> Result<()> {
    sqlx::query(
        "INSERT INTO images (id, project_id, name, status, visibility, disk_format, container_format, min_disk, \
         min_ram, protected, hidden, properties, tags, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(image.id.to_string())
    .bind(image.project_id.as_str())
    .bind(image.name.as_deref())
    .bind(image.status.as_str())
    .bind(image.visibility.as_str())
    .bind(image.disk_format.as_deref())
    .bind(image.container_format.as_deref())
    .bind(image.min_disk)
    .bind(image.min_ram)
    .bind(i64::from(image.protected))
    .bind(i64::from(image.hidden))
    .bind(to_json(&image.properties)?)
    .bind(to_json(&image.tags)?)
    .bind(image.created_at.0)
    .bind(image.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

pub async fn get(conn: &mut Conn, id: ImageId) -> Result<Option<Image>> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM images WHERE id = $1"));
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(image).transpose()
}

/// Reads an image for a change in the same transaction: nobody else changes it before that commits.
pub async fn lock(conn: &mut Conn, id: ImageId) -> Result<Option<Image>> {
    let lock = dialect::for_update(dialect::engine(conn));
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = $1{lock}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    row.as_ref().map(image).transpose()
}

/// Writes everything a client may change; the caller holds the [`lock`].
pub async fn update(conn: &mut Conn, image: &Image) -> Result<()> {
    sqlx::query(
        "UPDATE images SET project_id = $2, name = $3, visibility = $4, disk_format = $5, container_format = $6, \
         min_disk = $7, min_ram = $8, protected = $9, hidden = $10, properties = $11, tags = $12, updated_at = $13 \
         WHERE id = $1",
    )
    .bind(image.id.to_string())
    .bind(image.project_id.as_str())
    .bind(image.name.as_deref())
    .bind(image.visibility.as_str())
    .bind(image.disk_format.as_deref())
    .bind(image.container_format.as_deref())
    .bind(image.min_disk)
    .bind(image.min_ram)
    .bind(i64::from(image.protected))
    .bind(i64::from(image.hidden))
    .bind(to_json(&image.properties)?)
    .bind(to_json(&image.tags)?)
    .bind(image.updated_at.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// queued → saving. `false` when the image is not queued: gone, active, or being uploaded by somebody else.
pub async fn begin_saving(conn: &mut Conn, id: ImageId, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE images SET status = 'saving', updated_at = $2 WHERE id = $1 AND status = 'queued'",
    )
    .bind(id.to_string())
    .bind(now.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// From one of `from` to `to`, neither of which is a status with content. `false` when its status is another.
pub async fn turn(conn: &mut Conn, id: ImageId, from: &[Status], to: Status, now: Timestamp) -> Result<bool> {
    let from: Vec<String> = from.iter().map(|status| format!("'{}'", status.as_str())).collect();
    let sql = sqlx::AssertSqlSafe(format!(
        "UPDATE images SET status = $2, updated_at = $3 WHERE id = $1 AND digest IS NULL AND status IN ({})",
        from.join(", ")
    ));
    let done = sqlx::query(sql)
        .bind(id.to_string())
        .bind(to.as_str())
        .bind(now.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// Images whose bytes are or were being staged or imported, with the time of their last change. Their number
/// is bounded by the quotas of their projects.
pub async fn staging(conn: &mut Conn) -> Result<Vec<(ImageId, Status, Timestamp)>> {
    let rows =
        sqlx::query("SELECT id, status, updated_at FROM images WHERE status IN ('uploading', 'importing')")
            .fetch_all(conn)
            .await
            .map_err(db)?;
    rows.iter()
        .map(|row| {
            let status =
                if row.text("status")? == "importing" { Status::Importing } else { Status::Uploading };
            Ok((row.parsed("id")?, status, row.time("updated_at")?))
        })
        .collect()
}

/// saving or importing → active. `false` when the image is no longer being saved (deleted meanwhile).
pub async fn finish_saving(conn: &mut Conn, id: ImageId, content: &Content, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE images SET status = 'active', size = $2, virtual_size = $3, checksum = $4, os_hash_algo = $5, \
         os_hash_value = $6, digest = $7, updated_at = $8 WHERE id = $1 AND status IN ('saving', 'importing')",
    )
    .bind(id.to_string())
    .bind(content.size)
    .bind(content.virtual_size)
    .bind(&content.checksum)
    .bind(HASH_ALGORITHM)
    .bind(&content.os_hash_value)
    .bind(&content.digest)
    .bind(now.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(done.rows_affected() == 1)
}

/// saving → queued, after an upload that failed.
pub async fn abandon_saving(conn: &mut Conn, id: ImageId, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE images SET status = 'queued', updated_at = $2 WHERE id = $1 AND status = 'saving'")
        .bind(id.to_string())
        .bind(now.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(())
}

/// saving → queued for all: uploads end with the process that received them. Answers how many.
pub async fn abandon_all_saving(conn: &mut Conn, now: Timestamp) -> Result<u64> {
    let done = sqlx::query("UPDATE images SET status = 'queued', updated_at = $1 WHERE status = 'saving'")
        .bind(now.0)
        .execute(conn)
        .await
        .map_err(db)?;
    Ok(done.rows_affected())
}

/// active ↔ deactivated, for an image whose [`lock`] the caller holds and whose status it has looked at.
pub async fn set_deactivated(conn: &mut Conn, id: ImageId, deactivated: bool, now: Timestamp) -> Result<()> {
    let status = if deactivated { Status::Deactivated } else { Status::Active };
    sqlx::query(
        "UPDATE images SET status = $2, updated_at = $3 WHERE id = $1 AND status IN ('active', 'deactivated')",
    )
    .bind(id.to_string())
    .bind(status.as_str())
    .bind(now.0)
    .execute(conn)
    .await
    .map_err(db)?;
    Ok(())
}

/// With its members.
pub async fn delete(conn: &mut Conn, id: ImageId) -> Result<()> {
    members::delete_all(conn, id).await?;
    for sql in ["DELETE FROM images WHERE id = $1", "INSERT INTO image_tombstones (id) VALUES ($1)"] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut *conn).await.map_err(db)?;
    }
    Ok(())
}

/// Whether an image has this id, or has had it.
pub async fn id_taken(conn: &mut Conn, id: ImageId) -> Result<bool> {
    let sql = "SELECT id FROM images WHERE id = $1 UNION ALL SELECT id FROM image_tombstones WHERE id = $1";
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(conn).await.map_err(db)?;
    Ok(row.is_some())
}

/// Whether an image, or a server that is not yet gone, still needs the blob of this digest.
pub async fn digest_in_use(conn: &mut Conn, digest: &str) -> Result<bool> {
    // A digest is hex, so it holds none of LIKE's wildcards; anything else matches no blob.
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(false);
    }
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM images WHERE digest = $1) \
         + (SELECT COUNT(*) FROM servers WHERE deleted_at IS NULL AND (image LIKE $2 OR operation LIKE $2)) AS uses",
    )
    .bind(digest)
    .bind(format!("%{digest}%"))
    .fetch_one(conn)
    .await
    .map_err(db)?;
    Ok(row.int("uses")? > 0)
}

/// Holds an image for the rest of the transaction: `true` if it still has this content, so that what refers
/// to the blob may be written. Garbage is looked for only after the image's row is gone.
pub async fn pin(conn: &mut Conn, id: ImageId, digest: &str) -> Result<bool> {
    let image = lock(conn, id).await?;
    Ok(image.and_then(|image| image.content).is_some_and(|content| content.digest == digest))
}
