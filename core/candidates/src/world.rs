//! What all providers offer, at one revision, as columns.
//!
//! Trees are contiguous: a root is followed by the rest of its tree, so "in this tree" is a range. Roots
//! come in the order in which they were made.

use canopy_types::ProviderId;
use canopy_types::resources::SHARES_VIA_AGGREGATE;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// One provider as a [`World`] is built from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub id: ProviderId,
    /// The order among siblings and among roots.
    pub number: i64,
    pub parent: Option<ProviderId>,
    pub root: ProviderId,
    pub traits: Vec<String>,
    pub aggregates: Vec<String>,
    pub stock: Vec<Stock>,
}

/// What a provider has of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    pub class: String,
    pub inventory: Inventory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inventory {
    pub capacity: i64,
    pub used: i64,
    pub min_unit: i64,
    pub max_unit: i64,
    /// From 1.
    pub step_size: i64,
}

impl Inventory {
    pub fn fits(&self, amount: i64) -> bool {
        amount >= self.min_unit && amount % self.step_size.max(1) == 0 && self.holds(amount)
    }

    /// Whether several groups' amounts together find room.
    pub fn holds(&self, amount: i64) -> bool {
        amount <= self.max_unit && self.used.saturating_add(amount) <= self.capacity
    }
}

/// Names as numbers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    list: Vec<String>,
    index: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(found) = self.index.get(name) {
            return *found;
        }
        let number = self.list.len() as u32;
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), number);
        number
    }

    pub fn get(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    pub fn name(&self, number: u32) -> &str {
        self.list.get(number as usize).map_or("", String::as_str)
    }
}

/// What one provider has of one class.
#[derive(Clone, Debug)]
struct Row {
    provider: u32,
    class: u32,
    inventory: Inventory,
}

#[derive(Clone, Debug, Default)]
pub struct World {
    pub(crate) ids: Vec<ProviderId>,
    pub(crate) parents: Vec<Option<u32>>,
    pub(crate) roots: Vec<u32>,
    /// For a root: the end of its tree. For others unused.
    ends: Vec<u32>,
    pub(crate) traits: Vec<Vec<u32>>,
    pub(crate) aggregates: Vec<Vec<u32>>,
    /// Of all providers, by provider and class: a search reads much of it, in this order.
    stock: Vec<Row>,
    /// Where each provider's stock ends; it begins where the one's before ends.
    stock_ends: Vec<u32>,
    /// Where the inventories of a class are in the stock, ascending.
    by_class: Vec<Vec<u32>>,
    index: HashMap<ProviderId, u32>,
    /// Sharing provider → the roots of trees with a member in one of its aggregates, ascending.
    anchors: BTreeMap<u32, Vec<u32>>,
    /// Root → sharing providers of other trees that serve it.
    shared: HashMap<u32, Vec<u32>>,
    pub class_names: Names,
    pub trait_names: Names,
    pub aggregate_names: Names,
}

impl World {
    /// `classes` and `traits` are all names there are, whether or not a provider has them. An offer whose
    /// root is not among the offers is left out.
    pub fn new<'a>(
        offers: impl IntoIterator<Item = &'a Offer>,
        classes: impl IntoIterator<Item = &'a str>,
        traits: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut world = Self::default();
        for name in classes {
            world.class_names.number(name);
        }
        for name in traits {
            world.trait_names.number(name);
        }
        let mut offers: Vec<&Offer> = offers.into_iter().collect();
        let numbers: HashMap<ProviderId, i64> = offers.iter().map(|offer| (offer.id, offer.number)).collect();
        offers.retain(|offer| numbers.contains_key(&offer.root));
        let order = |offer: &Offer| (numbers.get(&offer.root).copied(), offer.id != offer.root, offer.number);
        offers.sort_by_key(|offer| order(offer));
        for (at, offer) in offers.iter().enumerate() {
            world.index.insert(offer.id, at as u32);
        }
        for offer in &offers {
            world.push(offer);
        }
        world.link_shared();
        world
    }

    fn push(&mut self, offer: &Offer) {
        let at = self.ids.len() as u32;
        self.ids.push(offer.id);
        self.parents.push(offer.parent.and_then(|parent| self.index.get(&parent).copied()));
        let root = self.index.get(&offer.root).copied().unwrap_or(at);
        self.roots.push(root);
        self.ends.push(at + 1);
        if let Some(end) = self.ends.get_mut(root as usize) {
            *end = at + 1;
        }
        let mut traits: Vec<u32> = offer.traits.iter().map(|name| self.trait_names.number(name)).collect();
        traits.sort_unstable();
        self.traits.push(traits);
        let mut aggregates: Vec<u32> =
            offer.aggregates.iter().map(|name| self.aggregate_names.number(name)).collect();
        aggregates.sort_unstable();
        self.aggregates.push(aggregates);
        let own = self.stock.len();
        for Stock { class, inventory } in &offer.stock {
            let class = self.class_names.number(class);
            self.stock.push(Row { provider: at, class, inventory: *inventory });
        }
        self.stock[own..].sort_by_key(|row| row.class);
        self.stock_ends.push(self.stock.len() as u32);
        self.by_class.resize(self.by_class.len().max(self.class_names.list.len()), Vec::new());
        for (place, row) in self.stock.iter().enumerate().skip(own) {
            self.by_class[row.class as usize].push(place as u32);
        }
    }

    fn link_shared(&mut self) {
        let Some(sharing) = self.trait_names.get(SHARES_VIA_AGGREGATE) else { return };
        let mut roots_of: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        for (at, aggregates) in self.aggregates.iter().enumerate() {
            for aggregate in aggregates {
                roots_of.entry(*aggregate).or_default().insert(self.roots[at]);
            }
        }
        for at in 0..self.ids.len() {
            if self.traits[at].binary_search(&sharing).is_err() {
                continue;
            }
            let found: BTreeSet<u32> = self.aggregates[at]
                .iter()
                .filter_map(|aggregate| roots_of.get(aggregate))
                .flatten()
                .copied()
                .collect();
            for root in found.iter().filter(|root| **root != self.roots[at]) {
                self.shared.entry(*root).or_default().push(at as u32);
            }
            self.anchors.insert(at as u32, found.into_iter().collect());
        }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn find(&self, id: ProviderId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    pub fn id(&self, provider: u32) -> ProviderId {
        self.ids[provider as usize]
    }

    pub fn root(&self, provider: u32) -> u32 {
        self.roots[provider as usize]
    }

    pub fn parent(&self, provider: u32) -> Option<u32> {
        self.parents[provider as usize]
    }

    pub fn tree(&self, root: u32) -> Range<u32> {
        root..self.ends[root as usize]
    }

    /// Numbers of the provider's traits, ascending.
    pub fn traits(&self, provider: u32) -> &[u32] {
        &self.traits[provider as usize]
    }

    /// Numbers of the provider's aggregates, ascending.
    pub fn aggregates(&self, provider: u32) -> &[u32] {
        &self.aggregates[provider as usize]
    }

    fn rows(&self, provider: u32) -> Range<usize> {
        let end_of = |at: u32| self.stock_ends[at as usize] as usize;
        provider.checked_sub(1).map_or(0, end_of)..end_of(provider)
    }

    /// The provider's inventories by the number of their class.
    pub fn stock(&self, provider: u32) -> impl Iterator<Item = (u32, &Inventory)> {
        self.stock[self.rows(provider)].iter().map(|row| (row.class, &row.inventory))
    }

    /// Counts what somebody is about to take. Nothing happens where there is no such inventory.
    pub fn take(&mut self, provider: u32, class: u32, amount: i64) {
        let own = self.rows(provider);
        for row in self.stock[own].iter_mut().filter(|row| row.class == class) {
            row.inventory.used = row.inventory.used.saturating_add(amount);
        }
    }

    pub fn inventory(&self, provider: u32, class: u32) -> Option<&Inventory> {
        self.stock(provider).find(|(known, _)| *known == class).map(|(_, inventory)| inventory)
    }

    /// Who has an inventory of the class, ascending, and which.
    pub fn having(&self, class: u32) -> impl ExactSizeIterator<Item = (u32, &Inventory)> {
        let places = self.by_class.get(class as usize).map_or(&[][..], Vec::as_slice);
        places.iter().map(|place| {
            let row = &self.stock[*place as usize];
            (row.provider, &row.inventory)
        })
    }

    /// The roots that a provider serves by sharing; none if it does not share.
    pub(crate) fn anchors_of(&self, provider: u32) -> &[u32] {
        self.anchors.get(&provider).map_or(&[], Vec::as_slice)
    }

    /// Providers of other trees that share with this root's tree.
    pub(crate) fn shared_with(&self, root: u32) -> &[u32] {
        self.shared.get(&root).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn shares(&self, provider: u32) -> bool {
        self.anchors.contains_key(&provider)
    }
}
