//! Hosts by what seldom changes of them, with the least and the most that a few of them together have free: so that a
//! refusal over a large fleet can be explained without looking at every host.

use super::cells::index;
use super::rows::Rows;
use crate::{Fleet, Host, NameSet};
use std::collections::HashMap;

/// Hosts that share one summary.
const BLOCK: usize = 64;

/// All hosts, by *profile*: equal zone, traits and aggregates.
pub(super) struct Profiles {
    pub(super) profiles: Vec<Profile>,
    blocks: Vec<Block>,
    /// Per block and class: the least and the most that is free on an open host.
    free: Vec<(i64, i64)>,
    classes: usize,
    /// Per place, its block.
    of: Vec<u32>,
}

pub(super) struct Profile {
    /// Places, ascending.
    pub(super) rows: Vec<u32>,
    first_block: usize,
}

/// A summary of some hosts of one profile.
#[derive(Clone, Copy)]
pub(super) struct Block {
    fresh: bool,
    pub(super) open: u32,
    pub(super) closed: u32,
    /// Places; meaningless when there is none.
    pub(super) first_open: u32,
    pub(super) first_closed: u32,
}

const STALE: Block = Block { fresh: false, open: 0, closed: 0, first_open: 0, first_closed: 0 };

impl Profiles {
    pub(super) fn of(fleet: &Fleet) -> Self {
        // Sets are told apart by what they hold, but looked into once each.
        let (mut sets, mut seen) = (HashMap::new(), HashMap::new());
        let mut set = |names: &NameSet| {
            *seen.entry(names.address()).or_insert_with(|| {
                let next = sets.len();
                *sets.entry(names.clone()).or_insert(next)
            })
        };
        let (mut known, mut profiles) = (HashMap::new(), Vec::<Profile>::new());
        for (place, Host { zone, traits, aggregates, .. }) in fleet.hosts.iter().enumerate() {
            let at = *known.entry((zone.as_str(), set(traits), set(aggregates))).or_insert_with(|| {
                profiles.push(Profile { rows: Vec::new(), first_block: 0 });
                profiles.len() - 1
            });
            profiles[at].rows.push(index(place));
        }
        let (mut of, mut blocks) = (vec![0; fleet.hosts.len()], 0);
        for profile in &mut profiles {
            profile.first_block = blocks;
            for rows in profile.rows.chunks(BLOCK) {
                rows.iter().for_each(|place| of[*place as usize] = index(blocks));
                blocks += 1;
            }
        }
        let classes = fleet.resources.len();
        Self { profiles, blocks: vec![STALE; blocks], free: vec![(0, 0); blocks * classes], classes, of }
    }

    /// A host's numbers changed, or it was opened or closed.
    pub(super) fn changed(&mut self, place: usize) {
        self.blocks[self.of[place] as usize].fresh = false;
    }

    /// The block of a host.
    pub(super) fn block_of(&self, place: usize) -> usize {
        self.of[place] as usize
    }

    /// Brings every summary up to date.
    pub(super) fn refresh(&mut self, rows: &Rows) {
        for profile in &self.profiles {
            for (at, places) in profile.rows.chunks(BLOCK).enumerate() {
                let at = profile.first_block + at;
                if !self.blocks[at].fresh {
                    let free = &mut self.free[at * self.classes..(at + 1) * self.classes];
                    self.blocks[at] = summary(places, rows, free);
                }
            }
        }
    }

    /// The blocks of a profile: number, places, summary and, per class, the least and the most that is free.
    pub(super) fn blocks<'a>(
        &'a self,
        profile: &'a Profile,
    ) -> impl Iterator<Item = (usize, &'a [u32], Block, &'a [(i64, i64)])> {
        profile.rows.chunks(BLOCK).enumerate().map(|(at, places)| {
            let at = profile.first_block + at;
            (at, places, self.blocks[at], &self.free[at * self.classes..(at + 1) * self.classes])
        })
    }
}

fn summary(places: &[u32], rows: &Rows, free: &mut [(i64, i64)]) -> Block {
    let mut block = Block { fresh: true, ..STALE };
    free.fill((i64::MAX, i64::MIN));
    for place in places {
        let at = *place as usize;
        if rows.open(at) {
            block.first_open = if block.open == 0 { *place } else { block.first_open };
            block.open += 1;
            for ((least, most), free) in free.iter_mut().zip(rows.free(at)) {
                (*least, *most) = (*free.min(least), *free.max(most));
            }
        } else {
            block.first_closed = if block.closed == 0 { *place } else { block.first_closed };
            block.closed += 1;
        }
    }
    block
}
