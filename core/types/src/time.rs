//! Time is microseconds since the epoch, UTC, from an injected clock. Each service formats it its own way.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

pub const SECOND: i64 = 1_000_000;

impl Timestamp {
    /// `2026-11-22T12:00:00Z`: compute, image, network.
    pub fn seconds_z(self) -> String {
        let (y, mo, d, h, mi, s, _) = self.parts();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
    }

    /// `2026-11-22T12:00:00.000000Z`: identity.
    pub fn micros_z(self) -> String {
        let (y, mo, d, h, mi, s, us) = self.parts();
        format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{us:06}Z")
    }

    /// `2026-11-22T12:00:00.000000`: `OS-SRV-USG:launched_at` and friends, which carry no zone.
    pub fn micros_naive(self) -> String {
        let mut text = self.micros_z();
        text.pop();
        text
    }

    /// `Sun, 22 Nov 2026 12:00:00 GMT`: headers.
    pub fn http_date(self) -> String {
        let (y, mo, d, h, mi, s, _) = self.parts();
        let days = self.0.div_euclid(SECOND).div_euclid(86_400);
        let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let name = usize::try_from(days.rem_euclid(7)).ok().and_then(|n| names.get(n)).unwrap_or(&"Thu");
        let month = usize::try_from(mo - 1).ok().and_then(|n| months.get(n)).unwrap_or(&"Jan");
        format!("{name}, {d:02} {month} {y:04} {h:02}:{mi:02}:{s:02} GMT")
    }

    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(SECOND)))
    }

    /// ISO 8601: `2026-11-22`, or with `T12:00:00`, a fraction, and `Z` or an offset; no zone means UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 10 || bytes.len() > 40 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let number =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten();
        let (y, m, d) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
        if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
            return None;
        }
        let (mut seconds, mut micros, mut offset) = (0, 0, 0);
        let rest = &text[10..];
        if !rest.is_empty() {
            let rest = rest.strip_prefix(['T', ' '])?;
            let (clock, zone) = match rest.find(['Z', '+', '-']) {
                Some(at) => rest.split_at(at),
                None => (rest, "Z"),
            };
            offset = match zone.strip_prefix('Z') {
                Some("") => 0,
                Some(_) => return None,
                None => {
                    let (hours, minutes) =
                        zone[1..].split_once(':').or_else(|| zone[1..].split_at_checked(2))?;
                    let (hours, minutes) =
                        (number(hours)?, if minutes.is_empty() { 0 } else { number(minutes)? });
                    if hours > 23 || minutes > 59 {
                        return None;
                    }
                    let away = hours * 3_600 + minutes * 60;
                    if zone.starts_with('-') { -away } else { away }
                }
            };
            let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
            let mut parts = clock.split(':');
            let (h, mi) = (number(parts.next()?)?, number(parts.next()?)?);
            let s = parts.next().map_or(Some(0), number)?;
            if h > 23 || mi > 59 || s > 59 || parts.next().is_some() || fraction.len() > 9 {
                return None;
            }
            if !fraction.is_empty() {
                number(fraction)?;
                micros = format!("{fraction:0<6}")[..6].parse().ok()?;
            }
            seconds = h * 3_600 + mi * 60 + s;
        }
        let date = (y, m, d);
        let (y, m) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
        let era = y.div_euclid(400);
        let yoe = y.rem_euclid(400);
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + (153 * m + 2) / 5 + d - 1 - 719_468;
        let (y, m, d, ..) = Self(days * 86_400 * SECOND).parts();
        // A day that its month does not have.
        if (y, m, d) != date {
            return None;
        }
        Some(Self((days * 86_400 + seconds - offset) * SECOND + micros))
    }

    /// Civil date from days, after Howard Hinnant's `civil_from_days` (public domain algorithm).
    fn parts(self) -> (i64, i64, i64, i64, i64, i64, i64) {
        let us = self.0.rem_euclid(SECOND);
        let secs = self.0.div_euclid(SECOND);
        let days = secs.div_euclid(86_400);
        let rest = secs.rem_euclid(86_400);
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let d = doy - (153 * mp + 2) / 5 + 1;
        let m = if mp < 10 { mp + 3 } else { mp - 9 };
        let y = yoe + era * 400 + i64::from(m <= 2);
        (y, m, d, rest / 3_600, rest / 60 % 60, rest % 60, us)
    }
}

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The only reader of the wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_clients_send_and_refuses_the_rest() {
        for text in [
            "2026-11-22T12:05:05Z",
            "2026-11-22T12:05:05",
            "2026-11-22T13:05:05+01:00",
            "2026-11-22 12:05:05.0",
        ] {
            assert_eq!(
                Timestamp::parse(text).map(Timestamp::seconds_z).as_deref(),
                Some("2026-11-22T12:05:05Z"),
                "{text}"
            );
        }
        assert!(Timestamp::parse("2028-02-29").is_some());
        let t = Timestamp(1_795_349_105_000_123);
        assert_eq!(t.http_date(), "Sun, 22 Nov 2026 12:05:05 GMT");
        assert_eq!(Timestamp(0).http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Timestamp::parse(&t.micros_z()), Some(t));
        for text in [
            "",
            "now",
            "2026-13-01",
            "2026-11-22T25:00:00Z",
            "2026-11-22T12",
            "2026-11-22Tx",
            "2026-02-29",
            "2026-04-31T00:00:00Z",
            "2026-11-22T12:05:60Z",
            "2026-11-22T12:05:05+24:00",
            "2026-11-22T12:05:05+01:60",
            "２０２６-11-22",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn formats_follow_each_service() {
        let t = Timestamp(1_795_349_105_000_123);
        assert_eq!(t.http_date(), "Sun, 22 Nov 2026 12:05:05 GMT");
        assert_eq!(Timestamp(0).http_date(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(t.seconds_z(), "2026-11-22T12:05:05Z");
        assert_eq!(t.micros_z(), "2026-11-22T12:05:05.000123Z");
        assert_eq!(t.micros_naive(), "2026-11-22T12:05:05.000123");
        assert_eq!(Timestamp(0).seconds_z(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(951_782_400 * SECOND).seconds_z(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp(-1).micros_z(), "1969-12-31T23:59:59.999999Z");
    }
}
