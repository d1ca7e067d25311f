//! Placing what more than a host serves: groups of resources, devices below a host, storage that hosts share.
//!
//! Which trees can serve a request, and how, is found on the rows of all providers; the desk then chooses among
//! their hosts as among any, and the commit claims exactly what was found. One such request is placed at a time
//! in a process, so that two do not choose the same device; another controller's shows in the commit, which is
//! then rolled back and the search made again. Requests that hosts alone can serve never come here.

use super::specs::{Marks, Specs};
use crate::App;
use crate::compute::placement::Placed;
use crate::placement::supply::{Snapshot, snapshot};
use canopy_candidates::{Group, Relaxed, World, providers, relaxed, search};
use canopy_placement::{Advice, Decision, Relax, Request, RuleCount};
use canopy_types::resources::Amounts;
use canopy_types::{Error, HostId, ProviderId, Result, ServerId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;

/// The rule of hosts whose providers cannot serve the request together.
pub const NO_CANDIDATE: &str = "no-candidate";
/// How the core names hosts that are not among those to choose from.
const NOT_LISTED: &str = "host-not-listed";
/// How long a request may wait for others of its kind.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is taken, by provider.
pub type Claim = BTreeMap<ProviderId, Amounts>;

/// A request that a host alone may not be able to serve.
#[derive(Clone, Debug)]
pub struct Exact(canopy_candidates::Request);

/// One server's place: the decision, what to claim for it, and what its document says of that.
#[derive(Clone)]
pub struct Chosen {
    pub decision: Decision,
    pub claim: Claim,
    pub note: Option<Value>,
}

/// The request as groups, if it needs more than hosts: it asks for groups, or somebody beside the hosts offers what
/// it asks for.
pub(super) async fn needed(app: &App, request: &Request, specs: &Specs) -> Result<Option<Exact>> {
    let asked = |amounts: &Amounts| -> Vec<(String, i64)> {
        amounts.iter().filter(|(_, n)| **n > 0).map(|(class, n)| (class.clone(), *n)).collect()
    };
    let resources = asked(&request.amounts);
    if specs.groups.is_empty() {
        let classes: Vec<String> = resources.iter().map(|(class, _)| class.clone()).collect();
        let beyond = app
            .store
            .read(move |c| {
                Box::pin(async move { canopy_store::inventories::beyond_hosts(c, &classes).await })
            })
            .await?;
        if !beyond {
            return Ok(None);
        }
    }
    let group = |suffix: &str, resources, marks: &Marks| Group {
        suffix: suffix.to_owned(),
        resources,
        required: marks.required.iter().map(|name| vec![name.clone()]).collect(),
        forbidden: marks.forbidden.clone(),
        ..Group::default()
    };
    let mut exact = canopy_candidates::Request {
        isolate: specs.isolate,
        per_anchor: Some(1),
        ..canopy_candidates::Request::default()
    };
    if resources.is_empty() {
        // Traits of no resource in particular are the host's.
        exact.root_required.clone_from(&specs.marks.required);
        exact.root_forbidden.clone_from(&specs.marks.forbidden);
    } else {
        exact.groups.push(group("", resources, &specs.marks));
    }
    for (suffix, one) in &specs.groups {
        exact.groups.push(group(suffix, asked(&one.amounts), &one.marks));
    }
    Ok(Some(Exact(exact)))
}

/// Waits until no other request of this kind is being placed; `None` when this one needs no turn.
pub(super) async fn turn<'a>(app: &'a App, exact: Option<&Exact>) -> Result<Option<MutexGuard<'a, ()>>> {
    if exact.is_none() {
        return Ok(None);
    }
    tokio::time::timeout(PATIENCE, app.placement.exact.lock()).await.map(Some).map_err(|_| {
        Error::unavailable("placement.overloaded", "Too many servers wait for their devices. Try again.")
    })
}

/// Decides where these servers go, all or none, and what each takes.
pub(super) async fn choose(
    app: &App,
    request: &Request,
    exact: Option<&Exact>,
    ids: &[ServerId],
) -> Result<(Placed, Vec<Chosen>)> {
    let Some(exact) = exact else {
        let batch = ids.iter().map(|id| (*id, request.clone())).collect();
        // As nova does: one that finds no host fails all that were asked for with it.
        let mut made = app.placement.decide(batch, true).await?;
        let plain = |decision: Decision| {
            let claim = decision
                .winner
                .map(|host| (ProviderId::from(host), Amounts::clone(&decision.request.amounts)));
            Chosen { claim: claim.into_iter().collect(), decision, note: None }
        };
        let chosen = std::mem::take(&mut made.decisions).into_iter().map(plain).collect();
        return Ok((made, chosen));
    };
    let snapshot = snapshot(app).await?;
    let first = Arc::new(ways(&snapshot, exact, Vec::new()).await?);
    let mut of_each = vec![first.clone(); ids.len()];
    // Each round fixes at least one more server's ways.
    for _ in 0..=ids.len() {
        let batch = ids.iter().zip(&of_each).map(|(id, ways)| (*id, ways.request(request))).collect();
        let mut made = app.placement.decide(batch, true).await?;
        let decisions = std::mem::take(&mut made.decisions);
        if decisions.iter().any(|decision| decision.winner.is_none()) {
            let told = tell(app, &snapshot, exact, request, &first).await?;
            return Ok((
                made,
                decisions.into_iter().map(|decision| told.refused(decision, request)).collect(),
            ));
        }
        match assign(&snapshot, exact, &decisions, &of_each).await? {
            Ok(ways) => {
                let chosen = decisions.into_iter().zip(ways);
                let of = |(decision, way)| placed(decision, way, request, exact, &first);
                return Ok((made, chosen.map(of).collect()));
            }
            // What earlier servers of the request take leaves these hosts to the others.
            Err((from, left)) => of_each[from..].fill(Arc::new(left)),
        }
    }
    Err(Error::internal("placement.exact", "a batch was not settled in as many rounds as it has servers"))
}

/// The document says what was asked, not the hosts that came into question for it: there may be thousands.
fn placed(decision: Decision, way: Way, request: &Request, exact: &Exact, ways: &Ways) -> Chosen {
    let note = json!({
        "asked": exact.asked(),
        "hosts": ways.by_host.len(),
        "allocations": way.claim,
        "groups": way.groups,
    });
    Chosen { decision: Decision { request: request.clone(), ..decision }, claim: way.claim, note: Some(note) }
}

/// How one tree serves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    claim: Claim,
    /// The same in the numbers of the world.
    taken: Vec<(u32, u32, i64)>,
    /// Which providers serve each group, by suffix.
    groups: BTreeMap<String, Vec<ProviderId>>,
}

/// One way for each host that has any.
#[derive(Clone, Debug, Default)]
struct Ways {
    by_host: BTreeMap<HostId, Way>,
    /// Of each class, what every one of these hosts gives itself.
    own: Amounts,
    /// What was wrong with the request as such, or that not everything was tried.
    why: Option<String>,
}

impl Ways {
    fn of(snapshot: &Snapshot, world: &World, exact: &Exact) -> Self {
        let found = match search(world, &exact.0) {
            Ok(found) => found,
            Err(unknown) => return Self { why: Some(unknown.to_string()), ..Self::default() },
        };
        let mut ways = Self::default();
        if found.cut_short {
            ways.why = Some("its groups can be combined in too many ways to try them all".into());
        }
        for (anchor, candidate) in found.anchors.iter().zip(found.candidates()) {
            let root = &snapshot.rows[*anchor as usize].row;
            if !root.host {
                continue;
            }
            let (mut claim, mut taken) = (Claim::new(), Vec::new());
            candidate.allocations(&mut taken);
            for (provider, class, amount) in &taken {
                let class = world.class_names.name(*class).to_owned();
                claim.entry(world.id(*provider)).or_default().insert(class, *amount);
            }
            let served = |(at, group): (usize, &Group)| {
                let mut by = Vec::new();
                candidate.mapping(at, &mut by);
                (group.suffix.clone(), by.into_iter().map(|provider| world.id(provider)).collect())
            };
            let groups = exact.0.groups.iter().enumerate().map(served).collect();
            ways.by_host.insert(HostId(root.id.0), Way { claim, taken, groups });
        }
        let mut own = ways
            .by_host
            .iter()
            .map(|(host, way)| way.claim.get(&ProviderId::from(*host)).cloned().unwrap_or_default());
        ways.own = own.next().unwrap_or_default();
        for other in own {
            ways.own.retain(|class, amount| {
                *amount = (*amount).min(other.get(class).copied().unwrap_or(0));
                *amount > 0
            });
        }
        ways
    }

    /// What the desk is asked: any of these hosts, by what all of them give themselves.
    fn request(&self, asked: &Request) -> Request {
        let may = |host: &HostId| asked.only_hosts.is_empty() || asked.only_hosts.contains(host);
        let mut only_hosts: Vec<HostId> = self.by_host.keys().copied().filter(may).collect();
        if only_hosts.is_empty() {
            // No host is right, and no host has this id.
            only_hosts.push(HostId(Default::default()));
        }
        Request {
            amounts: self.own.clone().into(),
            only_hosts,
            required_traits: Default::default(),
            forbidden_traits: Default::default(),
            ..asked.clone()
        }
    }
}

/// The ways there are when `taken` is gone.
async fn ways(snapshot: &Arc<Snapshot>, exact: &Exact, taken: Vec<(u32, u32, i64)>) -> Result<Ways> {
    let (snapshot, exact) = (snapshot.clone(), exact.clone());
    // Bounded, but by more than an executor's thread may be kept.
    tokio::task::spawn_blocking(move || {
        if taken.is_empty() {
            return Ways::of(&snapshot, &snapshot.world, &exact);
        }
        let mut world = snapshot.world.clone();
        taken.iter().for_each(|(provider, class, amount)| world.take(*provider, *class, *amount));
        Ways::of(&snapshot, &world, &exact)
    })
    .await
    .map_err(|e| Error::internal("placement.search", e))
}

/// A way for each decision, none taking what an earlier one took; or the first that has none on the host chosen
/// for it, and the ways that are left to it.
async fn assign(
    snapshot: &Arc<Snapshot>,
    exact: &Exact,
    decisions: &[Decision],
    of_each: &[Arc<Ways>],
) -> Result<std::result::Result<Vec<Way>, (usize, Ways)>> {
    let (mut taken, mut chosen): (Vec<(u32, u32, i64)>, Vec<Way>) = Default::default();
    for (at, (decision, known)) in decisions.iter().zip(of_each).enumerate() {
        let Some(host) = decision.winner else { continue };
        let touched: BTreeSet<(u32, u32)> = taken.iter().map(|(p, class, _)| (*p, *class)).collect();
        let free = |way: &&Way| way.taken.iter().all(|(p, class, _)| !touched.contains(&(*p, *class)));
        let way = match known.by_host.get(&host).filter(free) {
            Some(way) => way.clone(),
            None => {
                let left = ways(snapshot, exact, taken.clone()).await?;
                match left.by_host.get(&host) {
                    Some(way) => way.clone(),
                    None => return Ok(Err((at, left))),
                }
            }
        };
        taken.extend(way.taken.iter().copied());
        chosen.push(way);
    }
    Ok(Ok(chosen))
}

/// What a refusal says beyond what the desk knows.
struct Told {
    why: String,
    advice: Vec<Advice>,
    note: Value,
}

impl Told {
    fn refused(&self, mut decision: Decision, request: &Request) -> Chosen {
        decision.request.clone_from(request);
        for rule in decision.refused.iter_mut().filter(|rule| rule.rule == NOT_LISTED) {
            let hosts = rule.hosts;
            *rule = RuleCount { rule: NO_CANDIDATE.into(), hosts, example: self.why.clone() };
        }
        // The list of hosts is not the caller's to leave out.
        decision.advice.retain(|advice| !advice.changes.contains(&Relax::Hosts));
        if decision.refused.iter().any(|rule| rule.rule == NO_CANDIDATE) {
            decision.advice.splice(0..0, self.advice.iter().cloned());
        }
        Chosen { decision, claim: Claim::new(), note: Some(self.note.clone()) }
    }
}

/// Why no tree serves the request, and what would.
async fn tell(
    app: &App,
    snapshot: &Arc<Snapshot>,
    exact: &Exact,
    request: &Request,
    ways: &Ways,
) -> Result<Told> {
    let open = if ways.by_host.is_empty() { open(app, request).await? } else { HashSet::new() };
    let (snapshot, exact, none, why) =
        (snapshot.clone(), exact.clone(), ways.by_host.is_empty(), ways.why.clone());
    let (hosts, asked) = (ways.by_host.len(), exact.asked());
    let (why, found) = tokio::task::spawn_blocking(move || {
        let world = &snapshot.world;
        let short = why.clone().unwrap_or_else(|| short(world, &exact));
        let suits = |root: u32| open.contains(&HostId(snapshot.rows[root as usize].row.id.0));
        let found = if none && why.is_none() { relaxed(world, &exact.0, &suits) } else { Vec::new() };
        let advice = found.into_iter().map(|one| Advice { changes: vec![exact.words(one)] });
        (short, advice.collect::<Vec<_>>())
    })
    .await
    .map_err(|e| Error::internal("placement.search", e))?;
    Ok(Told { note: json!({"asked": asked, "hosts": hosts, "why": why}), why, advice: found })
}

/// Hosts that take new servers where this one may go.
async fn open(app: &App, request: &Request) -> Result<HashSet<HostId>> {
    let rows = app.store.read(|c| Box::pin(async move { canopy_store::fleet::load(c, None).await })).await?;
    let facts = crate::compute::fleet::facts(&rows, app.now());
    let may = |host: &canopy_placement::Host| {
        host.closed.is_none()
            && request.zone.as_ref().is_none_or(|zone| *zone == host.zone)
            && (request.only_hosts.is_empty() || request.only_hosts.contains(&host.id))
            && !request.forbidden_hosts.contains(&host.id)
    };
    Ok(facts.into_values().filter(|facts| may(&facts.host)).map(|facts| facts.host.id).collect())
}

/// Which part of the request nobody has.
fn short(world: &World, exact: &Exact) -> String {
    for group in &exact.0.groups {
        let parts: Vec<Group> = if group.suffix.is_empty() {
            // Its classes may come from several, and its traits with any of them.
            let one = |want: &(String, i64)| Group {
                suffix: "any".into(),
                resources: vec![want.clone()],
                required: Vec::new(),
                ..group.clone()
            };
            group.resources.iter().map(one).collect()
        } else {
            vec![group.clone()]
        };
        for part in parts {
            if providers(world, &part).is_ok_and(|able| able.is_empty()) {
                return format!("no provider can give {}", describe(&part, &group.suffix));
            }
        }
    }
    "each part can be had, but not all from one host with what belongs to it or is shared with it".into()
}

fn describe(group: &Group, suffix: &str) -> String {
    let amounts: Vec<String> = group.resources.iter().map(|(class, n)| format!("{n} {class}")).collect();
    let mut text = amounts.join(" and ");
    let required: Vec<String> = group.required.iter().map(|any_of| any_of.join(" or ")).collect();
    if !required.is_empty() {
        text.push_str(&format!(" with {}", required.join(", ")));
    }
    if !group.forbidden.is_empty() {
        text.push_str(&format!(" without {}", group.forbidden.join(", ")));
    }
    if !suffix.is_empty() {
        text.push_str(&format!(" for group {suffix}"));
    }
    text
}

impl Exact {
    /// The groups in words.
    fn asked(&self) -> Vec<String> {
        self.0.groups.iter().map(|group| describe(group, &group.suffix)).collect()
    }

    /// Advice in the keys of extra specs.
    fn words(&self, relaxed: Relaxed) -> Relax {
        let suffix = |group: usize| self.0.groups.get(group).map_or("", |group| group.suffix.as_str());
        match relaxed {
            Relaxed::Amount { group, class, from, to } => match suffix(group) {
                "" => Relax::Amount { class, from, to },
                suffix => Relax::Amount { class: format!("resources{suffix}:{class}"), from, to },
            },
            Relaxed::Trait { group, name } => match suffix(group) {
                "" => Relax::Trait { name },
                suffix => Relax::Trait { name: format!("trait{suffix}:{name}") },
            },
            Relaxed::Isolate => Relax::Trait { name: "group_policy=isolate".into() },
        }
    }
}
