//! Clients that keep the server waiting, by number and by slowness: they cost themselves, not others.

use canopy_tests::Cloud;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn connect(cloud: &Cloud) -> TcpStream {
    TcpStream::connect(cloud.url.trim_start_matches("http://")).await.unwrap()
}

/// Everything the server says until it closes, or until `patience` is over.
async fn said(stream: &mut TcpStream, patience: Duration) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(patience, stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_keep_nobody_else_out() {
    let cloud = Cloud::start().await;
    let mut slow = Vec::new();
    for _ in 0..600 {
        let mut stream = connect(&cloud).await;
        let head = "POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: c\r\nContent-Length: 100\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let admin = cloud.admin().await;
    assert_eq!(admin.get("/compute/v2.1/servers").await.status, 200);
    // Each gets an answer in the end, not a silent cut.
    let answer = said(slow.last_mut().unwrap(), Duration::from_secs(40)).await;
    assert!(answer.contains("took too long to arrive"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_wait_for_questions_keep_no_user_out() {
    let cloud = Cloud::start().await;
    let host = cloud.hosts().await[0].id;
    let mut waiting = Vec::new();
    for _ in 0..600 {
        let mut stream = connect(&cloud).await;
        let head = format!(
            "GET /agent/v1/hosts/{host}/questions?wait=30 HTTP/1.1\r\nHost: c\r\nAuthorization: Bearer {}\r\n\r\n",
            cloud.agent_token()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let admin = cloud.admin().await;
    assert_eq!(admin.get("/compute/v2.1/servers").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_outlives_its_token_does_nothing() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let body = json!({"keypair": {"name": "late"}}).to_string();
    let mut stream = connect(&cloud).await;
    let head = format!(
        "POST /compute/v2.1/os-keypairs HTTP/1.1\r\nHost: c\r\nConnection: close\r\nX-Auth-Token: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        admin.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (first, rest) = body.as_bytes().split_at(1);
    stream.write_all(first).await.unwrap();
    let other = cloud.admin().await;
    let answer = other.with_header("x-subject-token", &admin.token).delete("/identity/v3/auth/tokens").await;
    assert_eq!(answer.status, 204);
    // Longer than a body may take without its token being looked at again.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    stream.write_all(rest).await.unwrap();
    let answer = said(&mut stream, Duration::from_secs(20)).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(other.get("/compute/v2.1/os-keypairs").await.json["keypairs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_the_service_s_own_shape_and_one_metric() {
    let cloud = Cloud::start().await;
    let ask = async |request: &str| {
        let mut stream = connect(&cloud).await;
        let text = format!("{request} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        said(&mut stream, Duration::from_secs(20)).await
    };
    let answer = ask("GET /compute/v2.1/servers/%ff").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("x-compute-request-id"), "{answer}");
    assert!(answer.contains("itemNotFound"), "{answer}");
    let (get, head) = (ask("GET /identity/v3").await, ask("HEAD /identity/v3").await);
    let length = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("content-length: ")).unwrap();
        line.trim_start_matches("content-length: ").parse::<usize>().unwrap()
    };
    assert!(length(&get) > 0);
    assert_eq!(length(&head), length(&get));
    for n in 0..20 {
        ask(&format!("INVENTED{n} /identity/v3")).await;
    }
    let metrics = ask("GET /metrics").await;
    assert!(!metrics.contains("INVENTED") && metrics.contains("method=\"other\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_was_read_leaves_the_connection_usable_or_says_that_it_ends() {
    let cloud = Cloud::start().await;
    let body = "x".repeat(65_536);
    let mut stream = connect(&cloud).await;
    // Refused for want of a route, a method and a token: none of them reads the body.
    let refused = [
        ("POST", "/compute/v2.1/nothing"),
        ("PATCH", "/compute/v2.1/servers"),
        ("POST", "/compute/v2.1/servers"),
    ];
    for (method, path) in refused {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    stream.write_all(b"GET /compute/v2.1/ HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").await.unwrap();
    let answers = said(&mut stream, Duration::from_secs(20)).await;
    let statuses: Vec<&str> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..answer.len().min(3)]).collect();
    assert_eq!(statuses, ["404", "405", "401", "200"], "{answers}");

    // A client that waits to be asked for its body is not asked: it is told why, and that this was all.
    let mut stream = connect(&cloud).await;
    let head =
        "POST /compute/v2.1/servers HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = said(&mut stream, Duration::from_secs(20)).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 401 ") && answer.contains("connection: close"), "{answer}");
}
