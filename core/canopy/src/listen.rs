//! The listener: connections in a bounded number, none of which may idle in the middle of a request's head.

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4_096;
/// For a request's whole head to arrive, and for the next request of a connection to begin.
const HEAD: Duration = Duration::from_secs(30);
/// After a failure to accept (no file descriptors left, mostly).
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped`, then lets what was accepted finish. Never fails: a connection's error ends that
/// connection.
pub async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connected) => connected,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Small answers are not held back to be sent together.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            // Policies and the audit log ask where a client is.
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request)
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD);
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away in the middle is no event.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
