//! A project in Rust: a crate that carries the guest library it depends on.

use super::{File, Kind, sdk};

/// The guest library and the contracts, as they are.
pub(super) const SDK: &[(&str, &[u8])] = sdk![
    "rust/src/config.rs",
    "rust/src/lib.rs",
    "rust/src/memory.rs",
    "rust/src/mock.rs",
    "rust/src/mock/network.rs",
    "rust/src/mock/quota.rs",
    "rust/src/mock/placer.rs",
    "rust/src/mock/scheduler.rs",
    "rust/src/network.rs",
    "rust/src/network/items.rs",
    "rust/src/network/view.rs",
    "rust/src/placer.rs",
    "rust/src/quota.rs",
    "rust/src/quota/ledger.rs",
    "rust/src/quota/limits.rs",
    "rust/src/scheduler.rs",
    "wit/network/v1/items/antispoof@1.json",
    "wit/network/v1/items/bridge@1.json",
    "wit/network/v1/items/dhcp@1.json",
    "wit/network/v1/items/metadata@1.json",
    "wit/network/v1/items/namespace@1.json",
    "wit/network/v1/items/segment@1.json",
    "wit/network/v1/items/uplink@1.json",
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
const LOCK: &str = include_str!("../../../../../../plugins/Cargo.lock");

const README: &str = include_str!("../../../../../../sdk/templates/rust/README.md");

/// `src/lib.rs` and `plugin.toml`.
fn template(kind: Kind) -> (&'static str, &'static str) {
    macro_rules! of {
        ($kind:literal) => {
            (
                include_str!(concat!("../../../../../../sdk/templates/rust/", $kind, "/lib.rs")),
                include_str!(concat!("../../../../../../sdk/templates/rust/", $kind, "/plugin.toml")),
            )
        };
    }
    match kind {
        Kind::Scheduler => of!("scheduler"),
        Kind::Quota => of!("quota"),
        Kind::Network => of!("network"),
    }
}

/// Paths within the project, and what is there.
pub(super) fn files(name: &str, kind: Kind) -> Vec<File> {
    let text = |path: &str, text: &str| (path.to_owned(), kind.fill(text, name).into());
    let (code, manifest) = template(kind);
    let mut files = vec![
        text("Cargo.toml", MANIFEST),
        text("Cargo.lock", LOCK),
        text("README.md", README),
        text(".gitignore", "/target\n/dist\n"),
        text("plugin.toml", manifest),
        text("src/lib.rs", code),
        text("sdk/rust/Cargo.toml", SDK_MANIFEST),
    ];
    files.extend(SDK.iter().map(|(path, bytes)| (format!("sdk/{path}"), bytes.to_vec())));
    files
}
