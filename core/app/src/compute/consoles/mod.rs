//! Consoles of guests, joined from outside of their hosts.
//!
//! A user who may asks for a token, and whoever shows it within its short life is joined to the guest, once. The
//! controller never dials a host: its agent is [asked](super::questions), joins the guest, and hands the stream over
//! to the session that waits. So a token is good at a controller that the host's agent asks for questions.

mod sessions;

pub use sessions::{Session, Sessions};

use super::servers;
use crate::access;
use crate::{App, Ctx};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canopy_agent_api::{Ask, ConsoleState, ConsoleStream};
use canopy_authz::{Target, actions::compute as actions};
use canopy_store::Conn;
use canopy_store::console_tokens::{self, ConsoleToken};
use canopy_store::servers::ServerRow;
use canopy_types::server::Phase;
use canopy_types::{ConsoleKind, Error, HostId, Result, ServerId};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Duration;

/// Tokens of one server at once; the oldest go.
const MOST_TOKENS: i64 = 16;
/// From a token shown to a guest joined.
const JOIN: Duration = Duration::from_secs(10);
/// Bytes of a token's randomness.
const RANDOM: usize = 32;
/// Longest text that is looked at as a token.
const MAX_TOKEN: usize = 128;
/// Pages of noVNC that show a screen and take `path`, the plainest first.
const PAGES: [&str; 2] = ["vnc_lite.html", "vnc.html"];

/// What the operator configures.
#[derive(Clone, Debug)]
pub struct ConsoleSettings {
    /// What links to consoles begin with; as other links without.
    pub url: Option<String>,
    /// Life of a token that nobody uses, seconds.
    pub token_seconds: i64,
    /// Where noVNC is on this machine.
    pub novnc_dir: PathBuf,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { url: None, token_seconds: 600, novnc_dir: "/usr/share/novnc".into() }
    }
}

/// Which console a client asks for, in nova's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Kind(ConsoleKind),
    /// nova knows it, and no guest here has it.
    Unavailable(String),
    /// Not a type of this protocol.
    Invalid(String),
}

/// What joins a guest's console, once.
pub struct Ticket {
    pub token: String,
    pub kind: ConsoleKind,
    /// noVNC's page that shows it, of a screen.
    pub page: Option<&'static str>,
}

/// For a user who may have the console. `verb` is nova's word in refusals.
pub async fn create(app: &App, ctx: &Ctx, id: ServerId, verb: &str, asked: Asked) -> Result<Ticket> {
    let server = servers::find(app, ctx, id).await?;
    access::require(app, ctx, actions::SERVERS_REMOTE_CONSOLE, &servers::target(&server))?;
    let host = on_host(&server, verb)?;
    let kind = match asked {
        Asked::Kind(kind) => kind,
        Asked::Unavailable(name) => return Err(unavailable(&name)),
        Asked::Invalid(name) => {
            return Err(Error::bad_request("console.invalid", format!("Invalid console type {name}")));
        }
    };
    let page = match kind {
        ConsoleKind::Serial => None,
        ConsoleKind::Novnc => Some(page(app).await?),
    };
    ready(app, host, id, kind, None).await?;
    let token = random()?;
    let (digest, now) = (digest(&token), app.now());
    let kept = ConsoleToken {
        server_id: id,
        host_id: host,
        kind,
        expires_at: now.plus_seconds(app.settings.console.token_seconds),
    };
    let verb = verb.to_owned();
    app.store
        .write("console.create", move |c| {
            let (digest, kept, verb) = (digest.clone(), kept.clone(), verb.clone());
            Box::pin(async move {
                // Stopped, moved or deleted since it was looked at: then the token would outlive that.
                let server = live(c, id).await?.ok_or_else(|| servers::absent(&id.to_string()))?;
                if on_host(&server, &verb)? != kept.host_id {
                    return Err(not_ready(id, "it is on another host by now. Try again."));
                }
                console_tokens::put(c, &digest, &kept, MOST_TOKENS, now).await
            })
        })
        .await?;
    Ok(Ticket { token, kind, page })
}

/// What a token joins, as long as it is good: the server, and the name of its host.
pub async fn show(app: &App, ctx: &Ctx, token: &str) -> Result<(ServerId, String)> {
    access::require(app, ctx, actions::CONSOLE_AUTH_TOKENS_SHOW, &Target::default())?;
    let (digest, now) = (digest(token), app.now());
    let found = app
        .store
        .read(move |c| {
            Box::pin(async move {
                let Some(token) = console_tokens::get(c, &digest, now).await? else { return Ok(None) };
                let host = canopy_store::hosts::get(c, token.host_id).await?;
                Ok(Some((token.server_id, host.map(|host| host.name).unwrap_or_default())))
            })
        })
        .await?;
    found.ok_or_else(|| Error::not_found("console.token", "Token not found"))
}

/// A guest's console and the place of who uses it.
pub struct Joined {
    pub stream: ConsoleStream,
    pub session: Session,
    pub server: ServerId,
}

/// Uses up a token and joins its guest.
pub async fn open(app: &App, token: &str, kind: ConsoleKind) -> Result<Joined> {
    let refused = || {
        Error::forbidden(
            "console.token",
            "This is no token of such a console, or it was used, or it has expired. Ask for a new one.",
        )
    };
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err(refused());
    }
    let (digest, now) = (digest(token), app.now());
    let looked = digest.clone();
    let known = app
        .store
        .read(move |c| Box::pin(async move { console_tokens::get(c, &looked, now).await }))
        .await?
        .filter(|known| known.kind == kind)
        .ok_or_else(refused)?;
    // What this controller could not do must not use the token up.
    app.questions.heard(known.host_id)?;
    let (server, host) = (known.server_id, known.host_id);
    let mut session = app.consoles.begin(server, host, kind)?;
    let taken = app
        .store
        .write("console.take", move |c| {
            let digest = digest.clone();
            Box::pin(async move {
                let Some(taken) = console_tokens::take(c, &digest, kind, now).await? else {
                    return Ok(false);
                };
                let server = canopy_store::servers::get(c, taken.server_id).await?;
                let there = |server: ServerRow| server.deleted_at.is_none() && server.host_id == Some(host);
                Ok(server.is_some_and(there))
            })
        })
        .await?;
    if !taken {
        return Err(refused());
    }
    if kind == ConsoleKind::Serial {
        session.alone();
    }
    let joined = async {
        ready(app, host, server, kind, Some(session.id.clone())).await?;
        session.console().await.ok_or_else(silent)
    };
    let stream = tokio::time::timeout(JOIN, joined).await.map_err(|_| silent())??;
    Ok(Joined { stream, session, server })
}

/// Forgets what was given for a server that has stopped, moved or gone.
pub(super) async fn forget(conn: &mut Conn, servers: &[ServerId]) -> Result<()> {
    console_tokens::forget(conn, servers).await
}

async fn live(conn: &mut Conn, id: ServerId) -> Result<Option<ServerRow>> {
    let server = canopy_store::servers::get_for_update(conn, id).await?;
    Ok(server.filter(|server| server.deleted_at.is_none()))
}

/// The host of a guest that is on.
fn on_host(server: &ServerRow, verb: &str) -> Result<HostId> {
    let id = server.id;
    if server.deleting {
        return Err(Error::conflict(
            "server.state",
            format!("Cannot '{verb}' instance {id} while it is in task_state deleting"),
        ));
    }
    let host = server.host_id.ok_or_else(|| not_ready(id, "it has no host."))?;
    match server.phase {
        Phase::Running | Phase::Paused => Ok(host),
        _ => Err(not_ready(id, "its guest is not on. Wait until it is, or start it.")),
    }
}

/// Asks the host; with a session, lets it join.
async fn ready(
    app: &App,
    host: HostId,
    id: ServerId,
    kind: ConsoleKind,
    session: Option<String>,
) -> Result<()> {
    let told = app.questions.ask_guest(host, id, Ask::Console { kind, session }).await?;
    match serde_json::from_str(&told).map_err(|e| Error::internal("console.state", e))? {
        ConsoleState::Ready => Ok(()),
        ConsoleState::Off => Err(not_ready(id, "its guest is not on. Wait until it is, or start it.")),
        ConsoleState::Outdated => {
            Err(not_ready(id, "its guest was started without such a console. Reboot it hard."))
        }
        ConsoleState::Unavailable => Err(unavailable(kind.as_str())),
    }
}

/// The page of noVNC that is installed here.
async fn page(app: &App) -> Result<&'static str> {
    let dir = &app.settings.console.novnc_dir;
    for page in PAGES {
        if tokio::fs::try_exists(dir.join(page)).await.unwrap_or(false) {
            return Ok(page);
        }
    }
    let dir = dir.display();
    tracing::warn!(%dir, "no screens are shown: noVNC is not there; install it or set console.novnc_dir");
    Err(unavailable(ConsoleKind::Novnc.as_str()))
}

fn unavailable(kind: &str) -> Error {
    Error::bad_request("console.unavailable", format!("Unavailable console type {kind}."))
}

fn not_ready(id: ServerId, why: &str) -> Error {
    Error::conflict("server.not_ready", format!("Instance {id} is not ready: {why}"))
}

fn silent() -> Error {
    Error::unavailable("console.silent", "The guest's console did not answer in time. Ask for a new token.")
}

/// Text that nobody guesses.
fn random() -> Result<String> {
    let mut bytes = [0u8; RANDOM];
    getrandom::fill(&mut bytes).map_err(|e| Error::internal("console.random", e))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}
