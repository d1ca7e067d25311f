//! What only a host knows (console output, what is wrong on it), asked through its agent.
//!
//! The agent holds a long poll; a question waits in a short queue of its host and its asker waits for the
//! answer, both with a deadline. Nothing is stored: a lost question is an answer of 503.

use canopy_agent_api::{Answer, Ask, Question};
use canopy_types::{Error, HostId, Result, ServerId};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Questions waiting per host.
const QUEUE: usize = 64;
/// An agent asks again within half a minute, as long as it asks this controller.
const HEARD: Duration = Duration::from_secs(45);
/// How long an asker waits.
pub const DEADLINE: Duration = Duration::from_secs(10);

type Outcome = std::result::Result<String, String>;

#[derive(Default)]
pub struct Questions {
    next: AtomicU64,
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    /// When each host's agent last asked for questions.
    heard: HashMap<HostId, Instant>,
    waiting: HashMap<HostId, Vec<Question>>,
    answers: HashMap<u64, (HostId, oneshot::Sender<Outcome>)>,
}

impl Questions {
    /// Asks the host's agent about a server and waits for its answer, at most [`DEADLINE`].
    pub async fn ask(&self, host: HostId, server_id: ServerId, ask: Ask) -> Result<String> {
        self.put(host, Some(server_id), ask, DEADLINE)
            .await?
            .map_err(|message| Error::not_found("server.no_console", message))
    }

    /// The same about a guest, which must be there.
    pub async fn ask_guest(&self, host: HostId, server_id: ServerId, ask: Ask) -> Result<String> {
        self.put(host, Some(server_id), ask, DEADLINE)
            .await?
            .map_err(|message| Error::unavailable("server.guest", message))
    }

    /// Asks the host's agent about the host itself and waits for its answer.
    pub async fn ask_host(&self, host: HostId, ask: Ask, deadline: Duration) -> Result<String> {
        self.put(host, None, ask, deadline)
            .await?
            .map_err(|message| Error::unavailable("host.answer", message))
    }

    /// Refuses where the host's agent asks no questions, so that none would be answered.
    pub fn heard(&self, host: HostId) -> Result<()> {
        let heard = self.lock()?.heard.get(&host).is_some_and(|at| at.elapsed() < HEARD);
        if heard { Ok(()) } else { Err(unheard()) }
    }

    async fn put(
        &self,
        host: HostId,
        server_id: Option<ServerId>,
        ask: Ask,
        deadline: Duration,
    ) -> Result<Outcome> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.lock()?;
            let queue = state.waiting.entry(host).or_default();
            if queue.len() >= QUEUE {
                return Err(silent());
            }
            queue.push(Question { id, server_id, ask });
            state.answers.insert(id, (host, sender));
        }
        let _forget = Forget { questions: self, host, id };
        self.asked.notify_waiters();
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) | Err(_) => {
                self.heard(host)?;
                Err(silent())
            }
        }
    }

    /// The next question for this host, when there is one within `wait`.
    pub async fn next(&self, host: HostId, wait: Duration) -> Result<Option<Question>> {
        let deadline = Instant::now() + wait;
        self.lock()?.heard.insert(host, Instant::now());
        loop {
            let asked = self.asked.notified();
            tokio::pin!(asked);
            // Registered before the look, so that a question asked in between is not missed.
            asked.as_mut().enable();
            if let Some(queue) = self.lock()?.waiting.get_mut(&host)
                && !queue.is_empty()
            {
                return Ok(Some(queue.remove(0)));
            }
            if tokio::time::timeout_at(deadline, asked).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// An answer to a question of this host; others' and late ones are dropped.
    pub fn answer(&self, host: HostId, answer: Answer) -> Result<()> {
        let mut state = self.lock()?;
        if state.answers.get(&answer.id).is_some_and(|(of, _)| *of == host)
            && let Some((_, sender)) = state.answers.remove(&answer.id)
        {
            let _ = sender.send(answer.outcome);
        }
        Ok(())
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        self.state.lock().map_err(|_| Error::internal("questions.poisoned", "a holder of the lock panicked"))
    }
}

/// Takes a question back however its asker ends: answered, too late, or gone away in the middle.
struct Forget<'q> {
    questions: &'q Questions,
    host: HostId,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let Ok(mut state) = self.questions.lock() else { return };
        state.answers.remove(&self.id);
        if let Some(queue) = state.waiting.get_mut(&self.host) {
            queue.retain(|question| question.id != self.id);
            if queue.is_empty() {
                state.waiting.remove(&self.host);
            }
        }
    }
}

fn unheard() -> Error {
    Error::unavailable(
        "host.unheard",
        "The agent of the server's host does not ask this controller. Where there are several, ask another one; \
         otherwise try again when the host is back.",
    )
}

fn silent() -> Error {
    Error::unavailable(
        "host.silent",
        "The server's host does not answer at the moment. Try again in a few seconds.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_question_reaches_its_host_only_and_its_answer_the_asker() {
        let questions = Arc::new(Questions::default());
        let (host, other, server) = (HostId::random(), HostId::random(), ServerId::random());
        let asker = {
            let questions = questions.clone();
            tokio::spawn(
                async move { questions.ask(host, server, Ask::ConsoleOutput { lines: Some(3) }).await },
            )
        };
        let question = questions.next(host, Duration::from_secs(5)).await.unwrap().unwrap();
        assert_eq!(question.server_id, Some(server));
        assert_eq!(questions.next(other, Duration::from_millis(1)).await.unwrap(), None);
        // Another host cannot answer for it.
        questions.answer(other, Answer { id: question.id, outcome: Ok("forged".into()) }).unwrap();
        questions.answer(host, Answer { id: question.id, outcome: Ok("text".into()) }).unwrap();
        assert_eq!(asker.await.unwrap().unwrap(), "text");
    }

    #[tokio::test]
    async fn an_asker_that_goes_away_takes_its_question_along() {
        let questions = Questions::default();
        let (host, server) = (HostId::random(), ServerId::random());
        let asked = questions.ask(host, server, Ask::ConsoleOutput { lines: None });
        assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err());
        let state = questions.lock().unwrap();
        assert!(state.waiting.is_empty() && state.answers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_host_is_503_and_leaves_nothing_behind() {
        let questions = Questions::default();
        let host = HostId::random();
        let error =
            questions.ask(host, ServerId::random(), Ask::ConsoleOutput { lines: None }).await.unwrap_err();
        assert_eq!(error.code, "host.unheard");
        assert_eq!(questions.next(host, Duration::from_millis(1)).await.unwrap(), None);
        let ask = || questions.ask(host, ServerId::random(), Ask::ConsoleOutput { lines: None });
        assert_eq!(ask().await.unwrap_err().code, "host.silent", "an agent that is there, and busy");
        tokio::time::advance(HEARD).await;
        assert_eq!(ask().await.unwrap_err().code, "host.unheard", "gone, or to another controller");
    }
}
