//! Fleets to simulate on, and what may be asked of them: what if there were more, fewer, or overcommitted hosts.

use crate::Trace;
use crate::trace::TraceHost;
use canopy_placement::{Fleet, Host, ResourceColumn};
use canopy_types::HostId;
use canopy_types::resources::{DISK_GB, MEMORY_MB, VCPU};
use std::fmt;
use std::str::FromStr;

/// One size of host.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub vcpus: i64,
    pub memory_mb: i64,
    pub disk_gb: i64,
}

/// `count` hosts of one size, in one zone.
pub fn equal(count: usize, size: Size) -> Fleet {
    let column =
        |class: &str, capacity: i64| ResourceColumn::new(class, vec![capacity; count], vec![0; count]);
    Fleet {
        revision: 1,
        hosts: (0..count).map(|n| Host::new(host_id(n), format!("host-{n:06}"), "nova")).collect(),
        resources: vec![
            column(DISK_GB, size.disk_gb),
            column(MEMORY_MB, size.memory_mb),
            column(VCPU, size.vcpus),
        ],
        ..Fleet::default()
    }
}

/// The same id for the same host in every run.
fn host_id(n: usize) -> HostId {
    HostId(uuid::Uuid::from_u64_pair(0xC, n as u64 + 1))
}

/// The first `count` hosts of a trace that has its own, over again when it has fewer.
pub fn of_trace(trace: &Trace, count: usize) -> Fleet {
    let mut classes: Vec<&str> =
        trace.hosts.iter().flat_map(|(_, has)| has.iter().map(|(class, _)| class.as_str())).collect();
    classes.sort_unstable();
    classes.dedup();
    let chosen: Vec<_> =
        trace.hosts.iter().cycle().take(if trace.hosts.is_empty() { 0 } else { count }).collect();
    let host = |(n, (host, _)): (usize, &&TraceHost)| Host {
        id: host_id(n),
        name: format!("host-{n:06}"),
        ..host.clone()
    };
    let column = |class: &&str| {
        let of = |(_, has): &&TraceHost| {
            has.iter().find(|(known, _)| known == class).map_or(0, |(_, amount)| *amount)
        };
        ResourceColumn::new(*class, chosen.iter().map(of).collect(), vec![0; chosen.len()])
    };
    Fleet {
        revision: 1,
        hosts: chosen.iter().enumerate().map(host).collect(),
        resources: classes.iter().map(column).collect(),
        ..Fleet::default()
    }
}

/// A change of the whole fleet before the simulation.
#[derive(Clone, Debug, PartialEq)]
pub enum WhatIf {
    /// So many more hosts like the last one.
    Add(usize),
    /// So many fewer.
    Lose(usize),
    /// Capacity of a class times a ratio above 0.
    Overcommit(String, f64),
}

impl FromStr for WhatIf {
    type Err = String;

    /// `add=10`, `lose=10`, `overcommit=VCPU:4`
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is none of add=N, lose=N, overcommit=CLASS:RATIO");
        let (what, how) = text.split_once('=').ok_or_else(wrong)?;
        match what {
            "add" => how.parse().ok().filter(|n| *n <= 1_000_000).map(Self::Add).ok_or_else(wrong),
            "lose" => how.parse().map(Self::Lose).map_err(|_| wrong()),
            "overcommit" => {
                let (class, ratio) = how.rsplit_once(':').ok_or_else(wrong)?;
                let ratio = ratio.parse::<f64>().ok().filter(|ratio| *ratio > 0.0 && *ratio <= 1000.0);
                Ok(Self::Overcommit(class.to_owned(), ratio.ok_or_else(wrong)?))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(n) => write!(f, "{n} hosts more"),
            Self::Lose(n) => write!(f, "{n} hosts fewer"),
            Self::Overcommit(class, ratio) => write!(f, "{class} overcommitted {ratio} times"),
        }
    }
}

impl WhatIf {
    pub fn apply(&self, fleet: &mut Fleet) -> Result<(), String> {
        match self {
            Self::Add(more) => {
                let Some(like) = fleet.hosts.last().cloned() else { return Ok(()) };
                for n in fleet.hosts.len()..fleet.hosts.len() + more {
                    fleet.hosts.push(Host { id: host_id(n), name: format!("host-{n:06}"), ..like.clone() });
                }
                for column in &mut fleet.resources {
                    let like = column.capacity.last().copied().unwrap_or(0);
                    column.capacity.resize(fleet.hosts.len(), like);
                    column.used.resize(fleet.hosts.len(), 0);
                }
            }
            Self::Lose(fewer) => {
                let left = fleet.hosts.len().saturating_sub(*fewer);
                fleet.hosts.truncate(left);
                for column in &mut fleet.resources {
                    column.capacity.truncate(left);
                    column.used.truncate(left);
                }
            }
            Self::Overcommit(class, ratio) => {
                let known: Vec<String> = fleet.resources.iter().map(|column| column.class.clone()).collect();
                let column = fleet.resources.iter_mut().find(|column| column.class == *class);
                let column =
                    column.ok_or_else(|| format!("there is no {class}; there are {}", known.join(", ")))?;
                for capacity in &mut column.capacity {
                    *capacity = (*capacity as f64 * ratio) as i64;
                }
            }
        }
        Ok(())
    }
}
