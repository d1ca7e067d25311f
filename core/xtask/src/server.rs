//! The demo's `canopy serve`: its configuration, and one running process of the current build.

use crate::layout::Demo;
use crate::processes::{self, Process, until};
use crate::run::{Res, as_root, failed, tail};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Tells the demo's networks from those of other agents on this machine.
pub const SCOPE: &str = "demo";
const FIRST_PORT: u16 = 8080;
const PORTS: u16 = 100;
const READY_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const HTTP_PATIENCE: Duration = Duration::from_secs(5);

/// Makes one server of this binary, configuration, plugins and policies run and be ready. Returns its port.
pub fn start(root: &Path, demo: &Demo, binary: &Path) -> Res<u16> {
    refuse_second_demo(demo)?;
    let identity = demo.state.join("server.identity");
    let running = find(demo);
    if let (Some(_), Some(port)) = (&running, port_of(demo)) {
        let same = fs::read_to_string(&identity).is_ok_and(|own| own == describe(root, demo, binary, port));
        if same && ready(port) {
            return Ok(port);
        }
    }
    stop(demo)?;

    let port = free_port(port_of(demo))?;
    let config = demo.config();
    fs::write(&config, configuration(root, demo, port)).map_err(|e| failed("write", &config, &e))?;
    let described = describe(root, demo, binary, port);
    fs::write(&identity, described).map_err(|e| failed("write", &identity, &e))?;
    launch(demo, binary)?;
    let up = until(READY_PATIENCE, || ready(port) || find(demo).is_none());
    if up && ready(port) {
        return Ok(port);
    }
    let log = fs::read_to_string(demo.log()).unwrap_or_default();
    let what = if find(demo).is_some() { "does not become ready" } else { "ended" };
    Err(format!("canopy serve {what}; the end of {}:\n{}", demo.log().display(), tail(&log, 20)))
}

/// Ends it, if it runs. Accepted requests are finished first.
pub fn stop(demo: &Demo) -> Res<()> {
    while let Some(process) = find(demo) {
        process.end(STOP_PATIENCE)?;
    }
    Ok(())
}

/// The process that serves this demo.
pub fn find(demo: &Demo) -> Option<Process> {
    let config = demo.config();
    processes::all().into_iter().find(|p| serves(p) == config.to_str())
}

/// The port of the last start, whether or not something listens there now.
pub fn port_of(demo: &Demo) -> Option<u16> {
    let text = fs::read_to_string(demo.config()).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("listen = "))?;
    line.trim_matches('"').rsplit(':').next()?.parse().ok()
}

pub fn ready(port: u16) -> bool {
    status(port, "/readyz").is_ok_and(|status| status == 200)
}

/// The configuration file that a `canopy serve` was started with.
fn serves(process: &Process) -> Option<&str> {
    // `sudo` and the shell that starts it carry the same words further back.
    if process.program() != "canopy" || process.arguments.get(1)? != "serve" {
        return None;
    }
    let at = process.arguments.iter().position(|argument| argument == "--config")?;
    process.arguments.get(at + 1).map(String::as_str)
}

/// The demo of another checkout uses the same network scope: each would remove the other's networks.
fn refuse_second_demo(demo: &Demo) -> Res<()> {
    let own = demo.config();
    for process in processes::all() {
        if let Some(config) = serves(&process)
            && config.ends_with("/state/demo/canopy.toml")
            && Some(config) != own.to_str()
        {
            return Err(format!(
                "the demo of another checkout runs ({config}): `cargo xtask down` there first"
            ));
        }
    }
    Ok(())
}

fn configuration(root: &Path, demo: &Demo, port: u16) -> String {
    let quoted = |path: &Path| format!("{:?}", path.to_string_lossy());
    let plugin = |name: &str| quoted(&root.join("target/plugins").join(name));
    format!(
        "# Written by `cargo xtask demo` at each start.\n\
         listen = \"127.0.0.1:{port}\"\n\
         data_dir = {data}\n\n\
         [plugins]\nscheduler = {scheduler}\nquota = {quota}\nnetwork = {network}\n\n\
         [policies]\ndir = {policies}\n\n\
         [agent]\nenabled = true\nlibvirt_uri = \"{uri}\"\nnetwork_scope = \"{SCOPE}\"\n",
        data = quoted(&demo.data),
        scheduler = plugin("scheduler-binpack"),
        quota = plugin("quota-limits"),
        network = plugin("network-bridge"),
        policies = quoted(&root.join("policies")),
        uri = crate::libvirt::URI,
    )
}

/// Everything that a running server would have to be restarted for.
fn describe(root: &Path, demo: &Demo, binary: &Path, port: u16) -> String {
    let mut text = configuration(root, demo, port);
    let mut files = vec![binary.to_owned()];
    for folder in ["target/plugins", "policies"] {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    for file in files {
        if let Ok(is) = fs::metadata(&file) {
            let _ = writeln!(text, "{} {} {}.{}", file.display(), is.len(), is.mtime(), is.mtime_nsec());
        }
    }
    text
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn free_port(preferred: Option<u16>) -> Res<u16> {
    let mut ports = preferred.into_iter().chain(FIRST_PORT..FIRST_PORT + PORTS);
    ports
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| format!("no port from {FIRST_PORT} to {} is free", FIRST_PORT + PORTS - 1))
}

/// In a session of its own, so that it outlives the terminal.
fn launch(demo: &Demo, binary: &Path) -> Res<()> {
    let log = demo.log();
    if log.exists() {
        let previous = log.with_extension("log.1");
        fs::rename(&log, &previous).map_err(|e| failed("rename", &log, &e))?;
    }
    let file = fs::File::create(&log).map_err(|e| failed("create", &log, &e))?;
    let twin = file.try_clone().map_err(|e| failed("open", &log, &e))?;
    let mut command = as_root("setsid");
    command.arg(binary).args(["serve", "--config"]).arg(demo.config());
    command.stdin(Stdio::null()).stdout(file).stderr(twin);
    command.spawn().map(drop).map_err(|e| format!("{} could not be started: {e}", binary.display()))?;
    // Until it is seen, "no such process" does not mean that it ended.
    until(Duration::from_secs(2), || find(demo).is_some());
    Ok(())
}

/// The status code of a GET.
fn status(port: u16, path: &str) -> Res<u16> {
    let failed = |e: std::io::Error| format!("GET {path}: {e}");
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), HTTP_PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(HTTP_PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(HTTP_PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(failed)?;
    let text = String::from_utf8_lossy(&head);
    text.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| format!("GET {path}: no HTTP answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(words: &[&str]) -> Process {
        Process { pid: 1, arguments: words.iter().map(|w| (*w).to_owned()).collect(), started: 0.0 }
    }

    #[test]
    fn a_server_is_known_by_its_configuration() {
        let config = "/src/state/demo/canopy.toml";
        assert_eq!(serves(&process(&["/t/debug/canopy", "serve", "--config", config])), Some(config));
        assert_eq!(serves(&process(&["sudo", "-n", "canopy", "serve", "--config", config])), None);
        assert_eq!(serves(&process(&["/t/debug/canopy", "agent", "--config", config])), None);
        assert_eq!(serves(&process(&["/t/debug/canopy", "serve", "--config"])), None);
    }

    #[test]
    fn a_status_is_read_from_whatever_answers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "nonsense"]
            {
                let mut stream = listener.accept().unwrap().0;
                let mut request = [0; 16];
                stream.read_exact(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(!ready(port));
        assert!(ready(port));
        assert!(!ready(port));
        answering.join().unwrap();
        assert!(!ready(port), "nobody listens any more");
    }
}
