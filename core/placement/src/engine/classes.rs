//! The classes that are kept, for one scorer. Forgetting one costs time, never another answer.

use super::class::Class;
use super::hash::QuickMap;
use crate::{Fleet, PluginUse, Request};

/// Scores that are kept, over all classes: 4 bytes each.
const MAX_SCORES: usize = 32 << 20;
/// Classes that are kept at most, and at least whatever the size of the fleet.
const MAX_CLASSES: usize = 1024;
const MIN_CLASSES: usize = 8;

#[derive(Default)]
pub(super) struct Classes {
    /// Whose scores these are.
    scorer: Option<PluginUse>,
    classes: Vec<Class>,
    /// By hash; classes with equal hashes are told apart by their shape.
    by_hash: QuickMap<u64, Vec<usize>>,
    clock: u64,
}

impl Classes {
    /// Forgets everything when another scorer, or another configuration of it, is asked.
    pub(super) fn belong_to(&mut self, scorer: &PluginUse) {
        if self.scorer.as_ref() != Some(scorer) {
            self.forget();
            self.scorer = Some(scorer.clone());
        }
    }

    pub(super) fn forget(&mut self) {
        self.classes.clear();
        self.by_hash.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The place of a request's class; `quick` is its hash.
    pub(super) fn find(&self, request: &Request, quick: u64) -> Option<usize> {
        self.by_hash.get(&quick)?.iter().copied().find(|at| self.classes[*at].shape.is(request))
    }

    /// The class at a place, which is now in use.
    pub(super) fn at(&mut self, at: usize) -> &mut Class {
        self.clock += 1;
        let class = &mut self.classes[at];
        class.used = self.clock;
        class
    }

    pub(super) fn add(&mut self, class: Class, fleet: &Fleet) -> usize {
        let most = (MAX_SCORES / fleet.hosts.len().max(1)).clamp(MIN_CLASSES, MAX_CLASSES);
        let at = if self.classes.len() < most {
            self.classes.len()
        } else {
            // Nothing but the oldest is looked for, so a scan of at most a thousand numbers does.
            let oldest = self.classes.iter().enumerate().min_by_key(|(_, class)| class.used);
            oldest.map_or(0, |(at, _)| at)
        };
        if let Some(old) = self.classes.get(at) {
            let same = self.by_hash.entry(old.quick).or_default();
            same.retain(|other| *other != at);
            if same.is_empty() {
                self.by_hash.remove(&self.classes[at].quick);
            }
        }
        self.by_hash.entry(class.quick).or_default().push(at);
        if at < self.classes.len() {
            self.classes[at] = class;
        } else {
            self.classes.push(class);
        }
        at
    }
}
