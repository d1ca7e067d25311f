//! Packages for the life-cycle tests: the shipped plugins as built, and guests that misbehave.

use std::path::{Path, PathBuf};

/// The folder of a built plugin.
pub fn built(name: &str) -> PathBuf {
    let plugins = std::env::var_os("CANOPY_TEST_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"), PathBuf::from);
    plugins.join(name)
}

/// A folder as it is sent.
pub fn wire(folder: &Path) -> Vec<u8> {
    canopy_plugin_host::Package::read(folder).expect("`cargo xtask plugins` built it").to_wire()
}

pub mod hostile {
    use crate::corpus;

    /// A package of this component.
    pub fn wire(kind: &str, name: &str, component: &[u8]) -> Vec<u8> {
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1\"\nkind = \"{kind}\"\nsdk = \"1.0\"\ncomponent = \"g.wasm\"\n\
             [limits]\nmemory_mib = 16\ndeadline_ms = 200\n"
        );
        [manifest.as_bytes(), component].concat()
    }

    /// Denies the cores of a server.
    pub fn deny_cores() -> Vec<u8> {
        // The text of the corpus has "cores" at 1024 and "no" after it.
        let words: String = [1, 1024, 5, 1029, 2]
            .iter()
            .enumerate()
            .map(|(i, value)| format!("(i32.store (i32.const {}) (i32.const {value}))", 64 + 4 * i))
            .collect();
        corpus::rule(&words)
    }

    pub fn trapping_rule() -> Vec<u8> {
        corpus::rule("unreachable")
    }

    /// Wants no host at all.
    pub fn veto() -> Vec<u8> {
        let all = "(local.set $i (i32.const 0)) (block $end (loop $each
            (br_if $end (i32.eq (local.get $i) (local.get $rows)))
            (f32.store (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 4))) (f32.const -inf))
            (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $each)))";
        corpus::scorer_always(all)
    }

    /// Gives the first host this score.
    pub fn scores(score: u8) -> Vec<u8> {
        corpus::scorer_always(&format!("(f32.store (local.get $list) (f32.const {score}))"))
    }

    /// Does this whatever is wanted.
    pub fn scorer_always(mischief: &str) -> Vec<u8> {
        corpus::scorer_always(mischief)
    }

    /// Traps whatever is wanted.
    pub fn trapping_scorer() -> Vec<u8> {
        corpus::scorer_always("unreachable")
    }
}
