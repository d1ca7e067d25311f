//! Hosts that no request tells apart by anything that seldom changes: same zone, same answers to the traits
//! and aggregates that requests mention. A request class looks at whole cells or not at all.

use crate::{Fleet, Host, Request};
use std::collections::HashMap;

/// Names that split cells; further ones are checked host by host, so that cells stay larger than blocks.
const MAX_NAMES: usize = 8;
/// Changes that a cell remembers at least.
const MIN_LOG: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Trait(String),
    Aggregate(String),
}

impl Name {
    fn of(&self, host: &Host) -> bool {
        match self {
            Self::Trait(name) => host.traits.contains(name),
            Self::Aggregate(name) => host.aggregates.contains(name),
        }
    }
}

pub(super) struct Cell {
    /// Places in the fleet, ascending; a position is an index in here.
    pub(super) rows: Vec<u32>,
    pub(super) log: Log,
    /// When a position was last taken up, for visiting each once.
    pub(super) stamps: Vec<u32>,
}

#[derive(Default)]
pub(super) struct Cells {
    pub(super) cells: Vec<Cell>,
    /// Per place: cell and position.
    of: Vec<(u32, u32)>,
    names: Vec<Name>,
    stamp: u32,
}

impl Cells {
    /// Splits the fleet by zone and by `names`.
    pub(super) fn of(fleet: &Fleet, names: Vec<Name>) -> Self {
        let mut known: HashMap<(&str, u16), u32> = HashMap::new();
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut of = Vec::with_capacity(fleet.hosts.len());
        for (place, host) in fleet.hosts.iter().enumerate() {
            let bits =
                names.iter().enumerate().fold(0, |bits, (i, name)| bits | (u16::from(name.of(host)) << i));
            let cell = *known.entry((&host.zone, bits)).or_insert_with(|| {
                rows.push(Vec::new());
                index(rows.len() - 1)
            });
            let rows = &mut rows[cell as usize];
            of.push((cell, index(rows.len())));
            rows.push(index(place));
        }
        let cell = |rows: Vec<u32>| Cell { log: Log::new(rows.len()), stamps: vec![0; rows.len()], rows };
        Self { cells: rows.into_iter().map(cell).collect(), of, names, stamp: 0 }
    }

    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    pub(super) fn at(&self, place: usize) -> (u32, u32) {
        self.of[place]
    }

    /// A host's numbers changed.
    pub(super) fn changed(&mut self, place: usize) {
        let (cell, position) = self.of[place];
        self.cells[cell as usize].log.push((position, index(place)));
    }

    /// A stamp that no position carries.
    pub(super) fn stamp(&mut self) -> u32 {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.cells.iter_mut().for_each(|cell| cell.stamps.fill(0));
            self.stamp = 1;
        }
        self.stamp
    }
}

/// Names that a request mentions and cells do not split by yet, as far as there is room.
pub(super) fn mentioned(request: &Request, known: &[Name]) -> Vec<Name> {
    let traits = request.required_traits.iter().chain(request.forbidden_traits.iter());
    let aggregates =
        request.member_of.iter().flat_map(|any| any.iter()).chain(request.forbidden_aggregates.iter());
    let names = traits.cloned().map(Name::Trait).chain(aggregates.cloned().map(Name::Aggregate));
    let mut new = Vec::new();
    for name in names {
        if known.len() + new.len() < MAX_NAMES && !known.contains(&name) && !new.contains(&name) {
            new.push(name);
        }
    }
    new
}

/// Positions, and the places there, in the order in which they changed; the oldest are forgotten.
pub(super) struct Log {
    /// A power of two.
    entries: Vec<(u32, u32)>,
    next: u64,
    /// Up to where someone has read: what changes again after that must be said again.
    read: u64,
}

impl Log {
    fn new(rows: usize) -> Self {
        Self { entries: vec![(0, 0); rows.max(MIN_LOG).next_power_of_two()], next: 0, read: 0 }
    }

    fn push(&mut self, entry: (u32, u32)) {
        let mask = self.entries.len() - 1;
        if self.next > self.read && self.entries[(self.next - 1) as usize & mask] == entry {
            return;
        }
        self.entries[self.next as usize & mask] = entry;
        self.next += 1;
    }

    /// Where the next entry goes; everything before it counts as read.
    pub(super) fn read(&mut self) -> u64 {
        self.read = self.next;
        self.next
    }

    /// The entries since `from`, or `None` when some are forgotten.
    pub(super) fn since(&self, from: u64) -> Option<impl Iterator<Item = (u32, u32)> + '_> {
        (self.next - from <= self.entries.len() as u64)
            .then(|| (from..self.next).map(|i| self.entries[(i as usize) & (self.entries.len() - 1)]))
    }
}

/// Places are 32 bits wide; a fleet of four thousand million hosts is not to be had.
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
