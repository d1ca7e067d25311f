//! Progress by phase: what is being done, and how long it took.

use crate::run::Res;
use std::io::Write;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub struct Phases {
    total: usize,
    start: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Phases {
    pub fn new(total: usize) -> Self {
        Self { total, start: Instant::now(), done: Vec::new() }
    }

    /// A phase whose programs print nothing.
    pub fn quiet<T>(&mut self, title: &'static str, work: impl FnOnce() -> Res<T>) -> Res<T> {
        print!("[{}/{}] {title} … ", self.done.len() + 1, self.total);
        let _ = std::io::stdout().flush();
        let outcome = self.timed(title, work);
        match &outcome {
            Ok(_) => println!("{}", seconds(self.done.last().map_or(Duration::ZERO, |d| d.1))),
            Err(_) => println!("failed"),
        }
        outcome
    }

    /// A phase whose programs show what they do.
    pub fn loud<T>(&mut self, title: &'static str, work: impl FnOnce() -> Res<T>) -> Res<T> {
        let number = self.done.len() + 1;
        println!("[{number}/{}] {title} …", self.total);
        let outcome = self.timed(title, work);
        let ended = match &outcome {
            Ok(_) => seconds(self.done.last().map_or(Duration::ZERO, |d| d.1)),
            Err(_) => "failed".to_owned(),
        };
        println!("[{number}/{}] {title}: {ended}", self.total);
        outcome
    }

    fn timed<T>(&mut self, title: &'static str, work: impl FnOnce() -> Res<T>) -> Res<T> {
        let start = Instant::now();
        let outcome = work().map_err(|error| format!("{title}: {error}"));
        self.done.push((title, start.elapsed()));
        outcome
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Seconds per phase, one line each.
    pub fn table(&self) -> String {
        let rows = self.done.iter().map(|(title, time)| format!("  {:>8}  {title}\n", seconds(*time)));
        rows.collect::<String>() + &format!("  {:>8}  in all\n", seconds(self.elapsed()))
    }
}

/// Work that goes on beside the phases.
pub struct Beside<T>(JoinHandle<Res<T>>);

impl<T: Send + 'static> Beside<T> {
    pub fn start(work: impl FnOnce() -> Res<T> + Send + 'static) -> Self {
        Self(std::thread::spawn(work))
    }

    pub fn wait(self) -> Res<T> {
        self.0.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
