//! Imports from the web: off unless switched on, bounded, and never a way to what only this machine can reach.

use canopy_tests::fixtures::flavor;
use canopy_tests::{Client, Cloud, Engine, engines, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A web server that answers a fixed text for each path, and counts who asks.
struct Web {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Web {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut head = vec![0; 4_096];
                    let read = stream.read(&mut head).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    let path = head.split_whitespace().nth(1).unwrap_or_default();
                    let _ = stream.write_all(reply(path, address).as_bytes()).await;
                });
            }
        });
        Self { address, asked }
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn reply(path: &str, own: SocketAddr) -> String {
    let to = |uri: String| format!("HTTP/1.1 302 Found\r\nlocation: {uri}\r\ncontent-length: 0\r\n\r\n");
    match path {
        "/image" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbytes".into(),
        "/moved" => to("/image".into()),
        "/away" => to(format!("http://{own}/image")),
        "/inside" => to("http://169.254.169.254/latest/meta-data".into()),
        "/mapped" => to(format!("http://[::ffff:169.254.169.254]:{}/", own.port())),
        "/port" => to("http://127.0.0.1:22/".into()),
        "/file" => to("file:///etc/passwd".into()),
        "/round" => to("/round".into()),
        "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nbytes".into(),
        "/large" => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1_u64 << 50),
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
    }
}

async fn queued(client: &Client) -> String {
    let body = json!({"name": "i", "disk_format": "raw", "container_format": "bare"});
    client.post("/image/v2/images", &body).await.text_at("/id").to_owned()
}

async fn import(client: &Client, id: &str, uri: &str) -> canopy_tests::Answer {
    let body = json!({"method": {"name": "web-download", "uri": uri}});
    client.post(&format!("/image/v2/images/{id}/import"), &body).await
}

/// The newest task of the image, once it has ended.
async fn ended(client: &Client, id: &str) -> Value {
    let path = format!("/image/v2/images/{id}/tasks");
    let newest = async || client.get(&path).await.json["tasks"][0].clone();
    until("the import ends", async || {
        matches!(newest().await["status"].as_str(), Some("success" | "failure"))
    })
    .await;
    newest().await
}

fn on(config: &mut canopy::Config, web: &Web, internal: &[&str]) {
    config.web_download.enabled = true;
    config.web_download.ports = vec![80, 443, web.address.port()];
    config.web_download.internal = internal.iter().map(|net| net.parse().expect("a network")).collect();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_fetched_from_where_the_operator_allows() {
    for engine in engines() {
        let web = Web::start().await;
        let cloud = Cloud::start_with(engine, |config| on(config, &web, &["127.0.0.0/8"]), None).await;
        let tenant = cloud.tenant("t").await;
        let info = tenant.get("/image/v2/info/import").await;
        assert_eq!(info.json["import-methods"]["value"], json!(["glance-direct", "web-download"]));
        for path in ["/image", "/moved", "/away"] {
            let id = queued(&tenant).await;
            assert_eq!(import(&tenant, &id, &web.uri(path)).await.status, 202, "{path}");
            let task = ended(&tenant, &id).await;
            assert_eq!(task["status"], "success", "{path}: {task}");
            assert_eq!(task["input"]["import_req"]["method"]["uri"], web.uri(path));
            assert_eq!(tenant.get(&format!("/image/v2/images/{id}/file")).await.text(), "bytes");
            let again = import(&tenant, &id, &web.uri(path)).await;
            assert_eq!(again.status, 409, "an active image is not imported again: {again:?}");
        }
        // What goes wrong on the way is the task's to say, and the image can be tried again.
        for (path, why) in [
            ("/missing", "answered 404"),
            ("/inside", "none that images may be fetched from"),
            ("/mapped", "none that images may be fetched from"),
            ("/port", "its port must be"),
            ("/file", "its scheme must be"),
            ("/round", "more than 5 times"),
            ("/short", "broken off"),
            ("/large", "at most"),
        ] {
            let id = queued(&tenant).await;
            assert_eq!(import(&tenant, &id, &web.uri(path)).await.status, 202, "{path}");
            let task = ended(&tenant, &id).await;
            assert_eq!(task["status"], "failure", "{path}: {task}");
            assert!(task["message"].as_str().is_some_and(|text| text.contains(why)), "{path}: {task}");
            let image = tenant.get(&format!("/image/v2/images/{id}")).await;
            assert_eq!(image.json["status"], "queued", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_internal_is_asked_and_by_default_nothing_at_all() {
    let web = Web::start().await;
    let cloud = Cloud::start_with(Engine::Sqlite, |config| on(config, &web, &[]), None).await;
    let tenant = cloud.tenant("t").await;
    let id = queued(&tenant).await;
    let port = web.address.port();
    for uri in [
        web.uri("/image"),
        format!("http://[::ffff:127.0.0.1]:{port}/image"),
        format!("http://0x7f000001:{port}/image"),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://example.org:22/".into(),
        "http://a:b@example.org/".into(),
        "file:///etc/passwd".into(),
        "no uri\n\u{0}".into(),
        String::new(),
    ] {
        let refused = import(&tenant, &id, &uri).await;
        assert_eq!(refused.status, 400, "{uri}: {refused:?}");
    }
    // A name is judged by what it stands for, which only the import finds out.
    assert_eq!(import(&tenant, &id, &format!("http://localhost:{port}/image")).await.status, 202);
    let task = ended(&tenant, &id).await;
    assert_eq!(task["status"], "failure", "{task}");
    assert_eq!(web.asked.load(Ordering::SeqCst), 0, "nobody has asked the inside");
    let bare = json!({"method": {"name": "web-download"}});
    assert_eq!(tenant.post(&format!("/image/v2/images/{id}/import"), &bare).await.status, 400);

    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let id = queued(&tenant).await;
    let off = import(&tenant, &id, "https://example.org/image").await;
    assert_eq!(off.status, 400, "{off:?}");
    assert!(off.text().contains("disabled"), "{off:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_larger_than_the_flavors_disk_makes_no_server() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let small = flavor(&admin, "small", 1, 64, 1).await;
        let as_the_image = flavor(&admin, "as the image", 1, 64, 0).await;
        // An empty disk of 2 GiB in qcow2: a few bytes to send, too many to boot.
        let mut disk = vec![0; 6 << 16];
        for (at, bytes) in [
            (0, b"QFI\xfb".to_vec()),
            (4, 3_u32.to_be_bytes().to_vec()),
            (20, 16_u32.to_be_bytes().to_vec()),
            (24, (2_u64 << 30).to_be_bytes().to_vec()),
            (36, 4_u32.to_be_bytes().to_vec()),
            (40, (3_u64 << 16).to_be_bytes().to_vec()),
            (48, (1_u64 << 16).to_be_bytes().to_vec()),
            (56, 1_u32.to_be_bytes().to_vec()),
            (96, 4_u32.to_be_bytes().to_vec()),
            (100, 104_u32.to_be_bytes().to_vec()),
        ] {
            disk[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        let body = json!({"name": "i", "disk_format": "qcow2", "container_format": "bare"});
        let id = tenant.post("/image/v2/images", &body).await.text_at("/id").to_owned();
        let put = tenant.request("PUT", &format!("/image/v2/images/{id}/file"));
        let put = put.header("content-type", "application/octet-stream").body(disk);
        let stored = tenant.send(put).await;
        assert_eq!(stored.status, 204, "{stored:?}");
        let create = async |flavor: &str| {
            let body =
                json!({"server": {"name": "s", "flavorRef": flavor, "imageRef": id, "networks": "none"}});
            tenant.at("2.37").post("/compute/v2.1/servers", &body).await
        };
        let refused = create(&small).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text().contains("too small for requested image"), "{refused:?}");
        assert_eq!(create(&as_the_image).await.status, 202);
    }
}
