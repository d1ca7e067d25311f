//! noVNC's own files, as they are installed on this machine.

use super::absent;
use crate::request::{Reply, Req};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canopy_types::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Far larger than any of them.
const MAX_FILE: u64 = 4 << 20;
/// What noVNC consists of. Nothing else in its folder is shown.
const TYPES: [(&str, &str); 10] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("ttf", "font/ttf"),
    ("mp3", "audio/mpeg"),
];

pub async fn file(req: Req) -> Result<Reply> {
    let name = Path::new(req.param("file"));
    let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let Some((_, kind)) = TYPES.iter().find(|(known, _)| *known == extension) else { return Err(absent()) };
    let bytes = read(&req.app.settings.console.novnc_dir, name).await?;
    let page = extension == "html";
    let scripts = if page { inline_scripts(&bytes) } else { String::new() };
    let policy = format!(
        "default-src 'self'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    );
    // A page's address holds a token: neither caches nor other hosts are to learn it.
    let keep = if page { "no-store" } else { "private, max-age=3600" };
    Ok(Reply::stream(200, bytes.into())
        .header("content-type", kind)
        .header("content-security-policy", &policy)
        .header("x-frame-options", "SAMEORIGIN")
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cache-control", keep))
}

/// A file beneath the folder, also where links lead.
async fn read(dir: &Path, name: &Path) -> Result<Vec<u8>> {
    if name.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(absent());
    }
    let (dir, file) = (real(dir).await?, real(&dir.join(name)).await?);
    if !file.starts_with(&dir) {
        return Err(absent());
    }
    let about = tokio::fs::metadata(&file).await.map_err(unreadable)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(absent());
    }
    tokio::fs::read(&file).await.map_err(unreadable)
}

async fn real(path: &Path) -> Result<PathBuf> {
    tokio::fs::canonicalize(path).await.map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Error {
    match error.kind() {
        // A zero byte, a name too long, a file on the way.
        ErrorKind::NotFound
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::NotADirectory => absent(),
        _ => {
            Error::unavailable("console.file", "noVNC cannot be read on this controller.").with_source(error)
        }
    }
}

/// The hashes of scripts that stand in a page itself, so that it may run these and no others.
fn inline_scripts(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page);
    let mut hashes = String::new();
    for part in page.split("<script").skip(1) {
        let Some((attributes, rest)) = part.split_once('>') else { continue };
        let Some((script, _)) = rest.split_once("</script>") else { continue };
        if !attributes.contains("src=") {
            hashes.push_str(&format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script))));
        }
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_in_a_page_are_named_by_their_hashes() {
        let page = b"<script src=\"a.js\"></script><script type=\"module\">alert(1)</script>";
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert_eq!(inline_scripts(page), " 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='");
        assert_eq!(inline_scripts(b"<script"), "");
    }

    #[tokio::test]
    async fn nothing_outside_of_the_folder_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("novnc"), dir.path().join("secret.js"));
        std::fs::create_dir_all(inside.join("core.js")).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::fs::write(inside.join("a.js"), "a").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link.js")).unwrap();
        std::os::unix::fs::symlink("a.js", inside.join("own.js")).unwrap();
        for name in ["a.js", "own.js"] {
            assert_eq!(read(&inside, Path::new(name)).await.unwrap(), b"a", "{name}");
        }
        let (long, absolute) = ("x".repeat(5_000), outside.display().to_string());
        let others = [
            "../secret.js",
            "x/../../secret.js",
            "link.js",
            "core.js",
            "",
            ".",
            "a.js/b.js",
            "a\0.js",
            "b.js",
        ];
        for name in others.into_iter().chain([long.as_str(), absolute.as_str()]) {
            assert_eq!(read(&inside, Path::new(name)).await.unwrap_err().code, "console.absent", "{name}");
        }
        assert_eq!(read(Path::new("/nowhere"), Path::new("a.js")).await.unwrap_err().code, "console.absent");
    }
}
