//! A second plugin beside the one in force: it is asked what the other was asked, what it says is compared and
//! otherwise ignored. It costs nobody anything: it is asked after the answer, in a bounded number at a time, and
//! what cannot keep up is skipped and counted.

use super::force;
use super::packages;
use super::slot::{Slot, Source};
use crate::App;
use crate::compute::placement::shadow::Shadow as SchedulerShadow;
use canopy_agent_api::NetworkSpec;
use canopy_plugin_host::{
    Book, Charge, Claim, Item, NetworkPlugin, PluginKind, QuotaPlugin, QuotaQuestion, Stats, Verdict,
};
use canopy_store::plugins::Difference;
use canopy_types::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Differences that wait to be written; beyond it they are only counted.
const WAITING: usize = 200;
/// Questions to one shadow at a time.
const AT_ONCE: usize = 8;
/// Characters of what is written of one answer.
const WORDS: usize = 500;

/// The shadows of this process, by kind.
#[derive(Default)]
pub struct Shadows(Mutex<BTreeMap<PluginKind, Arc<Shadow>>>);

/// One shadow with what it has been compared on.
pub struct Shadow {
    kind: PluginKind,
    plugin: String,
    choice: super::slot::Choice,
    guest: Guest,
    counts: Arc<Counts>,
    turns: Arc<Semaphore>,
}

enum Guest {
    /// Asked by the desk; lives there.
    Scheduler(Arc<Stats>),
    Quota(QuotaPlugin),
    Network(NetworkPlugin),
}

/// What has been compared.
#[derive(Default)]
pub struct Counts {
    pub compared: AtomicU64,
    pub different: AtomicU64,
    /// Not asked: it could not keep up.
    pub skipped: AtomicU64,
    waiting: Mutex<Vec<Difference>>,
}

impl Counts {
    /// Counts a comparison, and keeps what differs until it is written.
    pub(crate) fn compare(&self, difference: Option<Difference>) {
        self.compared.fetch_add(1, Ordering::Relaxed);
        let Some(difference) = difference else { return };
        self.different.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(difference);
        }
    }
}

impl Shadow {
    fn stats(&self) -> Option<Arc<Stats>> {
        match &self.guest {
            Guest::Scheduler(stats) => Some(Arc::clone(stats)),
            Guest::Quota(quota) => quota.stats(),
            Guest::Network(network) => network.stats(),
        }
    }
}

impl Shadows {
    fn of(&self, kind: PluginKind) -> Option<Arc<Shadow>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }
}

pub(super) fn stats(app: &App, kind: PluginKind) -> Option<Arc<Stats>> {
    app.plugins.shadows.of(kind)?.stats()
}

/// (compared, different, skipped) since the shadow was loaded here.
pub(super) fn counts(app: &App, kind: PluginKind) -> Option<(u64, u64, u64)> {
    let shadow = app.plugins.shadows.of(kind)?;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Some((of(&shadow.counts.compared), of(&shadow.counts.different), of(&shadow.counts.skipped)))
}

/// What waits to be written, of all kinds.
pub(super) fn take_differences(app: &App) -> Vec<Difference> {
    let shadows: Vec<_> =
        app.plugins.shadows.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
    let take = |shadow: &Arc<Shadow>| {
        std::mem::take(&mut *shadow.counts.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    };
    shadows.iter().flat_map(take).collect()
}

/// Makes the shadow of this process what the slot says.
pub(super) async fn set(app: &App, kind: PluginKind, slot: &Slot) -> Result<()> {
    let there = app.plugins.shadows.of(kind);
    if there.as_ref().map(|shadow| &shadow.choice) == slot.shadow.as_ref() {
        return Ok(());
    }
    if kind == PluginKind::Scheduler {
        app.placement.shadow(None);
    }
    let lock = || app.plugins.shadows.0.lock().unwrap_or_else(PoisonError::into_inner);
    lock().remove(&kind);
    let Some(choice) = &slot.shadow else { return Ok(()) };
    let counts = Arc::new(Counts::default());
    let guest = match (kind, &choice.plugin) {
        (PluginKind::Scheduler, Source::Installed(digest)) => {
            let package = packages::get(app, digest).await?;
            let (host, config) = (app.plugins.host.clone(), choice.config.clone());
            let scorer = tokio::task::spawn_blocking(move || host.start_scorer(&package, config))
                .await
                .map_err(|e| Error::internal("plugin.load", e))??;
            let stats = scorer.stats();
            let shadow = SchedulerShadow::start(scorer, Arc::clone(&counts))?;
            app.placement.shadow(Some(shadow));
            Guest::Scheduler(stats)
        }
        _ => match force::load(app, kind, choice).await? {
            force::Handle::Quota(quota) => Guest::Quota(quota),
            force::Handle::Network(network) => Guest::Network(network),
            force::Handle::Scheduler(_) => {
                let why = "Only an installed scheduler can be a shadow.";
                return Err(Error::bad_request("plugin.shadow", why));
            }
        },
    };
    let shadow = Shadow {
        kind,
        plugin: choice.plugin.as_str().to_owned(),
        choice: choice.clone(),
        guest,
        counts,
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    lock().insert(kind, Arc::new(shadow));
    Ok(())
}

/// What the rule in force says. The quota shadow, if there is one, is asked what it would have said; later, and
/// beside.
pub(crate) async fn verdicts(app: &App, question: QuotaQuestion) -> Vec<Verdict> {
    if app.plugins.shadows.of(PluginKind::Quota).is_none() {
        return app.quota.now().check(question).await;
    }
    let verdicts = app.quota.now().check(question.clone()).await;
    quota(app, question, verdicts.clone());
    verdicts
}

fn quota(app: &App, question: QuotaQuestion, verdicts: Vec<Verdict>) {
    let Some(shadow) = app.plugins.shadows.of(PluginKind::Quota) else { return };
    let Guest::Quota(plugin) = &shadow.guest else { return };
    let Ok(turn) = Arc::clone(&shadow.turns).try_acquire_owned() else {
        shadow.counts.skipped.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let active = app.plugins.state(PluginKind::Quota).slot.active.plugin.as_str().to_owned();
    let (plugin, at, shadow) = (plugin.clone(), app.now(), Arc::clone(&shadow));
    tokio::spawn(async move {
        let would = plugin.check(question.clone()).await;
        for (claim, (was, would)) in question.claims.iter().zip(verdicts.iter().zip(&would)) {
            let (was, would) = (words_of(was), words_of(would));
            let difference = (was != would)
                .then(|| shadow.difference(at, active.clone(), &subject(&question.book, claim), was, would));
            shadow.counts.compare(difference);
        }
        drop(turn);
    });
}

fn subject(book: &Book, claim: &Claim) -> String {
    let charge = |charge: &Charge| {
        let resource = book.resources.get(charge.resource as usize);
        format!("{} {}", charge.amount, resource.map_or("", |resource| &resource.name))
    };
    let charges: Vec<String> = claim.charges.iter().map(charge).collect();
    let project = book.holders.first().map_or("", |holder| &holder.id);
    format!("project {project}: {}", charges.join(", "))
}

fn words_of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny { resource, reason } => format!("deny {resource}: {reason}"),
    }
}

/// Asks the network shadow, if there is one, for its plan of the same networks; later, and beside.
pub fn network(app: &Arc<App>, networks: Vec<NetworkSpec>, plan: &[Item]) {
    let Some(shadow) = app.plugins.shadows.of(PluginKind::Network) else { return };
    let Guest::Network(plugin) = &shadow.guest else { return };
    let Ok(turn) = Arc::clone(&shadow.turns).try_acquire_owned() else {
        shadow.counts.skipped.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let (app, plugin, plan) = (Arc::clone(app), plugin.clone(), plan.to_vec());
    tokio::spawn(async move {
        let subject = format!("{} networks of this host", networks.len());
        let would = plugin.plan_host(networks).await;
        let difference = match &would {
            Ok(would) if *would == plan => None,
            Ok(would) => Some(describe(&plan, would)),
            Err(error) => Some((format!("{} items", plan.len()), error.message.clone())),
        };
        let active = app.plugins.state(PluginKind::Network).slot.active.plugin.as_str().to_owned();
        let at = app.now();
        let shown = difference.map(|(was, would)| shadow.difference(at, active, &subject, was, would));
        shadow.counts.compare(shown);
        drop(turn);
    });
}

/// What each has and the other has not.
fn describe(was: &[Item], would: &[Item]) -> (String, String) {
    let only = |these: &[Item], those: &[Item]| {
        let names: Vec<String> = these
            .iter()
            .filter(|item| !those.contains(item))
            .map(|item| format!("{} {}", item.kind, item.key))
            .collect();
        format!("{} items, {} of them otherwise: {}", these.len(), names.len(), names.join(", "))
    };
    (only(was, would), only(would, was))
}

impl Shadow {
    fn difference(
        &self,
        at: Timestamp,
        active: String,
        subject: &str,
        was: String,
        would: String,
    ) -> Difference {
        difference(self.kind, at, active, self.plugin.clone(), subject, was, would)
    }
}

pub(crate) fn difference(
    kind: PluginKind,
    at: Timestamp,
    active: String,
    shadow: String,
    subject: &str,
    was: String,
    would: String,
) -> Difference {
    let cut = |text: &str| text.chars().take(WORDS).collect::<String>();
    Difference {
        number: 0,
        at,
        kind: kind.as_str().to_owned(),
        active,
        shadow,
        subject: cut(subject),
        was: cut(&was),
        would: cut(&would),
    }
}
