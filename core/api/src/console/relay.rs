//! Between a client's WebSocket and a guest's console: bytes as they are, until either side leaves.
//!
//! Nothing is kept for who does not take it: a side that takes no bytes for [`TAKE`] ends the session.

use axum::extract::ws::{CloseFrame, Message};
use bytes::Bytes;
use canopy_agent_api::ConsoleStream;
use futures::{Sink, SinkExt, Stream, StreamExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// Bytes of a guest that make one message.
const CHUNK: usize = 16 << 10;
/// Longest that either side may take to take what it is sent.
const TAKE: Duration = Duration::from_secs(10);
/// Clients are asked this often whether they are there, and are gone after some silence.
const PING: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_secs(90);
/// A session in which nothing is said for this long ends, at the latest after twice as long.
const IDLE: Duration = Duration::from_secs(3_600);
/// For the last words to a client.
const FAREWELL: Duration = Duration::from_secs(1);
/// WebSocket's codes for an end: as it should be, and from here.
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;

/// Returns why it ended, once it has or is `stopped`.
pub async fn relay<S, E>(socket: S, guest: ConsoleStream, stopped: impl Future<Output = ()>) -> &'static str
where
    S: Stream<Item = Result<Message, E>> + Sink<Message> + Send + Unpin,
{
    let (mut sink, mut frames) = socket.split();
    let (mut from_guest, mut to_guest) = tokio::io::split(guest.compat());
    let used = AtomicBool::new(true);
    let (code, why) = tokio::select! {
        why = down(&mut from_guest, &mut sink, &used) => (NORMAL, why),
        why = up(&mut frames, &mut to_guest, &used) => (NORMAL, why),
        () = stopped => (AWAY, "another session has it now, or the controller stops"),
        () = idle(&used) => (AWAY, "nothing was said for long"),
    };
    let frame = CloseFrame { code, reason: why.into() };
    let _ = timeout(FAREWELL, sink.send(Message::Close(Some(frame)))).await;
    why
}

async fn down<S: Sink<Message> + Unpin>(
    guest: &mut (impl AsyncRead + Unpin),
    sink: &mut S,
    used: &AtomicBool,
) -> &'static str {
    let mut chunk = vec![0; CHUNK];
    let mut pings = tokio::time::interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            read = guest.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return "the guest went off",
                Ok(n) => {
                    used.store(true, Ordering::Relaxed);
                    Message::Binary(Bytes::copy_from_slice(chunk.get(..n).unwrap_or_default()))
                }
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        match timeout(TAKE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "the client left",
            Err(_) => return "the client takes nothing",
        }
    }
}

async fn up<E>(
    frames: &mut (impl Stream<Item = Result<Message, E>> + Unpin),
    guest: &mut (impl AsyncWrite + Unpin),
    used: &AtomicBool,
) -> &'static str {
    loop {
        let bytes = match timeout(GONE, frames.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Text(text)))) => text.into(),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return "the client left",
            Err(_) => return "the client is not there any more",
        };
        used.store(true, Ordering::Relaxed);
        match timeout(TAKE, guest.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "the guest went off",
            Err(_) => return "the guest takes nothing",
        }
    }
}

async fn idle(used: &AtomicBool) {
    loop {
        tokio::time::sleep(IDLE).await;
        if !used.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::mpsc;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::DuplexStream;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    /// A client in the test's hands: what it sends, and what it is sent.
    struct Socket(mpsc::Receiver<Message>, mpsc::Sender<Message>);

    impl Stream for Socket {
        type Item = Result<Message, Infallible>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_next_unpin(cx).map(|message| message.map(Ok))
        }
    }

    impl Sink<Message> for Socket {
        type Error = mpsc::SendError;
        fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.1.poll_ready(cx)
        }
        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
            self.1.start_send(message)
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
    }

    struct Session {
        send: mpsc::Sender<Message>,
        receive: mpsc::Receiver<Message>,
        guest: DuplexStream,
        ended: tokio::task::JoinHandle<&'static str>,
    }

    fn session() -> Session {
        let ((send, theirs), (back, receive)) = (mpsc::channel(4), mpsc::channel(4));
        let (guest, ours) = tokio::io::duplex(64 << 10);
        let ended = relay(Socket(theirs, back), Box::new(ours.compat()), std::future::pending());
        Session { send, receive, guest, ended: tokio::spawn(ended) }
    }

    async fn next(receive: &mut mpsc::Receiver<Message>) -> Message {
        loop {
            match receive.next().await.unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_until_a_side_leaves() {
        let Session { mut send, mut receive, mut guest, ended } = session();
        guest.write_all(b"login: ").await.unwrap();
        assert_eq!(next(&mut receive).await, Message::Binary("login: ".into()));
        send.send(Message::Binary("ro".into())).await.unwrap();
        send.send(Message::Text("ot".into())).await.unwrap();
        let mut typed = [0; 4];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"root");
        drop(guest);
        assert!(matches!(next(&mut receive).await, Message::Close(Some(frame)) if frame.code == NORMAL));
        assert_eq!(ended.await.unwrap(), "the guest went off");

        let Session { mut send, mut guest, ended, receive: _receive } = session();
        send.send(Message::Close(None)).await.unwrap();
        assert_eq!(ended.await.unwrap(), "the client left");
        assert_eq!(guest.read(&mut [0]).await.unwrap(), 0, "the guest's side is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_who_takes_nothing() {
        let Session { mut guest, ended, receive: _untouched, send: _send } = session();
        let mut written = 0;
        while let Ok(Ok(())) = timeout(Duration::from_secs(30), guest.write_all(&[0; CHUNK])).await {
            written += CHUNK;
        }
        assert_eq!(ended.await.unwrap(), "the client takes nothing");
        assert!(written < 64 * CHUNK, "{written} bytes went nowhere");

        let Session { mut send, ended, guest: _untouched, mut receive } = session();
        tokio::spawn(async move { while receive.next().await.is_some() {} });
        while send.send(Message::Binary(vec![0; CHUNK].into())).await.is_ok() {}
        assert_eq!(ended.await.unwrap(), "the guest takes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_or_idle_does_not_stay() {
        let Session { ended, mut receive, send: _send, guest: _guest } = session();
        tokio::spawn(async move { while receive.next().await.is_some() {} });
        let begun = tokio::time::Instant::now();
        assert_eq!(ended.await.unwrap(), "the client is not there any more");
        assert!(begun.elapsed() >= GONE && begun.elapsed() < 2 * GONE);

        let Session { ended, mut receive, mut send, guest: _guest } = session();
        tokio::spawn(async move {
            while let Some(message) = receive.next().await {
                if matches!(message, Message::Ping(_)) {
                    let _ = send.send(Message::Pong(Bytes::new())).await;
                }
            }
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(ended.await.unwrap(), "nothing was said for long");
        assert!(begun.elapsed() <= 2 * IDLE);
    }
}
