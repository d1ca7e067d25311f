//! One decision in the field names of CADF (DMTF DSP0262), which log collectors know.

use canopy_types::Timestamp;
use serde_json::{Value, json};

/// Longest text in a line that a client chose, characters.
const MAX_TEXT: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Denied,
}

/// A decision, or a request that nobody stands behind. Nothing secret belongs in it.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: Timestamp,
    pub request_id: String,
    /// The policy action, or the method and path of a request without a valid token.
    pub action: String,
    pub outcome: Outcome,
    /// Ids of the determining policies.
    pub policies: Vec<String>,
    /// The bundle's commit, or its digest where it has none.
    pub bundle: String,
    pub user_id: String,
    pub project_id: String,
    pub domain_id: String,
    /// The client's address.
    pub source: String,
    /// Cedar's type of the resource, e.g. `Server`.
    pub resource: String,
    pub target_id: String,
    pub target_project_id: String,
    /// The decision's question in the words of policy cases, so that it can be asked again.
    pub question: Value,
    /// Similar events before this one that the rate limit left out.
    pub left_out: u64,
}

impl Event {
    /// The CADF event of a process.
    pub fn cadf(&self, observer: &str, sequence: u64) -> Value {
        let mut event = json!({
            "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
            "id": format!("{observer}:{sequence}"),
            "eventType": "control",
            "eventTime": self.at.micros_z(),
            "action": short(&self.action),
            "outcome": match self.outcome { Outcome::Allowed => "success", Outcome::Denied => "failure" },
            "initiator": {
                "id": short(&self.user_id),
                "typeURI": "service/security/account/user",
                "project_id": short(&self.project_id),
                "domain_id": short(&self.domain_id),
                "host": {"address": short(&self.source)},
            },
            "target": {
                "id": short(&self.target_id),
                "typeURI": format!("canopy/{}", self.resource),
                "project_id": short(&self.target_project_id),
            },
            "observer": {"id": observer, "typeURI": "service/canopy"},
            "reason": {
                "reasonType": "https://www.cedarpolicy.com",
                "reasonCode": match self.outcome { Outcome::Allowed => "allow", Outcome::Denied => "deny" },
                "policyType": self.bundle,
                "policyId": self.policies,
            },
            "tags": [format!("request:{}", short(&self.request_id))],
        });
        if !self.question.is_null() {
            event["attachments"] =
                json!([{"name": "question", "contentType": "application/json", "content": self.question}]);
        }
        if self.left_out > 0 {
            event["left_out"] = self.left_out.into();
        }
        event
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
