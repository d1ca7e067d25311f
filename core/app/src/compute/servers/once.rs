//! A create with an `Idempotency-Key` makes its servers once, however often a client that lost the answer
//! asks again.
//!
//! What was made is kept in the very transaction that made it, so there is no moment in which one is there
//! without the other. A refused request keeps nothing: asked again, it is decided again.

use super::create::Created;
use crate::{App, Ctx};
use canopy_store::Conn;
use canopy_store::idempotency::{self, Kept};
use canopy_types::{Error, Kind, ProjectId, Result, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an answer can be asked for again.
pub const KEPT_SECONDS: i64 = 24 * 3_600;
/// Another request of this key has committed meanwhile.
pub(super) const TAKEN: &str = "idempotency.taken";

/// What a client says of its request.
#[derive(Clone, Debug)]
pub struct Once {
    /// 1 to 255 visible ASCII characters.
    pub key: String,
    /// sha256 of the body.
    pub digest: String,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    v: u32,
    servers: Vec<ServerId>,
    reservation_id: String,
}

fn key(ctx: &Ctx, project: &ProjectId, once: &Once) -> idempotency::Key {
    idempotency::Key {
        project_id: project.clone(),
        user_id: ctx.who.user_id.clone(),
        route: "POST /servers",
        key: once.key.clone(),
    }
}

/// What an earlier request of this key made. Another body under the same key is refused.
pub(super) async fn made(app: &App, ctx: &Ctx, project: &ProjectId, once: &Once) -> Result<Option<Created>> {
    let (key, since) = (key(ctx, project, once), app.now().plus_seconds(-KEPT_SECONDS));
    let kept =
        app.store.read(move |c| Box::pin(async move { idempotency::get(c, &key, since).await })).await?;
    let Some(kept) = kept else { return Ok(None) };
    if kept.digest != once.digest {
        return Err(Error::new(
            Kind::Unprocessable,
            "idempotency.other_body",
            "This Idempotency-Key was used for a request with another body. Use a new key for a new request.",
        ));
    }
    let reply: Reply =
        serde_json::from_value(kept.reply).map_err(|e| Error::internal("idempotency.corrupt", e))?;
    Ok(Some(Created { servers: reply.servers, reservation_id: reply.reservation_id }))
}

/// Keeps what this transaction makes, or fails with [`TAKEN`].
pub(super) async fn keep(
    conn: &mut Conn,
    ctx: &Ctx,
    project: &ProjectId,
    once: &Once,
    (servers, reservation_id): (Vec<ServerId>, &str),
    now: Timestamp,
) -> Result<()> {
    let reply = Reply { v: 1, servers, reservation_id: reservation_id.to_owned() };
    let reply = serde_json::to_value(reply).map_err(|e| Error::internal("idempotency.serialise", e))?;
    let kept = Kept { digest: once.digest.clone(), reply };
    if idempotency::put(conn, &key(ctx, project, once), &kept, now.plus_seconds(-KEPT_SECONDS), now).await? {
        return Ok(());
    }
    Err(Error::conflict(TAKEN, "Another request with this Idempotency-Key is being answered. Ask again."))
}
