//! `plugin.toml`: what a component says it is, what it may use and how it is configured.

use crate::fault::short;
use canopy_types::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// The SDK version of this host; a plugin of the same major and no newer minor version loads.
pub const SDK: (u32, u32) = (1, 0);
/// Bytes of a manifest, and of a configuration as JSON.
pub(crate) const MAX_TEXT: usize = 64 << 10;

/// What commands and decisions call something else: no plugin can be named so.
const TAKEN: [&str; 6] = ["built-in", "network", "none", "quota", "scheduler", "start"];
/// Bytes that a pattern of a schema may compile to.
const PATTERN: usize = 1 << 20;

/// A plugin's manifest; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1 to 64 of `a-z 0-9 -`.
    pub name: String,
    /// Up to 32 characters, for people; the digest is what identifies a component.
    pub version: String,
    pub kind: PluginKind,
    /// `major.minor` of the SDK it was built with.
    pub sdk: String,
    /// File name of the component, beside the manifest.
    pub component: String,
    #[serde(default)]
    pub description: String,
    /// sha256 of the component; checked when given.
    pub sha256: Option<String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub config: Config,
}

/// The contract a component answers to; its exports must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    Scheduler,
    Quota,
    Network,
}

impl PluginKind {
    pub const ALL: [Self; 3] = [Self::Scheduler, Self::Quota, Self::Network];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Quota => "quota",
            Self::Network => "network",
        }
    }
}

/// What one instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// All memories together; 1 to 1,024.
    pub memory_mib: u32,
    /// Per call, wall time; 1 to 10,000.
    pub deadline_ms: u32,
    /// All tables together, 8 bytes each; 1 to 10,000,000.
    pub table_entries: u32,
    /// Core instances of the component; tool chains make up to a few dozen. 1 to 1,000.
    pub instances: u32,
    /// What one answer may make the host allocate; 1 to 256.
    pub answer_mib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 64, deadline_ms: 250, table_entries: 20_000, instances: 64, answer_mib: 16 }
    }
}

impl Limits {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.into())
    }

    /// Bytes that one answer may make the host allocate.
    pub(crate) fn answer(&self) -> usize {
        usize::try_from(self.answer_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20)
    }
}

/// How a plugin may be configured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// JSON Schema of the configuration; without one, none is taken.
    pub schema: Option<Value>,
    /// Used where the operator says nothing.
    pub defaults: Map<String, Value>,
}

impl Manifest {
    /// Reads a manifest and checks its bounds.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            return Err(bad(format!("it has {} bytes; at most {MAX_TEXT} are allowed", text.len())));
        }
        let manifest: Self = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        manifest.check().map_err(bad)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |text: &str, extra: &str, most: usize| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c);
            (1..=most).contains(&text.len()) && text.chars().all(fits)
        };
        if self.name.starts_with('-') || !plain(&self.name, "-", 64) {
            return Err(format!("name {:?} is not 1 to 64 of a-z, 0-9 and -, the first no -", self.name));
        }
        if TAKEN.contains(&self.name.as_str()) {
            return Err(format!("name {:?} means something else to `canopy plugin`", self.name));
        }
        if !plain(&self.version, ".-+", 32) {
            return Err(format!("version {:?} is not 1 to 32 of a-z, 0-9, ., - and +", self.version));
        }
        // The two files stand beside each other.
        let own = self.component == "plugin.toml";
        if own || self.component.starts_with('.') || !plain(&self.component, "-_.", 128) {
            return Err(format!(
                "component {:?} is not the name of a file beside the manifest",
                self.component
            ));
        }
        let limits = &self.limits;
        for (name, value, most) in [
            ("memory_mib", limits.memory_mib, 1_024),
            ("deadline_ms", limits.deadline_ms, 10_000),
            ("table_entries", limits.table_entries, 10_000_000),
            ("instances", limits.instances, 1_000),
            ("answer_mib", limits.answer_mib, 256),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("limits.{name} is {value}, not 1 to {most}"));
            }
        }
        let sdk: Option<(u32, u32)> = self
            .sdk
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        match sdk {
            Some((major, minor)) if major == SDK.0 && minor <= SDK.1 => Ok(()),
            Some(_) => Err(format!("it was built with SDK {}; this host has {}.{}", self.sdk, SDK.0, SDK.1)),
            None => Err(format!("sdk {:?} is not of the form 1.0", self.sdk)),
        }
    }

    /// The operator's configuration over the defaults, checked by the schema, as the JSON that `init` gets.
    pub fn configure(&self, config: Value) -> Result<String, Error> {
        let given = match config {
            Value::Null => Map::new(),
            Value::Object(given) => given,
            _ => return Err(self.bad_config("it is not an object")),
        };
        let mut merged = self.config.defaults.clone();
        merged.extend(given);
        let merged = Value::Object(merged);
        let nothing = serde_json::json!({ "type": "object", "maxProperties": 0 });
        let schema = self.config.schema.as_ref().unwrap_or(&nothing);
        if let Some(word) = refers(schema) {
            return Err(bad(format!("config.schema has {word}: write what it refers to where it is meant")));
        }
        // Patterns of the kind that is matched in linear time.
        let patterns = jsonschema::PatternOptions::regex().size_limit(PATTERN);
        let schema = jsonschema::options()
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|e| bad(short(&format!("config.schema is no JSON Schema: {e}"))))?;
        if let Some(error) = schema.iter_errors(&merged).next() {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the configuration".to_owned() } else { place };
            return Err(self.bad_config(&format!("{place}: {error}")));
        }
        let json = merged.to_string();
        if json.len() > MAX_TEXT {
            return Err(
                self.bad_config(&format!("it has {} bytes; at most {MAX_TEXT} are allowed", json.len()))
            );
        }
        Ok(json)
    }

    pub(crate) fn bad_config(&self, why: &str) -> Error {
        let why = short(why);
        Error::bad_request(
            "plugin.config",
            format!("Plugin {} does not take this configuration: {why}", self.name),
        )
    }
}

/// A reference, if there is one. Forty lines of references to references are evaluated 2^40 times.
fn refers(schema: &Value) -> Option<&'static str> {
    const WORDS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
    match schema {
        Value::Object(map) => {
            let own = WORDS.into_iter().find(|word| map.contains_key(*word));
            own.or_else(|| map.values().find_map(refers))
        }
        Value::Array(list) => list.iter().find_map(refers),
        _ => None,
    }
}

fn bad(why: String) -> Error {
    Error::bad_request("plugin.manifest", format!("The plugin's plugin.toml cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GOOD: &str = r#"
        name = "quota-x"
        version = "0.1.0"
        kind = "quota"
        sdk = "1.0"
        component = "x.wasm"
        [limits]
        memory_mib = 8
        [config.schema]
        type = "object"
        additionalProperties = false
        properties.most = { type = "integer", minimum = 0 }
        [config.defaults]
        most = 3
    "#;

    #[test]
    fn a_manifest_says_what_it_is_and_the_rest_has_defaults() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(
            (manifest.kind, manifest.limits),
            (PluginKind::Quota, Limits { memory_mib: 8, ..Limits::default() })
        );
    }

    #[test]
    fn lies_and_slips_are_refused_and_named() {
        for (from, to, word) in [
            ("kind = \"quota\"", "kind = \"root\"", "kind"),
            ("memory_mib", "memory_gib", "memory_gib"),
            ("memory_mib = 8", "memory_mib = 0", "memory_mib"),
            ("memory_mib = 8", "memory_mib = 4096", "memory_mib"),
            ("memory_mib = 8", "deadline_ms = 60000", "deadline_ms"),
            ("memory_mib = 8", "table_entries = 0", "table_entries"),
            ("memory_mib = 8", "instances = 1001", "instances"),
            ("memory_mib = 8", "answer_mib = 257", "answer_mib"),
            ("x.wasm", "../x.wasm", "component"),
            ("x.wasm", "/etc/passwd", "component"),
            ("x.wasm", ".", "component"),
            ("x.wasm", "plugin.toml", "component"),
            ("quota-x", "Quota X", "name"),
            ("quota-x", "--all", "name"),
            ("quota-x", "built-in", "means something else"),
            ("quota-x", "start", "means something else"),
            ("sdk = \"1.0\"", "sdk = \"1.1\"", "SDK 1.1"),
            ("sdk = \"1.0\"", "sdk = \"2.0\"", "SDK 2.0"),
            ("sdk = \"1.0\"", "sdk = \"new\"", "sdk"),
            ("sdk = \"1.0\"", "sdk = \"1.0\"\nimports = true", "imports"),
        ] {
            assert!(GOOD.contains(from));
            let error = Manifest::parse(&GOOD.replace(from, to)).unwrap_err();
            assert_eq!(error.code, "plugin.manifest");
            assert!(error.message.contains(word), "{}", error.message);
        }
    }

    #[test]
    fn configuration_goes_over_the_defaults_and_through_the_schema() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(manifest.configure(Value::Null).unwrap(), r#"{"most":3}"#);
        assert_eq!(manifest.configure(json!({"most": 5})).unwrap(), r#"{"most":5}"#);
        for wrong in [json!({"most": -1}), json!({"most": "5"}), json!({"least": 1}), json!([])] {
            assert_eq!(manifest.configure(wrong).unwrap_err().code, "plugin.config");
        }
    }

    /// Each of these cost minutes, for ever, or the whole process.
    #[test]
    fn a_schema_that_would_keep_the_host_busy_is_refused() {
        let fan = |n: u32| {
            format!(
                "d{n} = {{ allOf = [{{ \"$ref\" = \"#/$defs/d{0}\" }}, {{ \"$ref\" = \"#/$defs/d{0}\" }}] }}\n",
                n + 1
            )
        };
        let fans: String = (0..40).map(fan).collect();
        for (schema, word) in [
            (format!("\"$ref\" = \"#/$defs/d0\"\n[config.schema.\"$defs\"]\n{fans}d40 = {{}}\n"), "$ref"),
            ("allOf = [{ \"$dynamicRef\" = \"#x\" }]".to_owned(), "$dynamicRef"),
            ("properties.a.pattern = \"^(?=(a+)+$)(a+)+$\"".to_owned(), "regex"),
            ("properties.a.pattern = \"((a{1000}){1000}){1000}\"".to_owned(), "regex"),
            ("type = \"sideways\"".to_owned(), "sideways"),
        ] {
            let (head, _) = GOOD.split_once("[config.schema]").unwrap();
            let manifest = Manifest::parse(&format!("{head}\n[config.schema]\n{schema}\n")).unwrap();
            let since = std::time::Instant::now();
            let error = manifest.configure(json!({"a": "a".repeat(40) + "b"})).unwrap_err();
            assert_eq!(error.code, "plugin.manifest", "{}", error.message);
            assert!(error.message.contains(word), "{}", error.message);
            assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
        }
        for nested in
            ["[".repeat(30_000) + &"]".repeat(30_000), "{a=".repeat(12_000) + "1" + &"}".repeat(12_000)]
        {
            assert_eq!(Manifest::parse(&format!("a = {nested}")).unwrap_err().code, "plugin.manifest");
        }
    }

    #[test]
    fn without_a_schema_nothing_can_be_configured() {
        let bare = Manifest { config: Config::default(), ..Manifest::parse(GOOD).unwrap() };
        assert_eq!(bare.configure(json!({})).unwrap(), "{}");
        assert!(bare.configure(json!({"most": 5})).is_err());
    }
}
