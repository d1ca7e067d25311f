//! SSH keys: reading one, making one, and the fingerprint that nova shows.

use canopy_types::{Error, Result};
use md5::{Digest, Md5};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey, PublicKey};

/// Longest line of a public key, bytes: an RSA key of 16,384 bits has some 2,800.
const MAX_LINE: usize = 16_384;
const COMMENT: &str = "Generated-by-Canopy";

#[derive(Debug, PartialEq, Eq)]
pub struct Public {
    /// `ssh-… AAAA… comment`.
    pub line: String,
    /// md5 of the key's blob: `aa:bb:…`.
    pub fingerprint: String,
}

pub fn invalid(reason: &str) -> Error {
    Error::bad_request("keypair.invalid", format!("Keypair data is invalid: {reason}"))
}

/// Checks a public key that a client brings: one line of OpenSSH's format, nothing before the algorithm.
pub fn import(text: &str) -> Result<Public> {
    let line = text.trim();
    // A second line would be a second key in authorized_keys, and options would say what it may do.
    if line.len() > MAX_LINE || line.chars().any(char::is_control) {
        return Err(invalid("the public key must be one line of at most 16384 bytes"));
    }
    let key = PublicKey::from_openssh(line).map_err(|e| {
        invalid("failed to generate fingerprint: it is not an OpenSSH public key").with_source(e)
    })?;
    Ok(Public { fingerprint: fingerprint(&key)?, line: line.to_owned() })
}

/// A new ed25519 pair: the public half, and the private one in OpenSSH's PEM.
pub fn generate() -> Result<(Public, String)> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| Error::internal("keypair.random", e.to_string()))?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let private = PrivateKey::new(pair, COMMENT).map_err(|e| Error::internal("keypair.generate", e))?;
    let pem = private.to_openssh(LineEnding::LF).map_err(|e| Error::internal("keypair.generate", e))?;
    let public = private.public_key();
    let line = public.to_openssh().map_err(|e| Error::internal("keypair.generate", e))?;
    Ok((Public { fingerprint: fingerprint(public)?, line }, pem.as_str().to_owned()))
}

fn fingerprint(key: &PublicKey) -> Result<String> {
    let blob = key.to_bytes().map_err(|e| Error::internal("keypair.fingerprint", e))?;
    let pairs: Vec<String> = Md5::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0jgjxw5hQ+3kQU0Yc5dP0Ah6XG3R8zjl7OeSKqM5XV me@host";

    #[test]
    fn a_made_pair_imports_again_with_the_same_fingerprint() {
        let (public, private) = generate().unwrap();
        assert_eq!(import(&format!("{}\n", public.line)).unwrap(), public);
        assert_eq!(public.fingerprint.len(), 47);
        assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
        let parsed = PrivateKey::from_openssh(&private).unwrap();
        assert_eq!(parsed.public_key().to_openssh().unwrap(), public.line);
        assert_ne!(generate().unwrap().0, public);
    }

    #[test]
    fn what_is_no_single_public_key_is_refused() {
        import(LINE).unwrap();
        for bad in [
            "",
            "ssh-rsa",
            "ssh-rsa JUNK",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQ",
            &LINE.replace("ssh-ed25519", "ssh-rsa"),
            &LINE.replace("AAAAC3", "AAAA!3"),
            &format!("{LINE}\n{LINE}"),
            &format!("command=\"id\" {LINE}"),
            &format!("{LINE}\u{0}"),
            &format!("{LINE} {}", "x".repeat(16_384)),
            "-----BEGIN CERTIFICATE-----",
        ] {
            let error = import(bad).unwrap_err();
            assert!(error.message.starts_with("Keypair data is invalid: "), "{bad}: {error}");
        }
    }
}
