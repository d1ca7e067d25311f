//! [`HttpController`] against a server that speaks the protocol of `agent-api`.

use super::HttpController;
use crate::testing;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use canopy_agent_api::{
    Ack, Answer, Ask, Blob, Controller, Desired, Observed, PATH, Question, Registered, Registration,
};
use canopy_types::{HostId, Kind, ServerId};
use std::collections::HashMap;
use std::time::Duration;

fn allowed(headers: &HeaderMap) -> Result<(), StatusCode> {
    match headers.get("authorization").map(|v| v.as_bytes()) {
        Some(b"Bearer secret") => Ok(()),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

async fn desired(
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Desired>, StatusCode> {
    allowed(&headers)?;
    assert_eq!(query["wait"], "20");
    let (spec, networks) = testing::spec_with_network();
    let revision = query["since"].parse::<i64>().unwrap() + 1;
    Ok(Json(Desired { revision, servers: vec![spec.into()], networks }))
}

async fn question(Query(query): Query<HashMap<String, String>>) -> Result<Json<Question>, StatusCode> {
    if query["wait"] == "0" {
        return Err(StatusCode::NO_CONTENT);
    }
    let ask = Ask::ConsoleOutput { lines: Some(3) };
    Ok(Json(Question { id: 5, server_id: Some(ServerId::random()), ask }))
}

/// The digest that ends in `bad` gets other bytes, the one that ends in `long` too many.
async fn image(Path(digest): Path<String>) -> Body {
    match digest.as_str() {
        d if d == testing::blob_of(b"content").digest => Body::from("content"),
        d if d.ends_with("long") => Body::from("content and more"),
        _ => Body::from("cOntent"),
    }
}

async fn serve() -> String {
    let routes = Router::new()
        .route(
            "/register",
            post(|Json(r): Json<Registration>| async move {
                assert_eq!(r.name, "host-1");
                Json(Registered { host_id: HostId::random(), generation: 3 })
            }),
        )
        .route("/hosts/{id}/desired", get(desired))
        .route(
            "/hosts/{id}/observed",
            put(|Json(o): Json<Observed>| async move { Json(Ack { revision: o.revision }) }),
        )
        .route("/hosts/{id}/questions", get(question))
        .route(
            "/hosts/{id}/answers",
            post(|Json(a): Json<Answer>| async move {
                if a.id == 5 { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
            }),
        )
        .route("/images/{digest}", get(image));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().nest(PATH, routes)).await });
    url
}

#[tokio::test]
async fn every_call_crosses() {
    let controller = HttpController::new(&serve().await, "secret").unwrap();
    let inventory = canopy_agent_api::Inventory {
        vcpus: 1,
        memory_mib: 1,
        disk_gib: 1,
        hypervisor_type: "QEMU".into(),
        hypervisor_version: 1,
        acceleration: "tcg".into(),
        physical_networks: Vec::new(),
    };
    let registration = Registration { version: 1, name: "host-1".into(), inventory };
    let registered = controller.register(registration).await.unwrap();
    assert_eq!(registered.generation, 3);
    let host = registered.host_id;
    let desired = controller.desired(host, 6, Duration::from_secs(20)).await.unwrap();
    assert_eq!((desired.revision, desired.servers.len()), (7, 1));
    let observed = Observed { revision: 7, generation: 4, servers: vec![], load: None };
    assert_eq!(controller.report(host, observed).await.unwrap().revision, 7);
    assert_eq!(controller.next_question(host, Duration::ZERO).await.unwrap(), None);
    assert_eq!(controller.next_question(host, Duration::from_secs(1)).await.unwrap().unwrap().id, 5);
    let answer = |id| Answer { id, outcome: Ok("text".into()) };
    controller.answer(host, answer(5)).await.unwrap();
    let refused = controller.answer(host, answer(6)).await.unwrap_err();
    assert_eq!((refused.kind, refused.code), (Kind::NotFound, "agent.controller_refused"));
}

#[tokio::test]
async fn images_arrive_whole_or_not_at_all() {
    let controller = HttpController::new(&serve().await, "secret").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("i");
    let good = testing::blob_of(b"content");
    controller.fetch_image(&good, &into).await.unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), b"content");
    for digest in ["other", "long"] {
        let blob = Blob { digest: digest.into(), size: 7 };
        let error = controller.fetch_image(&blob, &dir.path().join(digest)).await.unwrap_err();
        assert_eq!(error.code, "agent.image_digest", "{digest}");
    }
}

#[tokio::test]
async fn strangers_and_strange_addresses_are_told_apart() {
    let url = serve().await;
    let stranger = HttpController::new(&url, "guess").unwrap();
    let error = stranger.desired(HostId::random(), 0, Duration::from_secs(20)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unauthorized);
    assert!(!error.chain().contains("guess"));
    let nobody = HttpController::new("http://127.0.0.1:1", "secret").unwrap();
    let error = nobody.next_question(HostId::random(), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.code, "agent.controller_unreachable");
    for url in ["", "ftp://127.0.0.1", "http://10.0.0.1:80", "https://localhost", "http://example.org"] {
        assert!(HttpController::new(url, "t").is_err(), "{url}");
    }
    assert!(HttpController::new("http://[::1]:9/", "t").is_ok());
}
