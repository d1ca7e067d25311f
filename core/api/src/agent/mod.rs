//! The agent's API: the controller's trait over HTTP, for an agent in a process of its own.

use crate::handler;
use crate::request::{Reply, ReplyBody, Req};
use crate::route::{Route, Schema, Service};
use crate::version::{Microversion, v};
use canopy_agent_api::{Answer, Controller, Observed, Registration, STREAM};
use canopy_app::compute::controller::LocalController;
use canopy_types::{Error, HostId, Result};
use futures::StreamExt;
use http::Method;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio_util::compat::TokioAsyncReadCompatExt;

/// The shapes are the types of `canopy-agent-api`; parsing checks them.
const OBJECT: &[(Microversion, Schema)] = &[(v(0, 0), || serde_json::json!({"type": "object"}))];

pub fn routes() -> Vec<Route> {
    let route =
        |method, path, summary, handler| Route::new(Service::Agent, method, path, summary, handler).agent();
    vec![
        route(Method::POST, "/register", "Register a host", handler!(register)).json(OBJECT),
        route(Method::GET, "/hosts/{host_id}/desired", "Desired state above a revision", handler!(desired)),
        route(Method::PUT, "/hosts/{host_id}/observed", "Report observed state", handler!(observed))
            .json(OBJECT),
        route(Method::GET, "/hosts/{host_id}/questions", "The next question", handler!(question))
            .answers(&[200, 204], &[]),
        route(Method::POST, "/hosts/{host_id}/answers", "Answer a question", handler!(answer))
            .json(OBJECT)
            .answers(&[204], &[]),
        route(
            Method::GET,
            "/hosts/{host_id}/sessions/{session}",
            "Become the stream of a guest's console",
            handler!(session),
        )
        .answers(&[101], &[404]),
        route(Method::GET, "/images/{digest}", "An image's bytes", handler!(image)).answers(&[200], &[404]),
        route(
            Method::PUT,
            "/hosts/{host_id}/servers/{server_id}/images/{image_id}",
            "Store the image of a server's disk",
            handler!(store_image),
        )
        .stream()
        .answers(&[204], &[404, 410]),
        route(Method::GET, "/network-plugin", "Which plugin plans networks", handler!(network_plugin)),
        route(Method::GET, "/plugins/{digest}", "A plugin's manifest and component", handler!(plugin))
            .answers(&[200], &[404]),
    ]
}

fn controller(req: &Req) -> LocalController {
    LocalController(req.app.clone())
}

fn body<T: DeserializeOwned>(req: &mut Req) -> Result<T> {
    serde_json::from_value(req.json.take())
        .map_err(|e| Error::bad_request("agent.body", format!("Malformed body: {e}")))
}

fn host(req: &Req) -> Result<HostId> {
    req.id("host_id", |_| Error::not_found("agent.host", "No such host: register first."))
}

fn wait(req: &Req) -> Duration {
    Duration::from_secs(req.query.get("wait").and_then(|text| text.parse().ok()).unwrap_or(0).min(30))
}

async fn register(mut req: Req) -> Result<Reply> {
    let registration: Registration = body(&mut req)?;
    Reply::json(200, &controller(&req).register(registration).await?)
}

async fn desired(req: Req) -> Result<Reply> {
    let since = req.query.get("since").and_then(|text| text.parse().ok()).unwrap_or(0);
    Reply::json(200, &controller(&req).desired(host(&req)?, since, wait(&req)).await?)
}

async fn observed(mut req: Req) -> Result<Reply> {
    let observed: Observed = body(&mut req)?;
    Reply::json(200, &controller(&req).report(host(&req)?, observed).await?)
}

async fn question(req: Req) -> Result<Reply> {
    match controller(&req).next_question(host(&req)?, wait(&req)).await? {
        Some(question) => Reply::json(200, &question),
        None => Ok(Reply::empty(204)),
    }
}

async fn answer(mut req: Req) -> Result<Reply> {
    let answer: Answer = body(&mut req)?;
    controller(&req).answer(host(&req)?, answer).await?;
    Ok(Reply::empty(204))
}

/// The connection goes on as the console's bytes, both ways and as they are.
async fn session(mut req: Req) -> Result<Reply> {
    let host = host(&req)?;
    let asked = req.header("upgrade") == Some(STREAM);
    let upgrade = req.upgrade.take().filter(|_| asked).ok_or_else(|| {
        Error::bad_request("agent.upgrade", format!("This becomes a stream: ask to upgrade to {STREAM}."))
    })?;
    let waits = req.app.consoles.join(host, req.param("session"))?;
    tokio::spawn(async move {
        match upgrade.await {
            // Who waited may have gone: then the stream ends here.
            Ok(stream) => drop(waits.send(Box::new(TokioIo::new(stream).compat()))),
            Err(error) => tracing::debug!(%error, "a host did not become a console's stream"),
        }
    });
    Ok(Reply::empty(101).header("connection", "upgrade").header("upgrade", STREAM))
}

async fn store_image(mut req: Req) -> Result<Reply> {
    let absent = |_: &str| Error::not_found("agent.image", "No such server or image.");
    let (host, server, image) = (host(&req)?, req.id("server_id", absent)?, req.id("image_id", absent)?);
    let declared = req.headers.get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|text| text.to_str().ok()?.parse().ok());
    let body = req.stream.take().unwrap_or_default().into_data_stream();
    let body = body.map(|chunk| {
        chunk.map_err(|e| {
            Error::bad_request("image.upload_broken", "The upload was broken off.").with_source(e)
        })
    });
    controller(&req).receive_image(host, server, image, declared, body.boxed()).await?;
    Ok(Reply::empty(204))
}

async fn network_plugin(req: Req) -> Result<Reply> {
    let (revision, choice) = canopy_app::plugins::follow::for_agents(&req.app).await?;
    let choice = serde_json::json!({"revision": revision, "plugin": choice.plugin, "config": choice.config});
    Reply::json(200, &choice)
}

async fn plugin(req: Req) -> Result<Reply> {
    let digest = req.param("digest");
    // It becomes part of a path.
    if digest.len() != 64 || !digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(canopy_app::plugins::absent(digest));
    }
    let bytes = canopy_app::plugins::follow::package_for_agents(&req.app, digest).await?;
    let mut reply = Reply::empty(200).header("content-type", "application/octet-stream");
    reply.body = ReplyBody::Stream(axum::body::Body::from(bytes));
    Ok(reply)
}

async fn image(req: Req) -> Result<Reply> {
    let digest = req.param("digest");
    // It becomes part of a path.
    if digest.len() != 64 || !digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Error::not_found("image.blob", "No such image."));
    }
    let (file, _) = req.app.blobs.read(digest).await?;
    let stream = tokio_util::io::ReaderStream::with_capacity(file, 256 << 10);
    let mut reply = Reply::empty(200).header("content-type", "application/octet-stream");
    reply.body = ReplyBody::Stream(axum::body::Body::from_stream(stream));
    Ok(reply)
}
