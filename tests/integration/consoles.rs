//! Consoles of servers over HTTP and WebSockets, on a host whose guests say hello and then what they are told.

use canopy_hypervisor::Console;
use canopy_tests::fixtures::{boot, flavor, image, server, until_gone, until_status};
use canopy_tests::sockets::Socket;
use canopy_tests::{Client, Cloud, Engine, engines, until};
use canopy_types::{Clock, ConsoleKind, SystemClock, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

#[derive(Default)]
struct Later(AtomicI64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// A cloud with a server of a tenant's.
struct Room {
    cloud: Cloud,
    clock: Arc<Later>,
    tenant: Client,
    server: String,
}

impl Room {
    async fn new(engine: Engine) -> Self {
        let clock = Arc::new(Later::default());
        let folder = tempfile::tempdir().unwrap().keep();
        std::fs::write(folder.join("vnc_lite.html"), "<script>alert(1)</script>").unwrap();
        std::fs::write(folder.join("rfb.js"), "rfb").unwrap();
        std::fs::write(folder.join("README.md"), "no part of it").unwrap();
        let novnc = folder.clone();
        let cloud = Cloud::start_with(engine, |c| c.console.novnc_dir = novnc, Some(clock.clone())).await;
        let listener = UnixListener::bind(folder.join("guest")).unwrap();
        tokio::spawn(async move {
            while let Ok((mut guest, _)) = listener.accept().await {
                tokio::spawn(async move {
                    guest.write_all(b"hello").await.unwrap();
                    let mut said = [0; 1024];
                    while let Ok(n @ 1..) = guest.read(&mut said).await {
                        if guest.write_all(&said[..n]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        for kind in ConsoleKind::ALL {
            cloud.hypervisor.set_console(kind, Console::At(folder.join("guest")));
        }
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let body = server("s", &flavor(&admin, "f", 1, 64, 1).await, &image(&tenant, "i").await);
        let server = boot(&tenant, &body).await;
        until_status(&tenant, &server, "ACTIVE").await;
        Self { cloud, clock, tenant, server }
    }

    async fn ask(&self, client: &Client, kind: &str) -> canopy_tests::Answer {
        let protocol = if kind == "novnc" { "vnc" } else { kind };
        let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
        client.at("2.79").post(&format!("/compute/v2.1/servers/{}/remote-consoles", self.server), &body).await
    }

    async fn action(&self, body: Value) -> canopy_tests::Answer {
        self.tenant.post(&format!("/compute/v2.1/servers/{}/action", self.server), &body).await
    }

    /// The address of a new session.
    async fn link(&self, kind: &str) -> String {
        let answer = self.ask(&self.tenant, kind).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let url = answer.text_at("/remote_console/url");
        let socket = self.cloud.url.replace("http", "ws");
        let Some((page, parameters)) = url.split_once('?').filter(|(page, _)| page.ends_with(".html")) else {
            assert!(url.starts_with(&format!("{socket}/console/ws/serial?token=")), "{url}");
            return url.to_owned();
        };
        assert_eq!(page, format!("{}/console/vnc_lite.html", self.cloud.url));
        // All that the page needs comes before the first `&`.
        let (path, others) = parameters.strip_prefix("path=").unwrap().split_once('&').unwrap();
        assert_eq!(others, "autoconnect=true");
        let path = path.replace("%2F", "/").replace("%3F", "?").replace("%3D", "=");
        assert!(path.starts_with("console/ws/novnc?token="), "{url}");
        format!("{socket}/{path}")
    }

    async fn tokens(&self) -> usize {
        let rows = self.cloud.app().store.read(|c| Box::pin(canopy_store::console_tokens::count(c))).await;
        usize::try_from(rows.unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_is_joined_once_by_whoever_has_its_link() {
    for engine in engines() {
        let room = Room::new(engine).await;
        let own = room.cloud.url.clone();
        for kind in ["serial", "novnc"] {
            let link = room.link(kind).await;
            // None of these uses it up.
            let wrong =
                link.replace(&format!("/{kind}?"), if kind == "serial" { "/novnc?" } else { "/serial?" });
            assert_eq!(Socket::join(&wrong).await.err(), Some(403), "as another kind");
            for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
                assert_eq!(Socket::join_from(&link, origin).await.err(), Some(403), "{origin}");
            }
            let path = link.strip_prefix(&own.replace("http", "ws")).unwrap();
            let plain = room.cloud.anonymous().get(path).await;
            assert_eq!(plain.status, 400, "no WebSocket: {plain:?}");

            let mut socket = Socket::join_from(&link, &own).await.unwrap();
            socket.until("hello").await;
            assert_eq!(Socket::join(&link).await.err(), Some(403), "a second time");
            socket.send(b"ls\r").await;
            socket.until("ls\r").await;
            socket.say("as text").await;
            socket.until("as text").await;
            drop(socket);
            until("the session has ended", async || room.cloud.app().consoles.count() == 0).await;
            assert_eq!(Socket::join(&link).await.err(), Some(403), "after its end");
        }
        for token in ["", "x", &"x".repeat(1_000)] {
            let url = format!("{}/console/ws/serial?token={token}", own.replace("http", "ws"));
            assert_eq!(Socket::join(&url).await.err(), Some(403), "{token}");
        }
        let url = format!("{}/console/ws/spice?token=x", own.replace("http", "ws"));
        assert_eq!(Socket::join(&url).await.err(), Some(404));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_show_one_token_one_gets_in() {
    for engine in engines() {
        let room = Room::new(engine).await;
        for _ in 0..5 {
            let link = room.link("novnc").await;
            let all = futures::future::join_all((0..6).map(|_| Socket::join(&link))).await;
            assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_outlive_its_time_its_guest_or_its_server() {
    for engine in engines() {
        let room = Room::new(engine).await;
        let late = room.link("serial").await;
        room.clock.0.fetch_add(601, Ordering::Relaxed);
        assert_eq!(Socket::join(&late).await.err(), Some(403), "expired");

        // The oldest go.
        let first = room.link("serial").await;
        for _ in 0..40 {
            room.link("serial").await;
        }
        assert_eq!(room.tokens().await, 16);
        assert_eq!(Socket::join(&first).await.err(), Some(403), "pushed out");

        let stopped = room.link("serial").await;
        assert_eq!(room.action(json!({"os-stop": null})).await.status, 202);
        until_status(&room.tenant, &room.server, "SHUTOFF").await;
        assert_eq!(room.tokens().await, 0);
        let refused = room.ask(&room.tenant, "serial").await;
        assert_eq!(refused.status, 409, "{refused:?}");
        let message = refused.text_at("/conflictingRequest/message");
        assert!(message.starts_with(&format!("Instance {} is not ready", room.server)), "{message}");
        assert_eq!(room.action(json!({"os-start": null})).await.status, 202);
        until_status(&room.tenant, &room.server, "ACTIVE").await;
        assert_eq!(Socket::join(&stopped).await.err(), Some(403), "of a run that is over");

        let gone = room.link("serial").await;
        let path = format!("/compute/v2.1/servers/{}", room.server);
        assert_eq!(room.tenant.delete(&path).await.status, 204);
        until_gone(&room.tenant, &room.server).await;
        assert_eq!((room.tokens().await, Socket::join(&gone).await.err()), (0, Some(403)));
        assert_eq!(room.ask(&room.tenant, "serial").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_few_and_a_serial_port_has_one() {
    let room = Room::new(Engine::Sqlite).await;
    let mut first = Socket::join(&room.link("serial").await).await.unwrap();
    first.until("hello").await;
    let mut second = Socket::join(&room.link("serial").await).await.unwrap();
    second.until("hello").await;
    first.ended().await;
    second.send(b"still here").await;
    second.until("still here").await;

    let mut screens = Vec::new();
    for _ in 0..7 {
        screens.push(Socket::join(&room.link("novnc").await).await.unwrap());
    }
    let link = room.link("novnc").await;
    assert_eq!(Socket::join(&link).await.err(), Some(429), "the ninth of this server");
    drop(screens.pop());
    until("a place is free", async || room.cloud.app().consoles.count() < 8).await;
    Socket::join(&link).await.expect("the refusal did not use the token up");
    let mut room = room;
    room.cloud.stop().await;
    second.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_asks_and_is_refused_as_nova_does() {
    let room = Room::new(Engine::Sqlite).await;
    for (key, kind) in [("os-getVNCConsole", "novnc"), ("os-getSerialConsole", "serial")] {
        let body = json!({ key: {"type": kind} });
        let answer = room.action(body.clone()).await;
        assert_eq!((answer.status, answer.text_at("/console/type")), (200, kind), "{answer:?}");
        let path = format!("/compute/v2.1/servers/{}/action", room.server);
        assert_eq!(room.tenant.at("2.5").post(&path, &body).await.status, 200);
        assert_eq!(room.tenant.at("2.6").post(&path, &body).await.status, 404, "gone");
        assert_eq!(room.action(json!({ key: {} })).await.status, 400);
    }
    for (key, kind, said) in [
        ("os-getVNCConsole", "xvpvnc", "Invalid console type xvpvnc"),
        ("os-getSPICEConsole", "spice-html5", "Unavailable console type spice-html5."),
        ("os-getRDPConsole", "rdp-html5", "Unavailable console type rdp-html5."),
    ] {
        let answer = room.action(json!({ key: {"type": kind} })).await;
        assert_eq!((answer.status, answer.text_at("/badRequest/message")), (400, said), "{answer:?}");
    }
    let path = format!("/compute/v2.1/servers/{}/remote-consoles", room.server);
    let ask = async |version: &str, protocol: &str, kind: &str| {
        let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
        let answer = room.tenant.at(version).post(&path, &body).await;
        let told = answer.json["badRequest"]["message"].as_str().unwrap_or_default().to_owned();
        (answer.status, told)
    };
    assert_eq!(ask("2.5", "serial", "serial").await.0, 404, "not yet");
    assert_eq!(ask("2.6", "serial", "serial").await.0, 200);
    assert_ne!(ask("2.7", "mks", "webmks").await.1, "Unavailable console type webmks.", "not known yet");
    for (protocol, kind, said) in [
        ("mks", "webmks", "Unavailable console type webmks."),
        ("spice", "spice-html5", "Unavailable console type spice-html5."),
        ("rdp", "rdp-html5", "Unavailable console type rdp-html5."),
        ("vnc", "xvpvnc", "Invalid console type xvpvnc"),
        ("serial", "novnc", "Invalid console type novnc"),
    ] {
        assert_eq!(ask("2.8", protocol, kind).await, (400, said.to_owned()));
    }

    // Who may not see the server learns nothing of it, and who may only read it gets no console.
    let other = room.cloud.tenant("other").await;
    assert_eq!(room.ask(&other, "serial").await.status, 404);

    let link = room.link("serial").await;
    let token = link.split_once("token=").unwrap().1;
    let path = format!("/compute/v2.1/os-console-auth-tokens/{token}");
    assert_eq!(room.tenant.at("2.31").get(&path).await.status, 403);
    let admin = room.cloud.admin().await;
    let shown = admin.at("2.31").get(&path).await;
    assert_eq!(shown.json["console"]["instance_uuid"], room.server.as_str(), "{shown:?}");
    assert_eq!(shown.json["console"]["host"], "host-1");
    assert_eq!(admin.at("2.30").get(&path).await.status, 401);
    assert_eq!(admin.at("2.31").get("/compute/v2.1/os-console-auth-tokens/x").await.status, 404);
    Socket::join(&link).await.expect("to look at a token does not use it up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_cannot_show_is_said() {
    let room = Room::new(Engine::Sqlite).await;
    let hypervisor = &room.cloud.hypervisor;
    hypervisor.set_console(ConsoleKind::Serial, Console::Outdated);
    let answer = room.ask(&room.tenant, "serial").await;
    assert_eq!(answer.status, 409);
    assert!(answer.text_at("/conflictingRequest/message").ends_with("Reboot it hard."), "{answer:?}");
    hypervisor.set_console(ConsoleKind::Serial, Console::Unavailable);
    let answer = room.ask(&room.tenant, "serial").await;
    assert_eq!(answer.text_at("/badRequest/message"), "Unavailable console type serial.");
    // It went off between the two.
    hypervisor.set_console(ConsoleKind::Serial, Console::At("/nowhere/guest".into()));
    let link = room.link("serial").await;
    assert_eq!(Socket::join(&link).await.err(), Some(409));
    std::fs::remove_file(room.cloud.config.console.novnc_dir.join("vnc_lite.html")).unwrap();
    let answer = room.ask(&room.tenant, "novnc").await;
    assert_eq!(answer.text_at("/badRequest/message"), "Unavailable console type novnc.");
}

#[tokio::test(flavor = "multi_thread")]
async fn novncs_files_and_nothing_else_are_served() {
    let room = Room::new(Engine::Sqlite).await;
    let client = room.cloud.anonymous();
    let page = client.get("/console/vnc_lite.html?path=x").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self' 'sha256-bhHHL3z2"), "{policy}");
    assert!(
        policy.contains("frame-ancestors 'self'") && !policy.contains("script-src 'self' 'unsafe-inline'")
    );
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(client.get("/console/rfb.js").await.text(), "rfb");
    for path in [
        "README.md",
        "guest",
        "",
        "..%2f..%2fetc%2fpasswd",
        "..%2fconsole%2frfb.js",
        "%2e%2e/rfb.js",
        "/etc/passwd.js",
        "%2fetc%2fpasswd.js",
        "rfb.js%00",
        "rfb.js/x.js",
        "rfb.js%00.js",
        &format!("{}.js", "x".repeat(4_000)),
    ] {
        assert_eq!(client.get(&format!("/console/{path}")).await.status, 404, "{path}");
    }
    assert_eq!(client.post("/console/rfb.js", &json!({})).await.status, 405);
}
