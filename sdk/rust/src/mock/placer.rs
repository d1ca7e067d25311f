//! A fleet for a placer, told and asked as the core does, and its answers held to the rules.

use crate::placer::{Class, Hosts, NOWHERE, Names, Placer, Requests};
use std::marker::PhantomData;

/// Hosts with `VCPU`, `MEMORY_MB` and `DISK_GB`, all of one cell, before the placer is started.
pub struct PlacerCloud<P> {
    config: String,
    hosts: Vec<(String, [i64; 3])>,
    placer: PhantomData<P>,
}

/// The same with the placer running.
pub struct Running<P> {
    placer: P,
    /// Names and what is free.
    hosts: Vec<(String, [i64; 3])>,
    capacity: Vec<[i64; 3]>,
    classes: Vec<[i64; 3]>,
    changed: Vec<usize>,
    epoch: u64,
}

impl<P: Placer> PlacerCloud<P> {
    /// Without hosts; the placer's configuration as JSON.
    #[must_use]
    pub fn new(config: &str) -> Self {
        Self { config: config.to_owned(), hosts: Vec::new(), placer: PhantomData }
    }

    /// One more empty host.
    #[must_use]
    pub fn host(mut self, name: &str, capacity: [u32; 3]) -> Self {
        self.hosts.push((name.to_owned(), capacity.map(i64::from)));
        self
    }

    /// Starts the placer and tells it the hosts.
    pub fn start(self) -> Result<Running<P>, String> {
        let resources = ["VCPU", "MEMORY_MB", "DISK_GB"].map(String::from).into();
        let names = Names { resources, signals: Vec::new() };
        let count = u32::try_from(self.hosts.len()).map_err(|e| e.to_string())?;
        let placer = P::init(crate::parse_config(&self.config)?, names, count)?;
        let all = (0..self.hosts.len()).collect();
        let capacity = self.hosts.iter().map(|(_, capacity)| *capacity).collect();
        let (hosts, classes) = (self.hosts, Vec::new());
        let mut running = Running { placer, hosts, capacity, classes, changed: all, epoch: 0 };
        running.tell();
        Ok(running)
    }
}

impl<P: Placer> Running<P> {
    /// Says that something else took this much of a host, or with negative amounts gave it back.
    pub fn take(&mut self, host: &str, amounts: [i64; 3]) {
        if let Some(at) = self.hosts.iter().position(|(name, _)| name == host) {
            for (free, amount) in self.hosts[at].1.iter_mut().zip(amounts) {
                *free -= amount;
            }
            self.changed.push(at);
        }
    }

    /// Where servers of these amounts go, decided as one batch and committed. The error says which rule an
    /// answer broke.
    pub fn decide(&mut self, wants: &[[u32; 3]]) -> Result<Vec<Option<&str>>, String> {
        let mut classes = Vec::new();
        for want in wants.iter().map(|want| want.map(i64::from)) {
            let known = self.classes.iter().position(|class| *class == want);
            let at = known.unwrap_or(self.classes.len());
            if known.is_none() {
                self.classes.push(want);
                let class = Class { wants: want.into(), cells: vec![0], barred: vec![], home: vec![] };
                self.placer.upsert_classes(at as u32, vec![class]);
            }
            classes.push(at as u32);
        }
        self.tell();
        self.epoch += 1;
        let answers = self.placer.decide(self.epoch, &Requests { classes: classes.clone(), lists: vec![] });
        if answers.len() != wants.len() {
            return Err(format!("{} hosts for {} requests", answers.len(), wants.len()));
        }
        for (class, host) in classes.iter().zip(&answers) {
            let want = self.classes[*class as usize];
            if *host == NOWHERE {
                let fits =
                    |(_, free): &&(String, [i64; 3])| free.iter().zip(want).all(|(free, n)| *free >= n);
                if let Some((name, _)) = self.hosts.iter().find(fits) {
                    return Err(format!("no host for {want:?}, where {name} has room"));
                }
                continue;
            }
            let hosts = self.hosts.len();
            let known = self.hosts.get_mut(*host as usize);
            let (name, free) = known.ok_or_else(|| format!("host {host} of {hosts}"))?;
            if free.iter().zip(want).any(|(free, n)| *free < n) {
                return Err(format!("{name} has {free:?} free, not {want:?}"));
            }
            free.iter_mut().zip(want).for_each(|(free, n)| *free -= n);
        }
        let name = |host: &u32| self.hosts.get(*host as usize).map(|(name, _)| name.as_str());
        Ok(answers.iter().map(name).collect())
    }

    fn tell(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        let column = |of: &dyn Fn(usize) -> [i64; 3]| -> Vec<i64> {
            (0..3).flat_map(|class| changed.iter().map(move |at| of(*at)[class])).collect()
        };
        let (capacity, free) = (column(&|at| self.capacity[at]), column(&|at| self.hosts[at].1));
        self.placer.upsert_hosts(&Hosts {
            at: changed.iter().map(|at| *at as u32).collect(),
            cells: vec![0; changed.len()],
            capacity,
            free,
            signals: Vec::new(),
        });
    }
}
