//! A real guest's serial port and screen, joined through the controller, with the agent a process of its own.

use super::Openstack;
use canopy_tests::fixtures::{boot, flavor, until_status};
use canopy_tests::process::{Process, output};
use canopy_tests::sockets::Socket;
use canopy_tests::{Client, until};
use serde_json::json;

#[path = "browser.rs"]
mod browser;

/// A boot sector that sends back what comes in at the first serial port.
const ECHOES: [u8; 20] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec,
    0xee, 0xeb, 0xf1,
];

/// An image whose guest shows its firmware's words on the screen, and echoes.
async fn echo_image(client: &Client) -> String {
    let body = json!({"name": "echo", "disk_format": "raw", "container_format": "bare"});
    let id = client.post("/image/v2/images", &body).await.text_at("/id").to_owned();
    let mut disk = vec![0; 1 << 20];
    disk[..ECHOES.len()].copy_from_slice(&ECHOES);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let upload = client
        .request("PUT", &format!("/image/v2/images/{id}/file"))
        .header("content-type", "application/octet-stream")
        .body(disk);
    assert_eq!(client.send(upload).await.status, 204);
    id
}

struct Room {
    process: Process,
    admin: Client,
    server: String,
}

impl Room {
    /// A server that runs; `more` is added to the controller's configuration.
    async fn new(name: &str, more: &str) -> Self {
        let mut process = Process::prepare_apart(name);
        process.configure(more);
        process.start_ready().await;
        let admin = process.admin().await;
        until("the host has registered", async || {
            let listed = admin.get("/compute/v2.1/os-hypervisors").await;
            listed.json["hypervisors"].as_array().is_some_and(|list| !list.is_empty())
        })
        .await;
        let (flavor, image) = (flavor(&admin, "f", 1, 64, 1).await, echo_image(&admin).await);
        let server = boot(&admin, &canopy_tests::fixtures::server("echo", &flavor, &image)).await;
        until_status(&admin, &server, "ACTIVE").await;
        Self { process, admin, server }
    }

    async fn ask(&self, protocol: &str, kind: &str) -> canopy_tests::Answer {
        let body = json!({"remote_console": {"protocol": protocol, "type": kind}});
        self.admin
            .at("2.6")
            .post(&format!("/compute/v2.1/servers/{}/remote-consoles", self.server), &body)
            .await
    }

    async fn link(&self, protocol: &str, kind: &str) -> String {
        let answer = self.ask(protocol, kind).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text_at("/remote_console/url").to_owned()
    }

    async fn serial(&self) -> Socket {
        Socket::join(&self.link("serial", "serial").await).await.unwrap()
    }

    async fn act(&self, body: serde_json::Value, status: &str) {
        let answer = self.admin.post(&format!("/compute/v2.1/servers/{}/action", self.server), &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        until_status(&self.admin, &self.server, status).await;
    }
}

/// Where noVNC's page joins the screen.
fn screen(url: &str) -> String {
    let (page, path) = url.split_once("/console/").unwrap();
    let path = path.split_once("path=").unwrap().1.split('&').next().unwrap();
    let path = path.replace("%2F", "/").replace("%3F", "?").replace("%3D", "=");
    format!("{}/{path}", page.replace("http", "ws"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_serial_port_and_screen_are_joined_from_outside() {
    let _libvirt = crate::libvirt::shared().await;
    let novnc = tempfile::tempdir().unwrap();
    std::fs::write(novnc.path().join("vnc_lite.html"), "").unwrap();
    let room = Room::new("c", &format!("[console]\nnovnc_dir = \"{}\"\n", novnc.path().display())).await;

    let mut socket = room.serial().await;
    socket.send(b"typed from outside\r\n").await;
    socket.until("typed from outside").await;
    // What the guest says is logged all the same.
    until("the console's log has it", async || {
        let ask = json!({"os-getConsoleOutput": {}});
        let path = format!("/compute/v2.1/servers/{}/action", room.server);
        room.admin.post(&path, &ask).await.text_at("/output").contains("typed from outside")
    })
    .await;
    drop(socket);
    let mut again = room.serial().await;
    again.send(b"and again").await;
    again.until("and again").await;

    let link = screen(&room.link("vnc", "novnc").await);
    let mut display = Socket::join(&link).await.unwrap();
    display.until("RFB 003.008\n").await;
    assert_eq!(Socket::join(&link).await.err(), Some(403), "a second time");
    // Nothing of a guest listens for whoever is on this host.
    let domain = room.process.domains().pop().unwrap();
    let shown = output("virsh", &["-c", "qemu:///system", "dumpxml", &domain]);
    assert!(shown.contains("<listen type='socket'") && !shown.contains("autoport"), "{shown}");

    let cloud = Openstack::new(&room.process);
    for (kind, begins) in [("--serial", "ws://"), ("--novnc", "http://")] {
        let url = cloud.run(&["console", "url", "show", kind, &room.server, "-f", "value", "-c", "url"]);
        assert!(url.starts_with(begins), "{url}");
    }

    let unused = room.link("serial", "serial").await;
    room.act(json!({"os-stop": null}), "SHUTOFF").await;
    again.ended().await;
    display.ended().await;
    assert_eq!(room.ask("serial", "serial").await.status, 409);
    assert_eq!(Socket::join(&unused).await.err(), Some(403));
    room.act(json!({"os-start": null}), "ACTIVE").await;
    let mut socket = room.serial().await;
    socket.send(b"after a start").await;
    socket.until("after a start").await;

    let logs = room.process.logs();
    assert!(logs.contains("console joined"), "{logs}");
    for link in [&link, &unused] {
        assert!(!logs.contains(link.split_once("token=").unwrap().1), "a token is in the log");
    }
}
