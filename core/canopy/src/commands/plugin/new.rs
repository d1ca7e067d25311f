//! `canopy plugin new`: a project that builds, tests and passes `check` as it stands, with the SDK of this very
//! version in it: nothing to look for, nothing that drifts.

use canopy_types::{Error, Result};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct New {
    /// Folder to make; its name is the plugin's
    folder: PathBuf,
    /// What it decides
    #[arg(long)]
    kind: Kind,
    /// What it is written in
    #[arg(long, default_value = "rust")]
    lang: Lang,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Scheduler,
    Quota,
    Network,
}

#[derive(Clone, Copy, ValueEnum)]
enum Lang {
    Rust,
}

/// A file of the checkout, by its path below `sdk/`.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../sdk/", $path)))),*]
    };
}

/// The guest library and the contracts, as they are.
const SDK: &[(&str, &str)] = sdk![
    "rust/src/config.rs",
    "rust/src/lib.rs",
    "rust/src/mock.rs",
    "rust/src/network.rs",
    "rust/src/network/items.rs",
    "rust/src/network/view.rs",
    "rust/src/quota.rs",
    "rust/src/scheduler.rs",
    "wit/network/v1/network.wit",
    "wit/quota/v1/quota.wit",
    "wit/scheduler/v1/scheduler.wit",
];

/// The library's own manifest leans on a workspace that a project does not have.
const SDK_MANIFEST: &str = r#"[package]
name = "canopy-sdk"
description = "Guest library for Canopy plugins: a trait and an export macro per plugin kind"
version = "1.0.0"
edition = "2024"
rust-version = "1.85"
license = "Apache-2.0"
publish = false

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = "1"
wit-bindgen = { version = "~0.60", default-features = false, features = ["macros", "realloc", "std"] }
"#;

const MANIFEST: &str = r#"[package]
name = "{{name}}"
version = "0.1.0"
edition = "2024"
rust-version = "1.85"
publish = false

[workspace]

[lib]
crate-type = ["cdylib", "rlib"]

[dependencies]
canopy-sdk = { path = "sdk/rust" }
serde = { version = "1", features = ["derive"] }

[profile.dev]
debug = "line-tables-only"

[profile.release]
opt-level = "s"
lto = true
codegen-units = 1
strip = true
panic = "abort"

# Loops over columns become SIMD.
[profile.release.package.{{name}}]
opt-level = 3
"#;

/// Exact versions of what the SDK needs, as the shipped plugins are built with.
const LOCK: &str = include_str!("../../../../../plugins/Cargo.lock");

const README: &str = include_str!("../../../../../sdk/templates/rust/README.md");

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Quota => "quota",
            Self::Network => "network",
        }
    }

    /// `src/lib.rs` and `plugin.toml`.
    fn template(self) -> (&'static str, &'static str) {
        macro_rules! of {
            ($kind:literal) => {
                (
                    include_str!(concat!("../../../../../sdk/templates/rust/", $kind, "/lib.rs")),
                    include_str!(concat!("../../../../../sdk/templates/rust/", $kind, "/plugin.toml")),
                )
            };
        }
        match self {
            Self::Scheduler => of!("scheduler"),
            Self::Quota => of!("quota"),
            Self::Network => of!("network"),
        }
    }
}

pub(super) fn new(args: &New) -> Result<()> {
    let Lang::Rust = args.lang;
    let name = args.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=64).contains(&name.len())
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
    {
        let why =
            format!("{name:?} cannot name a plugin: 1 to 64 of a-z, 0-9 and -, beginning with a letter.");
        return Err(Error::bad_request("plugin.name", why));
    }
    if args.folder.exists() {
        let why = format!("{} is there already: name a new folder.", args.folder.display());
        return Err(Error::conflict("plugin.exists", why));
    }
    for (path, text) in files(name, args.kind) {
        write(&args.folder.join(path), &text)?;
    }
    println!(
        "{} is a {} plugin; {}/README.md says how to go on",
        name,
        args.kind.name(),
        args.folder.display()
    );
    Ok(())
}

fn files(name: &str, kind: Kind) -> Vec<(String, String)> {
    let fill = |text: &str| text.replace("{{name}}", name).replace("{{kind}}", kind.name());
    let (code, manifest) = kind.template();
    let mut files = vec![
        ("Cargo.toml".to_owned(), fill(MANIFEST)),
        ("Cargo.lock".to_owned(), LOCK.to_owned()),
        ("README.md".to_owned(), fill(README)),
        (".gitignore".to_owned(), "/target\n/dist\n".to_owned()),
        ("plugin.toml".to_owned(), fill(manifest)),
        ("src/lib.rs".to_owned(), fill(code)),
        ("sdk/rust/Cargo.toml".to_owned(), SDK_MANIFEST.to_owned()),
    ];
    files.extend(SDK.iter().map(|(path, text)| (format!("sdk/{path}"), (*text).to_owned())));
    files
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::unavailable("plugin.write", format!("{} cannot be written: {e}", path.display()))
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_plugin_host::Manifest;

    #[test]
    fn each_project_has_a_manifest_of_its_kind_and_nothing_left_to_fill_in() {
        for kind in [Kind::Scheduler, Kind::Quota, Kind::Network] {
            let files = files("my-plugin", kind);
            for (path, text) in &files {
                assert!(!text.contains("{{"), "{path}");
            }
            let (_, manifest) = files.iter().find(|(path, _)| path == "plugin.toml").unwrap();
            let manifest = Manifest::parse(manifest).unwrap();
            assert_eq!((manifest.name.as_str(), manifest.kind.as_str()), ("my-plugin", kind.name()));
            manifest.configure(serde_json::Value::Null).unwrap();
        }
    }

    #[test]
    fn a_folder_is_made_once_and_its_name_is_a_plugins() {
        let dir = tempfile::tempdir().unwrap();
        let make =
            |name: &str| new(&New { folder: dir.path().join(name), kind: Kind::Quota, lang: Lang::Rust });
        make("quota-mine").unwrap();
        assert!(dir.path().join("quota-mine/sdk/wit/quota/v1/quota.wit").is_file());
        assert_eq!(make("quota-mine").unwrap_err().code, "plugin.exists");
        for name in ["Mine", "9lives", "a_b"] {
            assert_eq!(make(name).unwrap_err().code, "plugin.name", "{name}");
        }
    }
}
