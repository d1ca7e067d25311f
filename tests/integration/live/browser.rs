//! The link of a screen, opened in a browser.

use super::Room;
use base64::Engine;
use canopy_tests::sockets::Socket;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium without a window, in the hands of its debugging protocol.
struct Browser {
    child: Child,
    page: Socket,
    asked: u64,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    async fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let child = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ])
            .args(["--remote-debugging-port=0", "--window-size=1000,800", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromium: `cargo xtask test --all` installs it");
        let port = Self::port(profile.path()).await;
        let web = reqwest::Client::builder().no_proxy().build().unwrap();
        let opened = web.put(format!("http://127.0.0.1:{port}/json/new")).send().await.unwrap();
        let opened: Value = opened.json().await.unwrap();
        let page = Socket::join_plain(opened["webSocketDebuggerUrl"].as_str().unwrap()).await;
        let mut browser = Self { child, page, asked: 0, _profile: profile };
        // Not as that page's first address, which the browser cuts at an `&`.
        let went = browser.ask("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{went}");
        browser
    }

    async fn port(profile: &Path) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            if let Some((port, _)) = said.split_once('\n') {
                return port.to_owned();
            }
            assert!(Instant::now() < deadline, "the browser does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        self.page.say(&json!({"id": self.asked, "method": method, "params": parameters}).to_string()).await;
        loop {
            let said = self.page.next().await.expect("the browser lives");
            let said: Value = serde_json::from_slice(&said).unwrap();
            if said["id"] == self.asked {
                return said["result"].clone();
            }
        }
    }

    /// What a line of script in the page comes to.
    async fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({"expression": script, "returnByValue": true});
        self.ask("Runtime.evaluate", asked).await["result"]["value"].clone()
    }
}

/// Width, height and number of colours of what noVNC has drawn.
const DRAWN: &str = "(() => {
    const canvas = document.querySelector('canvas');
    if (!canvas || !canvas.width) return [0, 0, 0];
    const pixels = new Uint32Array(
        canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return [canvas.width, canvas.height, new Set(pixels).size];
})()";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a browser: `cargo xtask test --all`"]
async fn a_browser_shows_a_guests_screen() {
    let _libvirt = crate::libvirt::shared().await;
    let room = Room::new("b", "").await;
    let link = room.link("vnc", "novnc").await;
    let mut browser = Browser::open(&link).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = browser.evaluate("document.getElementById('status')?.textContent").await;
        let drawn = browser.evaluate(DRAWN).await;
        let colours = drawn[2].as_u64().unwrap_or(0);
        // Firmware writes on black; the mode's size comes with it.
        if status.as_str().is_some_and(|status| status.starts_with("Connected")) && colours > 1 {
            assert!(drawn[0].as_u64() >= Some(640) && drawn[1].as_u64() >= Some(400), "{drawn}");
            break;
        }
        assert!(Instant::now() < deadline, "noVNC says {status}, and has drawn {drawn}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let shot = browser.ask("Page.captureScreenshot", json!({"format": "png"})).await;
    let shot = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
    assert!(shot.starts_with(b"\x89PNG"));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/console.png");
    std::fs::write(kept, shot).unwrap();
    // The link was used up: a page opened with it again is let in nowhere.
    let mut second = Browser::open(&link).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = second.evaluate("document.getElementById('status')?.textContent").await;
        let status = status.as_str().unwrap_or_default();
        assert!(!status.starts_with("Connected"), "{status}");
        if status.contains("closed") || status.contains("Disconnected") || status.contains("wrong") {
            return;
        }
        assert!(Instant::now() < deadline, "noVNC says {status:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
