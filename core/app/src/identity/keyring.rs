//! The keys that seal tokens, and their exchange while tokens are out.
//!
//! Each key is a file of the folder `keys`: `token.key`, the first, and `token-<µs>.key`, which signs from that
//! time on. The newest key whose time has come signs; those before it open what they signed until the last of
//! it has expired, and are then removed. Names alone say what a key is for, so that controllers with copies of
//! the folder agree, and a server takes up a new key by looking at the folder.

use super::key;
use super::token::{Claims, Sealer, bytes_of};
use canopy_types::effect::effect_sync;
use canopy_types::time::SECOND;
use canopy_types::{Error, Result, Timestamp};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const FIRST: &str = "token.key";
const PREFIX: &str = "token-";
const SUFFIX: &str = ".key";
/// The longest that tokens have ever lasted here, seconds: settings may have been changed since some were
/// signed.
const LIFE: &str = "token.life";
/// Keys kept at once. Who rotates more often than tokens expire waits.
const MAX_KEYS: usize = 32;

struct Key {
    signs_from: Timestamp,
    path: PathBuf,
    sealer: Sealer,
}

/// All keys of a folder, oldest first.
pub struct Keyring {
    keys: Vec<Key>,
    /// µs.
    life: i64,
}

/// A key as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownKey {
    /// Tells keys apart; says nothing about the key.
    pub tag: String,
    pub file: String,
    /// `waits`, `signs`, `opens` or `over`.
    pub state: &'static str,
    /// None for the first key.
    pub signs_from: Option<Timestamp>,
    /// When what it signed has expired; none while no key follows it.
    pub opens_until: Option<Timestamp>,
}

impl Keyring {
    /// Reads all keys, making the first where there is none. `token_seconds` is how long tokens last now.
    /// Blocks on the disk.
    pub fn open(folder: &Path, token_seconds: i64) -> Result<Self> {
        if files(folder)?.is_empty() {
            key::open(&folder.join(FIRST))?;
        }
        if life(folder)? < token_seconds {
            let text = token_seconds.to_string();
            effect_sync("identity.key.life", || std::fs::write(folder.join(LIFE), text))
                .map_err(|e| fault(folder, &e))?;
        }
        Self::read(folder)
    }

    /// The same for keys that are there.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut keys = Vec::new();
        for (signs_from, path) in files(folder)? {
            let sealer = Sealer::new(&key::read_existing(&path)?);
            keys.push(Key { signs_from, path, sealer });
        }
        if keys.is_empty() {
            let text = format!("{} holds no token key: start the server once", folder.display());
            return Err(Error::unavailable("identity.key", text));
        }
        Ok(Self { keys, life: life(folder)?.saturating_mul(SECOND) })
    }

    pub fn seal(&self, claims: &Claims, now: Timestamp) -> Result<String> {
        self.keys[self.signer(now)].sealer.seal(claims)
    }

    /// What a token of ours says. Whether it still counts is for the caller.
    pub fn open_token(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let bytes = bytes_of(token)?;
        let mut keys = self.keys.iter().enumerate().filter(|(_, key)| key.sealer.signed(&bytes));
        keys.find_map(|(n, key)| (!self.over(n, now)).then(|| key.sealer.open_bytes(&bytes)).flatten())
    }

    /// The newest whose time has come; where the clock went back, the oldest.
    fn signer(&self, now: Timestamp) -> usize {
        self.keys.iter().rposition(|key| key.signs_from <= now).unwrap_or(0)
    }

    fn opens_until(&self, n: usize) -> Option<Timestamp> {
        let next = self.keys.get(n + 1)?;
        Some(Timestamp(next.signs_from.0.saturating_add(self.life)))
    }

    fn over(&self, n: usize, now: Timestamp) -> bool {
        self.opens_until(n).is_some_and(|until| until <= now)
    }

    pub fn show(&self, now: Timestamp) -> Vec<ShownKey> {
        let signer = self.signer(now);
        let show = |(n, key): (usize, &Key)| ShownKey {
            tag: key.sealer.tag(),
            file: key.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            state: match n {
                n if n > signer => "waits",
                n if n == signer => "signs",
                n if self.over(n, now) => "over",
                _ => "opens",
            },
            signs_from: (key.signs_from.0 > 0).then_some(key.signs_from),
            opens_until: self.opens_until(n),
        };
        self.keys.iter().enumerate().map(show).collect()
    }

    /// Removes the files of keys that nothing valid is signed with any more.
    pub fn prune(&self, now: Timestamp) -> Result<usize> {
        let mut count = 0;
        for (n, key) in self.keys.iter().enumerate() {
            if !self.over(n, now) {
                continue;
            }
            remove(&key.path)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Makes a key that signs from `at` on. Servers of the folder take it up by themselves. With `alone`, all
/// others go at once, and every token with them: for a key that somebody else has seen.
pub fn rotate(folder: &Path, at: Timestamp, alone: bool) -> Result<ShownKey> {
    let before = files(folder)?;
    if let Some((newest, _)) = before.last()
        && (*newest == at || *newest > at && !alone)
    {
        let text = format!("a key that signs from {} on is there already", newest.micros_z());
        return Err(Error::conflict("identity.key", text));
    }
    if before.len() >= MAX_KEYS && !alone {
        let text = format!("{MAX_KEYS} keys are kept: tokens of the oldest have not expired yet");
        return Err(Error::conflict("identity.key", text));
    }
    key::open(&folder.join(format!("{PREFIX}{:016}{SUFFIX}", at.0)))?;
    if alone {
        for (_, path) in &before {
            remove(path)?;
        }
    }
    let ring = Keyring::read(folder)?;
    ring.show(at).pop().ok_or_else(|| Error::internal("identity.key", "the new key is gone"))
}

/// A key's time, and when its file was written.
pub type KeyFile = (Timestamp, Option<SystemTime>);

/// Changes whenever [`Keyring::read`] may give something else.
pub fn fingerprint(folder: &Path) -> Vec<KeyFile> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    files(folder).unwrap_or_default().iter().map(|(at, path)| (*at, modified(path))).collect()
}

/// When each key signs from, and its file; oldest first.
fn files(folder: &Path) -> Result<Vec<(Timestamp, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(|e| fault(folder, &e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| fault(folder, &e))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let at = match name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i64>().ok(),
            _ => (name == FIRST).then_some(0),
        };
        files.extend(at.map(|at| (Timestamp(at), path)));
    }
    files.sort();
    Ok(files)
}

/// Seconds; 0 where nothing is noted yet.
fn life(folder: &Path) -> Result<i64> {
    match std::fs::read_to_string(folder.join(LIFE)) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let text = format!("{}: holds no number of seconds", folder.join(LIFE).display());
            Error::unavailable("identity.key", text)
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(fault(&folder.join(LIFE), &e)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match effect_sync("identity.key.remove", || std::fs::remove_file(path)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(fault(path, &e)),
        _ => Ok(()),
    }
}

fn fault(path: &Path, error: &std::io::Error) -> Error {
    Error::unavailable("identity.key", format!("The token keys in {}: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::delegation::Delegation;
    use super::super::token::Methods;
    use super::*;
    use canopy_types::UserId;

    fn claims() -> Claims {
        Claims {
            user_id: UserId::random(),
            scope: None,
            methods: Methods::PASSWORD,
            issued: Timestamp(1),
            expires: Timestamp(2),
            audit_id: [1; 16],
            chain_id: [1; 16],
            delegation: Delegation::None,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(0).plus_seconds(seconds)
    }

    fn states(folder: &Path, now: Timestamp) -> Vec<&'static str> {
        Keyring::read(folder).unwrap().show(now).into_iter().map(|key| key.state).collect()
    }

    #[test]
    fn a_new_key_signs_from_its_time_on_and_the_old_one_opens_until_its_last_token_has_expired() {
        let dir = tempfile::tempdir().unwrap();
        let claims = claims();
        let old = Keyring::open(dir.path(), 100).unwrap().seal(&claims, at(1_000)).unwrap();
        rotate(dir.path(), at(2_000), false).unwrap();
        assert_eq!(states(dir.path(), at(1_999)), ["signs", "waits"]);
        assert_eq!(states(dir.path(), at(2_000)), ["opens", "signs"]);
        assert_eq!(states(dir.path(), at(2_100)), ["over", "signs"]);

        let ring = Keyring::open(dir.path(), 100).unwrap();
        let last = ring.seal(&claims, at(1_999)).unwrap();
        let new = ring.seal(&claims, at(2_000)).unwrap();
        for token in [&old, &last, &new] {
            assert_eq!(ring.open_token(token, at(2_099)), Some(claims.clone()));
        }
        assert_eq!(ring.open_token(&last, at(2_100)), None, "over, though the file is still there");
        assert_eq!(ring.prune(at(2_099)).unwrap(), 0);
        assert_eq!(ring.prune(at(2_100)).unwrap(), 1);
        let ring = Keyring::open(dir.path(), 100).unwrap();
        assert_eq!(ring.show(at(2_100)).len(), 1);
        assert_eq!(
            (ring.open_token(&last, at(2_000)), ring.open_token(&new, at(2_100))),
            (None, Some(claims))
        );
    }

    #[test]
    fn tokens_that_last_less_now_do_not_end_those_that_last_longer() {
        let dir = tempfile::tempdir().unwrap();
        Keyring::open(dir.path(), 1_000).unwrap();
        Keyring::open(dir.path(), 60).unwrap();
        rotate(dir.path(), at(5_000), false).unwrap();
        assert_eq!(states(dir.path(), at(5_999)), ["opens", "signs"]);
        assert_eq!(states(dir.path(), at(6_000)), ["over", "signs"]);
    }

    #[test]
    fn a_key_that_was_seen_goes_with_all_that_it_signed() {
        let dir = tempfile::tempdir().unwrap();
        let token = Keyring::open(dir.path(), 100).unwrap().seal(&claims(), at(10)).unwrap();
        rotate(dir.path(), at(30), false).unwrap();
        rotate(dir.path(), at(20), true).unwrap();
        let ring = Keyring::open(dir.path(), 100).unwrap();
        assert_eq!((ring.show(at(20)).len(), ring.open_token(&token, at(20))), (1, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Keyring::read(dir.path()).is_err_and(|e| e.message.contains("start the server once")));
        Keyring::open(dir.path(), 100).unwrap();
        rotate(dir.path(), at(20), false).unwrap();
        let error = rotate(dir.path(), at(20), false).unwrap_err();
        assert!(error.message.contains("there already"), "{}", error.message);
        for n in 0..30 {
            rotate(dir.path(), at(30 + n), false).unwrap();
        }
        let error = rotate(dir.path(), at(100), false).unwrap_err();
        assert!(error.message.contains("32 keys"), "{}", error.message);
        std::fs::write(dir.path().join("token-0000000000000200.key.part"), "x").unwrap();
        std::fs::write(dir.path().join(LIFE), "long").unwrap();
        assert!(Keyring::read(dir.path()).is_err_and(|e| e.message.contains("no number of seconds")));
    }
}
