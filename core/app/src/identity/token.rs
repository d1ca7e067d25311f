//! Tokens: sealed, not stored. They say who, where, how and until when, never which roles.
//!
//! `version ‖ key tag ‖ nonce ‖ XChaCha20-Poly1305(claims)`, base64url without padding, below 255
//! characters. Version and key tag are authenticated. There is one algorithm for one version, so nothing in
//! a token chooses how it is checked. Every way of being bad has the same answer: `None`.

use super::delegation::Delegation;
use super::key::KEY_BYTES;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canopy_store::identity::Reach;
use canopy_types::{Error, Result, Timestamp, UserId};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// Longest token, characters: what clients and proxies are sure to carry.
pub const MAX_TOKEN: usize = 255;

const VERSION: u8 = 1;
const HEADER: usize = 5;
const NONCE: usize = 24;
/// Bound to the purpose: a key used elsewhere by mistake opens nothing here.
const CONTEXT: &[u8] = b"canopy token v1\0";

/// How the bearer proved who it is, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods(u8);

impl Methods {
    pub const PASSWORD: Self = Self(1);
    pub const TOKEN: Self = Self(2);
    pub const APPLICATION_CREDENTIAL: Self = Self(4);

    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// keystone's names.
    pub fn names(self) -> Vec<&'static str> {
        [
            (Self::PASSWORD, "password"),
            (Self::TOKEN, "token"),
            (Self::APPLICATION_CREDENTIAL, "application_credential"),
        ]
        .into_iter()
        .filter(|(method, _)| self.0 & method.0 != 0)
        .map(|(_, name)| name)
        .collect()
    }
}

pub type AuditId = [u8; 16];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub user_id: UserId,
    /// `None` is unscoped.
    pub scope: Option<Reach>,
    pub methods: Methods,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub audit_id: AuditId,
    /// The audit id of the login that a token made from tokens goes back to; its own for the first.
    pub chain_id: AuditId,
    /// By whose leave, where not by the user's own.
    pub delegation: Delegation,
}

impl Claims {
    /// As in the `audit_ids` of a token's body.
    pub fn audit_ids(&self) -> Vec<String> {
        let own = audit_text(&self.audit_id);
        if self.chain_id == self.audit_id { vec![own] } else { vec![own, audit_text(&self.chain_id)] }
    }
}

pub fn audit_text(id: &AuditId) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

pub fn new_audit_id() -> Result<AuditId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Error::internal("identity.random", e))?;
    Ok(id)
}

pub struct Sealer {
    cipher: XChaCha20Poly1305,
    /// Tells keys apart, so that one of several can be picked; says nothing about the key.
    tag: [u8; 4],
}

impl Sealer {
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let digest = Sha256::new().chain_update(b"canopy token key\0").chain_update(key).finalize();
        Self { cipher: XChaCha20Poly1305::new(key.into()), tag: [digest[0], digest[1], digest[2], digest[3]] }
    }

    pub fn seal(&self, claims: &Claims) -> Result<String> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| Error::internal("identity.random", e))?;
        let header = self.header();
        let payload = Payload { msg: &encode(claims)?, aad: &aad(&header) };
        let sealed = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::internal("identity.seal", "a token could not be sealed"))?;
        let token = URL_SAFE_NO_PAD.encode([&header[..], &nonce, &sealed].concat());
        if token.len() > MAX_TOKEN {
            return Err(Error::internal("identity.seal", "a token is too long"));
        }
        Ok(token)
    }

    /// Whether a token says that this key sealed it.
    pub fn signed(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(&self.header())
    }

    /// The key's tag, hex.
    pub fn tag(&self) -> String {
        canopy_types::hex(self.tag)
    }

    /// What a token of ours says, as [`bytes_of`] gives it. Whether it still counts is for the caller.
    pub fn open_bytes(&self, bytes: &[u8]) -> Option<Claims> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        if header != self.header() {
            return None;
        }
        let payload = Payload { msg: sealed, aad: &aad(header) };
        decode(&self.cipher.decrypt(XNonce::from_slice(nonce), payload).ok()?)
    }

    fn header(&self) -> [u8; HEADER] {
        let [a, b, c, d] = self.tag;
        [VERSION, a, b, c, d]
    }
}

/// A token's bytes, as far as it can be one.
pub fn bytes_of(token: &str) -> Option<Vec<u8>> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token).ok()
}

fn aad(header: &[u8]) -> Vec<u8> {
    [CONTEXT, header].concat()
}

const UNSCOPED: u8 = 0;
const PROJECT: u8 = 1;
const DOMAIN: u8 = 2;
const SYSTEM: u8 = 3;

const APPLICATION_CREDENTIAL: u8 = 1;
const TRUST: u8 = 2;

fn encode(claims: &Claims) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(96);
    put_id(&mut out, claims.user_id.as_str())?;
    match &claims.scope {
        None => out.push(UNSCOPED),
        Some(Reach::Project(id)) => {
            out.push(PROJECT);
            put_id(&mut out, id.as_str())?;
        }
        Some(Reach::Domain(id)) => {
            out.push(DOMAIN);
            put_id(&mut out, id.as_str())?;
        }
        Some(Reach::System) => out.push(SYSTEM),
    }
    out.push(claims.methods.0);
    out.extend(claims.issued.0.to_be_bytes());
    out.extend(claims.expires.0.to_be_bytes());
    out.extend(claims.audit_id);
    out.extend(claims.chain_id);
    match &claims.delegation {
        Delegation::None => {}
        Delegation::ApplicationCredential(id) => {
            out.push(APPLICATION_CREDENTIAL);
            put_id(&mut out, id)?;
        }
        Delegation::Trust(id) => {
            out.push(TRUST);
            put_id(&mut out, id)?;
        }
    }
    Ok(out)
}

fn decode(bytes: &[u8]) -> Option<Claims> {
    let mut rest = bytes;
    let user_id = take_id(&mut rest)?.into();
    let scope = match take::<1>(&mut rest)?[0] {
        UNSCOPED => None,
        PROJECT => Some(Reach::Project(take_id(&mut rest)?.into())),
        DOMAIN => Some(Reach::Domain(take_id(&mut rest)?.into())),
        SYSTEM => Some(Reach::System),
        _ => return None,
    };
    let claims = Claims {
        user_id,
        scope,
        methods: Methods(take::<1>(&mut rest)?[0]),
        issued: Timestamp(i64::from_be_bytes(take(&mut rest)?)),
        expires: Timestamp(i64::from_be_bytes(take(&mut rest)?)),
        audit_id: take(&mut rest)?,
        chain_id: take(&mut rest)?,
        delegation: take_delegation(&mut rest)?,
    };
    rest.is_empty().then_some(claims)
}

/// At the end of the claims, or not there.
fn take_delegation(rest: &mut &[u8]) -> Option<Delegation> {
    if rest.is_empty() {
        return Some(Delegation::None);
    }
    match take::<1>(rest)?[0] {
        APPLICATION_CREDENTIAL => Some(Delegation::ApplicationCredential(take_id(rest)?)),
        TRUST => Some(Delegation::Trust(take_id(rest)?)),
        _ => None,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// Marks an id of 32 hex digits, which goes as 16 bytes; any other goes as length and text.
const HEX: u8 = 0xff;
const MAX_ID: usize = 64;

fn put_id(out: &mut Vec<u8>, id: &str) -> Result<()> {
    if let Some(bytes) = hex16(id) {
        out.push(HEX);
        out.extend(bytes);
        return Ok(());
    }
    let length = u8::try_from(id.len()).ok().filter(|length| usize::from(*length) <= MAX_ID);
    out.push(length.ok_or_else(|| Error::internal("identity.seal", "an id is too long for a token"))?);
    out.extend(id.as_bytes());
    Ok(())
}

fn take_id(rest: &mut &[u8]) -> Option<String> {
    let mark = take::<1>(rest)?[0];
    if mark == HEX {
        return Some(canopy_types::hex(take::<16>(rest)?));
    }
    let (id, tail) = rest.split_at_checked(usize::from(mark))?;
    *rest = tail;
    String::from_utf8(id.to_vec()).ok()
}

fn hex16(id: &str) -> Option<[u8; 16]> {
    let digits = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    digits.then(|| u128::from_str_radix(id, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&[byte; KEY_BYTES])
    }

    impl Sealer {
        fn open(&self, token: &str) -> Option<Claims> {
            self.open_bytes(&bytes_of(token)?)
        }
    }

    fn claims(scope: Option<Reach>) -> Claims {
        Claims {
            user_id: UserId::random(),
            scope,
            methods: Methods::PASSWORD.with(Methods::TOKEN),
            issued: Timestamp(1_795_349_105_000_123),
            expires: Timestamp(1_795_352_705_000_123),
            audit_id: [1; 16],
            chain_id: [2; 16],
            delegation: Delegation::None,
        }
    }

    #[test]
    fn every_scope_round_trips_and_fits() {
        let long = "d".repeat(64);
        for scope in [
            None,
            Some(Reach::System),
            Some(Reach::Domain("default".into())),
            Some(Reach::Domain(long.into())),
            Some(Reach::Project(canopy_types::ProjectId::random())),
            Some(Reach::Project("00000000000000000000000000000001".into())),
            Some(Reach::Project("ABCDEF00000000000000000000000001".into())),
        ] {
            let claims = claims(scope);
            let token = sealer(1).seal(&claims).unwrap();
            assert!(token.len() <= MAX_TOKEN, "{}", token.len());
            assert_eq!(sealer(1).open(&token), Some(claims));
        }
        assert!(sealer(1).seal(&claims(Some(Reach::Domain("d".repeat(65).into())))).is_err());
        let id = canopy_types::UserId::random().0;
        for delegation in [Delegation::ApplicationCredential(id.clone()), Delegation::Trust(id)] {
            let claims =
                Claims { delegation, ..claims(Some(Reach::Project(canopy_types::ProjectId::random()))) };
            let token = sealer(1).seal(&claims).unwrap();
            assert!(token.len() <= MAX_TOKEN, "{}", token.len());
            assert_eq!(sealer(1).open(&token), Some(claims));
        }
    }

    #[test]
    fn every_changed_character_and_every_cut_is_refused() {
        let token = sealer(1).seal(&claims(Some(Reach::Project(canopy_types::ProjectId::random())))).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer(1).open(&String::from_utf8(bytes).unwrap()), None, "changed at {at}");
            assert_eq!(sealer(1).open(&token[..at]), None, "cut at {at}");
        }
        for extended in [format!("{token}A"), format!("{token}="), format!(" {token}"), format!("{token}\n")]
        {
            assert_eq!(sealer(1).open(&extended), None);
        }
    }

    #[test]
    fn foreign_keys_other_versions_and_nonsense_are_refused() {
        let claims = claims(None);
        let token = sealer(2).seal(&claims).unwrap();
        assert_eq!(sealer(1).open(&token), None);

        // Our own tag on a token of another key, and another version on ours.
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        bytes[..HEADER].copy_from_slice(&sealer(1).header());
        assert_eq!(sealer(1).open(&URL_SAFE_NO_PAD.encode(&bytes)), None);
        let ours = sealer(1).seal(&claims).unwrap();
        for version in (0..=255).filter(|version| *version != VERSION) {
            let mut bytes = URL_SAFE_NO_PAD.decode(&ours).unwrap();
            bytes[0] = version;
            assert_eq!(sealer(1).open(&URL_SAFE_NO_PAD.encode(&bytes)), None);
        }

        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.";
        let fernet = "gAAAAABlAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let long = "A".repeat(100_000);
        for nonsense in ["", "A", "AQ", jwt, fernet, "\0", "ü", &long] {
            assert_eq!(sealer(1).open(nonsense), None);
        }
    }

    #[test]
    fn sealed_claims_of_another_shape_are_refused() {
        let good = encode(&claims(Some(Reach::System))).unwrap();
        assert!(decode(&good).is_some());
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut]), None);
        }
        assert_eq!(decode(&[&good[..], &[0]].concat()), None);
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let claims = claims(None);
        assert_ne!(sealer(1).seal(&claims).unwrap(), sealer(1).seal(&claims).unwrap());
    }
}
