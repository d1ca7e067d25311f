//! A decision and why it came out so: stored with the server, readable at `/canopy/v1/decisions/{id}`.

use crate::{Advice, Request};
use canopy_types::{DecisionId, HostId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Version of this document: 2; what 1 did not have is empty.
    pub v: u32,
    pub id: DecisionId,
    pub revision: i64,
    pub request: Request,
    pub winner: Option<HostId>,
    pub winner_name: Option<String>,
    pub hosts_considered: u64,
    /// Hosts that every rule of the core leaves, before the plugin's vetoes. 0 beside a winner: not counted, for a placer
    /// chose among more than 256 hosts.
    pub hosts_feasible: u64,
    /// Hosts refused, per rule, most first. Empty when not counted: see [`Self::counted`].
    pub refused: Vec<RuleCount>,
    /// The three best, winner first. Empty when a placer chose, which gives no scores.
    pub top: Vec<ScoredHost>,
    pub plugin: PluginUse,
    /// For a refusal: the nearest capacity per resource class.
    pub nearest: Vec<Smallest>,
    /// For a refusal: the smallest changes of the request that would fit, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<Advice>,
    /// What chose among equal scores: 0 the first host by (name, id), else a hash of it, the class and the host.
    #[serde(default)]
    pub seed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleCount {
    /// e.g. `capacity:VCPU`, `zone`, `closed`, `veto`.
    pub rule: String,
    pub hosts: u64,
    /// One example in words: "host-1 has 2 of 4 VCPU free".
    pub example: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredHost {
    pub host_id: HostId,
    pub name: String,
    pub score: f32,
}

/// Who decided: cheap to clone, since every decision and its record name it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginUse {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// sha256 of the component; empty for the built-in.
    pub digest: Arc<str>,
    /// sha256 of the configuration that the component got; empty for the built-in.
    #[serde(default)]
    pub config: Arc<str>,
    /// What went wrong in the plugin, when the built-in decided in its place.
    pub fault: Option<String>,
}

/// The most that any one open host could give of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smallest {
    pub class: String,
    pub wanted: i64,
    pub most_free: i64,
}

impl Decision {
    /// Whether [`Self::refused`] accounts for every host that is not in the choice. A successful decision over
    /// a large fleet leaves the counting to whoever reads it.
    pub fn counted(&self) -> bool {
        !self.refused.is_empty() || self.hosts_feasible == self.hosts_considered
    }

    /// The sentence in a refused server's fault.
    pub fn refusal(&self) -> String {
        let mut text = String::from("No valid host was found.");
        if self.hosts_considered == 0 {
            text.push_str(" No host has registered yet.");
        }
        for rule in self.refused.iter().take(4) {
            text.push_str(&format!(
                " {} of {} hosts refused by {}: {}.",
                rule.hosts, self.hosts_considered, rule.rule, rule.example
            ));
        }
        if let Some(advice) = self.advice.first() {
            text.push_str(&format!(" It would fit with {}.", advice.words()));
        }
        text.push_str(&format!(" Decision {}.", self.id));
        text
    }
}
