//! Failed logins, counted per user and per source in bounded memory: past a limit further attempts are
//! refused without looking at the password, whether or not there is such a user.
//!
//! Each server counts for itself; what it counted is gone after a restart.

use super::compliance::Compliance;
use super::unauthorized;
use canopy_types::{Error, Kind, Result, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Users and sources that are remembered, 24 bytes each. When full, those that failed longest ago go.
const REMEMBERED: usize = 65_536;
/// A source may fail so often without a pause of this length, seconds.
pub const SOURCE_PAUSE: i64 = 60;
/// The error of a source that has to wait so long.
pub const TOO_MANY_FAILURES: &str = "identity.too_many_failures";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failures {
    count: u32,
    last: Timestamp,
}

#[derive(Default)]
pub struct Guard {
    keys: RandomState,
    failures: Mutex<HashMap<u64, Failures>>,
}

/// One attempt to log in, before the password is looked at.
pub struct Attempt {
    user: Option<u64>,
    source: Option<u64>,
}

impl Guard {
    /// Refuses where there were too many failures. `user` names who is tried, known or not, and is `None`
    /// for one whose failures do not lock.
    pub fn attempt(
        &self,
        rules: &Compliance,
        user: Option<&str>,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Attempt> {
        let attempt = Attempt {
            user: user.filter(|_| rules.lockout_failure_attempts > 0).map(|user| self.key(0, user)),
            source: source
                .filter(|_| rules.failed_logins_per_source > 0)
                .map(|source| self.key(1, &network(source))),
        };
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |key: Option<u64>, limit: u32, pause: i64| {
            key.and_then(|key| failures.get(&key))
                .is_some_and(|found| found.count >= limit && now < found.last.plus_seconds(pause))
        };
        if full(attempt.source, rules.failed_logins_per_source, SOURCE_PAUSE) {
            return Err(Error::new(
                Kind::TooManyRequests,
                TOO_MANY_FAILURES,
                format!("Too many failed logins from your address. Try again in {SOURCE_PAUSE} seconds."),
            ));
        }
        if full(attempt.user, rules.lockout_failure_attempts, rules.lockout_seconds) {
            return Err(unauthorized());
        }
        Ok(attempt)
    }

    pub fn failed(&self, rules: &Compliance, attempt: &Attempt, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, pause) in [(attempt.user, rules.lockout_seconds), (attempt.source, SOURCE_PAUSE)] {
            let Some(key) = key else { continue };
            if failures.len() >= REMEMBERED && !failures.contains_key(&key) {
                forget_oldest(&mut failures);
            }
            let found = failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now >= found.last.plus_seconds(pause) {
                found.count = 0;
            }
            *found = Failures { count: found.count.saturating_add(1), last: now };
        }
    }

    /// The right password clears what was counted against the user, not against the source.
    pub fn succeeded(&self, attempt: &Attempt) {
        if let Some(user) = attempt.user {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
        }
    }

    /// Forgets what was counted against a user: an admin has let it in again.
    pub fn unlock(&self, user: &str) {
        let key = self.key(0, user);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn key(&self, kind: u8, text: &str) -> u64 {
        self.keys.hash_one((kind, text))
    }
}

/// Who has one address has its network, with IPv6 mostly 2^64 of them.
fn network(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{:x}/64", address.to_bits() >> 64),
    }
}

/// Makes room for an eighth.
fn forget_oldest(failures: &mut HashMap<u64, Failures>) {
    let mut times: Vec<Timestamp> = failures.values().map(|found| found.last).collect();
    let place = times.len() / 8;
    let (_, limit, _) = times.select_nth_unstable(place);
    let limit = *limit;
    failures.retain(|_, found| found.last > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Compliance {
        Compliance {
            lockout_failure_attempts: 3,
            lockout_seconds: 100,
            failed_logins_per_source: 5,
            ..Compliance::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(0).plus_seconds(seconds)
    }

    fn fail(guard: &Guard, user: &str, source: &str, now: i64) -> Option<Kind> {
        let rules = rules();
        match guard.attempt(&rules, Some(user), Some(source.parse().unwrap()), at(now)) {
            Ok(attempt) => {
                guard.failed(&rules, &attempt, at(now));
                None
            }
            Err(error) => Some(error.kind),
        }
    }

    #[test]
    fn a_user_is_locked_out_for_a_time_wherever_the_attempts_come_from() {
        let guard = Guard::default();
        for n in 1..=3 {
            assert_eq!(fail(&guard, "u", &format!("192.0.2.{n}"), n), None);
        }
        assert_eq!(fail(&guard, "u", "192.0.2.9", 102), Some(Kind::Unauthorized));
        assert_eq!(fail(&guard, "v", "192.0.2.9", 102), None);
        assert_eq!(fail(&guard, "u", "192.0.2.9", 103), None, "the time is over, and counting starts anew");
        assert_eq!(fail(&guard, "u", "192.0.2.9", 103), None);
        let attempt = guard.attempt(&rules(), Some("u"), None, at(103)).unwrap();
        guard.succeeded(&attempt);
        for _ in 0..3 {
            assert_eq!(fail(&guard, "u", "192.0.2.8", 104), None);
        }
        assert_eq!(fail(&guard, "u", "192.0.2.7", 104), Some(Kind::Unauthorized));
        assert!(guard.attempt(&rules(), None, None, at(104)).is_ok(), "one whose failures do not lock");
    }

    #[test]
    fn a_source_is_slowed_down_whoever_it_tries() {
        let guard = Guard::default();
        for n in 0..5 {
            assert_eq!(fail(&guard, &format!("u{n}"), &format!("2001:db8::{n}"), n), None);
        }
        assert_eq!(fail(&guard, "x", "2001:db8::ffff", 10), Some(Kind::TooManyRequests));
        assert_eq!(fail(&guard, "x", "2001:db8:0:1::1", 10), None);
        assert_eq!(fail(&guard, "x", "2001:db8::1", 64), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let guard = Guard::default();
        let rules = rules();
        for n in 0..REMEMBERED + 10 {
            let attempt = guard.attempt(&rules, Some(&n.to_string()), None, at(n as i64)).unwrap();
            guard.failed(&rules, &attempt, at(n as i64));
        }
        let failures = guard.failures.lock().unwrap();
        assert!(failures.len() <= REMEMBERED, "{}", failures.len());
        assert!(failures.contains_key(&guard.key(0, &(REMEMBERED + 9).to_string())));
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_limited() {
        let (guard, rules) =
            (Guard::default(), Compliance { failed_logins_per_source: 0, ..Compliance::default() });
        for _ in 0..1_000 {
            let attempt =
                guard.attempt(&rules, Some("u"), Some("192.0.2.1".parse().unwrap()), at(0)).unwrap();
            guard.failed(&rules, &attempt, at(0));
        }
        assert!(guard.failures.lock().unwrap().is_empty());
    }
}
