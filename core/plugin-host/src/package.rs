//! A plugin as it travels and rests: the text of its `plugin.toml` and the bytes of its component, named by
//! the sha256 of the component.
//!
//! In a folder they are two files. On the wire they are one: the manifest, and the component right after it.
//! TOML text holds no NUL and a component begins with one, so the first NUL is where the component starts.

use crate::host::sha256;
use crate::manifest::{MAX_TEXT, Manifest};
use canopy_types::Error;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a component; guests that carry an interpreter have some 20 MiB.
pub const MAX_COMPONENT: usize = 64 << 20;
/// Bytes of a whole package on the wire.
pub const MAX_PACKAGE: usize = MAX_TEXT + MAX_COMPONENT;

/// A manifest and the component that it describes. Read, not yet compiled: nothing is known of what it exports.
#[derive(Clone, Debug)]
pub struct Package {
    manifest: Manifest,
    text: Arc<str>,
    component: Arc<[u8]>,
    digest: String,
}

impl Package {
    /// From a folder with `plugin.toml` and the component that it names. Blocking.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let text = read(&dir.join("plugin.toml"), MAX_TEXT)?;
        let text = String::from_utf8(text).map_err(|_| {
            Error::bad_request("plugin.manifest", format!("{} is no UTF-8 text", dir.display()))
        })?;
        let manifest = Manifest::parse(&text)?;
        let component = read(&dir.join(&manifest.component), MAX_COMPONENT)?;
        Self::whole(manifest, text, component)
    }

    /// From the text of a manifest and a component's bytes.
    pub fn new(text: String, component: Vec<u8>) -> Result<Self, Error> {
        if component.len() > MAX_COMPONENT {
            let why = format!("A component may have at most {MAX_COMPONENT} bytes.");
            return Err(Error::new(canopy_types::Kind::TooLarge, "plugin.file", why));
        }
        Self::whole(Manifest::parse(&text)?, text, component)
    }

    /// From what [`Self::to_wire`] gives.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |why: &str| Error::bad_request("plugin.package", why.to_owned());
        let start = bytes.iter().position(|byte| *byte == 0).ok_or_else(|| {
            bad("A plugin is sent as its plugin.toml with the component's bytes right after it; there is no component in this.")
        })?;
        let text = std::str::from_utf8(&bytes[..start])
            .map_err(|_| bad("What comes before the component is no UTF-8 text, so it is no plugin.toml."))?;
        Self::new(text.to_owned(), bytes[start..].to_vec())
    }

    /// The manifest and the component, one after the other.
    pub fn to_wire(&self) -> Vec<u8> {
        [self.text.as_bytes(), &self.component].concat()
    }

    fn whole(manifest: Manifest, text: String, component: Vec<u8>) -> Result<Self, Error> {
        let digest = sha256(&component);
        if manifest.sha256.as_ref().is_some_and(|said| *said != digest) {
            let why = format!("its sha256 is {digest}, not what plugin.toml says");
            return Err(crate::host::refused("plugin.digest", &manifest, &why));
        }
        Ok(Self { manifest, text: text.into(), component: component.into(), digest })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn component(&self) -> &[u8] {
        &self.component
    }

    /// sha256 of the component in lower-case hex: how decisions, caches and operators name it.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// A whole file of at most `most` bytes.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let unreadable = |e: std::io::Error| {
        Error::bad_request("plugin.file", format!("{} cannot be read: {e}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > most {
        return Err(Error::bad_request(
            "plugin.file",
            format!("{} has more than {most} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "name = \"quota-x\"\nversion = \"1\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"x.wasm\"\n";

    #[test]
    fn what_is_sent_is_what_arrives() {
        let package = Package::new(MANIFEST.to_owned(), b"\0asm and more\0".to_vec()).unwrap();
        let back = Package::from_wire(&package.to_wire()).unwrap();
        assert_eq!((back.text(), back.component()), (MANIFEST, &b"\0asm and more\0"[..]));
        assert_eq!(back.digest(), sha256(b"\0asm and more\0"));
    }

    #[test]
    fn half_a_package_is_none() {
        for bytes in [&b""[..], MANIFEST.as_bytes(), b"\0asm", b"\xff\0asm"] {
            let error = Package::from_wire(bytes).unwrap_err();
            assert!(matches!(error.code, "plugin.package" | "plugin.manifest"), "{error:?}");
        }
    }
}
