//! What is asked for.

use canopy_types::ProviderId;
use std::fmt;

/// What one provider, or with an empty suffix the providers of one tree, must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Empty: the classes may come from several providers of a tree. Otherwise all come from one.
    pub suffix: String,
    /// Distinct classes, amounts from 1. Empty for a group that only marks a place in the tree.
    pub resources: Vec<(String, i64)>,
    /// One trait of each inner list.
    pub required: Vec<Vec<String>>,
    pub forbidden: Vec<String>,
    /// One aggregate of each inner list.
    pub member_of: Vec<Vec<String>>,
    pub not_member_of: Vec<String>,
    /// Only providers of the tree that this one is in.
    pub in_tree: Option<ProviderId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub groups: Vec<Group>,
    /// No two groups with a suffix may share a provider.
    pub isolate: bool,
    /// Traits of the anchor itself.
    pub root_required: Vec<String>,
    pub root_forbidden: Vec<String>,
    /// Sets of indices into `groups`: one of the set's providers is an ancestor of all the others.
    pub same_subtree: Vec<Vec<usize>>,
    /// At most one provider of each tree: for callers that know no trees.
    pub flat: bool,
    /// At most so many candidates.
    pub limit: Option<usize>,
    /// At most so many of one anchor: 1 tells which trees can serve the request, and how, in the time that takes.
    pub per_anchor: Option<usize>,
}

/// A name that no trait or resource class has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    Class(String),
    Trait(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name) => write!(f, "No such resource class {name}."),
            Self::Trait(name) => write!(f, "No such trait(s): {name}."),
        }
    }
}

impl std::error::Error for Unknown {}
