//! A whole cloud in the test's process: real store, plugins where asked, HTTP on a free port, and an agent
//! on a fake hypervisor without networks (or on real ones, for tests of guests).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

pub mod client;
pub mod fixtures;
pub mod mounted;
pub mod process;
pub mod random;
pub mod sockets;

pub use client::{Answer, Client};

use canopy::{Config, Overrides, Running};
use canopy_agent::network::NoNetwork;
use canopy_hypervisor::fake::FakeHypervisor;
use canopy_types::Clock;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Where the store lives. PostgreSQL only when `CANOPY_TEST_POSTGRES` names a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Every engine that can be tested here. `cargo xtask test` provides both.
pub fn engines() -> Vec<Engine> {
    match std::env::var("CANOPY_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => vec![Engine::Sqlite, Engine::Postgres],
        _ => vec![Engine::Sqlite],
    }
}

pub struct Cloud {
    pub url: String,
    pub hypervisor: FakeHypervisor,
    pub config: Config,
    running: Option<Running>,
    dir: TempDir,
}

impl Cloud {
    /// On SQLite, with an agent on a fake host of 8 VCPU and 16 GiB.
    pub async fn start() -> Self {
        Self::start_on(Engine::Sqlite).await
    }

    pub async fn start_on(engine: Engine) -> Self {
        Self::start_with(engine, |_| {}, None).await
    }

    /// With a changed configuration, and a clock of the test's own.
    pub async fn start_with(
        engine: Engine,
        change: impl FnOnce(&mut Config),
        clock: Option<Arc<dyn Clock>>,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("canopy-test-").tempdir().expect("a temporary folder");
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().join("data"),
            ..Config::default()
        };
        config.agent.name = Some("host-1".into());
        if engine == Engine::Postgres {
            let server = std::env::var("CANOPY_TEST_POSTGRES").expect("engines() offers it only when set");
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("canopy_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let url = canopy_store::testing::create_database(&server, &name).await.expect("a database");
            config.database.url = Some(url);
        }
        change(&mut config);
        let hypervisor = FakeHypervisor::new();
        let overrides = Overrides {
            clock,
            hypervisor: Some(Arc::new(hypervisor.clone())),
            network: Some(Arc::new(NoNetwork)),
        };
        let running = canopy::server::start(&config, overrides).await.expect("the server starts");
        let url = format!("http://{}", running.address);
        let cloud = Self { url, hypervisor, config, running: Some(running), dir };
        if cloud.config.agent.enabled {
            cloud.until("the host has registered", async || !cloud.hosts().await.is_empty()).await;
        }
        cloud
    }

    /// Stops it and starts it again on the same data. The fake host keeps its guests.
    pub async fn restart(&mut self) {
        self.stop().await;
        let overrides = Overrides {
            clock: None,
            hypervisor: Some(Arc::new(self.hypervisor.clone())),
            network: Some(Arc::new(NoNetwork)),
        };
        let running = canopy::server::start(&self.config, overrides).await.expect("the server starts again");
        self.url = format!("http://{}", running.address);
        self.running = Some(running);
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub fn app(&self) -> &Arc<canopy_app::App> {
        &self.running.as_ref().expect("the cloud runs").app
    }

    pub fn agent_token(&self) -> &str {
        &self.running.as_ref().expect("the cloud runs").agent_token
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub async fn hosts(&self) -> Vec<canopy_store::hosts::HostRow> {
        self.app().store.read(|c| Box::pin(canopy_store::hosts::all(c))).await.expect("hosts").0
    }

    /// Waits for a level; panics with `what` after 30 s.
    pub async fn until(&self, what: &str, check: impl AsyncFn() -> bool) {
        until(what, check).await;
    }

    pub fn anonymous(&self) -> Client {
        Client::new(&self.url, "")
    }

    pub fn admin_password(&self) -> String {
        let file = self.config.data_dir.join("admin-password");
        std::fs::read_to_string(file).expect("the admin's password").trim().to_owned()
    }

    /// The admin of project `admin`.
    pub async fn admin(&self) -> Client {
        let password = self.admin_password();
        self.login("admin", &password, "admin").await
    }

    pub async fn login(&self, user: &str, password: &str, project: &str) -> Client {
        let answer =
            self.anonymous().post("/identity/v3/auth/tokens", &login_body(user, password, project)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let token = answer.header("x-subject-token").expect("a token").to_owned();
        Client::new(&self.url, &token)
    }

    /// A new project `name` with a user `name` of role `member` in it.
    pub async fn tenant(&self, name: &str) -> Client {
        self.tenant_with_role(name, "member").await
    }

    pub async fn tenant_with_role(&self, name: &str, role: &str) -> Client {
        let admin = self.admin().await;
        let project = admin.post("/identity/v3/projects", &json!({"project": {"name": name}})).await;
        assert_eq!(project.status, 201, "{project:?}");
        let user = json!({"user": {"name": name, "password": "correct horse"}});
        let user = admin.post("/identity/v3/users", &user).await;
        assert_eq!(user.status, 201, "{user:?}");
        let roles = admin.get(&format!("/identity/v3/roles?name={role}")).await;
        let grant = format!(
            "/identity/v3/projects/{}/users/{}/roles/{}",
            project.text_at("/project/id"),
            user.text_at("/user/id"),
            roles.text_at("/roles/0/id")
        );
        let granted = admin.put(&grant, &serde_json::Value::Null).await;
        assert_eq!(granted.status, 204, "{granted:?}");
        self.login(name, "correct horse", name).await
    }
}

pub fn login_body(user: &str, password: &str, project: &str) -> serde_json::Value {
    json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": user, "domain": {"id": "default"}, "password": password}}},
        "scope": {"project": {"name": project, "domain": {"id": "default"}}},
    }})
}

/// Waits for a level; panics with `what` after 30 s.
pub async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
