//! The API as commands use it: as the caller that `OS_*` names, else as the admin of this machine.

use super::load;
use canopy_types::{Error, Kind, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// For bodies that take long.
const UPLOAD: Duration = Duration::from_secs(180);

/// A caller with a token.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// From `OS_AUTH_URL` and its companions, as other clients read them.
    pub(super) async fn from_environment(config: Option<&Path>) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = env("OS_AUTH_URL") else { return Self::admin(config, "admin").await };
        let url = url.trim_end_matches('/').trim_end_matches("/v3").to_owned();
        let base = url.strip_suffix("/identity").unwrap_or(&url).to_owned();
        if let Some(token) = env("OS_TOKEN") {
            return Ok(Self { http: http()?, base, token });
        }
        let missing = |name: &str| Error::bad_request("client.environment", format!("{name} is not set."));
        let domain = |scope: &str| match env(&format!("OS_{scope}_DOMAIN_ID")) {
            Some(id) => json!({ "id": id }),
            None => {
                json!({"name": env(&format!("OS_{scope}_DOMAIN_NAME")).unwrap_or_else(|| "Default".into())})
            }
        };
        let user = env("OS_USERNAME").ok_or_else(|| missing("OS_USERNAME"))?;
        let password = env("OS_PASSWORD").ok_or_else(|| missing("OS_PASSWORD"))?;
        let project = match env("OS_PROJECT_ID") {
            Some(id) => json!({ "id": id }),
            None => {
                let name = env("OS_PROJECT_NAME").ok_or_else(|| missing("OS_PROJECT_NAME"))?;
                json!({"name": name, "domain": domain("PROJECT")})
            }
        };
        let user = json!({"name": user, "domain": domain("USER"), "password": password});
        Self::login(base, user, project).await
    }

    /// The admin of the installation that `config` describes, on this machine.
    pub(super) async fn admin(config: Option<&Path>, project: &str) -> Result<Self> {
        let config = load(config)?;
        let file = config.data_dir.join("admin-password");
        let password = std::fs::read_to_string(&file)
            .map_err(|e| Error::bad_request("client.password", format!("{}: {e}", file.display())))?;
        let domain = json!({"id": "default"});
        let user = json!({"name": "admin", "domain": domain, "password": password.trim()});
        let project = json!({"name": project, "domain": domain});
        Self::login(format!("http://{}", config.listen), user, project).await
    }

    async fn login(base: String, user: Value, project: Value) -> Result<Self> {
        let auth = json!({"auth": {
            "identity": {"methods": ["password"], "password": { "user": user }},
            "scope": { "project": project },
        }});
        let http = http()?;
        let request = http.post(format!("{base}/identity/v3/auth/tokens")).json(&auth).send();
        let reply = request.await.map_err(|e| failed(&base, e))?;
        let token = reply
            .headers()
            .get("x-subject-token")
            .and_then(|token| token.to_str().ok())
            .ok_or_else(|| Error::unauthorized("User and password were not accepted for this project."))?
            .to_owned();
        Ok(Self { http, base, token })
    }

    /// The JSON at a path; an error carries the service's own message.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.send(reqwest::Method::GET, path, Body::None).await
    }

    /// A request without a body that the service may take long over.
    pub(super) async fn patient(&self, method: reqwest::Method, path: &str, wait: Duration) -> Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(wait);
        self.ask(request.header("x-auth-token", &self.token)).await
    }

    /// Any request; `Null` for an answer without a body.
    pub(super) async fn send(&self, method: reqwest::Method, path: &str, body: Body) -> Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.header("x-auth-token", &self.token);
        let request = match body {
            Body::None => request,
            Body::Json(json) => request.json(&json),
            Body::Bytes(bytes) => {
                request.header("content-type", "application/octet-stream").timeout(UPLOAD).body(bytes)
            }
        };
        self.ask(request).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let reply = request.send().await.map_err(|e| failed(&self.base, e))?;
        let status = reply.status();
        let bytes = reply.bytes().await.map_err(|e| failed(&self.base, e))?;
        let body: Value = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() => Value::Null,
            Err(e) => {
                let what = format!("The API at {} does not answer in JSON.", self.base);
                return Err(Error::unavailable("client.api", what).with_source(e));
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        // Each service has its own envelope around code and message.
        let message = body.as_object().and_then(|fields| fields.values().next()?["message"].as_str());
        let kind = match status.as_u16() {
            400 => Kind::BadRequest,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            410 => Kind::Gone,
            413 => Kind::TooLarge,
            403 => Kind::Forbidden,
            401 => Kind::Unauthorized,
            _ => Kind::Unavailable,
        };
        Err(Error::new(kind, "client.answer", message.unwrap_or("The service gave no reason.")))
    }
}

/// What a request carries.
pub(super) enum Body {
    None,
    Json(Value),
    Bytes(Vec<u8>),
}

fn http() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|e| Error::internal("client.http", e))
}

fn failed(base: &str, error: reqwest::Error) -> Error {
    Error::unavailable("client.api", format!("The API at {base} does not answer: {error}"))
}
