//! What a request without candidates would have to give up, one thing at a time.

use crate::plan::providers;
use crate::request::{Group, Request};
use crate::search::search;
use crate::world::World;

/// Searches for one piece of advice; each is stopped by the search's own bound.
const SEARCHES: usize = 200;

/// One change of a request after which it has a candidate. `group` is a place in [`Request::groups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relaxed {
    /// The most of the class that can be had.
    Amount { group: usize, class: String, from: i64, to: i64 },
    /// A trait that is required or forbidden.
    Trait { group: usize, name: String },
    /// Groups may share a provider.
    Isolate,
}

/// The single changes that help, least first; empty when none does by itself. `suits` tells which roots will do.
pub fn relaxed(world: &World, request: &Request, suits: &dyn Fn(u32) -> bool) -> Vec<Relaxed> {
    let mut left = SEARCHES;
    let mut fits = |request: &Request| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let each = Request { per_anchor: Some(1), limit: None, ..request.clone() };
        search(world, &each).is_ok_and(|found| found.anchors.iter().any(|anchor| suits(*anchor)))
    };
    let mut all = Vec::new();
    if request.isolate && fits(&Request { isolate: false, ..request.clone() }) {
        all.push(Relaxed::Isolate);
    }
    for (at, group) in request.groups.iter().enumerate() {
        let mut with = |group: Group| {
            let mut other = request.clone();
            other.groups[at] = group;
            fits(&other)
        };
        for (place, any_of) in group.required.iter().enumerate() {
            let mut less = group.clone();
            less.required.remove(place);
            if with(less) {
                all.push(Relaxed::Trait { group: at, name: any_of.join(" or ") });
            }
        }
        for (place, name) in group.forbidden.iter().enumerate() {
            let mut less = group.clone();
            less.forbidden.remove(place);
            if with(less) {
                all.push(Relaxed::Trait { group: at, name: name.clone() });
            }
        }
        for (place, (class, from)) in group.resources.iter().enumerate() {
            let mut asking = |amount: i64| {
                let mut less = group.clone();
                less.resources[place].1 = amount;
                with(less)
            };
            // Room shrinks with the amount, but units make steps: each inventory's own limits are tried.
            let to = amounts(world, group, class, *from).into_iter().find(|amount| asking(*amount));
            if let Some(to) = to {
                all.push(Relaxed::Amount { group: at, class: class.clone(), from: *from, to });
            }
        }
    }
    all
}

/// The amounts below `from` that some provider of the class could give at most, largest first.
fn amounts(world: &World, group: &Group, class: &str, from: i64) -> Vec<i64> {
    let Some(number) = world.class_names.get(class) else { return Vec::new() };
    // Whoever has the class in any amount that its units allow.
    let others = Group { suffix: "any".into(), resources: Vec::new(), ..group.clone() };
    let Ok(able) = providers(world, &Group { required: Vec::new(), ..others }) else { return Vec::new() };
    let mut amounts: Vec<i64> = able
        .iter()
        .filter_map(|provider| world.inventory(*provider, number))
        .map(|inventory| {
            let most =
                (inventory.capacity.saturating_sub(inventory.used)).min(inventory.max_unit).min(from - 1);
            most - most.rem_euclid(inventory.step_size.max(1))
        })
        .filter(|amount| *amount > 0)
        .collect();
    amounts.sort_unstable_by(|a, b| b.cmp(a));
    amounts.dedup();
    amounts.truncate(16);
    amounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Inventory, Offer, Stock};
    use canopy_types::ProviderId;

    fn world() -> World {
        let ids: Vec<ProviderId> = (0..3).map(|_| ProviderId::random()).collect();
        let offer = |at: usize, class: &str, capacity: i64, step_size: i64, marks: &[&str]| Offer {
            id: ids[at],
            number: at as i64,
            parent: (at > 0).then(|| ids[0]),
            root: ids[0],
            traits: marks.iter().map(|name| (*name).to_owned()).collect(),
            aggregates: Vec::new(),
            stock: vec![Stock {
                class: class.into(),
                inventory: Inventory { capacity, used: 0, min_unit: 1, max_unit: 100, step_size },
            }],
        };
        let offers = [
            offer(0, "VCPU", 8, 1, &[]),
            offer(1, "VGPU", 6, 4, &["CUSTOM_BIG"]),
            offer(2, "VGPU", 2, 1, &[]),
        ];
        World::new(&offers, ["VCPU", "VGPU"], ["CUSTOM_BIG", "CUSTOM_SMALL"])
    }

    fn group(suffix: &str, class: &str, amount: i64) -> Group {
        Group { suffix: suffix.into(), resources: vec![(class.into(), amount)], ..Group::default() }
    }

    #[test]
    fn each_change_fits_by_itself_and_amounts_keep_to_units() {
        let world = world();
        let asked =
            Request { groups: vec![group("", "VCPU", 4), group("1", "VGPU", 6)], ..Request::default() };
        let found = relaxed(&world, &asked, &|_| true);
        assert_eq!(found, [Relaxed::Amount { group: 1, class: "VGPU".into(), from: 6, to: 4 }]);
        assert!(relaxed(&world, &asked, &|_| false).is_empty(), "no root will do");

        let mut asked = Request { groups: vec![group("1", "VGPU", 4)], ..Request::default() };
        asked.groups[0].forbidden.push("CUSTOM_BIG".into());
        assert_eq!(
            relaxed(&world, &asked, &|_| true),
            [
                Relaxed::Trait { group: 0, name: "CUSTOM_BIG".into() },
                Relaxed::Amount { group: 0, class: "VGPU".into(), from: 4, to: 2 }
            ]
        );

        let two = vec![group("1", "VCPU", 1), group("2", "VCPU", 1)];
        let asked = Request { groups: two, isolate: true, ..Request::default() };
        assert_eq!(relaxed(&world, &asked, &|_| true), [Relaxed::Isolate]);
    }
}
