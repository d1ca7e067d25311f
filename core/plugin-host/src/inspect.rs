//! What can be said of a plugin without a cloud: what it is, whether this host takes it, and whether it keeps the
//! rules that nobody notices being broken: same question, same answer; a score by its row alone.

mod placements;

use crate::host::PluginHost;
use crate::package::Package;
use crate::{Book, Charge, Claim, Countable, Holder, HolderKind, PluginKind, QuotaQuestion, Row};
use canopy_placement::{Columns, Names, Scorer};
use canopy_types::{Error, UserId};
use serde_json::Value;
use std::sync::Arc;

/// Rows of the questions to a scheduler: more than one block, fewer than one call takes.
const ROWS: u32 = 150;

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// Names at the component's edge.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// What this host refuses it for.
    pub refusal: Option<Error>,
    /// Rules that were tried and held.
    pub held: Vec<String>,
    /// Rules that it broke: the host takes it, and it will decide wrongly.
    pub broken: Vec<String>,
    /// Most guest memory seen, bytes.
    pub memory_peak: u64,
}

impl Inspection {
    pub fn is_fit(&self) -> bool {
        self.refusal.is_none() && self.broken.is_empty()
    }
}

impl PluginHost {
    /// Loads it as an installation would, and asks it made-up questions. Takes up to seconds.
    pub fn inspect(&self, package: &Package, config: Value) -> Inspection {
        let mut found = Inspection {
            imports: Vec::new(),
            exports: Vec::new(),
            refusal: None,
            held: Vec::new(),
            broken: Vec::new(),
            memory_peak: 0,
        };
        let once = self.holding(package).and_then(|host| Ok((host.edges(package)?, host)));
        let host = match once {
            Ok(((imports, exports), host)) => {
                (found.imports, found.exports) = (imports, exports);
                host
            }
            Err(error) => {
                found.refusal = Some(error);
                return found;
            }
        };
        let tried = match package.manifest().kind {
            PluginKind::Scheduler => host.try_scheduler(package, config, &mut found),
            PluginKind::Quota => host.try_quota(package, config, &mut found),
            PluginKind::Network => host.try_network(package, config, &mut found),
        };
        found.refusal = tried.err();
        if found.refusal.is_none() {
            found.held.push(
                "deterministic by construction: no imports, NaNs canonicalised, no threads, no relaxed SIMD"
                    .to_owned(),
            );
        }
        found
    }

    fn try_scheduler(&self, package: &Package, config: Value, found: &mut Inspection) -> Result<(), Error> {
        let mut first = self.start_scorer(package, config.clone())?;
        let mut second = self.start_scorer(package, config)?;
        if first.places() {
            placements::try_out(&mut first, &mut second, found);
            found.memory_peak = first.stats().memory_peak();
            return Ok(());
        }
        let whole = sample(0, ROWS);
        let said = first.score(&whole);
        match &said {
            Err(fault) => found.broken.push(format!("it fails on an ordinary question: {fault}")),
            Ok(scores) => {
                let bits = |scores: &[f32]| scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
                let again = [first.score(&whole), second.score(&whole)];
                let same =
                    again.iter().all(|again| again.as_ref().is_ok_and(|again| bits(again) == bits(scores)));
                found
                    .say(same, "the same question gets the same answer, in the same and in another instance");
                let part = first.score(&sample(40, 90));
                let alone = part.is_ok_and(|part| bits(&part) == bits(&scores[40..90]));
                found
                    .say(alone, "a score depends on its row alone: a part of the hosts gets the same scores");
                match first.explain(&whole) {
                    Ok(rows) => {
                        let each = rows.iter().all(|row| !row.is_empty());
                        found.say(each, "every score is explained");
                    }
                    Err(fault) => found.broken.push(format!("it does not explain: {fault}")),
                }
            }
        }
        found.memory_peak = first.stats().memory_peak();
        Ok(())
    }

    fn try_quota(&self, package: &Package, config: Value, found: &mut Inspection) -> Result<(), Error> {
        let (first, second) =
            (self.start_quota(package, config.clone())?, self.start_quota(package, config)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("plugin.check", e))?;
        let (mut same, mut fails) = (true, None);
        for amount in [0, 1, 2, 1_000_000] {
            let question = question(amount);
            let said = [&first, &first, &second].map(|rule| runtime.block_on(rule.check(question.clone())));
            same &= said.iter().all(|again| *again == said[0]);
        }
        if let Some(stats) = first.stats() {
            fails = stats.notes().first().map(|note| note.detail.clone());
            found.memory_peak = stats.memory_peak();
        }
        match fails {
            Some(fault) => found.broken.push(format!("it fails on an ordinary question: {fault}")),
            None => found
                .say(same, "the same question gets the same verdict, in the same and in another instance"),
        }
        Ok(())
    }

    fn try_network(&self, package: &Package, config: Value, found: &mut Inspection) -> Result<(), Error> {
        let (first, second) =
            (self.start_network(package, config.clone())?, self.start_network(package, config)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("plugin.check", e))?;
        let networks = crate::network::sample()?;
        let plan = |backend: &crate::NetworkPlugin| runtime.block_on(backend.plan_host(networks.clone()));
        match plan(&first) {
            Err(error) => found.broken.push(format!("it fails on an ordinary network: {}", error.message)),
            Ok(said) => {
                let same = [&first, &second]
                    .into_iter()
                    .all(|backend| plan(backend).is_ok_and(|again| again == said));
                found.say(same, "the same networks get the same plan, in the same and in another instance");
            }
        }
        if first.places() {
            let id = canopy_types::NetworkId::random();
            let network = crate::ClusterNetwork {
                id,
                project_id: "0".repeat(32).as_str().into(),
                mtu: 1500,
                provider: None,
            };
            let said = |backend: &crate::NetworkPlugin| match runtime
                .block_on(backend.plan_cluster(vec![network.clone()]))
            {
                Err(error) if error.code == "network.refused" => Ok(Err(error.message)),
                Err(error) => Err(error.message),
                Ok(places) => Ok(Ok(places)),
            };
            match said(&first) {
                // A backend may have no room for anybody yet.
                Ok(place) => {
                    let same =
                        [&first, &second].into_iter().all(|backend| said(backend).as_ref() == Ok(&place));
                    found.say(
                        same,
                        "the same new network gets the same place, in the same and in another instance",
                    );
                }
                Err(fault) => found.broken.push(format!("it fails to place a new network: {fault}")),
            }
        }
        found.memory_peak = first.stats().map_or(0, |stats| stats.memory_peak());
        Ok(())
    }
}

impl Inspection {
    fn say(&mut self, holds: bool, rule: &str) {
        if holds { &mut self.held } else { &mut self.broken }.push(rule.to_owned());
    }
}

/// Hosts `from..to` of a fleet that differs from host to host.
fn sample(from: u32, to: u32) -> Columns {
    let rows = from..to;
    // All are whole numbers far below 2^24, exact in 32 bits.
    let column =
        |most: u32, step: u32| -> Vec<f32> { rows.clone().map(|row| (row * step % most) as f32).collect() };
    let total =
        |capacity: u32| -> Vec<f32> { rows.clone().map(|row| (capacity * (1 + row % 3)) as f32).collect() };
    Columns {
        names: Arc::new(Names {
            resources: ["VCPU", "MEMORY_MB", "DISK_GB"].map(str::to_owned).to_vec(),
            signals: canopy_placement::scorer::OWN_SIGNALS.map(str::to_owned).to_vec(),
        }),
        want: vec![2.0, 4_096.0, 10.0],
        hosts: rows.clone().collect(),
        capacity: [total(32), total(65_536), total(500)].concat(),
        free: [column(30, 5), column(60_000, 4_099), column(480, 7)].concat(),
        signals: [column(3, 1), column(2, 1), column(2, 3)].concat(),
    }
}

/// An ordinary claim for `amount` servers.
pub(crate) fn question(amount: i64) -> QuotaQuestion {
    let countable = |name: &str| Countable { name: name.to_owned(), per_claim: false };
    let row = |resource, limit, used| Row { holder: 0, resource, limit, used };
    let charge = |resource, amount| Charge { resource, amount };
    let book = Book {
        resources: ["instances", "cores", "ram"].map(countable).to_vec(),
        holders: vec![Holder { kind: HolderKind::Project, id: "0".repeat(32), zone: String::new() }],
        rows: vec![row(0, 10, 3), row(1, 20, 18), row(2, -1, 1_024)],
    };
    let claim = Claim {
        user_id: UserId("1".repeat(32)),
        zone: "nova".to_owned(),
        charges: vec![charge(0, amount), charge(1, 2 * amount), charge(2, 512 * amount)],
        attributes: vec![("flavor".to_owned(), "m1.small".to_owned())],
    };
    QuotaQuestion { book, claims: vec![claim] }
}
