//! `canopy:quota@1`: a batch of claims of one project, decided in order.

mod limits;
mod wire;

use crate::bindings::quota::Rule;
use crate::fault::Fault;
use crate::host::Loaded;
use crate::meter::{Meter, Stats};
use crate::sandbox::Sandbox;
use crate::worker::Worker;
use canopy_types::{Error, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Claims of one question.
pub const MAX_CLAIMS: usize = 64;
/// Resources, and holders, of one question.
const MOST: usize = 1_000;
/// Rows, charges and attributes of one question, each.
const MOST_ROWS: usize = 10_000;
/// Bytes of a denial's reason.
const REASON: usize = 1024;

/// Whose usage a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HolderKind {
    /// The project that asks; the first holder.
    Project,
    /// A project above it, or its domain, that carries a limit: the sum over all below.
    Ancestor,
    /// One user's part of the project's usage.
    User,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    pub kind: HolderKind,
    pub id: String,
    /// Empty: in all zones together.
    pub zone: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countable {
    pub name: String,
    /// Each claim stands alone, and nothing is counted.
    pub per_claim: bool,
}

/// Usage and limit of one holder and resource, which are indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub holder: u32,
    pub resource: u32,
    /// −1 means no limit.
    pub limit: i64,
    pub used: i64,
}

/// What is used and what may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pub resources: Vec<Countable>,
    pub holders: Vec<Holder>,
    /// Each holder and resource once.
    pub rows: Vec<Row>,
}

/// What a request would add of one resource, an index of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub resource: u32,
    pub amount: i64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub user_id: UserId,
    /// Empty when it has none.
    pub zone: String,
    /// Charges of one resource add up.
    pub charges: Vec<Charge>,
    /// What a rule may look at: `flavor`, `image`, `network`, …; names may repeat.
    pub attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaQuestion {
    pub book: Book,
    /// At most [`MAX_CLAIMS`].
    pub claims: Vec<Claim>,
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

    /// A verdict for each claim. Never fails: on a fault the built-in limit check answers, and the fault is
    /// counted.
    pub async fn check(&self, question: QuotaQuestion) -> Vec<Verdict> {
        let Some(guest) = &self.guest else {
            return limits::check(&question);
        };
        let question = Arc::new(question);
        let asked = Arc::clone(&question);
        let answer = guest.worker.ask(move |rule| rule.check(&asked)).await;
        match answer {
            Ok(Ok(verdicts)) => verdicts,
            // Counted where it happened.
            Ok(Err(_)) => limits::check(&question),
            Err(fault) => {
                guest.meter.fault(&fault);
                limits::check(&question)
            }
        }
    }

    /// What it has done so far; the built-in counts nothing.
    pub fn stats(&self) -> Option<Arc<Stats>> {
        self.guest.as_ref().map(|guest| guest.meter.stats())
    }

    pub(crate) fn load(loaded: Loaded<Rule>) -> Result<Self, Error> {
        let Loaded { manifest, config, engine, fuel, pre, meter, .. } = loaded;
        let init = move |world: &Rule, store: &mut wasmtime::Store<_>| {
            world.canopy_quota_limits().call_init(store, &config)
        };
        let sandbox = Sandbox::new(engine, pre, manifest.limits, init).counting(fuel).watched(&meter);
        let mut sandbox = sandbox.once();
        sandbox.ready().map_err(|fault| manifest.bad_config(&fault.to_string()))?;
        let rule = WasmRule { sandbox, meter: meter.clone() };
        let worker = Worker::tended(&manifest.name, rule, |rule| rule.sandbox.renew())
            .map_err(|e| Error::internal("plugin.thread", e))?;
        Ok(Self { guest: Some(Guest { worker, meter }) })
    }
}

impl WasmRule {
    fn check(&mut self, question: &QuotaQuestion) -> Result<Vec<Verdict>, Fault> {
        let meter = self.meter.clone();
        meter.call(|| {
            wire::bounded(question).map_err(Fault::Host)?;
            let (book, claims) = (wire::book(&question.book), wire::claims(&question.claims));
            self.sandbox.call(|world, store| {
                let verdicts = world.canopy_quota_limits().call_check(store, &book, &claims)?;
                Ok(wire::accept(verdicts, question))
            })
        })
    }
}
