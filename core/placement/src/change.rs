//! What moves a fleet from one revision to the next. A snapshot plus its changes in order is any later one.

use crate::{Fleet, Host, NameSet, ResourceColumn, SharedAmounts, SignalColumn, Units};
use canopy_types::HostId;
use serde::{Deserialize, Serialize};

/// One step. A step about a host that is not there does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A new host, or new facts about a known one; resources, signals and usage stay as they are.
    Host {
        host: Host,
    },
    /// The host and all its numbers are gone.
    Remove {
        host: HostId,
    },
    /// Capacity of one class; a class new to the fleet gets a column.
    Capacity {
        host: HostId,
        class: String,
        capacity: i64,
        #[serde(default)]
        units: Units,
    },
    /// Usage of one class changes by so much.
    Used {
        host: HostId,
        class: String,
        delta: i64,
    },
    /// A server of these amounts, and of this group, is on the host so many times more; −1 takes it off.
    Taken {
        host: HostId,
        amounts: SharedAmounts,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        times: i64,
    },
    /// Usage of one class is now this.
    UsedTotal {
        host: HostId,
        class: String,
        used: i64,
    },
    Closed {
        host: HostId,
        closed: Option<String>,
    },
    Traits {
        host: HostId,
        traits: NameSet,
    },
    Aggregates {
        host: HostId,
        aggregates: NameSet,
    },
    /// Servers of a group on a host change by so much.
    Group {
        group: String,
        host: HostId,
        delta: i64,
    },
    /// A group and all its counts are gone.
    GroupRemoved {
        group: String,
    },
    Signal {
        host: HostId,
        name: String,
        value: f64,
    },
    /// The fleet now reflects this revision.
    Revision {
        revision: i64,
    },
}

/// What a change touched, for whoever keeps something derived from the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    Nothing,
    /// Numbers or the open state of the host at this place.
    Row(usize),
    /// Hosts, columns, zones, traits or aggregates.
    Shape,
    /// Only group counts.
    Group,
}

impl Fleet {
    /// Applies one change. Total: numbers saturate, what is not there stays not there. Hosts are kept in the
    /// order of (name, id), so that equal facts give equal fleets whatever the order they came in.
    pub fn apply(&mut self, change: &Change, place: impl Fn(HostId) -> Option<usize>) -> Touched {
        match change {
            Change::Host { host } => self.upsert(host, place(host.id)),
            Change::Remove { host } => place(*host).map_or(Touched::Nothing, |at| self.remove(at, *host)),
            Change::Capacity { host, class, capacity, units } => {
                let Some(at) = place(*host) else { return Touched::Nothing };
                let (column, mut touched) = self.column_or_new(class);
                column.capacity[at] = *capacity;
                if *units != Units::ANY && column.units.is_empty() {
                    column.units = vec![Units::ANY; column.capacity.len()];
                    touched = Some(Touched::Shape);
                }
                if let Some(known) = column.units.get_mut(at) {
                    *known = *units;
                }
                touched.unwrap_or(Touched::Row(at))
            }
            Change::Used { host, class, delta } => {
                self.on_used(class, place(*host), |used| used.saturating_add(*delta))
            }
            Change::UsedTotal { host, class, used } => self.on_used(class, place(*host), |_| *used),
            Change::Taken { host, amounts, group, times } => {
                let counted = group.iter().map(|group| self.on_group(group, *host, *times)).next();
                // An amount of nothing makes no column.
                let taken = amounts.iter().filter(|(_, amount)| **amount != 0);
                taken.fold(counted.unwrap_or(Touched::Nothing), |touched, (class, amount)| {
                    let delta = amount.saturating_mul(*times);
                    match self.on_used(class, place(*host), |used| used.saturating_add(delta)) {
                        Touched::Row(at) if touched != Touched::Shape => Touched::Row(at),
                        Touched::Shape => Touched::Shape,
                        _ => touched,
                    }
                })
            }
            Change::Closed { host, closed } => {
                let Some(at) = place(*host) else { return Touched::Nothing };
                self.hosts[at].closed.clone_from(closed);
                Touched::Row(at)
            }
            Change::Traits { host, traits } => self.on_host(place(*host), |host| {
                let same = host.traits == *traits;
                host.traits.clone_from(traits);
                same
            }),
            Change::Aggregates { host, aggregates } => self.on_host(place(*host), |host| {
                let same = host.aggregates == *aggregates;
                host.aggregates.clone_from(aggregates);
                same
            }),
            Change::Group { group, host, delta } => self.on_group(group, *host, *delta),
            Change::GroupRemoved { group } => {
                self.groups.remove(group);
                Touched::Group
            }
            Change::Signal { host, name, value } => {
                let Some(at) = place(*host) else { return Touched::Nothing };
                // What is not a number would make every score it enters none.
                let value = if value.is_finite() { *value } else { 0.0 };
                if let Some(column) = self.signals.iter_mut().find(|column| column.name == *name) {
                    column.values[at] = value;
                    return Touched::Row(at);
                }
                let mut values = vec![0.0; self.hosts.len()];
                values[at] = value;
                self.signals.push(SignalColumn { name: name.clone(), values });
                self.signals.sort_by(|a, b| a.name.cmp(&b.name));
                Touched::Shape
            }
            Change::Revision { revision } => {
                self.revision = *revision;
                Touched::Nothing
            }
        }
    }

    /// Puts hosts in the order of (name, id), and every column with them; makes ragged columns whole.
    pub fn normalise(&mut self) {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.sort_by(|a, b| key(&self.hosts[*a]).cmp(&key(&self.hosts[*b])));
        let mut seen = std::collections::HashSet::new();
        order.retain(|i| seen.insert(self.hosts[*i].id));
        let pick = |values: &[i64]| order.iter().map(|i| values.get(*i).copied().unwrap_or(0)).collect();
        for column in &mut self.resources {
            column.capacity = pick(&column.capacity);
            column.used = pick(&column.used);
            if !column.units.is_empty() {
                column.units =
                    order.iter().map(|i| column.units.get(*i).copied().unwrap_or_default()).collect();
            }
        }
        for signal in &mut self.signals {
            let value = |i: &usize| signal.values.get(*i).copied().filter(|v| v.is_finite()).unwrap_or(0.0);
            signal.values = order.iter().map(value).collect();
        }
        self.hosts = order.iter().map(|i| self.hosts[*i].clone()).collect();
        self.resources.sort_by(|a, b| a.class.cmp(&b.class));
        self.resources.dedup_by(|b, a| a.class == b.class);
        self.signals.sort_by(|a, b| a.name.cmp(&b.name));
        self.signals.dedup_by(|b, a| a.name == b.name);
    }

    fn upsert(&mut self, host: &Host, at: Option<usize>) -> Touched {
        if let Some(at) = at {
            let known = &mut self.hosts[at];
            if known.name == host.name {
                let same_shape = known.zone == host.zone
                    && known.traits == host.traits
                    && known.aggregates == host.aggregates;
                known.clone_from(host);
                return if same_shape { Touched::Row(at) } else { Touched::Shape };
            }
            self.hosts[at].clone_from(host);
            self.normalise();
            return Touched::Shape;
        }
        let at = self.hosts.partition_point(|known| key(known) < key(host));
        self.hosts.insert(at, host.clone());
        for column in &mut self.resources {
            column.capacity.insert(at, 0);
            column.used.insert(at, 0);
            if !column.units.is_empty() {
                column.units.insert(at, Units::ANY);
            }
        }
        for signal in &mut self.signals {
            signal.values.insert(at, 0.0);
        }
        Touched::Shape
    }

    fn remove(&mut self, at: usize, id: HostId) -> Touched {
        self.hosts.remove(at);
        for column in &mut self.resources {
            column.capacity.remove(at);
            column.used.remove(at);
            if !column.units.is_empty() {
                column.units.remove(at);
            }
        }
        for signal in &mut self.signals {
            signal.values.remove(at);
        }
        self.groups.retain(|_, hosts| {
            hosts.remove(&id);
            !hosts.is_empty()
        });
        Touched::Shape
    }

    fn column_or_new(&mut self, class: &str) -> (&mut ResourceColumn, Option<Touched>) {
        let found = self.resources.binary_search_by(|column| column.class.as_str().cmp(class));
        let (at, touched) = match found {
            Ok(at) => (at, None),
            Err(at) => {
                let zero = vec![0; self.hosts.len()];
                self.resources.insert(at, ResourceColumn::new(class, zero.clone(), zero));
                (at, Some(Touched::Shape))
            }
        };
        (&mut self.resources[at], touched)
    }

    fn on_used(&mut self, class: &str, at: Option<usize>, change: impl Fn(i64) -> i64) -> Touched {
        let Some(at) = at else { return Touched::Nothing };
        let (column, touched) = self.column_or_new(class);
        column.used[at] = change(column.used[at]);
        touched.unwrap_or(Touched::Row(at))
    }

    pub(crate) fn on_group(&mut self, group: &str, host: HostId, delta: i64) -> Touched {
        // A count may arrive before its host does.
        let hosts = self.groups.entry(group.to_owned()).or_default();
        let count = i64::from(hosts.get(&host).copied().unwrap_or(0)).saturating_add(delta);
        let count = u32::try_from(count.max(0)).unwrap_or(u32::MAX);
        if count == 0 {
            hosts.remove(&host);
        } else {
            hosts.insert(host, count);
        }
        if hosts.is_empty() {
            self.groups.remove(group);
        }
        Touched::Group
    }

    fn on_host(&mut self, at: Option<usize>, change: impl Fn(&mut Host) -> bool) -> Touched {
        match at {
            Some(at) if !change(&mut self.hosts[at]) => Touched::Shape,
            _ => Touched::Nothing,
        }
    }
}

fn key(host: &Host) -> (&str, HostId) {
    (&host.name, host.id)
}
