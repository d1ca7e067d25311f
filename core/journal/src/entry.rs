//! What a line of the journal says. Scores are kept as their bits: text would have to be trusted to come back
//! as the same number, and has no word for the infinite.

use canopy_placement::{Change, Decision, Fleet, PluginUse, Request};
use canopy_types::{DecisionId, HostId, ServerId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// Where a segment begins.
    Checkpoint {
        /// Version of the format.
        v: u32,
        at: Timestamp,
        /// Number of the next request.
        next: i64,
        seed: u64,
        fleet: Fleet,
    },
    /// Who scores from here on.
    Plugin {
        plugin: PluginUse,
        /// Where the journal keeps its files; none for the built-in.
        files: Option<String>,
    },
    Round(Round),
}

/// Changes, then requests decided in order, each seeing what the earlier ones took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub at: Timestamp,
    /// Number of the first request; the others follow.
    pub first: i64,
    pub changes: Vec<Change>,
    /// Servers that ended, or whose claim did not commit: what they held is among the changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<ServerId>,
    pub asked: Vec<Asked>,
    /// The placer began anew before the round's first request: from here on its decisions come out again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
    /// What a placer was asked too, and which was then put off: its state has seen it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put_off: Vec<PutOff>,
}

/// A request without an answer yet; it is in a later round again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutOff {
    /// How many of [`Round::asked`] came before it.
    pub before: usize,
    pub asked: Asked,
}

impl Round {
    /// Every request in the order in which it was decided, and whether that stood.
    pub fn in_order(&self) -> impl Iterator<Item = (&Asked, bool)> {
        let put_off = |at: usize| self.put_off.iter().filter(move |other| other.before == at);
        let asked = (0..=self.asked.len()).map(move |at| (at, self.asked.get(at)));
        asked.flat_map(move |(at, asked)| {
            put_off(at).map(|other| (&other.asked, false)).chain(asked.map(|asked| (asked, true)))
        })
    }
}

/// One request: a server, or several that are placed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub all_or_nothing: bool,
    pub decisions: Vec<Recorded>,
}

impl Asked {
    /// What was placed where: nothing when one of an all-or-nothing request found no host.
    pub fn placed(&self) -> impl Iterator<Item = (HostId, &Recorded)> {
        let winner = |recorded: &Recorded| recorded.outcome.as_ref().and_then(|outcome| outcome.winner);
        let failed = self.all_or_nothing && self.decisions.iter().any(|recorded| winner(recorded).is_none());
        let placed = move |recorded| if failed { None } else { Some((winner(recorded)?, recorded)) };
        self.decisions.iter().filter_map(placed)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub id: DecisionId,
    pub server: ServerId,
    /// Shared with whoever asked: what is written is not copied first.
    pub request: Arc<Request>,
    /// Hash of the request's class, worked out where it is written.
    pub class: u64,
    /// sha256 of the component and of its configuration; empty for the built-in.
    pub plugin: Arc<str>,
    pub config: Arc<str>,
    /// As decided, whatever came of the servers asked for with it; none when one before it found no host.
    pub outcome: Option<Outcome>,
}

/// What came out, as far as it must come out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub winner: Option<HostId>,
    /// The three best with the bits of their scores.
    pub top: Vec<(HostId, u32)>,
    pub considered: u64,
    pub feasible: u64,
    /// Hosts per rule; empty when it was not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<(String, u64)>,
    /// What went wrong in the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Outcome {
    pub fn of(decision: &Decision) -> Self {
        Self {
            winner: decision.winner,
            top: decision.top.iter().map(|host| (host.host_id, host.score.to_bits())).collect(),
            considered: decision.hosts_considered,
            feasible: decision.hosts_feasible,
            refused: decision.refused.iter().map(|rule| (rule.rule.clone(), rule.hosts)).collect(),
            fault: decision.plugin.fault.clone(),
        }
    }
}

/// A plugin's files, to be kept beside what it decided.
#[derive(Clone, Debug)]
pub struct PluginFiles {
    /// The folder with `plugin.toml` and the component.
    pub dir: std::path::PathBuf,
    /// What it was configured with, over the manifest's defaults.
    pub config: serde_json::Value,
}
