//! The controller across HTTP, for an agent that is a process of its own.
//!
//! One method, one request; nothing is repeated here, since every caller repeats with its own pauses.
//! The bearer token is never logged. Plain HTTP: the address must be a loopback one for now.

use async_trait::async_trait;
use canopy_agent_api::{
    Ack, Answer, Blob, ConsoleStream, Controller, Desired, Observed, PATH, Question, Registered,
    Registration, STREAM,
};
use canopy_types::{Error, HostId, ImageId, Kind, ServerId};
use futures::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::io::ReaderStream;

/// Beyond what the controller was asked to wait.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For a plugin's bytes.
const PLUGIN: Duration = Duration::from_secs(120);
/// The image of a disk may take so long to be sent.
const SENDING: Duration = Duration::from_secs(4 * 3_600);
/// Without a byte of an image.
const STALLED: Duration = Duration::from_secs(60);
/// Of an answer with JSON: as large as the kept desired state may be.
const BODY: usize = 256 << 20;

/// Which plugin plans networks: `start` is the one of this agent's own configuration, `built-in` none.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NetworkChoice {
    /// Raised with every choice; 0 before the first.
    pub revision: i64,
    pub plugin: String,
    pub config: serde_json::Value,
}

pub struct HttpController {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl HttpController {
    /// `url` is the controller's address without path, e.g. `http://127.0.0.1:8774`.
    pub fn new(url: &str, token: impl Into<String>) -> Result<Self, Error> {
        let parsed = reqwest::Url::parse(url).ok().filter(|u| u.scheme() == "http");
        let loopback = parsed.as_ref().is_some_and(|u| match u.host_str() {
            Some("localhost" | "[::1]") => true,
            Some(host) => host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            None => false,
        });
        if !loopback {
            return Err(Error::bad_request(
                "agent.controller_url",
                format!("{url} is not a controller's address: give http:// and a loopback address."),
            ));
        }
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Nobody's certificates are asked for on the host itself; reading them takes longer than the rest.
            .tls_built_in_root_certs(false)
            .build()
            .map_err(|e| Error::internal("agent.http_client", e))?;
        Ok(Self { client, base: format!("{}{PATH}", url.trim_end_matches('/')), token: token.into() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Which plugin the controller wants networks planned with.
    pub async fn network_plugin(&self) -> Result<NetworkChoice, Error> {
        self.json(self.request(Method::GET, "/network-plugin"), Duration::ZERO).await
    }

    /// An installed plugin as it travels: its manifest and the component after it, at most `most` bytes.
    pub async fn plugin(&self, digest: &str, most: usize) -> Result<Vec<u8>, Error> {
        let request = self.request(Method::GET, &format!("/plugins/{digest}")).timeout(PLUGIN);
        body(self.send(request).await?, most).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = body(response, 4 << 10).await.unwrap_or_default();
        Err(refused(status, &String::from_utf8_lossy(&text)))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder, wait: Duration) -> Result<T, Error> {
        let response = self.send(request.timeout(wait + TIMEOUT)).await?;
        let bytes = body(response, BODY).await?;
        serde_json::from_slice(&bytes).map_err(nonsense)
    }
}

fn unreachable(error: reqwest::Error) -> Error {
    Error::unavailable("agent.controller_unreachable", "The controller could not be reached.")
        .with_source(error.without_url())
}

fn nonsense(error: serde_json::Error) -> Error {
    Error::unavailable("agent.controller_nonsense", "The controller's answer could not be understood.")
        .with_source(error)
}

fn refused(status: StatusCode, text: &str) -> Error {
    let kind = match status.as_u16() {
        400 => Kind::BadRequest,
        401 => Kind::Unauthorized,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        410 => Kind::Gone,
        413 => Kind::TooLarge,
        429 => Kind::TooManyRequests,
        _ => Kind::Unavailable,
    };
    Error::new(
        kind,
        "agent.controller_refused",
        format!("The controller refused the host's request ({status})."),
    )
    .with_source(std::io::Error::other(text.to_owned()))
}

async fn body(response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(unreachable)?;
        if bytes.len() + chunk.len() > limit {
            return Err(Error::unavailable(
                "agent.controller_nonsense",
                "The controller's answer is too long.",
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[async_trait]
impl Controller for HttpController {
    async fn register(&self, registration: Registration) -> Result<Registered, Error> {
        self.json(self.request(Method::POST, "/register").json(&registration), Duration::ZERO).await
    }

    async fn desired(&self, host: HostId, since: i64, wait: Duration) -> Result<Desired, Error> {
        let path = format!("/hosts/{host}/desired?since={since}&wait={}", wait.as_secs());
        self.json(self.request(Method::GET, &path), wait).await
    }

    async fn report(&self, host: HostId, observed: Observed) -> Result<Ack, Error> {
        let path = format!("/hosts/{host}/observed");
        self.json(self.request(Method::PUT, &path).json(&observed), Duration::ZERO).await
    }

    async fn fetch_image(&self, blob: &Blob, into: &Path) -> Result<(), Error> {
        let response = self.send(self.request(Method::GET, &format!("/images/{}", blob.digest))).await?;
        let failed = |e| crate::files::error("write", into, e);
        let mut file = tokio::fs::File::create_new(into).await.map_err(failed)?;
        let (mut stream, mut left, mut hash) = (response.bytes_stream(), blob.size, Sha256::new());
        loop {
            let next = tokio::time::timeout(STALLED, stream.next()).await.map_err(|_| {
                Error::unavailable("agent.image_stalled", "The controller stopped sending the image.")
            })?;
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(unreachable)?;
            left -= i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            if left < 0 {
                break;
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        if left != 0 || crate::images::hex(&hash.finalize()) != blob.digest {
            return Err(Error::new(
                Kind::Unprocessable,
                "agent.image_digest",
                "The image's content does not match its checksum. Upload the image again.",
            ));
        }
        Ok(())
    }

    async fn store_image(
        &self,
        host: HostId,
        server: ServerId,
        image: ImageId,
        from: &Path,
    ) -> Result<(), Error> {
        let unreadable = |e| crate::files::error("read", from, e);
        let file = tokio::fs::File::open(from).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        let path = format!("/hosts/{host}/servers/{server}/images/{image}");
        let request = self
            .request(Method::PUT, &path)
            .header("content-type", "application/octet-stream")
            .header("content-length", length)
            .body(reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 256 << 10)))
            .timeout(SENDING);
        self.send(request).await.map(drop)
    }

    async fn next_question(&self, host: HostId, wait: Duration) -> Result<Option<Question>, Error> {
        let path = format!("/hosts/{host}/questions?wait={}", wait.as_secs());
        let response = self.send(self.request(Method::GET, &path).timeout(wait + TIMEOUT)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        serde_json::from_slice(&body(response, 64 << 10).await?).map_err(nonsense)
    }

    async fn answer(&self, host: HostId, answer: Answer) -> Result<(), Error> {
        let path = format!("/hosts/{host}/answers");
        let request = self.request(Method::POST, &path).json(&answer).timeout(TIMEOUT);
        self.send(request).await.map(drop)
    }

    async fn join(&self, host: HostId, session: &str, console: ConsoleStream) -> Result<(), Error> {
        let path = format!("/hosts/{host}/sessions/{session}");
        let request = self.request(Method::GET, &path).header("connection", "upgrade");
        let response =
            request.header("upgrade", STREAM).timeout(TIMEOUT).send().await.map_err(unreachable)?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let text = body(response, 4 << 10).await.unwrap_or_default();
            return Err(refused(status, &String::from_utf8_lossy(&text)));
        }
        let mut session = response.upgrade().await.map_err(unreachable)?;
        let mut console = console.compat();
        // The controller bounds how many there are and how long one may rest, and either side ends it.
        tokio::spawn(async move {
            if let Err(error) = tokio::io::copy_bidirectional(&mut console, &mut session).await {
                tracing::debug!(%error, "a console's session ends");
            }
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
