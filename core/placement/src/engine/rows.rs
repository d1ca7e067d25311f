//! The numbers of every host, side by side: what feasibility is checked on and columns are gathered from.

use crate::Fleet;

/// A host's numbers of all classes lie together, so that looking at a host touches one place in memory.
#[derive(Default)]
pub(super) struct Rows {
    classes: usize,
    open: Vec<bool>,
    /// Per host and class: what is left; below zero when an operator lowered the capacity.
    free: Vec<i64>,
    /// Per host and class.
    capacity: Vec<i64>,
}

impl Rows {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let (hosts, classes) = (fleet.hosts.len(), fleet.resources.len());
        let numbers = vec![0; hosts * classes];
        let mut rows = Self { classes, open: vec![false; hosts], free: numbers.clone(), capacity: numbers };
        for place in 0..hosts {
            rows.read(fleet, place);
        }
        rows
    }

    /// Takes one host's facts over from the fleet.
    pub(super) fn read(&mut self, fleet: &Fleet, place: usize) {
        self.open[place] = fleet.hosts[place].closed.is_none();
        let at = place * self.classes;
        for (class, column) in fleet.resources.iter().enumerate() {
            self.free[at + class] = column.free(place);
            self.capacity[at + class] = column.capacity[place];
        }
    }

    /// Takes over that a host now uses so much of a class.
    pub(super) fn used(&mut self, place: usize, class: usize, used: i64) {
        let at = place * self.classes + class;
        self.free[at] = self.capacity[at].saturating_sub(used);
    }

    pub(super) fn open(&self, place: usize) -> bool {
        self.open[place]
    }

    /// What is left, per class.
    pub(super) fn free(&self, place: usize) -> &[i64] {
        &self.free[place * self.classes..][..self.classes]
    }

    /// Whether a host is open and has room for all wants, given as (class, amount above 0).
    #[inline]
    pub(super) fn fits(&self, place: usize, wants: &[(usize, i64)]) -> bool {
        let free = self.free(place);
        // No branch: what is free is seldom where it would be known at once.
        wants.iter().fold(self.open[place], |fits, (class, want)| fits & (free[*class] >= *want))
    }

    /// Writes these hosts' numbers column by column, a row each. Both columns have that size.
    pub(super) fn gather(&self, places: &[u32], capacity: &mut [f32], free: &mut [f32]) {
        let columns = capacity.chunks_exact_mut(places.len()).zip(free.chunks_exact_mut(places.len()));
        for (class, (capacity, free)) in columns.enumerate() {
            for ((capacity, free), place) in capacity.iter_mut().zip(free).zip(places) {
                let at = *place as usize * self.classes + class;
                *capacity = self.capacity[at] as f32;
                *free = self.free[at] as f32;
            }
        }
    }
}
