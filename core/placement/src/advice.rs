//! The smallest change of a refused request that would fit.

use serde::{Deserialize, Serialize};

/// Changes that together make the request fit; each alone does not, when there is more than one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    pub changes: Vec<Relax>,
}

/// One change of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "relax", rename_all = "kebab-case")]
pub enum Relax {
    /// Ask for `to` of the class instead.
    Amount { class: String, from: i64, to: i64 },
    /// Do not require (or forbid) the trait.
    Trait { name: String },
    /// Ask for this zone instead.
    Zone { from: String, to: String },
    /// Leave the aggregates that were asked for, or forbidden, out.
    Aggregates,
    /// Leave the server group's rule out.
    Group { id: String },
    /// Leave the list of hosts out (`same_host`, `different_host`, a forced host).
    Hosts,
}

impl Advice {
    /// "2 instead of 4 VCPU and without the trait CUSTOM_GPU".
    pub fn words(&self) -> String {
        let words: Vec<String> = self.changes.iter().map(Relax::words).collect();
        words.join(" and ")
    }
}

impl Relax {
    fn words(&self) -> String {
        match self {
            Self::Amount { class, from, to } => format!("{to} instead of {from} {class}"),
            Self::Trait { name } => format!("the rule about the trait {name} left out"),
            Self::Zone { from, to } => format!("zone {to} instead of {from}"),
            Self::Aggregates => "the rule about aggregates left out".to_owned(),
            Self::Group { id } => format!("the rule of server group {id} left out"),
            Self::Hosts => "the list of hosts left out".to_owned(),
        }
    }
}
