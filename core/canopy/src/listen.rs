//! The listener: connections in a bounded number, none of which may idle in the middle of a request's head.

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: u32 = 4_096;
/// For a request's whole head to arrive, and for the next request of a connection to begin.
const HEAD: Duration = Duration::from_secs(30);
/// After a failure to accept (no file descriptors left, mostly).
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped`, then lets what was accepted finish. Never fails: a connection's error ends that
/// connection.
pub async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop(&mut stopped) => break,
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
        // One that goes on in another protocol is its handler's, and no longer counted here.
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop(&mut stopped) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // A client that goes away in the middle is no event.
            if let Err(error) = ended {
                tracing::debug!(%error, "connection");
            }
            drop(place);
        });
    }
    drop(listener);
    // All places are free when the last connection has ended.
    let _ = places.acquire_many(CONNECTIONS).await;
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}
