//! Why a request finds no host, over a large fleet: the same counts, nearest amounts and advice that
//! [`crate::rules`] and [`crate::advice`] give host by host.
//!
//! What is common to the hosts of a profile is held against the request once; a block of them is passed over when the
//! least and the most that is free there tell enough. Only the rest is looked at host by host.

use super::blocks::{Block, Profile, Profiles};
use super::cuts::{Changes, Cuts, Kind, TOO_MANY, Want};
use super::hash::QuickMap;
use super::marks::{GROUP, LISTS, Marks, RACED};
use super::rows::Rows;
use crate::advice::{advise, not_in_aggregates, zone_and_traits};
use crate::rules::{Rule, Ruler, Tally};
use crate::{Advice, Fleet, Request, Smallest};
use canopy_types::HostId;
use std::collections::HashSet;

/// Amounts that one request may ask for before advice is looked for the slow way.
const MAX_WANTS: usize = 64;

#[derive(Default)]
pub(super) struct Refusal {
    pub(super) tally: Tally,
    pub(super) nearest: Vec<Smallest>,
    pub(super) advice: Vec<Advice>,
}

/// Why `request` finds no host, or which hosts it passes by; with `help`, also the nearest amounts and advice.
pub(super) fn refusal(
    fleet: &Fleet,
    rows: &Rows,
    profiles: &mut Profiles,
    places: &QuickMap<HostId, usize>,
    request: &Request,
    help: bool,
) -> Refusal {
    profiles.refresh(rows);
    let ruler = Ruler::new(fleet, request);
    let marks = Marks::of(fleet, request, places);
    let marked = marks.places().map(|place| profiles.block_of(place)).collect();
    let (verdicts, changes) = verdicts(fleet, profiles, request, &ruler, &marks);
    let pass = Pass { rows, profiles, marks, marked, wants: wants(fleet, request), verdicts };
    let (counts, most) = pass.counts(fleet.resources.len());
    let counts =
        counts.into_iter().map(|(rule, hosts, first)| (rule, hosts, ruler.words(rule, first as usize)));
    let tally = Tally::of(counts.map(|(rule, hosts, example)| (ruler.name(rule), hosts, example)));
    if !help {
        return Refusal { tally, ..Refusal::default() };
    }
    let advice = if pass.wants.len() > MAX_WANTS {
        advise(fleet, request)
    } else if pass.wants.iter().any(|want| want.class == usize::MAX || want.amount < 0) {
        // Less of what no host has, or of less than nothing, does not help.
        Vec::new()
    } else {
        pass.cuts().advice(request, &pass.wants, &changes)
    };
    Refusal { tally, nearest: nearest(fleet, request, &most), advice }
}

/// What a profile means for a request.
struct Verdict {
    rule: Option<Rule>,
    /// Which of the distinct changes.
    changes: usize,
    /// How many they are, those for the lists and the group of the request, where most hosts need them, included.
    lasting: usize,
}

/// Rule, hosts, the first host.
type Counts = Vec<(Rule, u64, u32)>;

/// A request held against a fleet.
struct Pass<'a> {
    rows: &'a Rows,
    profiles: &'a Profiles,
    marks: Marks,
    /// Blocks with hosts that the request's lists or group single out.
    marked: HashSet<usize>,
    wants: Vec<Want<'a>>,
    /// Per profile.
    verdicts: Vec<Verdict>,
}

impl Pass<'_> {
    /// Hosts per rule; per class, the most that is free on an open host, at least 0.
    fn counts(&self, classes: usize) -> (Counts, Vec<i64>) {
        let (mut counts, mut most) = (Counts::new(), vec![0; classes]);
        for (profile, verdict) in self.profiles.profiles.iter().zip(&self.verdicts) {
            for (block, places, summary, free) in self.profiles.blocks(profile) {
                for (most, (_, here)) in most.iter_mut().zip(free) {
                    *most = *here.max(most);
                }
                if summary.closed > 0 {
                    count(&mut counts, Rule::Closed, summary.closed, summary.first_closed);
                }
                let together =
                    if self.marked.contains(&block) { None } else { self.together(verdict, summary, free) };
                match together {
                    Some(None) => {}
                    Some(Some(rule)) => count(&mut counts, rule, summary.open, summary.first_open),
                    None => {
                        for place in places.iter().filter(|place| self.rows.open(**place as usize)) {
                            if let Some(rule) = self.refusal(verdict, *place as usize) {
                                count(&mut counts, rule, 1, *place);
                            }
                        }
                    }
                }
            }
        }
        (counts, most)
    }

    /// The rule that keeps all open hosts of a block out, or none of them; the outer `None` when they differ.
    fn together(&self, verdict: &Verdict, block: Block, free: &[(i64, i64)]) -> Option<Option<Rule>> {
        if block.open == 0 {
            return Some(None);
        }
        if let Some(rule) = verdict.rule.or_else(|| self.marks.rule(self.marks.others())) {
            return Some(Some(rule));
        }
        for want in &self.wants {
            let (least, most) = free.get(want.class).copied().unwrap_or((0, 0));
            if want.amount < 0 || want.amount > most {
                return Some(Some(Rule::Capacity(want.at)));
            }
            if want.amount > least || !want.units.is_empty() {
                return None;
            }
        }
        Some(None)
    }

    fn refusal(&self, verdict: &Verdict, place: usize) -> Option<Rule> {
        let free = self.rows.free(place);
        verdict
            .rule
            .or_else(|| self.marks.rule(self.marks.at(place)))
            .or_else(|| self.wants.iter().find_map(|want| want.refusal(place, free)))
    }

    /// The cheapest changes that would do. One change is looked for before two.
    fn cuts(&self) -> Cuts {
        let mut cuts = Cuts::default();
        for (profile, verdict) in self.profiles.profiles.iter().zip(&self.verdicts) {
            for (block, places, _, _) in self.profiles.blocks(profile) {
                if self.marked.contains(&block) {
                    self.each(places, verdict, TOO_MANY - 1, &mut cuts);
                }
            }
        }
        for (lasting, most) in [(0, 2), (1, 1), (1, 2), (2, 2)] {
            for (profile, verdict) in self.profiles.profiles.iter().zip(&self.verdicts) {
                if verdict.lasting == lasting {
                    self.profile(profile, verdict, most, &mut cuts);
                }
            }
        }
        cuts
    }

    /// Hosts of a profile that need at most `most` changes.
    fn profile(&self, profile: &Profile, verdict: &Verdict, most: usize, cuts: &mut Cuts) {
        let kind =
            |short| Kind { short, changes: verdict.changes, mark: self.marks.others() & (LISTS | GROUP) };
        for (block, places, summary, free) in self.profiles.blocks(profile) {
            let most = most.min(cuts.fewest);
            let Some(room) = most.checked_sub(verdict.lasting) else { return };
            if room == 0 && cuts.as_good(kind(0), None) {
                return;
            }
            if summary.open == 0 || self.marked.contains(&block) {
                continue;
            }
            let mut short =
                self.wants.iter().enumerate().filter(|(_, want)| want.amount > free[want.class].1);
            let surely = (short.next(), short.count());
            let pass = match surely {
                (None, _) => false,
                (Some(_), more) if 1 + more > room => true,
                (Some((at, want)), _) => {
                    room == 1 && cuts.as_good(kind(1 << at), Some((want, free[want.class].1)))
                }
            };
            if !pass {
                self.each(places, verdict, most, cuts);
            }
        }
    }

    fn each(&self, places: &[u32], verdict: &Verdict, most: usize, cuts: &mut Cuts) {
        for place in places.iter().map(|place| *place as usize).filter(|place| self.rows.open(*place)) {
            let mark = self.marks.at(place);
            if mark & RACED == 0 {
                let lasting = verdict.lasting + Marks::changes(mark) - Marks::changes(self.marks.others());
                let kind = Kind { short: 0, changes: verdict.changes, mark: mark & (LISTS | GROUP) };
                cuts.offer(&self.wants, (place, self.rows.free(place)), (kind, lasting), most);
            }
        }
    }
}

fn wants<'a>(fleet: &'a Fleet, request: &'a Request) -> Vec<Want<'a>> {
    let asked = request.amounts.iter().enumerate().filter(|(_, (_, amount))| **amount != 0);
    let want = |(at, (name, amount)): (usize, (&'a String, &i64))| {
        let class = fleet.resources.iter().position(|column| column.class == *name);
        let units = class.map_or(&[][..], |class| &fleet.resources[class].units);
        Want { at, class: class.unwrap_or(usize::MAX), name, amount: *amount, units }
    };
    asked.map(want).collect()
}

/// Per profile, what the request makes of it; and the distinct changes that they name.
fn verdicts(
    fleet: &Fleet,
    profiles: &Profiles,
    request: &Request,
    ruler: &Ruler<'_>,
    marks: &Marks,
) -> (Vec<Verdict>, Vec<Changes>) {
    let mut distinct: Vec<Changes> = Vec::new();
    let verdict = |profile: &Profile| {
        let host = &fleet.hosts[profile.rows[0] as usize];
        let changes = Changes {
            first: zone_and_traits(request, host, TOO_MANY - 1),
            aggregates: not_in_aggregates(request, host),
        };
        // Those with too many changes are all the same to advice.
        let changes = if changes.count() < TOO_MANY { changes } else { Changes::too_many() };
        let lasting = changes.count() + Marks::changes(marks.others());
        let at = distinct.iter().position(|known| *known == changes).unwrap_or_else(|| {
            distinct.push(changes);
            distinct.len() - 1
        });
        Verdict { rule: ruler.lasting(host), changes: at, lasting }
    };
    (profiles.profiles.iter().map(verdict).collect(), distinct)
}

fn count(counts: &mut Counts, rule: Rule, hosts: u32, first: u32) {
    match counts.iter_mut().find(|(known, _, _)| *known == rule) {
        Some((_, known, at)) => (*known, *at) = (*known + u64::from(hosts), first.min(*at)),
        None => counts.push((rule, hosts.into(), first)),
    }
}

fn nearest(fleet: &Fleet, request: &Request, most: &[i64]) -> Vec<Smallest> {
    let nearest = |(class, wanted): (&String, &i64)| {
        let column = fleet.resources.iter().position(|column| column.class == *class);
        Smallest { class: class.clone(), wanted: *wanted, most_free: column.map_or(0, |column| most[column]) }
    };
    request.amounts.iter().map(nearest).collect()
}
