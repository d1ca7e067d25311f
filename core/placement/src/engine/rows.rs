//! The numbers of every host, side by side: what feasibility is checked on and columns are gathered from.

use crate::Fleet;

/// A host's capacity and usage per class lie together, so that looking at a host touches one place in memory.
#[derive(Default)]
pub(super) struct Rows {
    classes: usize,
    open: Vec<bool>,
    /// Per host and class: capacity, used.
    numbers: Vec<i64>,
}

impl Rows {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let classes = fleet.resources.len();
        let mut rows = Self {
            classes,
            open: vec![false; fleet.hosts.len()],
            numbers: vec![0; fleet.hosts.len() * classes * 2],
        };
        for place in 0..fleet.hosts.len() {
            rows.read(fleet, place);
        }
        rows
    }

    /// Takes one host's facts over from the fleet.
    pub(super) fn read(&mut self, fleet: &Fleet, place: usize) {
        self.open[place] = fleet.hosts[place].closed.is_none();
        let at = place * self.classes * 2;
        for (class, column) in fleet.resources.iter().enumerate() {
            self.numbers[at + class * 2] = column.capacity[place];
            self.numbers[at + class * 2 + 1] = column.used[place];
        }
    }

    /// Whether a host is open and has room for all wants, given as (class, amount above 0).
    pub(super) fn fits(&self, place: usize, wants: &[(usize, i64)]) -> bool {
        let numbers = &self.numbers[place * self.classes * 2..(place + 1) * self.classes * 2];
        self.open[place]
            && wants
                .iter()
                .all(|(class, want)| numbers[class * 2].saturating_sub(numbers[class * 2 + 1]) >= *want)
    }

    /// Writes a host's numbers to row `row` of `rows`, column by column.
    pub(super) fn gather(
        &self,
        place: usize,
        row: usize,
        rows: usize,
        capacity: &mut [f64],
        used: &mut [f64],
    ) {
        let numbers = &self.numbers[place * self.classes * 2..(place + 1) * self.classes * 2];
        for (class, pair) in numbers.chunks_exact(2).enumerate() {
            capacity[class * rows + row] = pair[0] as f64;
            used[class * rows + row] = pair[1] as f64;
        }
    }
}
