//! `canopy serve` as a process of its own, on real libvirt and the kernel's network: it can be killed,
//! crashed at a named point and started again on the same data. With the agent apart (`canopy agent`) it is
//! the agent that is killed and started again, and the controller goes on.

use crate::{Client, login_body, until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Process {
    dir: PathBuf,
    port: u16,
    server: Program,
    /// Only where it is a process of its own.
    agent: Option<Program>,
    pub scope: String,
}

/// One `canopy` process, running or not.
struct Program {
    command: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    fn new(dir: &Path, command: &'static str, config: &str) -> Self {
        let path = dir.join(format!("{command}.toml"));
        std::fs::write(&path, config).expect("a configuration file");
        Self { command, config: path, log: dir.join(format!("{command}.log")), child: None }
    }

    fn start(&mut self, env: &[(&str, &str)]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log file");
        let child = Command::new(binary())
            .arg(self.command)
            .arg("--config")
            .arg(&self.config)
            .envs(env.iter().copied())
            .env("RUST_LOG", "info,sqlx=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("`canopy` starts: build it with `cargo build -p canopy`");
        self.child = Some(child);
    }

    /// It was started and has ended by itself.
    fn ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_some())
    }

    /// It does not run.
    fn died(&mut self) -> bool {
        self.child.is_none() || self.ended()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// The binary that `cargo xtask test` built, or the one beside this test's own.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CANOPY_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("this test has a path");
    own.ancestors().nth(2).expect("target/debug").join("canopy")
}

/// Folders of the shipped plugins.
pub fn plugins() -> PathBuf {
    std::env::var_os("CANOPY_TEST_PLUGINS")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins").into(), PathBuf::from)
}

impl Process {
    /// Prepares a configuration; starts nothing. QEMU's user can reach the folder.
    pub fn prepare(name: &str) -> Self {
        Self::prepare_with(name, false)
    }

    /// The same with the agent as a process of its own, which then is the one that is killed and started.
    pub fn prepare_apart(name: &str) -> Self {
        Self::prepare_with(name, true)
    }

    /// The same on `network-flat`, with this bridge of the operator's as the network `external`.
    pub fn prepare_on(name: &str, bridge: &str) -> Self {
        let mut process = Self::prepare_with(name, false);
        let path = process.dir.join("serve.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration that was just written");
        let text = text.replace("network-bridge", "network-flat");
        let text = format!("{text}[agent.physical_networks]\nexternal = \"{bridge}\"\n");
        process.server = Program::new(&process.dir, "serve", &text);
        process
    }

    /// Adds to the controller's configuration.
    pub fn configure(&mut self, more: &str) {
        let path = self.dir.join("serve.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration that was just written");
        self.server = Program::new(&self.dir, "serve", &format!("{text}{more}"));
    }

    /// Everything that its programs have logged.
    pub fn logs(&self) -> String {
        let logs = std::iter::once(&self.server).chain(&self.agent);
        logs.map(|program| std::fs::read_to_string(&program.log).unwrap_or_default()).collect()
    }

    /// A controller without an agent; `more` is added to its configuration.
    pub fn controller(name: &str, more: &str) -> Self {
        let mut process = Self::prepare(name);
        let config = format!(
            "listen = \"127.0.0.1:{}\"\ndata_dir = \"{}\"\n{more}[agent]\nenabled = false\n",
            process.port,
            process.data().display()
        );
        process.server = Program::new(&process.dir, "serve", &config);
        process
    }

    fn prepare_with(name: &str, apart: bool) -> Self {
        // `cargo xtask test` sweeps what carries such a scope, should this process be killed.
        let scope = format!("test_{name}_{}", std::process::id());
        let dir = std::env::temp_dir().join(&scope);
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let port = free_port();
        let plugin = |name: &str| plugins().join(name).display().to_string();
        let data = dir.join("data");
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\ndata_dir = \"{}\"\n\
             [plugins]\nscheduler = \"{}\"\nquota = \"{}\"\nnetwork = \"{}\"\n\
             [agent]\nname = \"{scope}\"\nnetwork_scope = \"{scope}\"\nacceleration = \"tcg\"\nshutdown_seconds = 5\n",
            data.display(),
            plugin("scheduler-spread"),
            plugin("quota-limits"),
            plugin("network-bridge"),
        );
        let mut server = config.clone();
        let mut agent = None;
        if apart {
            server.push_str("enabled = false\n");
            // The same data folder: the agent keeps its own things below `agent` in either case.
            let of_its_own = format!(
                "{config}controller = \"http://127.0.0.1:{port}\"\ntoken_file = \"{}\"\n",
                data.join("keys/agent.token").display()
            );
            agent = Some(Program::new(&dir, "agent", &of_its_own));
        }
        let server = Program::new(&dir, "serve", &server);
        Self { dir, port, server, agent, scope }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process that is killed and started: the agent where it is apart.
    fn victim(&mut self) -> &mut Program {
        self.agent.as_mut().unwrap_or(&mut self.server)
    }

    /// Starts it; does not wait. Where the agent is apart, the controller must run already.
    pub fn start(&mut self, env: &[(&str, &str)]) {
        self.victim().start(env);
    }

    /// Starts it, after the controller where that does not run yet, and waits until the API is ready.
    pub async fn start_ready(&mut self) {
        if self.agent.is_some() && self.server.died() {
            self.server.start(&[]);
            // It makes the token that the agent needs.
            self.ready().await;
        }
        self.start(&[]);
        self.ready().await;
    }

    /// Waits until the API is ready.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let client = Client::new(&self.url(), "");
        loop {
            let ended = self.server.ended() || self.agent.as_mut().is_some_and(Program::ended);
            assert!(!ended, "ended while starting:\n{}", self.tail());
            if client.try_get("/readyz").await.is_some_and(|answer| answer.status == 200) {
                return;
            }
            assert!(Instant::now() < deadline, "the server is not ready within 60 s:\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the process has ended by itself.
    pub fn died(&mut self) -> bool {
        self.victim().died()
    }

    /// As a power failure would.
    pub fn kill(&mut self) {
        self.victim().kill();
    }

    /// The ends of the logs.
    pub fn tail(&self) -> String {
        let logs = std::iter::once(&self.server).chain(&self.agent);
        logs.map(|program| format!("--- {}\n{}\n", program.command, program.tail())).collect()
    }

    pub async fn admin(&self) -> Client {
        self.try_admin().await.expect("the server answers")
    }

    /// `None` when the server is not there or goes away.
    pub async fn try_admin(&self) -> Option<Client> {
        let password = std::fs::read_to_string(self.data().join("admin-password")).ok()?;
        let body = login_body("admin", password.trim(), "admin");
        let anonymous = Client::new(&self.url(), "");
        let request = anonymous.request("POST", "/identity/v3/auth/tokens").json(&body);
        let answer = anonymous.try_send(request).await?;
        assert_eq!(answer.status, 201, "{answer:?}");
        Some(Client::new(&self.url(), answer.header("x-subject-token").expect("a token")))
    }

    /// The sum of these samples (`name` or `name{label="value"}`) at `/metrics`.
    pub async fn metric(&self, sample: &str) -> f64 {
        let text = Client::new(&self.url(), "").get("/metrics").await.text();
        let values = text.lines().filter_map(|line| line.strip_prefix(sample)?.trim().parse::<f64>().ok());
        values.sum()
    }

    /// Names of Canopy's domains that keep their disks under this server's data.
    pub fn domains(&self) -> Vec<String> {
        let list = output("virsh", &["-c", "qemu:///system", "list", "--all", "--name"]);
        list.lines()
            .filter(|name| !name.is_empty())
            .filter(|name| {
                output("virsh", &["-c", "qemu:///system", "dumpxml", name])
                    .contains(&*self.dir.to_string_lossy())
            })
            .map(str::to_owned)
            .collect()
    }

    /// Folders that the agent keeps for servers.
    pub fn server_dirs(&self) -> Vec<PathBuf> {
        let dir = self.data().join("agent/servers");
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Bridges and veths that carry this scope's mark.
    pub fn links(&self) -> Vec<String> {
        let all = output("ip", &["-j", "link", "show"]);
        let all: serde_json::Value = serde_json::from_str(&all).unwrap_or_default();
        let mark = format!("canopy:{}", self.scope);
        all.as_array()
            .into_iter()
            .flatten()
            .filter(|link| link["ifalias"].as_str().is_some_and(|alias| alias.starts_with(&mark)))
            .filter_map(|link| link["ifname"].as_str().map(str::to_owned))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.kill();
        }
        self.server.kill();
        if std::thread::panicking() {
            eprintln!("The ends of the logs:\n{}", self.tail());
        }
        for domain in self.domains() {
            output("virsh", &["-c", "qemu:///system", "destroy", &domain]);
            output("virsh", &["-c", "qemu:///system", "undefine", &domain, "--nvram"]);
        }
        for link in self.links() {
            output("ip", &["link", "delete", &link]);
        }
        sweep(&self.dir, &self.scope);
    }
}

/// Removes what a killed agent left: DHCP servers, namespaces, the filter table, the folder.
fn sweep(dir: &Path, scope: &str) {
    output("pkill", &["-f", &dir.join("data/agent").display().to_string()]);
    let mark = format!("canopy:{scope}");
    let namespaces = output("ip", &["netns", "list"]);
    for namespace in namespaces.lines().filter_map(|line| line.split(' ').next()) {
        let inside = output("ip", &["-n", namespace, "link", "show"]);
        if inside.contains(&mark) {
            output("ip", &["netns", "delete", namespace]);
        }
    }
    output("nft", &["delete", "table", "bridge", &format!("canopy_{scope}")]);
    let _ = std::fs::remove_dir_all(dir);
}

/// Runs a program and answers its standard output, empty when it fails.
pub fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits until the process has ended by itself.
pub async fn until_died(process: &mut Process, what: &str) {
    let process = std::cell::RefCell::new(process);
    until(what, async || process.borrow_mut().died()).await;
}
