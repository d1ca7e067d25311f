//! Images through the API: uploads of every kind of bad bytes, isolation, lists, and the space they take.

use canopy_tests::mounted::Mounted;
use canopy_tests::{Answer, Client, Cloud, engines, until};
use futures::StreamExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OCTETS: &str = "application/octet-stream";
const PATCH: &str = "application/openstack-images-v2.1-json-patch";

async fn create(client: &Client, body: Value) -> String {
    let made = client.post("/image/v2/images", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text_at("/id").to_owned()
}

async fn raw(client: &Client, name: &str) -> String {
    create(client, json!({"name": name, "disk_format": "raw", "container_format": "bare"})).await
}

fn file(id: &str) -> String {
    format!("/image/v2/images/{id}/file")
}

async fn upload(client: &Client, id: &str, bytes: impl Into<reqwest::Body>) -> Answer {
    client.send(client.request("PUT", &file(id)).header("content-type", OCTETS).body(bytes)).await
}

async fn show(client: &Client, id: &str) -> Value {
    let shown = client.get(&format!("/image/v2/images/{id}")).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    shown.json
}

async fn patch(client: &Client, id: &str, body: Value) -> Answer {
    let request = client.request("PATCH", &format!("/image/v2/images/{id}"));
    client.send(request.header("content-type", PATCH).body(body.to_string())).await
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries.flatten().map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 }).sum()
    })
}

fn blobs(cloud: &Cloud) -> PathBuf {
    cloud.config.data_dir.join("images")
}

/// An empty qcow2 of 1 MiB, with 64 KiB clusters.
fn qcow2() -> Vec<u8> {
    let mut image = vec![0; 6 << 16];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &(1_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3_u64 << 16).to_be_bytes());
    put(48, &(1_u64 << 16).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    put(3 << 16, &((4_u64 << 16) | (1 << 63)).to_be_bytes());
    put(4 << 16, &((5_u64 << 16) | (1 << 63)).to_be_bytes());
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_lives_from_queued_to_gone_and_gives_its_space_back() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let tenant = cloud.tenant("t").await;
        let made = tenant
            .post(
                "/image/v2/images",
                &json!({"name": "déjà vu", "disk_format": "raw", "container_format": "bare", "min_disk": 1,
                    "tags": ["b", "a", "b"], "os_distro": "debian", "owner_specified.openstack.md5": ""}),
            )
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text_at("/id").to_owned();
        assert_eq!(made.header("location"), Some(format!("{}/image/v2/images/{id}", cloud.url).as_str()));
        assert_eq!(made.json["status"], "queued");
        assert_eq!(made.json["visibility"], "shared");
        assert_eq!(made.json["tags"], json!(["a", "b"]));
        assert_eq!(made.json["size"], Value::Null);
        assert_eq!(made.json["os_distro"], "debian");
        assert_eq!(tenant.get(&file(&id)).await.status, 204, "no data yet");

        let uploaded = upload(&tenant, &id, "0123456789").await;
        assert_eq!((uploaded.status, uploaded.body.len()), (204, 0), "{uploaded:?}");
        let image = show(&tenant, &id).await;
        assert_eq!(image["status"], "active");
        assert_eq!((&image["size"], &image["virtual_size"]), (&json!(10), &json!(10)));
        assert_eq!(image["checksum"], "781e5e245d69b566979b86e28d23f2c7");
        assert_eq!(image["os_hash_algo"], "sha512");
        assert_eq!(image["os_hash_value"].as_str().map(str::len), Some(128));
        assert_eq!(image["file"], format!("/v2/images/{id}/file"));
        assert_eq!(files(&blobs(&cloud)), 1);

        let got = tenant.get(&file(&id)).await;
        assert_eq!((got.status, got.text().as_str()), (200, "0123456789"));
        assert_eq!(got.header("content-md5"), image["checksum"].as_str());
        assert_eq!(got.header("content-length"), Some("10"));
        let part = tenant.with_header("range", "bytes=2-4").get(&file(&id)).await;
        assert_eq!((part.status, part.text().as_str()), (206, "234"));
        assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
        assert_eq!(tenant.with_header("range", "bytes=10-").get(&file(&id)).await.status, 416);

        let again = upload(&tenant, &id, "x").await;
        assert_eq!(again.status, 409, "{again:?}");
        assert_eq!(tenant.delete(&format!("/image/v2/images/{id}")).await.status, 204);
        let gone = tenant.get(&format!("/image/v2/images/{id}")).await;
        assert_eq!(gone.status, 404);
        // Whoever still names it must not get another's bytes.
        let taken = tenant.post("/image/v2/images", &json!({"id": id, "name": "another"})).await;
        assert_eq!(taken.status, 409, "{taken:?}");
        assert!(gone.text().contains(&format!("No image found with ID {id}")), "{}", gone.text());
        assert_eq!(gone.header("content-type"), Some("application/json"));
        assert_eq!(files(&blobs(&cloud)), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_qcow2_upload_is_read_to_its_end() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let id = create(&tenant, json!({"disk_format": "qcow2", "container_format": "bare"})).await;
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        qcow2().chunks(1_000).map(|c| Ok(c.to_vec())).collect();
    let answer = upload(&tenant, &id, reqwest::Body::wrap_stream(futures::stream::iter(chunks))).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let image = show(&tenant, &id).await;
    assert_eq!((&image["size"], &image["virtual_size"]), (&json!(6 << 16), &json!(1 << 20)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_uploads_leave_the_image_queued_and_nothing_on_disk() {
    let cloud =
        Cloud::start_with(canopy_tests::Engine::Sqlite, |config| config.image_max_gib = 1, None).await;
    let tenant = cloud.tenant("t").await;
    let id = create(&tenant, json!({"disk_format": "qcow2", "container_format": "bare"})).await;
    let mut backing = qcow2();
    backing[8..16].copy_from_slice(&512_u64.to_be_bytes());
    backing[16..20].copy_from_slice(&11_u32.to_be_bytes());
    backing[512..523].copy_from_slice(b"/etc/passwd");
    let mut external = qcow2();
    external[79] = 4;
    let truncated = qcow2()[..5 << 16].to_vec();
    let cases = [
        ("a backing file", backing),
        ("a data file", external),
        ("cut off", truncated),
        ("raw", vec![1; 4_096]),
        ("a page", b"<!DOCTYPE html><html>404</html>".to_vec()),
        ("nothing", Vec::new()),
    ];
    for (what, bytes) in cases {
        let answer = upload(&tenant, &id, bytes).await;
        assert_eq!(answer.status, 415, "{what}: {answer:?}");
        assert_eq!(show(&tenant, &id).await["status"], "queued", "{what}");
        assert_eq!(files(&blobs(&cloud)), 0, "{what}");
    }
    let typed = tenant.send(tenant.request("PUT", &file(&id)).json(&json!({}))).await;
    assert_eq!(typed.status, 415, "{typed:?}");
    let bare = create(&tenant, json!({"name": "no formats"})).await;
    let answer = upload(&tenant, &bare, "x").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("disk_format, container_format must be set"), "{}", answer.text());
    let sneaky = raw(&tenant, "raw that is a qcow2").await;
    assert_eq!(upload(&tenant, &sneaky, qcow2()).await.status, 415);
    let large = send_raw(&cloud, &tenant, &id, &format!("Content-Length: {}", 2_u64 << 30), b"").await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert_eq!(upload(&tenant, &id, qcow2()).await.status, 204, "it still takes a good one");
}

/// Sends the head of an upload, then `body`, then what the server answers until it closes.
async fn send_raw(cloud: &Cloud, client: &Client, id: &str, header: &str, body: &[u8]) -> String {
    let mut stream = open_raw(cloud, client, id, header, body).await;
    let mut answer = vec![0; 4_096];
    let size = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..size]).into_owned()
}

async fn open_raw(cloud: &Cloud, client: &Client, id: &str, header: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(cloud.url.trim_start_matches("http://")).await.expect("connected");
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {}\r\nContent-Type: {OCTETS}\r\n{header}\r\n\r\n",
        file(id),
        client.token
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_gives_status_and_space_back() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let id = raw(&tenant, "x").await;
    let ways = ["Content-Length: 1000000", "Transfer-Encoding: chunked"];
    for header in ways {
        let body: &[u8] = if header.starts_with('T') { b"5\r\nhello\r\nffff\r\nabc" } else { b"hello" };
        let stream = open_raw(&cloud, &tenant, &id, header, body).await;
        until("the upload has begun", async || show(&tenant, &id).await["status"] == "saving").await;
        drop(stream);
        until("the image is queued again", async || show(&tenant, &id).await["status"] == "queued").await;
        until("the space is given back", async || files(&blobs(&cloud)) == 0).await;
    }
    assert_eq!(upload(&tenant, &id, "whole").await.status, 204);
}

/// An upload that has begun and waits for the rest.
fn begin(
    client: &Client,
    id: &str,
) -> (tokio::sync::mpsc::Sender<&'static str>, tokio::task::JoinHandle<Answer>) {
    let (send, receive) = tokio::sync::mpsc::channel::<&'static str>(4);
    let stream = futures::stream::unfold(receive, |mut receive| async move {
        let chunk = receive.recv().await?;
        Some((Ok::<_, std::io::Error>(chunk.as_bytes().to_vec()), receive))
    });
    let (client, id) = (client.clone(), id.to_owned());
    let task =
        tokio::spawn(async move { upload(&client, &id, reqwest::Body::wrap_stream(stream.boxed())).await });
    (send, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uploads_at_once_one_is_refused_and_a_deleted_image_takes_no_data() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let id = raw(&tenant, "x").await;
    let (send, first) = begin(&tenant, &id);
    send.send("one").await.unwrap();
    until("the upload has begun", async || show(&tenant, &id).await["status"] == "saving").await;
    let second = upload(&tenant, &id, "two").await;
    assert_eq!(second.status, 409, "{second:?}");
    assert!(second.text().contains("from saving to saving"), "{}", second.text());
    drop(send);
    assert_eq!(first.await.unwrap().status, 204);
    assert_eq!(tenant.get(&file(&id)).await.text(), "one");

    let id = raw(&tenant, "y").await;
    let (send, task) = begin(&tenant, &id);
    send.send("late").await.unwrap();
    until("the upload has begun", async || show(&tenant, &id).await["status"] == "saving").await;
    assert_eq!(tenant.delete(&format!("/image/v2/images/{id}")).await.status, 204);
    drop(send);
    let late = task.await.unwrap();
    assert_eq!(late.status, 410, "{late:?}");
    let report = canopy_app::image::collect_garbage(cloud.app(), -60).await.unwrap();
    assert_eq!(report.removed, 1, "the orphan");
    assert_eq!(files(&blobs(&cloud)), 1, "the first image's data stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_content_is_stored_once_and_removed_with_its_last_image() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.tenant("a").await, cloud.tenant("b").await);
    let (first, second) = (raw(&one, "x").await, raw(&two, "x").await);
    for (client, id) in [(&one, &first), (&two, &second)] {
        assert_eq!(upload(client, id, "same").await.status, 204);
    }
    assert_eq!(files(&blobs(&cloud)), 1);
    assert_eq!(one.delete(&format!("/image/v2/images/{first}")).await.status, 204);
    assert_eq!(two.get(&file(&second)).await.text(), "same");
    assert_eq!(canopy_app::image::collect_garbage(cloud.app(), -60).await.unwrap().removed, 0);
    assert_eq!(two.delete(&format!("/image/v2/images/{second}")).await.status, 204);
    assert_eq!(files(&blobs(&cloud)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_stop_cut_off_can_be_made_again() {
    let mut cloud = Cloud::start().await;
    let tenant = cloud.tenant("t").await;
    let id: canopy_types::ImageId = raw(&tenant, "x").await.parse().unwrap();
    let now = cloud.app().now();
    cloud
        .app()
        .store
        .write("test", move |c| Box::pin(async move { canopy_store::images::begin_saving(c, id, now).await }))
        .await
        .unwrap();
    std::fs::write(blobs(&cloud).join("tmp/7"), "half").unwrap();
    cloud.restart().await;
    let tenant = cloud.login("t", "correct horse", "t").await;
    assert_eq!(show(&tenant, &id.to_string()).await["status"], "queued");
    assert_eq!(files(&blobs(&cloud)), 0);
    assert_eq!(upload(&tenant, &id.to_string(), "whole").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_and_make_nothing() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let tenant = cloud.tenant("t").await;
        let many: serde_json::Map<String, Value> = (0..200).map(|n| (format!("p{n}"), json!("x"))).collect();
        let cases = [
            (json!([]), 400),
            (json!("x"), 400),
            (json!({"name": 1}), 400),
            (json!({"name": "x".repeat(256)}), 400),
            (json!({"name": "a\nb"}), 400),
            (json!({"name": "a\u{0}"}), 400),
            (json!({"id": "not-a-uuid"}), 400),
            (json!({"visibility": "open"}), 400),
            (json!({"protected": "yes"}), 400),
            (json!({"min_ram": -1}), 400),
            (json!({"min_disk": 1_u64 << 40}), 400),
            (json!({"min_disk": 1.5}), 400),
            (json!({"disk_format": "exe"}), 400),
            (json!({"container_format": ["bare"]}), 400),
            (json!({"tags": "a"}), 400),
            (json!({"tags": ["x".repeat(256)]}), 400),
            (json!({"tags": ["a\u{0}"]}), 400),
            (json!({"kernel_id": "vmlinuz"}), 400),
            (json!({"custom": 1}), 400),
            (json!({"custom": null}), 400),
            (json!({"custom": "x".repeat(65_536)}), 400),
            (json!({"custom": "\u{0}"}), 400),
            (json!({"": "x"}), 400),
            (json!({"a\u{7}": "x"}), 400),
            (json!({"x".repeat(256): "x"}), 400),
            (json!({"owner": "../.."}), 400),
            (json!({"owner": "somebody-else"}), 403),
            (json!({"visibility": "public"}), 403),
            (json!({"status": "active"}), 403),
            (json!({"size": 1}), 403),
            (json!({"checksum": "x"}), 403),
            (json!({"locations": []}), 403),
            (json!({"deleted": true}), 403),
            (Value::Object(many), 413),
        ];
        for (body, status) in cases {
            let answer = tenant.post("/image/v2/images", &body).await;
            let shown: String = body.to_string().chars().take(80).collect();
            assert_eq!(answer.status, status, "{shown}: {}", answer.text());
            assert!(answer.text().len() < 1_000, "{shown}");
        }
        for (name, value) in
            [("name", "a%00b"), ("x%00", "a"), ("marker", "%00"), ("tag", "%00"), ("owner", "%00")]
        {
            let answer = tenant.get(&format!("/image/v2/images?{name}={value}")).await;
            assert_eq!(answer.status, 400, "{name}={value}: {answer:?}");
        }
        assert_eq!(tenant.get("/image/v2/images").await.json["images"], json!([]));

        let id = raw(&tenant, "x").await;
        let taken = tenant.post("/image/v2/images", &json!({"id": id})).await;
        assert_eq!(taken.status, 409, "{taken:?}");
        for (body, status) in [
            (json!({}), 400),
            (json!([{"op": "add", "path": "/name"}]), 400),
            (json!([{"op": "move", "path": "/name", "value": "x"}]), 400),
            (json!([{"op": "replace", "path": "/name", "value": 7}]), 400),
            (json!([{"op": "add", "path": "/a\u{0}", "value": "x"}]), 400),
            (json!([{"op": "add", "path": "/a", "value": "\u{0}"}]), 400),
            (json!([{"op": "replace", "path": "/status", "value": "active"}]), 403),
            (json!([{"op": "replace", "path": "/visibility", "value": "public"}]), 403),
            (json!([{"op": "remove", "path": "/nothing"}]), 409),
            (
                json!([{"op": "replace", "path": "/name", "value": "y"}, {"op": "remove", "path": "/nothing"}]),
                409,
            ),
        ] {
            let answer = patch(&tenant, &id, body.clone()).await;
            assert_eq!(answer.status, status, "{body}: {}", answer.text());
        }
        assert_eq!(show(&tenant, &id).await["name"], "x", "all or nothing");
        let untyped = tenant.patch(&format!("/image/v2/images/{id}"), &json!([])).await;
        assert_eq!(untyped.status, 415, "{untyped:?}");
        for tag in ["%00", "%0a", &"x".repeat(256)] {
            let answer = tenant.put(&format!("/image/v2/images/{id}/tags/{tag}"), &Value::Null).await;
            assert_eq!(answer.status, 400, "{tag}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_properties_and_tags_change_and_protection_holds() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let tenant = cloud.tenant("t").await;
        let id = raw(&tenant, "x").await;
        let changed = patch(
            &tenant,
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "add", "path": "/os_distro", "value": "debian"},
                {"op": "add", "path": "/a~1b", "value": "slash"},
                {"op": "replace", "path": "/protected", "value": true},
                {"op": "replace", "path": "/min_ram", "value": 256},
                {"op": "replace", "path": "/visibility", "value": "private"},
            ]),
        )
        .await;
        assert_eq!(changed.status, 200, "{changed:?}");
        for (name, value) in [
            ("name", json!("new")),
            ("os_distro", json!("debian")),
            ("a/b", json!("slash")),
            ("protected", json!(true)),
            ("min_ram", json!(256)),
            ("visibility", json!("private")),
        ] {
            assert_eq!(changed.json[name], value, "{name}");
        }
        assert_eq!(show(&tenant, &id).await, changed.json);
        let path = format!("/image/v2/images/{id}");
        let kept = tenant.delete(&path).await;
        assert_eq!(kept.status, 403, "{kept:?}");
        assert!(kept.text().contains(&format!("Image {id} is protected and cannot be deleted.")));

        for (method, status) in [("PUT", 204), ("PUT", 204), ("DELETE", 204), ("DELETE", 404)] {
            let answer = tenant.send(tenant.request(method, &format!("{path}/tags/t%20one"))).await;
            assert_eq!(answer.status, status, "{method}: {answer:?}");
        }
        let removed = patch(&tenant, &id, json!([{"op": "remove", "path": "/os_distro"}])).await;
        assert!(removed.json.get("os_distro").is_none(), "{removed:?}");
        assert_eq!(upload(&tenant, &id, "x").await.status, 204);
        let fixed =
            patch(&tenant, &id, json!([{"op": "replace", "path": "/disk_format", "value": "qcow2"}])).await;
        assert_eq!(fixed.status, 403, "{fixed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_private_image_is_absent_and_a_public_one_is_read_only() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, owner, other) = (cloud.admin().await, cloud.tenant("a").await, cloud.tenant("b").await);
        let id = raw(&owner, "x").await;
        assert_eq!(upload(&owner, &id, "secret").await.status, 204);
        let absent = "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11";
        for (method, path) in [
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/file"),
            ("PUT", "/file"),
            ("PUT", "/tags/x"),
            ("DELETE", "/tags/x"),
            ("PATCH", ""),
        ] {
            let mut answers = Vec::new();
            for image in [id.as_str(), absent, "name"] {
                let mut request = other.request(method, &format!("/image/v2/images/{image}{path}"));
                if path == "/file" && method == "PUT" {
                    request = request.header("content-type", OCTETS).body("x");
                }
                if method == "PATCH" {
                    request = request.header("content-type", PATCH).body("[]");
                }
                let answer = other.send(request).await;
                assert_eq!(answer.status, 404, "{method} {path} {answer:?}");
                answers.push(answer.text().replace(image, "ID"));
            }
            assert!(answers.iter().all(|text| *text == answers[0]), "{answers:?}");
        }
        assert_eq!(other.get("/image/v2/images").await.json["images"], json!([]));
        let marker = other.get(&format!("/image/v2/images?marker={id}")).await;
        let unknown = other.get(&format!("/image/v2/images?marker={absent}")).await;
        assert_eq!((marker.status, marker.text()), (400, unknown.text()));

        let publicized =
            patch(&admin, &id, json!([{"op": "replace", "path": "/visibility", "value": "public"}])).await;
        assert_eq!(publicized.status, 200, "{publicized:?}");
        assert_eq!(other.get("/image/v2/images?visibility=public").await.text_at("/images/0/id"), id);
        assert_eq!(other.get(&file(&id)).await.text(), "secret");
        assert_eq!(other.delete(&format!("/image/v2/images/{id}")).await.status, 403);
        let renamed = patch(&other, &id, json!([{"op": "replace", "path": "/name", "value": "mine"}])).await;
        assert_eq!(renamed.status, 403, "{renamed:?}");
        assert_eq!(cloud.anonymous().get("/image/v2/images").await.status, 401);
        assert_eq!(owner.delete(&format!("/image/v2/images/{id}")).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_sort_and_page() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let tenant = cloud.tenant("t").await;
        let mut ids = Vec::new();
        for n in 0..5 {
            let body = json!({
                "name": format!("img-{}", n % 2), "disk_format": if n == 4 { "qcow2" } else { "raw" },
                "container_format": "bare", "tags": [format!("t{n}"), "all"], "os_distro": format!("d{}", n % 2),
                "os_hidden": n == 3, "protected": n == 2,
            });
            ids.push(create(&tenant, body).await);
        }
        assert_eq!(upload(&tenant, &ids[0], "0123456789").await.status, 204);
        let names = async |query: &str| -> Vec<usize> {
            let answer = tenant.get(&format!("/image/v2/images?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            assert_eq!(answer.json["schema"], "/v2/schemas/images");
            let images = answer.json["images"].as_array().expect("images").clone();
            images.iter().map(|i| ids.iter().position(|id| i["id"] == id.as_str()).expect("ours")).collect()
        };
        assert_eq!(names("").await, [4, 2, 1, 0], "newest first, hidden ones left out");
        assert_eq!(names("os_hidden=true").await, [3]);
        assert_eq!(names("name=img-1&os_hidden=false").await, [1]);
        assert_eq!(names("name=in:img-1,img-0&sort=name:asc,created_at:asc").await, [0, 2, 4, 1]);
        assert_eq!(names(&format!("id=in:{},{}", ids[0], ids[4])).await, [4, 0]);
        assert_eq!(names("status=active").await, [0]);
        assert_eq!(names("status=killed").await, [0_usize; 0]);
        assert_eq!(names("disk_format=qcow2").await, [4]);
        assert_eq!(names("tag=t1&tag=all").await, [1]);
        assert_eq!(names("os_distro=d1").await, [1]);
        assert_eq!(names("protected=true").await, [2]);
        assert_eq!(names("size_min=1&size_max=10").await, [0]);
        assert_eq!(names("size_min=11").await, [0_usize; 0]);
        assert_eq!(names("visibility=private").await, [0_usize; 0]);
        assert_eq!(names("limit=0").await, [0_usize; 0]);
        assert_eq!(names("name=%27%20OR%201%3D1--").await, [0_usize; 0]);

        for query in [
            "limit=1",
            "limit=2&sort_key=name&sort_dir=asc",
            "limit=3&sort=size,disk_format:asc",
            "limit=1&tag=all",
        ] {
            let (mut next, mut seen, mut pages) = (format!("/v2/images?{query}"), Vec::new(), 0);
            loop {
                let page = tenant.get(&format!("/image{next}")).await;
                seen.extend(page.json["images"].as_array().expect("images").iter().map(|i| i["id"].clone()));
                pages += 1;
                assert!(pages < 10, "pages without end");
                match page.json["next"].as_str() {
                    Some(link) => next = link.to_owned(),
                    None => break,
                }
            }
            let whole =
                tenant.get(&format!("/image/v2/images?{}", query.split_once('&').map_or("", |q| q.1))).await;
            let whole: Vec<Value> =
                whole.json["images"].as_array().expect("images").iter().map(|i| i["id"].clone()).collect();
            assert_eq!(seen, whole, "{query}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_counts_images_and_deleting_one_gives_it_back() {
    for engine in engines() {
        let limit = |config: &mut canopy::Config| {
            config.quota.defaults.insert("images".into(), 2);
        };
        let cloud = Cloud::start_with(engine, limit, None).await;
        let tenant = cloud.tenant("t").await;
        let id = raw(&tenant, "1").await;
        raw(&tenant, "2").await;
        let over = tenant.post("/image/v2/images", &json!({"name": "3"})).await;
        assert_eq!(over.status, 413, "{over:?}");
        assert_eq!(tenant.delete(&format!("/image/v2/images/{id}")).await.status, 204);
        raw(&tenant, "3").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_boots_only_from_what_its_user_may_read_and_can_boot() {
    let cloud = Cloud::start().await;
    let (tenant, other) = (cloud.tenant("a").await, cloud.tenant("b").await);
    let resolve = async |client: &Client, id: &str| {
        let caller = canopy_app::identity::authenticate(cloud.app(), &client.token).await.expect("a caller");
        let ctx = canopy_app::Ctx {
            request_id: canopy_types::RequestId::random(),
            who: caller.who,
            how: Default::default(),
            delegation: Default::default(),
            policies: cloud.app().authorizer.snapshot(),
            asked: String::new(),
            mutating: true,
            trail: Default::default(),
        };
        canopy_app::image::resolve_for_boot(cloud.app(), &ctx, id.parse().expect("an id")).await
    };
    let kernel = create(&tenant, json!({"disk_format": "aki", "container_format": "aki"})).await;
    assert_eq!(upload(&tenant, &kernel, "kernel").await.status, 204);
    let foreign = create(&other, json!({"disk_format": "ari", "container_format": "ari"})).await;
    assert_eq!(upload(&other, &foreign, "ramdisk").await.status, 204);
    let disk = create(
        &tenant,
        json!({"disk_format": "ami", "container_format": "ami", "kernel_id": kernel, "min_disk": 3, "os_command_line": "quiet"}),
    )
    .await;
    let queued = resolve(&tenant, &disk).await.unwrap_err();
    assert!(queued.message.contains("is not active"), "{queued}");
    assert_eq!(upload(&tenant, &disk, "disk").await.status, 204);
    let boot = resolve(&tenant, &disk).await.unwrap();
    assert_eq!((boot.spec.disk_format.as_str(), boot.min_disk, boot.virtual_size), ("raw", 3, 4));
    assert_eq!(boot.spec.kernel.as_ref().map(|blob| blob.size), Some(6));
    assert_eq!(boot.spec.properties["os_command_line"], "quiet");
    assert!(cloud.app().blobs.path(&boot.spec.blob.digest).is_file());

    // Whatever of it is deleted before the server is written, the server is not.
    let contents = boot.contents.clone();
    assert_eq!(contents.len(), 2, "disk and kernel");
    let pin = async || {
        let contents = contents.clone();
        let pinned = cloud.app().store.write("test.pin", move |c| {
            let contents = contents.clone();
            Box::pin(async move { canopy_app::image::pin(c, &contents).await })
        });
        pinned.await
    };
    pin().await.unwrap();
    let second = create(&tenant, json!({"disk_format": "aki", "container_format": "aki"})).await;
    assert_eq!(upload(&tenant, &second, "kernel").await.status, 204);
    assert_eq!(tenant.delete(&format!("/image/v2/images/{kernel}")).await.status, 204);
    assert_eq!(pin().await.unwrap_err().code, "image.gone", "the kernel's bytes may be collected");
    let change = json!([{"op": "replace", "path": "/kernel_id", "value": second}]);
    assert_eq!(patch(&tenant, &disk, change).await.status, 200);
    resolve(&tenant, &disk).await.unwrap();

    let absent = resolve(&other, "5f0c8a57-52a5-4b1f-8e66-bd6c1f5a1c11").await.unwrap_err();
    assert_eq!(resolve(&other, &disk).await.unwrap_err().message, absent.message);
    assert!(resolve(&tenant, &second).await.unwrap_err().message.contains("cannot boot"));
    let stolen = patch(&tenant, &disk, json!([{"op": "add", "path": "/ramdisk_id", "value": foreign}])).await;
    assert_eq!(stolen.status, 200);
    assert_eq!(
        resolve(&tenant, &disk).await.unwrap_err().message,
        absent.message,
        "another tenant's ramdisk"
    );
}

/// Needs root, for a file system of 2 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_the_space_given_back() {
    let mut mounted = None;
    let small = |config: &mut canopy::Config| {
        mounted = Mounted::tmpfs(&config.data_dir.join("images"), "2m");
    };
    let cloud = Cloud::start_with(canopy_tests::Engine::Sqlite, small, None).await;
    let Some(mounted) = mounted else {
        eprintln!("SKIPPED: mounting needs root");
        return;
    };
    let tenant = cloud.tenant("t").await;
    let id = raw(&tenant, "x").await;
    let full = upload(&tenant, &id, vec![7_u8; 8 << 20]).await;
    assert_eq!(full.status, 413, "{full:?}");
    assert!(full.text().contains("not enough disk space"), "{}", full.text());
    assert_eq!(show(&tenant, &id).await["status"], "queued");
    assert_eq!(files(mounted.path()), 0);
    assert_eq!(upload(&tenant, &id, vec![7_u8; 1 << 20]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_schemas_are_for_everybody() {
    let cloud = Cloud::start().await;
    for path in ["/image", "/image/", "/image/versions", "/image/v2", "/image/v2/"] {
        let answer = cloud.anonymous().get(path).await;
        assert_eq!(answer.status, 300, "{path}");
        assert_eq!(answer.text_at("/versions/0/status"), "CURRENT");
        assert_eq!(answer.text_at("/versions/0/links/0/href"), format!("{}/image/v2/", cloud.url));
    }
    let schema = cloud.anonymous().get("/image/v2/schemas/image").await;
    assert_eq!((schema.status, schema.text_at("/name")), (200, "image"));
    assert_eq!(cloud.anonymous().get("/image/v2/schemas/images").await.status, 200);
}
