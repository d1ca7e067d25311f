//! A plugin's own thread behind a bounded queue: guests run to their deadline without an await in between,
//! and must not do so on the threads that serve requests.
//!
//! Waiting has a bound in number and in time. A question that finds the queue full, or has waited longer
//! than [`MAX_WAIT`] when its turn comes, is answered with [`Fault::Overload`]; the caller then takes its
//! fallback. A caller that has gone away costs nothing.

use crate::fault::Fault;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Questions that may wait.
const QUEUE: usize = 1024;
/// How long one may wait for its turn.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Host frames only; guests have their own limit within it.
const STACK: usize = 4 << 20;

/// Gets the state, or why it does not.
type Run<S> = Box<dyn FnOnce(Result<&mut S, Fault>) + Send>;

struct Job<S> {
    since: Instant,
    run: Run<S>,
}

/// A handle to the thread, which ends with its last handle.
pub(crate) struct Worker<S> {
    queue: SyncSender<Job<S>>,
}

impl<S> Clone for Worker<S> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<S: Send + 'static> Worker<S> {
    /// Starts a thread that owns `state`.
    pub(crate) fn start(name: &str, state: S) -> std::io::Result<Self> {
        Self::tended(name, state, |_| ())
    }

    /// As [`Self::start`]; after each answer, when the asker has it already, `tend` makes ready for the next.
    pub(crate) fn tended(
        name: &str,
        state: S,
        tend: impl Fn(&mut S) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        // Linux shows 15 characters.
        let name: String = format!("wasm-{name}").chars().take(15).collect();
        std::thread::Builder::new().name(name).stack_size(STACK).spawn(move || serve(&jobs, state, tend))?;
        Ok(Self { queue })
    }

    /// Has the thread answer; the error is a fault of the queue, never of the question itself.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |state: Result<&mut S, Fault>| {
            if !reply.is_closed() {
                let _ = reply.send(state.map(question));
            }
        });
        self.queue.try_send(Job { since: Instant::now(), run }).map_err(|_| Fault::Overload)?;
        answer.await.unwrap_or_else(|_| Err(Fault::Host("the question was dropped".to_owned())))
    }
}

fn serve<S>(jobs: &Receiver<Job<S>>, mut state: S, tend: impl Fn(&mut S)) {
    while let Ok(job) = jobs.recv() {
        let asked = if job.since.elapsed() > MAX_WAIT { Err(Fault::Overload) } else { Ok(&mut state) };
        // A bug in the host's own code costs one answer (its reply is dropped), not the plugin.
        if catch_unwind(AssertUnwindSafe(|| (job.run)(asked))).is_err() {
            tracing::error!("a question to a plugin panicked in the host");
        }
        if catch_unwind(AssertUnwindSafe(|| tend(&mut state))).is_err() {
            tracing::error!("making a plugin ready panicked in the host");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn a_full_queue_answers_at_once_and_the_waiting_are_served() {
        let worker = Worker::start("t", 0_u32).unwrap();
        let (release, gate) = channel::<()>();
        let (entered, inside) = channel::<()>();
        let busy = worker.clone();
        let first = tokio::spawn(async move {
            busy.ask(move |n| {
                entered.send(()).unwrap();
                gate.recv().unwrap();
                *n += 1;
                *n
            })
            .await
        });
        tokio::task::spawn_blocking(move || inside.recv().unwrap()).await.unwrap();
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let mut asked = Box::pin(worker.ask(|n| *n));
                // Polled once, it is in the queue.
                assert!(futures_poll_once(asked.as_mut()).is_none());
                asked
            })
            .collect();
        assert_eq!(worker.ask(|n| *n).await, Err(Fault::Overload));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        for asked in waiting {
            assert_eq!(asked.await, Ok(1));
        }
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer() {
        let worker = Worker::start("t", ()).unwrap();
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let broken = worker.ask(|()| panic!("host bug")).await;
        std::panic::set_hook(quiet);
        assert_eq!(broken.unwrap_err().label(), "host");
        assert_eq!(worker.ask(|()| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn it_is_tended_between_two_questions() {
        let worker = Worker::tended("t", 0_u32, |n| *n += 1).unwrap();
        assert_eq!(worker.ask(|n| *n).await, Ok(0));
        assert_eq!(worker.ask(|n| *n).await, Ok(1));
    }

    #[test]
    fn who_waited_too_long_is_told_so() {
        let (queue, jobs) = sync_channel(1);
        let (reply, answer) = channel();
        let Some(long_ago) = Instant::now().checked_sub(MAX_WAIT * 2) else { return };
        let run = Box::new(move |state: Result<&mut (), Fault>| reply.send(state.map(|_| ())).unwrap());
        queue.try_send(Job { since: long_ago, run }).unwrap();
        drop(queue);
        serve(&jobs, (), |()| ());
        assert_eq!(answer.recv().unwrap(), Err(Fault::Overload));
    }

    fn futures_poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
