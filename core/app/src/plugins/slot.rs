//! Which plugin answers for a kind, which did before, and when one that fails goes back: the stored document and
//! what may become of it. Pure: no clock, no store.

use canopy_plugin_host::{MAX_FAULTS, PluginKind};
use canopy_types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// Choices to which a rollback can go.
const HISTORY: usize = 16;
/// Longest window of [`Demotion`], seconds.
pub const MAX_WINDOW: u32 = 86_400;

/// What a kind can be served by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Source {
    /// What the configuration file names, or the built-in where it names none.
    Start,
    /// No WASM at all; for networks: none are made.
    BuiltIn,
    /// An installed one, by its digest.
    Installed(String),
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        match text.as_str() {
            "start" => Self::Start,
            "built-in" => Self::BuiltIn,
            _ => Self::Installed(text),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.as_str().to_owned()
    }
}

impl Source {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Start => "start",
            Self::BuiltIn => "built-in",
            Self::Installed(digest) => digest,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plugin with its settings, and who chose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub plugin: Source,
    /// The operator's settings, over which the manifest's defaults lie; `{}` but for installed ones.
    pub config: Value,
    pub at: Timestamp,
    /// User id; empty for what the cloud did by itself.
    pub by: String,
    pub why: String,
}

impl Choice {
    /// Before anybody chose.
    pub fn start() -> Self {
        let why = "as the configuration file has it".to_owned();
        Self { plugin: Source::Start, config: json!({}), at: Timestamp(0), by: String::new(), why }
    }

    /// The same plugin with the same settings.
    pub fn is_same(&self, other: &Self) -> bool {
        self.plugin == other.plugin && self.config == other.config
    }
}

/// After how many of its own faults within which time the plugin in force is taken out of force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demotion {
    /// 1 to 1,000; 0 never demotes.
    pub faults: u32,
    /// 1 to 86,400.
    pub window_seconds: u32,
}

impl Default for Demotion {
    fn default() -> Self {
        Self { faults: 10, window_seconds: 60 }
    }
}

impl Demotion {
    pub fn check(self) -> Result<(), String> {
        let most = u32::try_from(MAX_FAULTS).unwrap_or(u32::MAX);
        if self.faults > most {
            return Err(format!("faults is 0 (never) to {most}"));
        }
        if !(1..=MAX_WINDOW).contains(&self.window_seconds) {
            return Err(format!("window_seconds is 1 to {MAX_WINDOW}"));
        }
        Ok(())
    }
}

/// The document of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub v: u32,
    pub active: Choice,
    /// Oldest first; the last is where a rollback goes.
    pub history: Vec<Choice>,
    pub shadow: Option<Choice>,
    #[serde(default)]
    pub demotion: Demotion,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            v: 1,
            active: Choice::start(),
            history: Vec::new(),
            shadow: None,
            demotion: Demotion::default(),
        }
    }
}

impl Slot {
    /// Puts `choice` in force. A shadow that is now in force has no more to show.
    pub fn activate(&mut self, choice: Choice) {
        if self.shadow.as_ref().is_some_and(|shadow| shadow.is_same(&choice)) {
            self.shadow = None;
        }
        let before = std::mem::replace(&mut self.active, choice);
        if !before.is_same(&self.active) {
            self.history.push(before);
        }
        let beyond = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..beyond);
    }

    /// Goes back to the choice before; `false` when there is none.
    pub fn roll_back(&mut self, at: Timestamp, by: &str, why: &str) -> bool {
        let Some(before) = self.history.pop() else { return false };
        self.active = Choice { at, by: by.to_owned(), why: why.to_owned(), ..before };
        true
    }

    /// Takes what is in force out of it: back to the newest choice that is not the same, else from an installed
    /// plugin to the configuration file's, and from that to the built-in. `false` when nothing is left to go to:
    /// networks never go to the built-in, which would take them down.
    pub fn demote(&mut self, kind: PluginKind, at: Timestamp, why: &str) -> bool {
        let failed = self.active.clone();
        while self.history.last().is_some_and(|before| before.is_same(&failed)) {
            self.history.pop();
        }
        if self.roll_back(at, "", why) {
            return true;
        }
        let next = match (failed.plugin, kind) {
            (Source::Installed(_), _) => Source::Start,
            (Source::Start, PluginKind::Scheduler | PluginKind::Quota) => Source::BuiltIn,
            _ => return false,
        };
        self.active = Choice { plugin: next, config: json!({}), at, by: String::new(), why: why.to_owned() };
        true
    }

    /// Whether it is in force or a shadow.
    pub fn uses(&self, digest: &str) -> bool {
        let is = |choice: &Choice| choice.plugin == Source::Installed(digest.to_owned());
        is(&self.active) || self.shadow.as_ref().is_some_and(is)
    }

    /// No rollback goes to it any more; `false` when none would have.
    pub fn forget(&mut self, digest: &str) -> bool {
        let before = self.history.len();
        self.history.retain(|choice| choice.plugin != Source::Installed(digest.to_owned()));
        self.history.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(plugin: &str) -> Choice {
        Choice { plugin: Source::from(plugin.to_owned()), ..Choice::start() }
    }

    fn after(plugins: &[&str]) -> Slot {
        let mut slot = Slot::default();
        plugins.iter().for_each(|plugin| slot.activate(choice(plugin)));
        slot
    }

    #[test]
    fn a_rollback_goes_step_by_step_to_the_start_and_no_further() {
        let mut slot = after(&["a", "b", "b"]);
        for expected in ["a", "start"] {
            assert!(slot.roll_back(Timestamp(7), "u", "w"));
            assert_eq!((slot.active.plugin.as_str(), slot.active.at), (expected, Timestamp(7)));
        }
        assert!(!slot.roll_back(Timestamp(7), "u", "w"));
    }

    #[test]
    fn who_fails_is_left_for_the_one_before_and_never_come_back_to() {
        let mut slot = after(&["a", "b"]);
        for expected in ["a", "start", "built-in"] {
            assert!(slot.demote(PluginKind::Quota, Timestamp(1), "10 faults"), "{expected}");
            assert_eq!(slot.active.plugin.as_str(), expected);
        }
        assert!(!slot.demote(PluginKind::Quota, Timestamp(1), "10 faults"));
        assert!(!slot.roll_back(Timestamp(1), "u", "w"));
    }

    #[test]
    fn networks_are_not_taken_down_by_a_demotion() {
        let mut slot = after(&["a"]);
        assert!(slot.demote(PluginKind::Network, Timestamp(1), "w"));
        assert_eq!(slot.active.plugin, Source::Start);
        assert!(!slot.demote(PluginKind::Network, Timestamp(1), "w"));
        assert_eq!(slot.active.plugin, Source::Start);
    }

    #[test]
    fn history_has_a_bound_and_forgets_what_is_removed() {
        let names: Vec<String> = (0..100).map(|n| format!("p{n}")).collect();
        let mut slot = after(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(slot.history.len(), HISTORY);
        assert!(slot.uses("p99") && !slot.uses("p98"));
        assert!(slot.forget("p98") && !slot.forget("p98"));
        assert!(slot.roll_back(Timestamp(1), "u", "w"));
        assert_eq!(slot.active.plugin.as_str(), "p97");
    }

    #[test]
    fn a_shadow_that_is_put_in_force_is_none_any_more() {
        let mut slot = Slot { shadow: Some(choice("a")), ..Slot::default() };
        assert!(slot.uses("a"));
        slot.activate(choice("b"));
        assert!(slot.shadow.is_some());
        slot.activate(choice("a"));
        assert_eq!(slot.shadow, None);
    }

    #[test]
    fn thresholds_have_bounds() {
        assert!(Demotion { faults: 0, window_seconds: 1 }.check().is_ok());
        for (faults, window_seconds) in [(1_001, 60), (1, 0), (1, 86_401)] {
            assert!(Demotion { faults, window_seconds }.check().is_err());
        }
    }

    #[test]
    fn the_document_of_the_first_release_is_read() {
        let text = r#"{"v":1,"active":{"plugin":"built-in","config":{},"at":5,"by":"u","why":"w"},"history":[],"shadow":null}"#;
        let slot: Slot = serde_json::from_str(text).unwrap();
        assert_eq!((slot.active.plugin.clone(), slot.demotion), (Source::BuiltIn, Demotion::default()));
        assert_eq!(serde_json::from_str::<Slot>(&serde_json::to_string(&slot).unwrap()).unwrap(), slot);
    }
}
