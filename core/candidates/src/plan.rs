//! A request on one world: names resolved, and for each choice to be made the providers that come into
//! question at all.

use crate::found::Part;
use crate::request::{Group, Request, Unknown};
use crate::world::World;

/// One choice of a provider, and who comes into question.
pub(crate) struct Slot {
    pub part: Part,
    /// Ascending.
    pub feasible: Vec<u32>,
    /// Whether a sharing provider of another tree may be chosen.
    pub shared: bool,
}

pub(crate) struct Plan {
    /// Those of the spreading group first, together.
    pub slots: Vec<Slot>,
    pub spread: usize,
    pub spread_rules: Rules,
    pub root_required: Vec<u32>,
    pub root_forbidden: Vec<u32>,
}

/// A group's conditions on traits and aggregates, in numbers.
#[derive(Default)]
pub(crate) struct Rules {
    pub required: Vec<Vec<u32>>,
    pub forbidden: Vec<u32>,
    pub member_of: Vec<Vec<u32>>,
    pub not_member_of: Vec<u32>,
    /// The root that `in_tree` names; `Some(None)` when there is no such provider.
    pub tree: Option<Option<u32>>,
}

fn any(of: &[u32], sorted: &[u32]) -> bool {
    of.iter().any(|n| sorted.binary_search(n).is_ok())
}

impl Rules {
    fn new(world: &World, group: &Group) -> Result<Self, Unknown> {
        let aggregates = |names: &[String]| -> Vec<u32> {
            names.iter().filter_map(|name| world.aggregate_names.get(name)).collect()
        };
        Ok(Self {
            required: group.required.iter().map(|names| traits(world, names)).collect::<Result<_, _>>()?,
            forbidden: traits(world, &group.forbidden)?,
            member_of: group.member_of.iter().map(|names| aggregates(names)).collect(),
            not_member_of: aggregates(&group.not_member_of),
            tree: group.in_tree.map(|id| world.find(id).map(|at| world.root(at))),
        })
    }

    pub fn has_required(&self, world: &World, provider: u32) -> bool {
        self.required.iter().all(|any_of| any(any_of, world.traits(provider)))
    }

    fn has_forbidden(&self, world: &World, provider: u32) -> bool {
        any(&self.forbidden, world.traits(provider))
    }

    pub fn is_member(&self, world: &World, provider: u32) -> bool {
        self.member_of.iter().all(|any_of| any(any_of, world.aggregates(provider)))
    }

    pub fn is_excluded(&self, world: &World, provider: u32) -> bool {
        any(&self.not_member_of, world.aggregates(provider))
    }

    fn in_tree(&self, world: &World, provider: u32) -> bool {
        self.tree.is_none_or(|root| root == Some(world.root(provider)))
    }
}

fn traits(world: &World, names: &[String]) -> Result<Vec<u32>, Unknown> {
    names.iter().map(|name| world.trait_names.get(name).ok_or_else(|| Unknown::Trait(name.clone()))).collect()
}

fn wants(world: &World, group: &Group) -> Result<Vec<(u32, i64)>, Unknown> {
    group
        .resources
        .iter()
        .map(|(name, amount)| {
            let class = world.class_names.get(name).ok_or_else(|| Unknown::Class(name.clone()))?;
            Ok((class, *amount))
        })
        .collect()
}

impl Plan {
    pub fn new(world: &World, request: &Request) -> Result<Self, Unknown> {
        let mut plan = Self {
            slots: Vec::new(),
            spread: 0,
            spread_rules: Rules::default(),
            root_required: traits(world, &request.root_required)?,
            root_forbidden: traits(world, &request.root_forbidden)?,
        };
        let mut granular = Vec::new();
        for (at, group) in request.groups.iter().enumerate() {
            let (rules, wants) = (Rules::new(world, group)?, wants(world, group)?);
            if group.suffix.is_empty() {
                plan.slots.extend(wants.iter().map(|want| spread_slot(world, &rules, at, *want)));
                plan.spread = plan.slots.len();
                plan.spread_rules = rules;
            } else {
                granular.push(granular_slot(world, &rules, at, wants));
            }
        }
        // Fewest choices first: what cannot be served is seen early.
        granular.sort_by_key(|slot| slot.feasible.len());
        plan.slots.extend(granular);
        Ok(plan)
    }

    /// Roots that may anchor a candidate, ascending: those of the slot with the fewest providers.
    pub fn anchors(&self, world: &World) -> Vec<u32> {
        let Some(slot) = self.slots.iter().min_by_key(|slot| slot.feasible.len()) else { return Vec::new() };
        let mut roots: Vec<u32> = slot.feasible.iter().map(|provider| world.root(*provider)).collect();
        if slot.shared {
            roots.extend(slot.feasible.iter().flat_map(|provider| world.anchors_of(*provider)));
            roots.sort_unstable();
        }
        roots.dedup();
        roots.retain(|root| {
            let traits = world.traits(*root);
            self.root_required.iter().all(|t| traits.binary_search(t).is_ok())
                && !any(&self.root_forbidden, traits)
        });
        roots
    }
}

fn granular_slot(world: &World, rules: &Rules, group: usize, wants: Vec<(u32, i64)>) -> Slot {
    let suits = |provider: &u32| {
        wants.iter().all(|(class, amount)| {
            world.inventory(*provider, *class).is_some_and(|inventory| inventory.fits(*amount))
        }) && rules.in_tree(world, *provider)
            && rules.has_required(world, *provider)
            && !rules.has_forbidden(world, *provider)
            && rules.is_member(world, *provider)
            && !rules.is_excluded(world, *provider)
    };
    let rarest = wants.iter().map(|(class, _)| world.having(*class)).min_by_key(|list| list.len());
    let feasible = match rarest {
        Some(list) => list.map(|(provider, _)| provider).filter(suits).collect(),
        None => (0..world.len() as u32).filter(suits).collect(),
    };
    Slot { part: Part { group, wants }, feasible, shared: true }
}

fn spread_slot(world: &World, rules: &Rules, group: usize, want: (u32, i64)) -> Slot {
    let (class, amount) = want;
    let feasible = world
        .having(class)
        .filter(|(provider, inventory)| {
            inventory.fits(amount)
                && rules.in_tree(world, *provider)
                && !rules.has_forbidden(world, *provider)
        })
        .map(|(provider, _)| provider)
        .collect();
    Slot { part: Part { group, wants: vec![want] }, feasible, shared: rules.tree.is_none() }
}

/// Providers that by themselves have all that the group asks for, ascending.
pub fn providers(world: &World, group: &Group) -> Result<Vec<u32>, Unknown> {
    Ok(granular_slot(world, &Rules::new(world, group)?, 0, wants(world, group)?).feasible)
}
