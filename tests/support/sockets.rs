//! A client of WebSockets.

use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Joins with noVNC's protocol, or says with which status it was refused.
    pub async fn join(url: &str) -> Result<Self, u16> {
        Self::join_with(url, &[("sec-websocket-protocol", "binary")]).await
    }

    /// As a browser does for noVNC from a page of this origin: no protocol is offered, and compression is.
    pub async fn join_from(url: &str, origin: &str) -> Result<Self, u16> {
        let extensions = "permessage-deflate; client_max_window_bits";
        Self::join_with(url, &[("origin", origin), ("sec-websocket-extensions", extensions)]).await
    }

    async fn join_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("an address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let offered = request.headers().get("sec-websocket-protocol").cloned();
        match connect_async(request).await {
            Ok((socket, answer)) => {
                // A browser leaves who answers what it has not offered.
                assert_eq!(answer.headers().get("sec-websocket-protocol"), offered.as_ref());
                assert_eq!(answer.headers().get("sec-websocket-extensions"), None);
                Ok(Self(socket))
            }
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    /// Without any protocol.
    pub async fn join_plain(url: &str) -> Self {
        Self(connect_async(url).await.expect("it answers").0)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.expect("it is open");
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("it is open");
    }

    /// The next message; `None` when it has ended.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something comes");
            match next {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
                Some(Ok(Message::Text(text))) => return Some(text.as_bytes().to_vec()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads until it has come.
    pub async fn until(&mut self, text: &str) {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(text) {
            let more = self.next().await;
            let more =
                more.unwrap_or_else(|| panic!("{text:?} was not in {:?}", String::from_utf8_lossy(&all)));
            all.extend(more);
        }
    }

    /// Reads until it ends.
    pub async fn ended(&mut self) {
        while self.next().await.is_some() {}
    }
}
