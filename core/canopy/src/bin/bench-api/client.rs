//! What a user's program sends: the same to any cloud that speaks these APIs.

use super::{Res, words};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Knows `networks: none`.
const VERSION: &str = "2.37";
/// Between two looks at what is not yet there. What a look costs counts: it asks for one server at most.
const LOOK: Duration = Duration::from_millis(50);
/// Servers that one request makes where it is not requests that are measured.
const BATCH: usize = 50;

pub struct Client {
    http: reqwest::Client,
    identity: String,
    compute: String,
    image: String,
    placement: Option<String>,
    project: String,
    token: String,
}

/// What servers are made of.
pub struct Made {
    flavor: String,
    image: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn by_password(password: &str) -> Value {
    let domain = json!({"id": "default"});
    json!({"auth": {
        "identity": {"methods": ["password"],
                     "password": {"user": {"name": "admin", "password": password, "domain": domain}}},
        "scope": {"project": {"name": "admin", "domain": domain}}}})
}

impl Client {
    /// As `admin` of the project `admin`; the other services come from the catalog.
    pub async fn login(identity: &str, password: &str) -> Res<Self> {
        let http = reqwest::Client::builder().no_proxy();
        // Reading certificates is no part of a cloud's start.
        let http = http.tls_built_in_root_certs(identity.starts_with("https"));
        let http = http.build().map_err(words)?;
        let identity = identity.trim_end_matches('/').to_owned();
        let sent = http.post(format!("{identity}/auth/tokens")).json(&by_password(password)).send().await;
        let answer = sent.map_err(words)?;
        let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok());
        let token = token.ok_or("the login failed")?.to_owned();
        let body: Value = answer.json().await.map_err(words)?;
        let of = |kind: &str| {
            let services = body["token"]["catalog"].as_array().into_iter().flatten();
            let mut endpoints = services
                .filter(|service| service["type"] == kind)
                .flat_map(|service| service["endpoints"].as_array().into_iter().flatten());
            let public = endpoints.find(|endpoint| endpoint["interface"] == "public");
            let url =
                public.and_then(|endpoint| endpoint["url"].as_str()).ok_or(format!("no {kind} service"))?;
            Ok::<_, String>(url.trim_end_matches('/').to_owned())
        };
        let (compute, image, placement) = (of("compute")?, of("image")?, of("placement").ok());
        Ok(Self {
            compute,
            image,
            placement,
            project: text(&body["token"]["project"]["id"]),
            identity,
            token,
            http,
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Res<Value> {
        let request =
            request.header("x-auth-token", &self.token).header("x-openstack-nova-api-version", VERSION);
        let answer = request.send().await.map_err(words)?;
        let (status, url) = (answer.status(), answer.url().path().to_owned());
        let body = answer.bytes().await.map_err(words)?;
        if !status.is_success() {
            return Err(format!("{url}: {status} {}", String::from_utf8_lossy(&body)));
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn ask(&self, path: &str) -> Res<Value> {
        self.send(self.http.get(format!("{}{path}", self.compute))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Res<Value> {
        self.send(self.http.post(format!("{}{path}", self.compute)).json(body)).await
    }

    pub async fn get(&self, path: &str) -> Res<()> {
        self.ask(path).await.map(drop)
    }

    pub async fn token_by_password(&self, password: &str) -> Res<()> {
        self.token(&by_password(password)).await
    }

    pub async fn token_from_token(&self) -> Res<()> {
        let scope = json!({"project": {"id": self.project}});
        let identity = json!({"methods": ["token"], "token": {"id": self.token}});
        self.token(&json!({"auth": {"identity": identity, "scope": scope}})).await
    }

    async fn token(&self, body: &Value) -> Res<()> {
        self.send(self.http.post(format!("{}/auth/tokens", self.identity)).json(body)).await.map(drop)
    }

    /// A list that must have so many servers. It is read whole, as text: what clients make of it is theirs.
    pub async fn count(&self, path: &str, servers: usize) -> Res<()> {
        let found = self.ask(path).await?["servers"].as_array().map_or(0, Vec::len);
        if found == servers { Ok(()) } else { Err(format!("{found} servers are listed, of {servers}")) }
    }

    async fn servers(&self, query: &str) -> Res<Vec<String>> {
        let found = self.ask(&format!("/servers?limit=1000{query}")).await?;
        Ok(found["servers"].as_array().into_iter().flatten().map(|server| text(&server["id"])).collect())
    }

    /// A flavor, an image, and room for all servers.
    pub async fn prepare(&self) -> Res<Made> {
        let quota = json!({"quota_set": {"instances": -1, "cores": -1, "ram": -1}});
        let path = format!("{}/os-quota-sets/{}", self.compute, self.project);
        self.send(self.http.put(path).json(&quota)).await?;
        let flavor = json!({"flavor": {"name": "bench", "vcpus": 1, "ram": 64, "disk": 1}});
        let flavor = text(&self.post("/flavors", &flavor).await?["flavor"]["id"]);
        let base = self.image.trim_end_matches("/v2").to_owned();
        let image = json!({"name": "bench", "disk_format": "raw", "container_format": "bare"});
        let image = self.send(self.http.post(format!("{base}/v2/images")).json(&image)).await?;
        let image = text(&image["id"]);
        let file = self.http.put(format!("{base}/v2/images/{image}/file"));
        let file = file.header("content-type", "application/octet-stream").body(vec![0_u8; 1 << 16]);
        self.send(file).await?;
        Ok(Made { flavor, image })
    }

    fn server(made: &Made, name: &str, count: usize) -> Value {
        json!({"server": {"name": name, "flavorRef": made.flavor, "imageRef": made.image, "networks": "none",
            "min_count": count, "max_count": count}})
    }

    /// One request a server.
    pub async fn create(&self, made: &Made, count: usize, at_once: usize) -> Res<Vec<String>> {
        let one = |n: usize| async move {
            let answer = self.post("/servers", &Self::server(made, &format!("burst-{n}"), 1)).await?;
            Ok::<_, String>(text(&answer["server"]["id"]))
        };
        stream::iter(0..count).map(one).buffer_unordered(at_once).try_collect().await
    }

    pub async fn until_active(&self, patience: Duration) -> Res<()> {
        self.until(patience, "built", async || Ok(!self.any("&status=BUILD").await?)).await?;
        if self.any("&status=ERROR").await? { Err("there are servers in ERROR".into()) } else { Ok(()) }
    }

    async fn any(&self, query: &str) -> Res<bool> {
        let found = self.ask(&format!("/servers?limit=1{query}")).await?;
        Ok(found["servers"].as_array().is_some_and(|servers| !servers.is_empty()))
    }

    /// Makes servers until there are so many. Answers one of them.
    pub async fn fill(&self, made: &Made, count: usize, patience: Duration) -> Res<String> {
        let mut have = self.servers("").await?.len();
        while have < count {
            let batch = BATCH.min(count - have);
            self.post("/servers", &Self::server(made, "filled", batch)).await?;
            have += batch;
        }
        self.until_active(patience).await?;
        self.servers("").await?.pop().ok_or("no server was made".into())
    }

    pub async fn delete(&self, ids: &[String], at_once: usize) -> Res<()> {
        let one = |id: &String| {
            let request = self.http.delete(format!("{}/servers/{id}", self.compute));
            async move { self.send(request).await.map(drop) }
        };
        stream::iter(ids).map(one).buffer_unordered(at_once).try_collect().await
    }

    pub async fn until_none(&self, patience: Duration) -> Res<()> {
        self.until(patience, "gone", async || Ok(!self.any("").await?)).await
    }

    pub async fn clear(&self, patience: Duration) -> Res<()> {
        self.delete(&self.servers("").await?, 16).await?;
        self.until_none(patience).await
    }

    /// Disks that are never filled need no room.
    pub async fn overcommit_disks(&self) -> Res<()> {
        let base = self.placement.as_ref().ok_or("no placement service")?;
        let providers = self.send(self.http.get(format!("{base}/resource_providers"))).await?;
        for provider in providers["resource_providers"].as_array().into_iter().flatten() {
            let path = format!("{base}/resource_providers/{}/inventories/DISK_GB", text(&provider["uuid"]));
            let mut inventory = self.send(self.http.get(&path)).await?;
            inventory["allocation_ratio"] = 1_000.into();
            self.send(self.http.put(&path).json(&inventory)).await?;
        }
        Ok(())
    }

    pub async fn until_hosts(&self, count: usize, until: Instant) -> Res<()> {
        let patience = until.saturating_duration_since(Instant::now());
        let there = async || {
            let found = self.ask("/os-hypervisors").await?;
            Ok(found["hypervisors"].as_array().map_or(0, Vec::len) >= count)
        };
        self.until(patience, "registered", there).await
    }

    async fn until(&self, patience: Duration, what: &str, check: impl AsyncFn() -> Res<bool>) -> Res<()> {
        let until = Instant::now() + patience;
        while !check().await? {
            if Instant::now() > until {
                return Err(format!("after {} s not all is {what}", patience.as_secs()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}
