//! Requests that ask the same of a host's lasting facts, and what such a class knows about every host.
//!
//! Lists of hosts and server groups are not part of a class: they concern few hosts and are laid over its
//! scores when a request is answered.

use super::cells::{Cells, index};
use super::part::{NO, Part, VETO};
use super::rows::Rows;
use crate::decide::{checked, signal};
use crate::scorer::{Columns, Names, OWN_SIGNALS, Scorer};
use crate::seeded::StableHash;
use crate::{Fleet, NameSet, Request, SharedAmounts};
use std::ops::Range;
use std::sync::Arc;

/// What requests of one class have in common.
#[derive(PartialEq, Eq)]
pub(super) struct Shape {
    amounts: SharedAmounts,
    zone: Option<String>,
    required_traits: NameSet,
    forbidden_traits: NameSet,
    member_of: Vec<NameSet>,
    forbidden_aggregates: NameSet,
    home_zone: Option<String>,
}

impl Shape {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            amounts: request.amounts.clone(),
            zone: request.zone.clone(),
            required_traits: request.required_traits.clone(),
            forbidden_traits: request.forbidden_traits.clone(),
            member_of: request.member_of.clone(),
            forbidden_aggregates: request.forbidden_aggregates.clone(),
            home_zone: request.home_zone.clone(),
        }
    }

    pub(super) fn is(&self, request: &Request) -> bool {
        self.amounts == request.amounts
            && self.zone == request.zone
            && self.required_traits == request.required_traits
            && self.forbidden_traits == request.forbidden_traits
            && self.member_of == request.member_of
            && self.forbidden_aggregates == request.forbidden_aggregates
            && self.home_zone == request.home_zone
    }
}

/// The same for all requests of a class, on every machine.
pub fn class_hash(request: &Request) -> u64 {
    let mut hash = StableHash::default();
    let names = |hash: &mut StableHash, names: &NameSet| {
        hash.number(names.len() as u64);
        names.iter().for_each(|name| hash.bytes(name.as_bytes()));
    };
    for (class, amount) in &request.amounts {
        hash.bytes(class.as_bytes());
        hash.number(*amount as u64);
    }
    hash.bytes(request.zone.as_deref().unwrap_or("\0").as_bytes());
    names(&mut hash, &request.required_traits);
    names(&mut hash, &request.forbidden_traits);
    hash.number(request.member_of.len() as u64);
    request.member_of.iter().for_each(|any| names(&mut hash, any));
    names(&mut hash, &request.forbidden_aggregates);
    hash.bytes(request.home_zone.as_deref().unwrap_or("\0").as_bytes());
    hash.finish()
}

pub(super) struct Class {
    pub(super) shape: Shape,
    /// Of [`class_hash`].
    pub(super) hash: u64,
    /// Of [`super::hash::quick`].
    pub(super) quick: u64,
    /// When it was last asked about.
    pub(super) used: u64,
    /// Per class asked for, with an amount above 0; `None` when no host can ever fit.
    wants: Option<Vec<(usize, i64)>>,
    /// Whether some inventory asked for is given out in units.
    units: bool,
    want: Vec<f32>,
    pub(super) parts: Vec<Part>,
    /// Per cell, its part; `u32::MAX` for none.
    part_of: Vec<u32>,
    /// Per place, when the cells alone do not tell who may be chosen.
    may: Option<Vec<bool>>,
}

impl Class {
    pub(super) fn new(request: &Request, quick: u64, fleet: &Fleet, cells: &Cells) -> Self {
        let wants = wants(request, fleet);
        let shape = Shape::of(request);
        let may: Vec<bool> = fleet
            .hosts
            .iter()
            .map(|host| {
                shape.zone.as_ref().is_none_or(|zone| *zone == host.zone)
                    && shape.required_traits.is_subset(&host.traits)
                    && shape.forbidden_traits.is_disjoint(&host.traits)
                    && !shape.member_of.iter().any(|any| any.is_disjoint(&host.aggregates))
                    && shape.forbidden_aggregates.is_disjoint(&host.aggregates)
            })
            .collect();
        let (mut parts, mut part_of, mut whole) = (Vec::new(), Vec::with_capacity(cells.cells.len()), true);
        for (number, cell) in cells.cells.iter().enumerate() {
            let allowed = cell.rows.iter().filter(|place| may[**place as usize]).count();
            if wants.is_none() || allowed == 0 {
                part_of.push(u32::MAX);
                continue;
            }
            whole &= allowed == cell.rows.len();
            part_of.push(index(parts.len()));
            parts.push(Part::new(index(number), cell.rows.len()));
        }
        let units = |(class, _): &(usize, i64)| !fleet.resources[*class].units.is_empty();
        Self {
            hash: class_hash(request),
            quick,
            used: 0,
            units: wants.iter().flatten().any(units),
            wants,
            want: fleet
                .resources
                .iter()
                .map(|column| shape.amounts.get(&column.class).copied().unwrap_or(0) as f32)
                .collect(),
            shape,
            parts,
            part_of,
            may: (!whole).then_some(may),
        }
    }

    /// The part and position of a host, when the class looks at it at all.
    pub(super) fn at(&self, cells: &Cells, place: usize) -> Option<(usize, u32)> {
        let (cell, position) = cells.at(place);
        let part = self.part_of[cell as usize];
        (part != u32::MAX).then_some((part as usize, position))
    }

    #[inline]
    fn fits(&self, fleet: &Fleet, rows: &Rows, place: usize) -> bool {
        let Some(wants) = &self.wants else { return false };
        rows.fits(place, wants)
            && self.may.as_ref().is_none_or(|may| may[place])
            && !(self.units
                && wants.iter().any(|(class, want)| !fleet.resources[*class].units_of(place).allow(*want)))
    }

    /// Brings every score up to date, asking the scorer about the rows that changed. On a fault nothing is
    /// kept, and the same rows are asked about again next time.
    pub(super) fn refresh(
        &mut self,
        fleet: &Fleet,
        rows: &Rows,
        cells: &mut Cells,
        names: &Arc<Names>,
        scratch: &mut Scratch,
        scorer: &mut dyn Scorer,
    ) -> Result<(), String> {
        scratch.clear();
        for number in 0..self.parts.len() {
            self.stale(number, fleet, rows, cells, scratch);
        }
        if scratch.touched.is_empty() {
            return Ok(());
        }
        self.ask(fleet, rows, names, scratch, scorer)?;
        for Touched { number, until, asked, gone } in scratch.touched.drain(..) {
            let part = &mut self.parts[number];
            let scores = scratch.asked[asked.clone()].iter().zip(&scratch.scores[asked]);
            let scores =
                scores.map(|((position, _), score)| (*position, if *score == NO { VETO } else { *score }));
            if part.seen.is_none() {
                part.fill(scores);
            } else {
                scores.for_each(|(position, score)| part.set(position, score));
            }
            part.seen = Some(until);
            scratch.gone[gone].iter().for_each(|position| part.set(*position, NO));
        }
        Ok(())
    }

    /// Finds the rows of a part that may have another score than it knows.
    fn stale(&mut self, number: usize, fleet: &Fleet, rows: &Rows, cells: &mut Cells, scratch: &mut Scratch) {
        let stamp = cells.stamp();
        let cell = &mut cells.cells[self.parts[number].cell as usize];
        let until = cell.log.read();
        if self.parts[number].seen == Some(until) {
            return;
        }
        let since = self.parts[number].seen.and_then(|seen| cell.log.since(seen));
        let (asked, gone) = (scratch.asked.len(), scratch.gone.len());
        match since {
            None => {
                self.parts[number].seen = None;
                let all = (0..).zip(&cell.rows).map(|(position, place)| (position, *place));
                scratch.asked.extend(all.filter(|(_, place)| self.fits(fleet, rows, *place as usize)));
            }
            Some(since) => {
                // Without branches on what is read: it is far away, and so all of it is on its way at the same time.
                let part = &self.parts[number];
                scratch.changed.clear();
                for entry in since {
                    let stamped = std::mem::replace(&mut cell.stamps[entry.0 as usize], stamp);
                    push_if(&mut scratch.changed, stamped != stamp, entry);
                }
                for (position, place) in scratch.changed.iter().copied() {
                    let fits = self.fits(fleet, rows, place as usize);
                    push_if(&mut scratch.asked, fits, (position, place));
                    push_if(&mut scratch.gone, !fits & part.has(position), position);
                }
            }
        }
        let (asked, gone) = (asked..scratch.asked.len(), gone..scratch.gone.len());
        scratch.touched.push(Touched { number, until, asked, gone });
    }

    fn ask(
        &self,
        fleet: &Fleet,
        rows: &Rows,
        names: &Arc<Names>,
        scratch: &mut Scratch,
        scorer: &mut dyn Scorer,
    ) -> Result<(), String> {
        scratch.scores.clear();
        if scratch.asked.is_empty() {
            return Ok(());
        }
        let count = scratch.asked.len();
        let columns = &mut scratch.columns;
        if !Arc::ptr_eq(&columns.names, names) {
            columns.names = Arc::clone(names);
        }
        columns.want.clone_from(&self.want);
        columns.hosts.clear();
        columns.hosts.extend(scratch.asked.iter().map(|(_, place)| *place));
        columns.capacity.resize(names.resources.len() * count, 0.0);
        columns.free.resize(names.resources.len() * count, 0.0);
        rows.gather(&columns.hosts, &mut columns.capacity, &mut columns.free);
        self.signals(fleet, columns);
        scratch.scores = checked(columns, scorer)?;
        Ok(())
    }

    /// What a class knows of signals: those of groups are laid over later.
    fn signals(&self, fleet: &Fleet, columns: &mut Columns) {
        columns.signals.clear();
        if self.shape.home_zone.is_none() && fleet.signals.is_empty() {
            return;
        }
        let rows = columns.hosts.len();
        columns.signals.resize((OWN_SIGNALS.len() - 1) * rows, 0.0);
        let home = self.shape.home_zone.as_deref();
        let zone = |place: &u32| fleet.hosts[*place as usize].zone.as_str();
        columns.signals.extend(columns.hosts.iter().map(|p| if home == Some(zone(p)) { 1.0 } else { 0.0 }));
        for column in &fleet.signals {
            columns.signals.extend(columns.hosts.iter().map(|place| signal(column.values[*place as usize])));
        }
        if columns.signals.iter().all(|value| *value == 0.0) {
            columns.signals.clear();
        }
    }
}

/// Pushes without a branch that could be guessed wrongly.
#[inline]
fn push_if<T>(to: &mut Vec<T>, really: bool, item: T) {
    to.push(item);
    to.truncate(to.len() - usize::from(!really));
}

/// Buffers that decisions share.
#[derive(Default)]
pub(super) struct Scratch {
    /// Position and place of the hosts of a part that changed, each once.
    changed: Vec<(u32, u32)>,
    /// Position and place of the rows that are to be scored, part by part.
    asked: Vec<(u32, u32)>,
    /// Positions that are no longer possible, part by part.
    gone: Vec<u32>,
    touched: Vec<Touched>,
    columns: Columns,
    scores: Vec<f32>,
}

/// A part that is not up to date.
struct Touched {
    number: usize,
    /// Where in its cell's log it will be.
    until: u64,
    /// Its share of [`Scratch::asked`] and [`Scratch::gone`].
    asked: Range<usize>,
    gone: Range<usize>,
}

impl Scratch {
    fn clear(&mut self) {
        self.asked.clear();
        self.gone.clear();
        self.touched.clear();
        self.scores.clear();
    }
}

fn wants(request: &Request, fleet: &Fleet) -> Option<Vec<(usize, i64)>> {
    let asked = request.amounts.iter().filter(|(_, want)| **want != 0);
    asked
        .map(|(name, want)| {
            let class = fleet.resources.iter().position(|column| column.class == *name)?;
            (*want > 0).then_some((class, *want))
        })
        .collect()
}
