//! What a request says of hosts one by one: its lists of hosts and its server group.

use super::hash::QuickMap;
use crate::rules::Rule;
use crate::{Fleet, GroupPolicy, Request};
use canopy_types::HostId;

const NOT_LISTED: u8 = 1;
const FORBIDDEN: u8 = 2;
/// Full a moment ago; nothing about the request could change that.
pub(super) const RACED: u8 = 4;
const AFFINITY: u8 = 8;
const ANTI_AFFINITY: u8 = 16;
/// Some list of the request is against the host.
pub(super) const LISTS: u8 = NOT_LISTED | FORBIDDEN;
/// The request's group is against the host.
pub(super) const GROUP: u8 = AFFINITY | ANTI_AFFINITY;

/// A few bits per host, most of which have the same.
pub(super) struct Marks {
    others: u8,
    of: QuickMap<usize, u8>,
}

impl Marks {
    pub(super) fn of(fleet: &Fleet, request: &Request, places: &QuickMap<HostId, usize>) -> Self {
        let mut marks = Self { others: 0, of: QuickMap::default() };
        let place = |host: &HostId| places.get(host).copied();
        let group = request.group.as_ref();
        let members = group.and_then(|group| fleet.groups.get(&group.id));
        let affine = group.is_some_and(|group| group.policy == GroupPolicy::Affinity) && members.is_some();
        marks.others |= if request.only_hosts.is_empty() { 0 } else { NOT_LISTED };
        marks.others |= if affine { AFFINITY } else { 0 };
        for at in request.only_hosts.iter().filter_map(place) {
            *marks.entry(at) &= !NOT_LISTED;
        }
        for at in request.forbidden_hosts.iter().filter_map(place) {
            *marks.entry(at) |= FORBIDDEN;
        }
        for at in request.exclude.iter().filter_map(place) {
            *marks.entry(at) |= RACED;
        }
        for (host, count) in members.into_iter().flatten() {
            let (Some(at), Some(group)) = (place(host), group) else { continue };
            match group.policy {
                GroupPolicy::Affinity if *count > 0 => *marks.entry(at) &= !AFFINITY,
                GroupPolicy::AntiAffinity if *count >= group.max_per_host.max(1) => {
                    *marks.entry(at) |= ANTI_AFFINITY;
                }
                _ => {}
            }
        }
        marks
    }

    fn entry(&mut self, place: usize) -> &mut u8 {
        let others = self.others;
        self.of.entry(place).or_insert(others)
    }

    pub(super) fn at(&self, place: usize) -> u8 {
        if self.of.is_empty() { self.others } else { self.of.get(&place).copied().unwrap_or(self.others) }
    }

    /// What the hosts have that are not singled out.
    pub(super) fn others(&self) -> u8 {
        self.others
    }

    /// Places of the hosts that are singled out.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.of.keys().copied()
    }

    /// The first rule by which these bits keep a host out.
    pub(super) fn rule(&self, mark: u8) -> Option<Rule> {
        let rules = [
            (NOT_LISTED, Rule::NotListed),
            (FORBIDDEN, Rule::Forbidden),
            (RACED, Rule::Raced),
            (AFFINITY, Rule::Affinity),
            (ANTI_AFFINITY, Rule::AntiAffinity),
        ];
        if mark == 0 { None } else { rules.iter().find(|(bit, _)| mark & bit != 0).map(|(_, rule)| *rule) }
    }

    /// How many changes of the request these bits ask for.
    pub(super) fn changes(mark: u8) -> usize {
        usize::from(mark & LISTS != 0) + usize::from(mark & GROUP != 0)
    }
}
