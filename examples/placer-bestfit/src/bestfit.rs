//! Best fit from an index: hosts of a cell in the order of what is free of one resource class, then of index.
//!
//! No part of the SDK in here: what measures the component runs the same file natively.

use std::collections::BTreeSet;

/// No cell, and no host.
pub const NONE: u32 = u32::MAX;

#[derive(Default)]
pub struct BestFit {
    /// Position of the class by which hosts are in order.
    by: usize,
    /// Resource classes.
    width: usize,
    /// Per host, the cell.
    cells: Vec<u32>,
    /// What is free, a row a host.
    free: Vec<i64>,
    /// Per cell, the [`key`]s of its hosts.
    index: Vec<BTreeSet<u64>>,
    /// Hosts that are to be put into the index before it is used.
    pending: Vec<u32>,
    classes: Vec<Class>,
}

/// From so many on, sorting hosts and merging them into the index is cheaper than inserting each.
const MANY: usize = 1_024;

/// Hosts in the order of what is left, then of index. One number compares in one step; more than 32 bits of what is left
/// are not told apart.
fn key(left: i64, host: u32) -> u64 {
    let left = left.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) - i64::from(i32::MIN);
    (left as u64) << 32 | u64::from(host)
}

#[derive(Default)]
pub struct Class {
    pub wants: Vec<i64>,
    /// Cells to choose from.
    pub cells: Vec<u32>,
    /// Hosts of those that are out, ascending.
    pub barred: Vec<u32>,
}

/// Hosts that one request treats otherwise.
#[derive(Clone, Copy, Default)]
pub struct Lists<'a> {
    pub only: Option<&'a [u32]>,
    pub barred: &'a [u32],
    pub near: &'a [u32],
    pub apart: &'a [u32],
}

impl BestFit {
    /// So many hosts, none of which takes a server until it is told of.
    pub fn new(by: usize, width: usize, hosts: usize) -> Self {
        Self {
            by,
            width,
            cells: vec![NONE; hosts],
            free: vec![0; hosts * width],
            index: Vec::new(),
            pending: Vec::new(),
            classes: Vec::new(),
        }
    }

    /// What is true of a host from now on. A host that was not announced is ignored.
    pub fn host(&mut self, host: u32, cell: u32, free: impl Fn(usize) -> i64) {
        let at = host as usize;
        if at >= self.cells.len() {
            return;
        }
        self.unlist(host);
        self.cells[at] = cell;
        for class in 0..self.width {
            self.free[at * self.width + class] = free(class);
        }
        self.pending.push(host);
    }

    pub fn class(&mut self, class: Class) {
        self.classes.push(class);
    }

    /// Chooses a host and takes what the request wants off it; [`NONE`] when none fits.
    pub fn place(&mut self, class: u32, lists: Lists<'_>) -> u32 {
        self.index_pending();
        let Some(asked) = self.classes.get(class as usize) else { return NONE };
        let host = self.choose(asked, lists);
        if host != NONE {
            self.unlist(host);
            let wants = &self.classes[class as usize].wants;
            for (free, want) in self.free[host as usize * self.width..].iter_mut().zip(wants) {
                *free -= want;
            }
            self.list(host);
        }
        host
    }

    fn choose(&self, class: &Class, lists: Lists<'_>) -> u32 {
        let allowed = |host: u32| {
            !lists.barred.contains(&host)
                && class.barred.binary_search(&host).is_err()
                && self.fits(class, host)
        };
        let listed = |hosts: &[u32]| {
            let of_class = |host: &u32| self.cell(*host).is_some_and(|cell| class.cells.contains(&cell));
            let fit = hosts.iter().copied().filter(|host| of_class(host) && allowed(*host));
            fit.min_by_key(|host| key(self.left(*host), *host))
        };
        if let Some(only) = lists.only {
            let near: Vec<u32> = only.iter().copied().filter(|host| lists.near.contains(host)).collect();
            let apart: Vec<u32> = only.iter().copied().filter(|host| !lists.apart.contains(host)).collect();
            return listed(&near).or_else(|| listed(&apart)).or_else(|| listed(only)).unwrap_or(NONE);
        }
        if let Some(host) = listed(lists.near) {
            return host;
        }
        // What is not asked for may be overdrawn.
        let want = class.wants.get(self.by).copied().filter(|want| *want != 0).unwrap_or(i64::MIN);
        let first = |out: &[u32]| {
            let of_cell = |cell: &u32| {
                let mut hosts = self.index.get(*cell as usize)?.range(key(want, 0)..).copied();
                // The lower half of a key is the host.
                hosts.find(|key| !out.contains(&(*key as u32)) && allowed(*key as u32))
            };
            class.cells.iter().filter_map(of_cell).min().map(|key| key as u32)
        };
        let found = first(lists.apart);
        found.or_else(|| if lists.apart.is_empty() { None } else { first(&[]) }).unwrap_or(NONE)
    }

    fn fits(&self, class: &Class, host: u32) -> bool {
        let free = &self.free[host as usize * self.width..][..self.width];
        free.iter().zip(&class.wants).all(|(free, want)| *want == 0 || free >= want)
    }

    fn cell(&self, host: u32) -> Option<u32> {
        self.cells.get(host as usize).copied().filter(|cell| *cell != NONE)
    }

    fn left(&self, host: u32) -> i64 {
        self.free.get(host as usize * self.width + self.by).copied().unwrap_or(0)
    }

    fn index_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.len() < MANY {
            pending.into_iter().for_each(|host| self.list(host));
            return;
        }
        let mut by_cell: Vec<Vec<u64>> = Vec::new();
        for host in pending {
            let Some(cell) = self.cell(host) else { continue };
            let cell = cell as usize;
            if cell >= by_cell.len() {
                by_cell.resize_with(cell + 1, Vec::new);
            }
            by_cell[cell].push(key(self.left(host), host));
        }
        if self.index.len() < by_cell.len() {
            self.index.resize_with(by_cell.len(), BTreeSet::new);
        }
        for (index, hosts) in self.index.iter_mut().zip(by_cell) {
            index.append(&mut hosts.into_iter().collect());
        }
    }

    fn list(&mut self, host: u32) {
        let Some(cell) = self.cell(host) else { return };
        let cell = cell as usize;
        if cell >= self.index.len() {
            self.index.resize_with(cell + 1, BTreeSet::new);
        }
        let left = self.left(host);
        self.index[cell].insert(key(left, host));
    }

    fn unlist(&mut self, host: u32) {
        let left = self.left(host);
        if let Some(cell) = self.cell(host)
            && let Some(hosts) = self.index.get_mut(cell as usize)
        {
            hosts.remove(&key(left, host));
        }
    }
}
