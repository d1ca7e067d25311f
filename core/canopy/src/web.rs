//! Images from the web, for imports with `web-download`.
//!
//! Tenants name the URI, so this machine would otherwise ask on their behalf what only it can reach. A name is
//! resolved once, every address that comes out is judged, and the connection goes to a judged address: an answer
//! that changes between the two finds nobody asking. Redirects are followed by hand and judged alike. Nothing of
//! the environment (proxies, credentials, cookies) is used.

mod address;

use async_trait::async_trait;
use canopy_app::image::{Body, WebSource};
use canopy_types::{Error, Kind, Result};
use futures::StreamExt;
use ipnet::IpNet;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Longest URI, bytes.
const MAX_URI: usize = 2_048;
const REDIRECTS: usize = 5;
/// Addresses of one name.
const MAX_ADDRESSES: usize = 16;
const RESOLVE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// From the request to the answer's headers.
const HEADERS: Duration = Duration::from_secs(30);
/// The whole body.
const BODY: Duration = Duration::from_secs(6 * 3_600);

/// Fetches over HTTP and HTTPS.
pub struct Web {
    /// Ports that may be asked.
    pub ports: Vec<u16>,
    /// Networks that may be asked although they are internal.
    pub internal: Vec<IpNet>,
}

#[async_trait]
impl WebSource for Web {
    fn check(&self, uri: &str) -> Result<()> {
        self.parse(uri).map(drop)
    }

    async fn open(&self, uri: &str) -> Result<(Body, Option<u64>)> {
        let mut url = self.parse(uri)?;
        for _ in 0..=REDIRECTS {
            let answer = self.ask(&url).await?;
            let status = answer.status();
            if status.is_success() {
                return Ok(body(answer));
            }
            let target = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
            let Some(target) = target else {
                return Err(refused(format!("The server of the URI answered {}.", status.as_u16())));
            };
            let next = target.to_str().ok().and_then(|target| url.join(target).ok());
            let next = next.ok_or_else(|| refused("The server of the URI redirects to no URI."))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(refused("The server of the URI redirects from https to http."));
            }
            url = self.parse(next.as_str())?;
        }
        Err(refused(format!("The URI is redirected more than {REDIRECTS} times.")))
    }
}

impl Web {
    /// What can be judged without asking anybody.
    fn parse(&self, uri: &str) -> Result<Url> {
        let bad = |what: &str| Error::bad_request("image.uri", format!("The URI cannot be used: {what}."));
        if uri.len() > MAX_URI {
            return Err(bad(&format!("it is longer than {MAX_URI} bytes")));
        }
        let url = Url::parse(uri).map_err(|e| bad(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("its scheme must be http or https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it must hold no user or password"));
        }
        if !url.port_or_known_default().is_some_and(|port| self.ports.contains(&port)) {
            let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
            return Err(bad(&format!("its port must be one of {}", ports.join(", "))));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        if let Some(address) = literal(&url) {
            self.judge(address)?;
        }
        Ok(url)
    }

    fn judge(&self, address: IpAddr) -> Result<()> {
        let plain = address.to_canonical();
        let allowed = self.internal.iter().any(|network| network.contains(&plain));
        if allowed || address::is_public(address) {
            return Ok(());
        }
        // The same words whatever it is: nobody learns what is inside.
        Err(refused("The URI's host is none that images may be fetched from."))
    }

    async fn ask(&self, url: &Url) -> Result<Response> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let addresses = self.resolve(url, &host).await?;
        let client = Client::builder()
            .resolve_to_addrs(&host, &addresses)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(BODY)
            .user_agent(concat!("canopy/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal("image.web", e))?;
        let answer = tokio::time::timeout(HEADERS, client.get(url.clone()).send()).await;
        let silent = || refused("The server of the URI did not answer in time.");
        answer.map_err(|_| silent())?.map_err(|e| {
            let what =
                if e.is_timeout() { silent() } else { refused("The server of the URI cannot be reached.") };
            what.with_source(e.without_url())
        })
    }

    /// Addresses that have been judged; one that may not be asked refuses the name.
    async fn resolve(&self, url: &Url, host: &str) -> Result<Vec<SocketAddr>> {
        let port = url.port_or_known_default().unwrap_or(80);
        if let Some(address) = literal(url) {
            self.judge(address)?;
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let unknown = || refused("The URI's host has no address.");
        let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, port))).await;
        let found: Vec<SocketAddr> = found
            .map_err(|_| unknown())?
            .map_err(|e| unknown().with_source(e))?
            .take(MAX_ADDRESSES)
            .collect();
        if found.is_empty() {
            return Err(unknown());
        }
        for address in &found {
            self.judge(address.ip())?;
        }
        Ok(found)
    }
}

/// The host, where it is an address. The parser has brought every spelling of one into its usual form.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn body(answer: Response) -> (Body, Option<u64>) {
    let length = answer.content_length();
    let chunks = answer
        .bytes_stream()
        .map(|chunk| chunk.map_err(|e| refused("The download was broken off.").with_source(e.without_url())));
    (chunks.boxed(), length)
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, "image.web_download", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(internal: &[&str]) -> Web {
        Web { ports: vec![80, 443], internal: internal.iter().map(|net| net.parse().unwrap()).collect() }
    }

    #[test]
    fn what_no_import_may_ask_is_refused_before_anybody_is_asked() {
        for uri in [
            "",
            "file:///etc/passwd",
            "ftp://example.org/x",
            "gopher://example.org/x",
            "unix:/run/x.sock",
            "http://",
            "http://user@example.org/x",
            "http://user:secret@example.org/x",
            "http://example.org:22/x",
            "https://example.org:6443/x",
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://0177.0.0.1/x",
            "http://127.1/x",
            "http://[::1]/x",
            "http://[::ffff:127.0.0.1]/x",
            "http://[::ffff:7f00:1]/x",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/x",
            "http://１２７.0.0.1/x",
        ] {
            assert!(web(&[]).check(uri).is_err(), "{uri}");
        }
        assert!(web(&[]).check(&format!("http://example.org/{}", "x".repeat(MAX_URI))).is_err());
        for uri in [
            "http://example.org/x",
            "https://example.org/x?y=z",
            "http://9.9.9.9/x",
            "http://example.org:443/x",
        ] {
            web(&[]).check(uri).unwrap_or_else(|e| panic!("{uri}: {e}"));
        }
    }

    #[test]
    fn only_named_internal_networks_are_allowed() {
        let web = web(&["10.1.0.0/16"]);
        assert!(web.check("http://10.1.2.3/x").is_ok());
        assert!(web.check("http://[::ffff:10.1.2.3]/x").is_ok());
        assert!(web.check("http://10.2.2.3/x").is_err());
    }

    #[tokio::test]
    async fn a_name_for_the_inside_is_refused() {
        let error = web(&[]).open("http://localhost/x").await.err().unwrap();
        assert!(error.message.contains("none that images may be fetched from"), "{error}");
    }
}
