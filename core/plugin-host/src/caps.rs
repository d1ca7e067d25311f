//! What the operator of a cloud allows any plugin at most, whatever its manifest asks for.

use crate::manifest::{Limits, Manifest};
use canopy_types::Error;
use serde::Deserialize;

/// Upper bounds on [`Limits`]. A manifest that asks for more is refused, by name: cut down silently, a plugin
/// would fail later and elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// All memories of one instance together, MiB; 1 to 1,024.
    pub memory_mib: u32,
    /// Wall time of one call, ms; 1 to 10,000.
    pub deadline_ms: u32,
    /// Entries of all tables of one instance together, 8 bytes each; 1 to 10,000,000.
    pub table_entries: u32,
    /// Core instances in one component; 1 to 1,000.
    pub instances: u32,
    /// What one answer may make the host allocate, MiB; 1 to 256.
    pub answer_mib: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { memory_mib: 256, deadline_ms: 2_000, table_entries: 1_000_000, instances: 64, answer_mib: 16 }
    }
}

impl Caps {
    /// What the types cannot say; the error names the field and its bounds.
    pub fn check(&self) -> Result<(), String> {
        for (name, value, most) in [
            ("memory_mib", self.memory_mib, 1_024),
            ("deadline_ms", self.deadline_ms, 10_000),
            ("table_entries", self.table_entries, 10_000_000),
            ("instances", self.instances, 1_000),
            ("answer_mib", self.answer_mib, 256),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name}: 1 to {most}"));
            }
        }
        Ok(())
    }

    /// Refuses a manifest that wants more than this.
    pub(crate) fn admit(&self, manifest: &Manifest) -> Result<(), Error> {
        let Limits { memory_mib, deadline_ms, table_entries, instances, answer_mib } = manifest.limits;
        for (name, wanted, most) in [
            ("memory_mib", memory_mib, self.memory_mib),
            ("deadline_ms", deadline_ms, self.deadline_ms),
            ("table_entries", table_entries, self.table_entries),
            ("instances", instances, self.instances),
            ("answer_mib", answer_mib, self.answer_mib),
        ] {
            if wanted > most {
                let why = format!(
                    "it wants limits.{name} = {wanted}; this cloud allows {most} (plugins.limits.{name})"
                );
                return Err(crate::host::refused("plugin.limits", manifest, &why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_cap_and_a_refusal_names_both() {
        let text = "name = \"q\"\nversion = \"1\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"x.wasm\"\n[limits]\n";
        let caps =
            Caps { memory_mib: 100, deadline_ms: 300, table_entries: 20_000, instances: 70, answer_mib: 17 };
        assert!(caps.admit(&Manifest::parse(text).unwrap()).is_ok());
        for (name, over) in [
            ("memory_mib", 101),
            ("deadline_ms", 301),
            ("table_entries", 20_001),
            ("instances", 71),
            ("answer_mib", 18),
        ] {
            let greedy = Manifest::parse(&format!("{text}{name} = {over}\n")).unwrap();
            let error = caps.admit(&greedy).unwrap_err();
            assert_eq!(error.code, "plugin.limits");
            assert!(error.message.contains(&format!("limits.{name} = {over}")), "{}", error.message);
        }
        assert!(Caps { answer_mib: 257, ..caps }.check().is_err());
        assert!(Caps { deadline_ms: 0, ..caps }.check().is_err());
        assert!(Caps::default().check().is_ok());
    }
}
