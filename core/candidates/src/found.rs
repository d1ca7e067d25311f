//! What a search has found. A candidate is kept as what was chosen, one number a choice: an answer may hold thousands
//! of candidates, and most of what one says, it says like all the others.

use crate::world::World;

/// One choice that each candidate has made: all of a suffixed group, or one class of the group that may spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub group: usize,
    /// (class, amount) taken from the chosen provider; empty for a group without resources.
    pub wants: Vec<(u32, i64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub(crate) parts: Vec<Part>,
    /// A provider for each part, candidate after candidate; no two candidates alike, by age of the anchor.
    pub(crate) chosen: Vec<u32>,
    /// The root that each candidate is for: what it takes is in that tree or shared with it.
    pub anchors: Vec<u32>,
    /// Work was stopped by [`crate::MAX_STEPS`] or [`crate::MAX_CANDIDATES`]: there may be more.
    pub cut_short: bool,
}

impl Found {
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    pub fn candidates(&self) -> impl ExactSizeIterator<Item = Candidate<'_>> {
        let chosen = self.chosen.chunks_exact(self.parts.len().max(1));
        chosen.map(|chosen| Candidate { parts: &self.parts, chosen })
    }

    /// Roots of all trees that the candidates take from, ascending.
    pub fn trees(&self, world: &World) -> Vec<u32> {
        // Trees are contiguous, and their roots come first: this order is that of the providers.
        let mut roots: Vec<u32> = self.providers().into_iter().map(|one| world.root(one)).collect();
        roots.dedup();
        roots
    }

    /// Whom the candidates take from, ascending.
    pub fn providers(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self
            .candidates()
            .flat_map(|one| one.choices().filter(|(part, _)| !part.wants.is_empty()).map(|(_, by)| by))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// One way to serve the whole request. Providers and classes are numbers of the [`World`].
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    parts: &'a [Part],
    chosen: &'a [u32],
}

impl<'a> Candidate<'a> {
    fn choices(self) -> impl Iterator<Item = (&'a Part, u32)> {
        self.parts.iter().zip(self.chosen.iter().copied())
    }

    /// Leaves in `rows` what is taken: (provider, class, amount), each pair once, by provider and class.
    pub fn allocations(self, rows: &mut Vec<(u32, u32, i64)>) {
        rows.clear();
        for (part, provider) in self.choices() {
            rows.extend(part.wants.iter().map(|(class, amount)| (provider, *class, *amount)));
        }
        rows.sort_unstable();
        rows.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 = kept.2.saturating_add(next.2);
            }
            same
        });
    }

    /// Leaves in `providers` those that serve this group of the request, ascending.
    pub fn mapping(self, group: usize, providers: &mut Vec<u32>) {
        providers.clear();
        providers.extend(self.choices().filter(|(part, _)| part.group == group).map(|(_, by)| by));
        providers.sort_unstable();
        providers.dedup();
    }
}
