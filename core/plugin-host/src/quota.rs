//! `canopy:quota@1`.

mod limits;

use crate::bindings::quota::{self as wire, Rule};
use crate::fault::Fault;
use crate::host::Loaded;
use crate::manifest::PluginKind;
use crate::meter::Meter;
use crate::sandbox::Sandbox;
use crate::worker::Worker;
use canopy_types::{Error, ProjectId, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows of usage, and charges, of one question.
const MOST: usize = 1000;
/// Bytes of a denial's reason.
const REASON: usize = 1024;

/// One row of the project's quota: `limit` −1 means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub resource: String,
    pub limit: i64,
    pub used: i64,
}

/// What a request would add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub resource: String,
    pub amount: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaQuestion {
    pub project_id: ProjectId,
    pub user_id: UserId,
    /// At most 1,000, each resource once.
    pub usage: Vec<Usage>,
    /// At most 1,000; charges of one resource add up.
    pub charges: Vec<Charge>,
    /// Attributes of the request that a rule may look at: `flavor`, `image`, `network`, `zone`, …
    pub attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Allow,
    /// `reason` is shown to the client: "Quota exceeded for cores: Requested 5, but already used 18 of 20 cores".
    Deny {
        resource: String,
        reason: String,
    },
}

/// A loaded quota rule; cheap to clone.
#[derive(Clone)]
pub struct QuotaPlugin {
    /// `None`: the built-in.
    guest: Option<Guest>,
}

#[derive(Clone)]
struct Guest {
    worker: Worker<WasmRule>,
    meter: Meter,
}

struct WasmRule {
    sandbox: Sandbox<Rule>,
    meter: Meter,
}

impl QuotaPlugin {
    /// The built-in limit check, without any WASM.
    pub fn built_in() -> Self {
        Self { guest: None }
    }

    /// Never fails: on a fault the built-in limit check answers, and the fault is counted.
    pub async fn check(&self, question: QuotaQuestion) -> Verdict {
        let Some(guest) = &self.guest else {
            return limits::check(&question);
        };
        let question = Arc::new(question);
        let asked = Arc::clone(&question);
        let answer = guest.worker.ask(move |rule| rule.check(&asked)).await;
        match answer {
            Ok(Ok(verdict)) => verdict,
            // Counted where it happened.
            Ok(Err(_)) => limits::check(&question),
            Err(fault) => {
                guest.meter.fault(&fault);
                limits::check(&question)
            }
        }
    }

    pub(crate) fn load(loaded: Loaded<Rule>) -> Result<Self, Error> {
        let Loaded { manifest, config, engine, fuel, pre, .. } = loaded;
        let meter = Meter::new(&manifest.name, PluginKind::Quota);
        let init = move |world: &Rule, store: &mut wasmtime::Store<_>| {
            world.canopy_quota_limits().call_init(store, &config)
        };
        let mut sandbox = Sandbox::new(engine, pre, manifest.limits, init).counting(fuel);
        sandbox.ready().map_err(|fault| manifest.bad_config(&fault.to_string()))?;
        let rule = WasmRule { sandbox, meter: meter.clone() };
        let worker = Worker::start(&manifest.name, rule).map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { guest: Some(Guest { worker, meter }) })
    }
}

impl WasmRule {
    fn check(&mut self, question: &QuotaQuestion) -> Result<Verdict, Fault> {
        let meter = self.meter.clone();
        meter.call(|| {
            if question.usage.len() > MOST || question.charges.len() > MOST {
                return Err(Fault::Host(format!("a question of more than {MOST} rows")));
            }
            let subject = wire::Subject {
                project: question.project_id.to_string(),
                user: question.user_id.to_string(),
            };
            let usage = wire::Usage {
                resources: question.usage.iter().map(|row| row.resource.clone()).collect(),
                limits: question.usage.iter().map(|row| row.limit).collect(),
                used: question.usage.iter().map(|row| row.used).collect(),
            };
            let charge = |c: &Charge| wire::Charge { resource: c.resource.clone(), amount: c.amount };
            let charges: Vec<wire::Charge> = question.charges.iter().map(charge).collect();
            self.sandbox.call(|world, store| {
                let limits = world.canopy_quota_limits();
                let verdict = limits.call_check(store, &subject, &usage, &charges, &question.attributes)?;
                Ok(accept(verdict, question))
            })
        })
    }
}

/// The guest's verdict as ours, if a client may see it.
fn accept(verdict: wire::Verdict, question: &QuotaQuestion) -> Result<Verdict, String> {
    let denial = match verdict {
        wire::Verdict::Allow => return Ok(Verdict::Allow),
        wire::Verdict::Deny(denial) => denial,
    };
    if !question.charges.iter().any(|charge| charge.resource == denial.resource) {
        return Err(format!("it denies {:?}, which was not asked for", denial.resource));
    }
    if denial.reason.is_empty() || denial.reason.len() > REASON || denial.reason.chars().any(char::is_control)
    {
        return Err(format!("the reason of a denial has {} bytes or is no plain text", denial.reason.len()));
    }
    Ok(Verdict::Deny { resource: denial.resource, reason: denial.reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_what_was_asked_in_plain_and_bounded_words() {
        let charges = vec![Charge { resource: "cores".into(), amount: 1 }];
        let (project_id, user_id) = (ProjectId::random(), UserId::random());
        let question = QuotaQuestion { project_id, user_id, usage: vec![], charges, attributes: vec![] };
        let deny = |resource: &str, reason: &str| {
            let denial = wire::Denial { resource: resource.into(), reason: reason.into() };
            accept(wire::Verdict::Deny(denial), &question)
        };
        assert!(deny("cores", "no").is_ok());
        for (resource, reason) in
            [("ram", "no"), ("cores", ""), ("cores", "a\r\nb"), ("cores", &"x".repeat(1025))]
        {
            assert!(deny(resource, reason).is_err());
        }
    }
}
