//! A project in C: one file to change, and the bindings of its kind. It takes clang and nothing else; the manifest is
//! the Rust template's, since the plugin does the same.

use super::{File, Kind, sdk};

/// What every kind needs.
const COMMON: &[(&str, &[u8])] =
    sdk!["c/canopy.c", "c/canopy.h", "c/check.h", "c/include/stdlib.h", "c/include/string.h", "c/runtime.c",];
const SCHEDULER: &[(&str, &[u8])] = sdk![
    "c/scheduler/calls.c",
    "c/scheduler/scorer.c",
    "c/scheduler/scorer.h",
    "c/scheduler/scorer_component_type.o",
    "wit/scheduler/v1/scheduler.wit",
];
const QUOTA: &[(&str, &[u8])] = sdk![
    "c/quota/calls.c",
    "c/quota/canopy_quota.c",
    "c/quota/canopy_quota.h",
    "c/quota/rule.c",
    "c/quota/rule.h",
    "c/quota/rule_component_type.o",
    "wit/quota/v1/quota.wit",
];
const NETWORK: &[(&str, &[u8])] = sdk![
    "c/network/backend.c",
    "c/network/backend.h",
    "c/network/backend_component_type.o",
    "c/network/calls.c",
    "wit/network/v1/items/antispoof@1.json",
    "wit/network/v1/items/bridge@1.json",
    "wit/network/v1/items/dhcp@1.json",
    "wit/network/v1/items/metadata@1.json",
    "wit/network/v1/items/namespace@1.json",
    "wit/network/v1/items/segment@1.json",
    "wit/network/v1/items/uplink@1.json",
    "wit/network/v1/network.wit",
];

const README: &str = include_str!("../../../../../../sdk/templates/c/README.md");
const MAKEFILE: &str = include_str!("../../../../../../sdk/templates/c/Makefile");

/// `src/plugin.c`, `test.c` and `plugin.toml`.
fn template(kind: Kind) -> [&'static str; 3] {
    macro_rules! of {
        ($kind:literal) => {
            [
                include_str!(concat!("../../../../../../sdk/templates/c/", $kind, "/plugin.c")),
                include_str!(concat!("../../../../../../sdk/templates/c/", $kind, "/test.c")),
                include_str!(concat!("../../../../../../sdk/templates/rust/", $kind, "/plugin.toml")),
            ]
        };
    }
    match kind {
        Kind::Scheduler => of!("scheduler"),
        Kind::Quota => of!("quota"),
        Kind::Network => of!("network"),
    }
}

pub(super) fn library(kind: Kind) -> impl Iterator<Item = &'static (&'static str, &'static [u8])> {
    let own = match kind {
        Kind::Scheduler => SCHEDULER,
        Kind::Quota => QUOTA,
        Kind::Network => NETWORK,
    };
    COMMON.iter().chain(own)
}

/// Paths within the project, and what is there.
pub(super) fn files(name: &str, kind: Kind) -> Vec<File> {
    let text = |path: &str, text: &str| (path.to_owned(), kind.fill(text, name).into());
    let [code, test, manifest] = template(kind);
    let mut files = vec![
        text("Makefile", MAKEFILE),
        text("README.md", README),
        text(".gitignore", "/target\n/dist\n"),
        text("plugin.toml", manifest),
        text("src/plugin.c", code),
        text("test.c", test),
    ];
    files.extend(library(kind).map(|(path, bytes)| (format!("sdk/{path}"), bytes.to_vec())));
    files
}
