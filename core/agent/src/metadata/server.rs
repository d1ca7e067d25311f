//! The metadata service: one listener inside each network's namespace.
//!
//! A guest is known by the network whose listener it reached and by its source address, which
//! anti-spoofing makes trustworthy; no header can change that, so `X-Forwarded-For` and its kin are not
//! looked at. The listening socket is made by a short-lived thread inside the namespace and served by
//! the ordinary workers. A namespace that was made anew gets a new listener.

use super::content::{Content, GuestData};
use crate::network::items::{Metadata, Plan};
use crate::network::netns::{self, Identity};
use bytes::Bytes;
use canopy_plugin_host::network::Item;
use canopy_types::effect::effect;
use canopy_types::{Error, NetworkId};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

/// Connections served at once per network; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// From the connection to the end of the request's headers.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole connection; each carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Request line and headers together, bytes; the least that hyper takes.
const MAX_HEAD: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// Pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who is behind an address.
pub trait MetadataSource: Send + Sync + 'static {
    /// Must not block: it is asked on every request.
    fn lookup(&self, network: NetworkId, source_ip: IpAddr) -> Option<Arc<GuestData>>;
}

/// All listeners of this host; dropping it closes them.
pub struct MetadataServer {
    source: Arc<dyn MetadataSource>,
    listeners: Mutex<BTreeMap<NetworkId, Listener>>,
}

struct Listener {
    /// Where it was made: a namespace made anew under the same name is another one.
    netns: Identity,
    item: Metadata,
    task: JoinHandle<()>,
}

impl Listener {
    /// Closes its sockets for certain: one that stays open keeps a removed namespace alive.
    async fn close(mut self) {
        self.task.abort();
        // It was cancelled, which is what is wanted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MetadataServer {
    pub fn new(source: Arc<dyn MetadataSource>) -> Self {
        Self { source, listeners: Mutex::new(BTreeMap::new()) }
    }

    /// Listens for exactly the `metadata@1` items of the plan. A network that fails does not keep the
    /// others from being served; the first failure is returned.
    pub async fn sync(&self, items: &[Item]) -> Result<(), Error> {
        let failed = self.converge(&Plan::parse(items)?.metadata).await;
        failed.into_values().next().map_or(Ok(()), Err)
    }

    /// The same for a plan that was checked already; returns the networks that are not served, and why.
    pub async fn converge(&self, wanted: &BTreeMap<NetworkId, Metadata>) -> BTreeMap<NetworkId, Error> {
        let mut listeners = self.listeners.lock().await;
        let surplus: Vec<_> = listeners.keys().filter(|n| !wanted.contains_key(n)).copied().collect();
        for network in surplus {
            if let Some(listener) = listeners.remove(&network) {
                listener.close().await;
            }
        }
        let mut failed = BTreeMap::new();
        for (network, item) in wanted {
            let netns = netns::identity(&netns::path(&item.namespace)).ok();
            let present = listeners.get(network);
            let kept =
                present.is_some_and(|l| Some(l.netns) == netns && l.item == *item && !l.task.is_finished());
            if kept {
                continue;
            }
            // The old one goes first, since both may want the same address.
            if let Some(listener) = listeners.remove(network) {
                listener.close().await;
            }
            let made = effect("network.metadata.listen", self.listen(*network, item)).await;
            match made {
                Ok(listener) => {
                    listeners.insert(*network, listener);
                }
                Err(error) => {
                    tracing::warn!(%network, error = %error.chain(), "the metadata service cannot listen");
                    failed.insert(*network, error);
                }
            }
        }
        failed
    }

    async fn listen(&self, network: NetworkId, item: &Metadata) -> Result<Listener, Error> {
        let address = SocketAddr::new(item.address, item.port);
        let (socket, netns) = netns::within(netns::path(&item.namespace), move || {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            // The namespace this thread is in, which the name may have left meanwhile.
            Ok((socket, netns::identity("/proc/thread-self/ns/net".as_ref())?))
        })
        .await?;
        let socket = TcpListener::from_std(socket).map_err(|e| Error::internal("metadata.listen", e))?;
        let task = tokio::spawn(accept(socket, network, Arc::clone(&self.source)));
        Ok(Listener { netns, item: item.clone(), task })
    }
}

/// Runs until it is aborted; its connections end with it.
async fn accept(socket: TcpListener, network: NetworkId, source: Arc<dyn MetadataSource>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = socket.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer.ip(), network, Arc::clone(&source)));
                }
                Err(error) => {
                    tracing::warn!(%network, %error, "the metadata service cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, network: NetworkId, source: Arc<dyn MetadataSource>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = answer(source.as_ref(), network, peer, request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%network, %peer, %error, "a metadata request failed"),
        Err(_) => tracing::debug!(%network, %peer, "a metadata request took too long"),
    }
}

fn answer(
    source: &dyn MetadataSource,
    network: NetworkId,
    peer: IpAddr,
    method: &Method,
    path: &str,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are served here.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(guest) = source.lookup(network, peer) else {
        tracing::info!(%network, %peer, "metadata was asked for by an unknown address");
        return plain(StatusCode::NOT_FOUND, "This address is not known here.\n");
    };
    match guest.file(path) {
        Some(Content { mime, bytes }) => respond(StatusCode::OK, mime, bytes.into()),
        None => plain(StatusCode::NOT_FOUND, "There is no such metadata.\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn respond(status: StatusCode, mime: &'static str, bytes: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(mime));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    struct One(NetworkId, IpAddr, Arc<GuestData>);

    impl MetadataSource for One {
        fn lookup(&self, network: NetworkId, source_ip: IpAddr) -> Option<Arc<GuestData>> {
            ((network, source_ip) == (self.0, self.1)).then(|| Arc::clone(&self.2))
        }
    }

    #[test]
    fn only_the_right_network_and_address_are_answered() {
        let (spec, networks) = testing::spec_with_network();
        let (network, ip) = (spec.ports[0].network_id, spec.ports[0].fixed_ips[0].ip_address);
        let source = One(network, ip, Arc::new(GuestData::new(Arc::new(spec), Arc::new(networks))));
        let path = "/openstack/latest/meta_data.json";
        let status = |network, ip, method: &Method, path: &str| {
            answer(&source, network, ip, method, path).status().as_u16()
        };
        assert_eq!(status(network, ip, &Method::GET, path), 200);
        assert_eq!(status(network, ip, &Method::HEAD, path), 200);
        assert_eq!(status(NetworkId::random(), ip, &Method::GET, path), 404);
        assert_eq!(status(network, [203, 0, 113, 1].into(), &Method::GET, path), 404);
        assert_eq!(status(network, ip, &Method::GET, "/openstack/../etc"), 404);
        let refused = answer(&source, network, ip, &Method::PUT, "/latest/api/token");
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[ALLOW]),
            (405, &HeaderValue::from_static("GET, HEAD"))
        );
    }
}
