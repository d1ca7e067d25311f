//! What a refused request could give up: the cheapest cuts of amounts per kind, as [`crate::advice`] orders them.

use super::hash::QuickMap;
use super::marks::{GROUP, LISTS};
use crate::advice::{Kept, amount_cost, instead};
use crate::rules::Rule;
use crate::{Advice, Relax, Request, Units};

/// More changes than any advice has.
pub(super) const TOO_MANY: usize = 3;

/// Changes that zone, traits and aggregates ask for.
#[derive(PartialEq)]
pub(super) struct Changes {
    pub(super) first: Vec<Relax>,
    pub(super) aggregates: bool,
}

impl Changes {
    pub(super) fn too_many() -> Self {
        Self { first: vec![Relax::Aggregates; TOO_MANY], aggregates: false }
    }

    pub(super) fn count(&self) -> usize {
        self.first.len() + usize::from(self.aggregates)
    }
}

/// One amount asked for, not 0, and its place in the request.
pub(super) struct Want<'a> {
    pub(super) at: usize,
    /// `usize::MAX` when no host has any.
    pub(super) class: usize,
    pub(super) name: &'a str,
    pub(super) amount: i64,
    pub(super) units: &'a [Units],
}

impl Want<'_> {
    fn units_of(&self, place: usize) -> Units {
        self.units.get(place).copied().unwrap_or_default()
    }

    pub(super) fn refusal(&self, place: usize, free: &[i64]) -> Option<Rule> {
        if self.amount < 0 || self.amount > free.get(self.class).copied().unwrap_or(0) {
            return Some(Rule::Capacity(self.at));
        }
        (!self.units.is_empty() && !self.units_of(place).allow(self.amount)).then_some(Rule::Unit(self.at))
    }
}

/// Amounts that were short together, and what else was in the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// A bit per want.
    pub(super) short: u64,
    pub(super) changes: usize,
    pub(super) mark: u8,
}

/// Of cuts of the same amounts the least is the cheapest, as [`Advice`] orders them.
type Cut = (u64, i128, [i64; TOO_MANY - 1]);

/// The cheapest cuts per kind, of those with the fewest changes.
pub(super) struct Cuts {
    best: QuickMap<Kind, Cut>,
    pub(super) fewest: usize,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { best: QuickMap::default(), fewest: TOO_MANY - 1 }
    }
}

impl Cuts {
    /// A host that is possible but for `kind`, which are `lasting` changes, and for amounts. Does nothing when
    /// that makes more than `most` changes, or none.
    pub(super) fn offer(
        &mut self,
        wants: &[Want<'_>],
        (place, free): (usize, &[i64]),
        (mut kind, lasting): (Kind, usize),
        most: usize,
    ) {
        let most = most.min(self.fewest);
        let (mut needed, mut cut) = (lasting, Cut::default());
        for (at, want) in wants.iter().enumerate() {
            if want.refusal(place, free).is_none() {
                continue;
            }
            if needed >= most {
                return;
            }
            let Some(to) = instead(want.amount, free[want.class], want.units_of(place)) else { return };
            cut.0 += amount_cost(want.amount, to);
            cut.1 -= i128::from(to);
            cut.2[needed - lasting] = to;
            kind.short |= 1 << at;
            needed += 1;
        }
        if needed == 0 || needed > most {
            return;
        }
        if needed < self.fewest {
            self.fewest = needed;
            self.best.clear();
        }
        let best = self.best.entry(kind).or_insert(cut);
        *best = cut.min(*best);
    }

    /// Whether a host that lacks nothing but these lasting changes, or is short of `want` alone with at most
    /// `most` of it free, can be no better than what is known.
    pub(super) fn as_good(&self, kind: Kind, want: Option<(&Want<'_>, i64)>) -> bool {
        match (self.best.get(&kind), want) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((_, _, to)), Some((want, most))) => to[0] >= most.min(want.amount.saturating_sub(1)),
        }
    }

    pub(super) fn advice(self, request: &Request, wants: &[Want<'_>], changes: &[Changes]) -> Vec<Advice> {
        let mut kept = Kept::default();
        for (kind, (_, _, to)) in self.best {
            let short = wants.iter().enumerate().filter(|(at, _)| kind.short & (1 << at) != 0);
            let mut all: Vec<Relax> = short
                .zip(to)
                .map(|((_, want), to)| Relax::Amount { class: want.name.to_owned(), from: want.amount, to })
                .collect();
            all.extend_from_slice(&changes[kind.changes].first);
            if let Some(group) = request.group.as_ref().filter(|_| kind.mark & GROUP != 0) {
                all.push(Relax::Group { id: group.id.clone() });
            }
            all.extend(changes[kind.changes].aggregates.then_some(Relax::Aggregates));
            all.extend((kind.mark & LISTS != 0).then_some(Relax::Hosts));
            kept.offer(all);
        }
        kept.best_first()
    }
}
