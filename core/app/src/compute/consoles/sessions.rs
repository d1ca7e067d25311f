//! Who is joined to which guest's console through this controller, and who still waits for the host.

use canopy_agent_api::ConsoleStream;
use canopy_types::{ConsoleKind, Error, HostId, Kind, Result, ServerId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Sessions of this controller.
const MOST: usize = 256;
/// Sessions of one server.
const MOST_OF_SERVER: usize = 8;

/// Open sessions by the number under which a host joins them.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<String, Open>>>);

struct Open {
    server: ServerId,
    host: HostId,
    kind: ConsoleKind,
    /// Until the host has joined.
    waits: Option<oneshot::Sender<ConsoleStream>>,
    /// Told, or dropped with the session's place, when the session is to end.
    _stop: oneshot::Sender<()>,
}

/// One session's place, given back when it is dropped.
pub struct Session {
    pub id: String,
    sessions: Sessions,
    console: Option<oneshot::Receiver<ConsoleStream>>,
    stopped: oneshot::Receiver<()>,
}

impl Sessions {
    /// A place for one more.
    pub(super) fn begin(&self, server: ServerId, host: HostId, kind: ConsoleKind) -> Result<Session> {
        let id = super::random()?;
        let (waits, console) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let full = |what: &str| {
            let message = format!("{what} has as many open consoles as it may. Close one and try again.");
            Err(Error::new(Kind::TooManyRequests, "console.sessions", message))
        };
        let mut open = self.lock();
        if open.len() >= MOST {
            return full("This controller");
        }
        if open.values().filter(|one| one.server == server).count() >= MOST_OF_SERVER {
            return full("This server");
        }
        open.insert(id.clone(), Open { server, host, kind, waits: Some(waits), _stop: stop });
        metrics::gauge!("canopy_console_sessions").set(u32::try_from(open.len()).unwrap_or(u32::MAX));
        drop(open);
        Ok(Session { id, sessions: self.clone(), console: Some(console), stopped })
    }

    /// Gives a host's session its guest's stream.
    pub fn join(&self, host: HostId, id: &str) -> Result<oneshot::Sender<ConsoleStream>> {
        self.lock()
            .get_mut(id)
            .filter(|open| open.host == host)
            .and_then(|open| open.waits.take())
            .ok_or_else(|| Error::not_found("console.session", "No session waits under this number."))
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends all of them.
    pub fn end(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Ends the others at the same console: a serial port has one user at a time, and who comes last has it, so that
    /// a user whose connection was lost does not wait for its end.
    pub(super) fn alone(&self) {
        let mut open = self.sessions.lock();
        let Some((server, kind)) = open.get(&self.id).map(|one| (one.server, one.kind)) else { return };
        open.retain(|id, one| *id == self.id || (one.server, one.kind) != (server, kind));
    }

    /// The guest's stream, once the host has joined.
    pub(super) async fn console(&mut self) -> Option<ConsoleStream> {
        self.console.take()?.await.ok()
    }

    /// Ends when the session is to end from here.
    pub async fn stopped(&mut self) {
        let _ = (&mut self.stopped).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        open.remove(&self.id);
        metrics::gauge!("canopy_console_sessions").set(u32::try_from(open.len()).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_joined_once_and_by_its_own_host() {
        let (sessions, host) = (Sessions::default(), HostId::random());
        let mut session = sessions.begin(ServerId::random(), host, ConsoleKind::Novnc).unwrap();
        assert_eq!(sessions.join(HostId::random(), &session.id).err().unwrap().code, "console.session");
        let nothing = futures::io::Cursor::new(Vec::new());
        sessions.join(host, &session.id).unwrap().send(Box::new(nothing)).map_err(|_| ()).unwrap();
        assert!(sessions.join(host, &session.id).is_err(), "a second time");
        assert!(session.console().await.is_some());
        assert_eq!(sessions.count(), 1);
        drop(session);
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test]
    async fn places_are_bounded_and_come_back() {
        let (sessions, host) = (Sessions::default(), HostId::random());
        let (server, begin) = (ServerId::random(), |server| sessions.begin(server, host, ConsoleKind::Novnc));
        let mut held: Vec<Session> = (0..MOST_OF_SERVER).map(|_| begin(server).unwrap()).collect();
        assert_eq!(begin(server).err().unwrap().kind, Kind::TooManyRequests);
        held.pop();
        held.push(begin(server).unwrap());
        held.extend((MOST_OF_SERVER..MOST).map(|_| begin(ServerId::random()).unwrap()));
        assert_eq!(begin(ServerId::random()).err().unwrap().kind, Kind::TooManyRequests);
        drop(held);
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test]
    async fn who_comes_last_has_the_serial_port() {
        let (sessions, host, server) = (Sessions::default(), HostId::random(), ServerId::random());
        let begin = |kind| sessions.begin(server, host, kind).unwrap();
        let (mut first, screen) = (begin(ConsoleKind::Serial), begin(ConsoleKind::Novnc));
        let second = begin(ConsoleKind::Serial);
        second.alone();
        first.stopped().await;
        drop(first);
        assert_eq!(sessions.count(), 2, "the screen and the second");
        drop((screen, second));
    }
}
