//! What links to consoles lead to: the stream of a guest's console as a WebSocket, and noVNC, which shows one.
//!
//! No token of the cloud is asked for here: what a link carries joins one console, once.

mod files;
mod origin;
mod relay;

use crate::handler;
use crate::links;
use crate::request::{Reply, ReplyBody, Req};
use crate::route::{Route, Service};
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use canopy_app::compute::consoles::{self, Joined, Ticket};
use canopy_types::{ConsoleKind, Error, Result};
use http::{HeaderMap, Method, header};

/// What noVNC and most clients of serial consoles offer; bytes travel as they are also without it.
const PROTOCOL: &str = "binary";
/// Longest message of a client. Longer texts come as several.
const MAX_MESSAGE: usize = 64 << 10;
/// Bytes on their way to a client that the kernel has not taken yet.
const MAX_UNSENT: usize = 256 << 10;

pub fn routes() -> Vec<Route> {
    let route =
        |path, summary, handler| Route::new(Service::Console, Method::GET, path, summary, handler).public();
    vec![
        route("/ws/{kind}", "Join a guest's console", handler!(join)).answers(&[101], &[403, 404, 409, 429]),
        route("/{*file}", "noVNC", handler!(files::file)).answers(&[200], &[404]),
    ]
}

/// Where a ticket is used.
pub fn link(req: &Req, ticket: &Ticket) -> String {
    let base = req.app.settings.console.url.as_deref().unwrap_or(&req.base).trim_end_matches('/');
    let socket = format!("console/ws/{}?token={}", ticket.kind.as_str(), ticket.token);
    match (ticket.kind, ticket.page) {
        (ConsoleKind::Novnc, Some(page)) => {
            // noVNC's path begins at the root of the page's own host.
            let root = base.splitn(4, '/').nth(3).map_or(String::new(), |root| format!("{root}/"));
            let path = links::escape(&format!("{root}{socket}"));
            // The path comes first: a link that was cut at its `&` on the way, as by a shell, still joins.
            format!("{base}/console/{page}?path={path}&autoconnect=true")
        }
        // http becomes ws, https becomes wss.
        _ => format!("ws{}/{socket}", base.strip_prefix("http").unwrap_or(base)),
    }
}

async fn join(req: Req) -> Result<Reply> {
    let kind: ConsoleKind = req.id("kind", |_| absent())?;
    let source = req.source.map(tracing::field::display);
    joined(req, kind).await.inspect_err(|error| {
        tracing::info!(kind = kind.as_str(), source, why = error.chain(), "console refused");
    })
}

async fn joined(mut req: Req, kind: ConsoleKind) -> Result<Reply> {
    let mut origins = req.headers.get_all(header::ORIGIN).iter();
    let host = req.header("host").unwrap_or_default();
    let own = [Some(host), authority(req.app.settings.console.url.as_deref()), authority(Some(&req.base))];
    if !origins.all(|origin| origin.to_str().is_ok_and(|origin| origin::is_own(origin, &own))) {
        return Err(Error::forbidden(
            "console.origin",
            "Consoles are joined from pages of this cloud only: the Origin header names another host.",
        ));
    }
    let upgrade = websocket(&mut req).await?;
    let token = req.query.get("token").unwrap_or_default();
    let Joined { stream, mut session, server } = consoles::open(&req.app, token, kind).await?;
    let source = req.source;
    tracing::info!(%server, kind = kind.as_str(), source = source.map(tracing::field::display), "console joined");
    let response = upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNSENT)
        .on_upgrade(move |socket| async move {
            let why = relay::relay(socket, stream, session.stopped()).await;
            tracing::info!(%server, kind = kind.as_str(), why, "console left");
        });
    let (parts, _) = response.into_parts();
    let headers = parts.headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    Ok(Reply { status: parts.status, headers, body: ReplyBody::Empty })
}

fn authority(url: Option<&str>) -> Option<&str> {
    url?.split_once("://")?.1.split('/').next()
}

/// The handshake's first half.
async fn websocket(req: &mut Req) -> Result<WebSocketUpgrade> {
    let mut request = http::Request::new(());
    *request.headers_mut() = std::mem::replace(&mut req.headers, HeaderMap::new());
    if let Some(upgrade) = req.upgrade.take() {
        request.extensions_mut().insert(upgrade);
    }
    let (mut parts, ()) = request.into_parts();
    WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|rejection| {
        Error::bad_request("console.handshake", format!("This is the address of a WebSocket: {rejection}."))
    })
}

fn absent() -> Error {
    Error::not_found("console.absent", "There is nothing here.")
}
