//! Decisions by a [`Placer`]: telling it what changed, asking about batches, holding its answers to the rules.
//!
//! The engine knows what the placer must believe of every host: what it was last told, less what it placed since. When
//! the fleet says otherwise, for whatever reason (a claim that did not commit, an answer that did not
//! hold, another controller's server), the host's row is told again with the next call. Nothing else is, so
//! that an undisturbed placer is told nothing.
//!
//! What a placer answers may depend on every call before. Those are a function of the fleet's changes, of the
//! requests foreseen ([`Engine::foresee`]) and of where it began anew ([`Engine::forget_placer`]), which is what replay
//! feeds it.

use super::Engine;
use super::cells::{index, mentioned};
use super::choose::Lists;
use super::class::Shape;
use super::hash::{QuickMap, quick};
use crate::placer::{Asking, BATCH, CLASSES, HostRows, NOWHERE, OwnLists, Placer, PlacerClass, ROWS};
use crate::rules::Ruler;
use crate::{Decision, Fleet, GroupPolicy, PluginUse, Request};
use canopy_types::DecisionId;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Placing {
    /// The state that was told what is below; 0 for none.
    state: u64,
    epoch: u64,
    /// What the placer must believe, a row a host: cell, capacities, what is free, bits of signals.
    believed: Vec<i64>,
    /// Numbers of one row.
    width: usize,
    /// Places that may differ from that.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    classes: Vec<(Shape, Vec<i64>)>,
    by_hash: QuickMap<u64, Vec<u32>>,
    /// Requests that will be decided, in order.
    ahead: VecDeque<(DecisionId, Arc<Request>)>,
    /// Answers to the first of those.
    answers: VecDeque<(DecisionId, Result<u32, String>)>,
}

impl Placing {
    pub(super) fn touch(&mut self, place: usize) {
        if let Some(known) = self.is_touched.get_mut(place)
            && !*known
        {
            *known = true;
            self.touched.push(index(place));
        }
    }

    /// Whatever the placer knows, it is told everything again before it is next asked.
    pub(super) fn forget(&mut self) {
        if self.state != 0 {
            self.state = 0;
            self.believed = Vec::new();
            self.touched = Vec::new();
            self.is_touched = Vec::new();
            self.classes.clear();
            self.by_hash.clear();
        }
    }

    fn row(&self, place: u32) -> &[i64] {
        let from = place as usize * self.width;
        self.believed.get(from..from + self.width).unwrap_or(&[])
    }

    /// The rows at these places, as they are believed.
    fn rows(&self, at: Vec<u32>, fleet: &Fleet) -> HostRows {
        let classes = fleet.resources.len();
        let column = |c: usize| at.iter().map(move |place| self.row(*place)[c]);
        let columns = |range: std::ops::Range<usize>| -> Vec<i64> { range.flat_map(&column).collect() };
        HostRows {
            cells: column(0).map(|cell| u32::try_from(cell).unwrap_or(NOWHERE)).collect(),
            capacity: columns(1..1 + classes),
            free: columns(1 + classes..1 + 2 * classes),
            signals: (1 + 2 * classes..self.width)
                .flat_map(&column)
                .map(|bits| f32::from_bits(u32::try_from(bits).unwrap_or(0)))
                .collect(),
            at,
        }
    }

    /// The class of a request, when it was told.
    fn class(&self, request: &Request, quick: u64) -> Option<u32> {
        self.by_hash.get(&quick)?.iter().copied().find(|at| self.classes[*at as usize].0.is(request))
    }
}

/// What a host is to a placer.
fn row<'a>(fleet: &'a Fleet, cell: u32, place: usize) -> impl Iterator<Item = i64> + 'a {
    let open = fleet.hosts[place].closed.is_none();
    let capacity = fleet.resources.iter().map(move |column| column.capacity[place]);
    let free = fleet.resources.iter().map(move |column| column.free(place));
    let signal = move |value: f64| i64::from(crate::decide::signal(value).to_bits());
    let signals = fleet.signals.iter().map(move |column| signal(column.values[place]));
    std::iter::once(i64::from(if open { cell } else { NOWHERE })).chain(capacity).chain(free).chain(signals)
}

impl Engine {
    /// Requests that will be decided next, in this order: a placer is asked about many at once. Others may be
    /// decided in between, and some of them never.
    pub fn foresee(&mut self, requests: impl IntoIterator<Item = (DecisionId, Arc<Request>)>) {
        self.placing.answers.clear();
        self.placing.ahead.clear();
        self.placing.ahead.extend(requests);
    }

    /// Has the placer begin anew before it is next asked: what it is told from then on depends on the fleet and on what is
    /// asked, on nothing before.
    pub fn forget_placer(&mut self) {
        self.forget_state();
        if !self.cells.names().is_empty() {
            self.derive(Vec::new());
        }
    }

    /// The placer was at fault: it begins anew, and what it answered to others of the call is void.
    pub fn forget_state(&mut self) {
        self.placing.answers.clear();
        self.placing.forget();
    }

    /// [`Engine::decide`] by a placer.
    pub(super) fn decide_placed(
        &mut self,
        id: DecisionId,
        request: &Request,
        plugin: PluginUse,
        placer: &mut dyn Placer,
    ) -> Decision {
        match self.answer(Some(id), request, placer) {
            Ok((NOWHERE, first)) => {
                let mut decision = self.decide_at_fault(id, request, plugin.clone());
                if decision.winner.is_none() {
                    return decision;
                }
                self.placing.answers.clear();
                if !first {
                    // It counted on earlier ones of the batch that did not come about.
                    return self.decide_placed(id, request, plugin, placer);
                }
                let why = format!("no host, where {} are possible", decision.hosts_feasible);
                placer.wrong(&why);
                decision.plugin.fault = Some(format!("answer: {why}"));
                decision
            }
            Ok((place, _)) => match self.wrong(place, request) {
                None => self.placed(id, request, place, plugin),
                Some(why) => {
                    // What it answered for the rest counts on this one.
                    self.placing.answers.clear();
                    placer.wrong(&why);
                    let fault = Some(format!("answer: {why}"));
                    self.decide_at_fault(id, request, PluginUse { fault, ..plugin })
                }
            },
            Err(fault) => self.decide_at_fault(id, request, PluginUse { fault: Some(fault), ..plugin }),
        }
    }

    /// The placer's answer alone, checked; none where the built-in must look itself.
    pub(super) fn find_placed(&mut self, request: &Request, placer: &mut dyn Placer) -> Option<usize> {
        let (place, _) = self.answer(None, request, placer).ok()?;
        (place != NOWHERE && self.wrong(place, request).is_none()).then_some(place as usize)
    }

    /// The rule that an answer breaks, in words.
    fn wrong(&self, place: u32, request: &Request) -> Option<String> {
        let hosts = self.fleet.hosts.len();
        if place as usize >= hosts {
            return Some(format!("host {place} of {hosts}"));
        }
        let ruler = Ruler::new(&self.fleet, request);
        let rule = ruler.refusal(place as usize)?;
        Some(format!("{}: {}", ruler.name(rule), ruler.words(rule, place as usize)))
    }

    fn placed(&mut self, id: DecisionId, request: &Request, place: u32, plugin: PluginUse) -> Decision {
        let considered = self.fleet.hosts.len() as u64;
        let (mut refused, mut feasible) = (Vec::new(), 0);
        if self.fleet.hosts.len() <= super::COUNTED {
            refused = self.refusal(request, false, &[], &plugin).tally.counts();
            feasible = considered - refused.iter().map(|rule| rule.hosts).sum::<u64>().min(considered);
        }
        let host = &self.fleet.hosts[place as usize];
        Decision {
            v: 2,
            id,
            revision: self.fleet.revision,
            request: request.clone(),
            winner: Some(host.id),
            winner_name: Some(host.name.clone()),
            hosts_considered: considered,
            hosts_feasible: feasible,
            refused,
            top: Vec::new(),
            plugin,
            nearest: Vec::new(),
            advice: Vec::new(),
            seed: self.seed,
        }
    }

    /// Of the batch that was asked about last, when `id` is in it; else of a new one, whose first it then is.
    fn answer(
        &mut self,
        id: Option<DecisionId>,
        request: &Request,
        placer: &mut dyn Placer,
    ) -> Result<(u32, bool), String> {
        let placing = &mut self.placing;
        if let Some(at) = placing.answers.iter().position(|(known, _)| Some(*known) == id) {
            placing.answers.drain(..at);
            let answer = placing.answers.pop_front().map_or(Ok(NOWHERE), |(_, answer)| answer);
            return answer.map(|place| (place, false));
        }
        placing.answers.clear();
        let batch = match placing.ahead.iter().position(|(known, _)| Some(*known) == id) {
            Some(at) => {
                placing.ahead.drain(..at);
                batch(&placing.ahead)
            }
            None => Vec::new(),
        };
        if batch.is_empty() {
            let answers = self.ask(&[request], placer)?;
            return Ok((answers.first().copied().unwrap_or(NOWHERE), true));
        }
        let requests: Vec<&Request> = batch.iter().map(|(_, request)| &**request).collect();
        let asked = self.ask(&requests, placer);
        let answer = |at: usize| match &asked {
            Ok(places) => Ok(places.get(at).copied().unwrap_or(NOWHERE)),
            Err(fault) => Err(fault.clone()),
        };
        self.placing.answers.extend(batch.iter().enumerate().skip(1).map(|(at, (id, _))| (*id, answer(at))));
        answer(0).map(|place| (place, true))
    }

    /// One call, with everything that must be told before it.
    fn ask(&mut self, requests: &[&Request], placer: &mut dyn Placer) -> Result<Vec<u32>, String> {
        let asked = self.tell_and_ask(requests, placer);
        if asked.is_err() {
            self.placing.forget();
        }
        asked
    }

    fn tell_and_ask(&mut self, requests: &[&Request], placer: &mut dyn Placer) -> Result<Vec<u32>, String> {
        self.split_cells(requests);
        let new = requests.iter().filter(|request| self.placing.class(request, quick(request)).is_none());
        if self.placing.classes.len() + new.count() > CLASSES {
            self.placing.forget();
        }
        let anew = self.placing.state == 0 || placer.state() != self.placing.state;
        if anew {
            self.tell_all(placer)?;
        }
        let asking = self.asking(requests, placer)?;
        let mut changed = self.differences();
        while changed.len() > ROWS {
            let first = changed.drain(..ROWS).collect();
            placer.hosts(&self.placing.rows(first, &self.fleet))?;
        }
        let changed = self.placing.rows(changed, &self.fleet);
        self.placing.epoch += 1;
        let answers = placer.place(self.placing.epoch, &changed, &asking)?;
        if answers.len() != requests.len() {
            return Err(format!("answer: {} hosts for {} requests", answers.len(), requests.len()));
        }
        self.believe(&asking, &answers);
        Ok(answers)
    }

    /// Cells by every name that these requests mention.
    fn split_cells(&mut self, requests: &[&Request]) {
        if self.stale {
            self.derive(self.cells.names().to_vec());
        }
        for request in requests {
            let new = mentioned(request, self.cells.names());
            if !new.is_empty() {
                self.derive(self.cells.names().iter().cloned().chain(new).collect());
            }
        }
    }

    fn tell_all(&mut self, placer: &mut dyn Placer) -> Result<(), String> {
        let hosts = self.fleet.hosts.len();
        self.placing.forget();
        let placing = &mut self.placing;
        placing.epoch = 0;
        placing.width = 1 + 2 * self.fleet.resources.len() + self.fleet.signals.len();
        placing.believed = Vec::with_capacity(hosts * placing.width);
        for place in 0..hosts {
            placing.believed.extend(row(&self.fleet, self.cells.at(place).0, place));
        }
        placing.is_touched = vec![false; hosts];
        placing.touched.clear();
        placing.state = placer.begin(&self.names, index(hosts))?;
        let mut from = 0;
        while from < hosts {
            let to = hosts.min(from + ROWS);
            placer.hosts(&placing.rows((index(from)..index(to)).collect(), &self.fleet))?;
            from = to;
        }
        Ok(())
    }

    /// The requests as they are asked about; classes that are new are told.
    fn asking(&mut self, requests: &[&Request], placer: &mut dyn Placer) -> Result<Vec<Asking>, String> {
        let (mut asking, mut new) = (Vec::with_capacity(requests.len()), Vec::new());
        let first = index(self.placing.classes.len());
        for request in requests {
            let quick = quick(request);
            let class = match self.placing.class(request, quick) {
                Some(known) => known,
                None => {
                    let class = self.placer_class(request);
                    let at = index(self.placing.classes.len());
                    self.placing.classes.push((Shape::of(request), class.wants.clone()));
                    self.placing.by_hash.entry(quick).or_default().push(at);
                    new.push(class);
                    at
                }
            };
            asking.push(Asking { class, lists: self.own_lists(request) });
        }
        if !new.is_empty() {
            placer.classes(first, &new)?;
        }
        Ok(asking)
    }

    fn placer_class(&self, request: &Request) -> PlacerClass {
        let fleet = &self.fleet;
        let want = |class: &String| request.amounts.get(class).copied().unwrap_or(0);
        let wants = fleet.resources.iter().map(|column| want(&column.class)).collect();
        let ruler = Ruler::new(fleet, request);
        let mut class = PlacerClass { wants, ..PlacerClass::default() };
        if !ruler.satisfiable() {
            return class;
        }
        for (number, cell) in self.cells.cells.iter().enumerate() {
            let barred: Vec<u32> =
                cell.rows.iter().copied().filter(|place| ruler.never(*place as usize)).collect();
            if barred.len() == cell.rows.len() {
                continue;
            }
            class.cells.push(index(number));
            class.barred.extend(barred);
            let zone = cell.rows.first().map(|place| fleet.hosts[*place as usize].zone.as_str());
            if request.home_zone.is_some() && request.home_zone.as_deref() == zone {
                class.home.push(index(number));
            }
        }
        class.barred.sort_unstable();
        class
    }

    fn own_lists(&self, request: &Request) -> OwnLists {
        let lists = Lists::of(request, &self.fleet, &self.places);
        let (mut near, mut apart) = (Vec::new(), Vec::new());
        match request.group.as_ref().map(|group| group.policy) {
            Some(GroupPolicy::SoftAffinity) => near = lists.group,
            Some(GroupPolicy::SoftAntiAffinity) => apart = lists.group,
            _ => {}
        }
        OwnLists { only: lists.only, barred: lists.out, near, apart }
    }

    /// Places where the fleet is not as believed; afterwards it is.
    fn differences(&mut self) -> Vec<u32> {
        let mut touched = std::mem::take(&mut self.placing.touched);
        touched.sort_unstable();
        touched.retain(|place| {
            let at = *place as usize;
            self.placing.is_touched[at] = false;
            let (from, width) = (at * self.placing.width, self.placing.width);
            let Some(believed) = self.placing.believed.get_mut(from..from + width) else { return false };
            let mut differs = false;
            for (known, true_value) in believed.iter_mut().zip(row(&self.fleet, self.cells.at(at).0, at)) {
                differs |= *known != true_value;
                *known = true_value;
            }
            differs
        });
        touched
    }

    /// The placer has taken what it placed off what it knows; whether the core follows is seen with the next call.
    fn believe(&mut self, asking: &[Asking], answers: &[u32]) {
        let (classes, hosts) = (self.fleet.resources.len(), self.fleet.hosts.len());
        let placing = &mut self.placing;
        for (asking, place) in asking.iter().zip(answers) {
            let place = *place as usize;
            if place >= hosts {
                continue;
            }
            let from = place * placing.width + 1 + classes;
            let wants = placing.classes.get(asking.class as usize).map_or(&[][..], |(_, wants)| wants);
            for (free, want) in placing.believed[from..from + classes].iter_mut().zip(wants) {
                *free = free.saturating_sub(*want);
            }
            placing.touch(place);
        }
    }
}

/// The first of those ahead: as many as one call takes, and of each group one, for a group's lists do not foresee
/// where its servers go.
fn batch(ahead: &VecDeque<(DecisionId, Arc<Request>)>) -> Vec<(DecisionId, Arc<Request>)> {
    let mut groups = HashSet::new();
    let apart = |(_, request): &&(DecisionId, Arc<Request>)| match &request.group {
        Some(group) => groups.insert(group.id.clone()),
        None => true,
    };
    ahead.iter().take(BATCH).take_while(apart).cloned().collect()
}
