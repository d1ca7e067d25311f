//! What each version knows: the one table of placement's versions.

use crate::version::{Microversion, v};

/// Features by the version that brought them.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// 1.1: providers link to their aggregates.
    pub aggregates: bool,
    /// 1.6: traits.
    pub traits: bool,
    /// 1.11: providers link to their allocations.
    pub allocations_link: bool,
    /// 1.12: allocations are keyed by provider, and say whose they are.
    pub keyed_allocations: bool,
    /// 1.14: trees.
    pub trees: bool,
    /// 1.15: `Last-Modified` and `Cache-Control`.
    pub modified: bool,
    /// 1.17: traits in candidates' summaries.
    pub summary_traits: bool,
    /// 1.19: aggregates carry the provider's generation.
    pub aggregate_generation: bool,
    /// 1.20: creating a provider answers with it.
    pub created_body: bool,
    /// 1.22: `!TRAIT`.
    pub forbidden_traits: bool,
    /// 1.23: error codes.
    pub error_codes: bool,
    /// 1.24: several `member_of`.
    pub several_member_of: bool,
    /// 1.26: everything may be reserved.
    pub all_reserved: bool,
    /// 1.27: summaries show classes that nobody asked for.
    pub all_classes: bool,
    /// 1.28: consumers have generations.
    pub consumer_generation: bool,
    /// 1.29: candidates within trees.
    pub nested: bool,
    /// 1.32: `!` and `!in:` in `member_of`.
    pub forbidden_aggregates: bool,
    /// 1.34: which provider serves which group.
    pub mappings: bool,
    /// 1.36: groups without resources.
    pub same_subtree: bool,
    /// 1.37: providers may move to another parent.
    pub moves: bool,
    /// 1.38: consumers have types.
    pub consumer_types: bool,
    /// 1.39: `in:` in `required`, and several of it.
    pub any_traits: bool,
}

impl Shape {
    pub fn of(version: Microversion) -> Self {
        let since = |minor| version >= v(1, minor);
        Self {
            aggregates: since(1),
            traits: since(6),
            allocations_link: since(11),
            keyed_allocations: since(12),
            trees: since(14),
            modified: since(15),
            summary_traits: since(17),
            aggregate_generation: since(19),
            created_body: since(20),
            forbidden_traits: since(22),
            error_codes: since(23),
            several_member_of: since(24),
            all_reserved: since(26),
            all_classes: since(27),
            consumer_generation: since(28),
            nested: since(29),
            forbidden_aggregates: since(32),
            mappings: since(34),
            same_subtree: since(36),
            moves: since(37),
            consumer_types: since(38),
            any_traits: since(39),
        }
    }
}
