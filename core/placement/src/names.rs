//! A set of names that many hosts share: cheap to clone, and stored as a plain list.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// Traits or aggregates of a host. Equal hosts should share one by cloning it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NameSet(Arc<BTreeSet<String>>);

static EMPTY: LazyLock<NameSet> = LazyLock::new(|| NameSet(Arc::default()));

impl Default for NameSet {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl NameSet {
    /// The same for sets that share their names, and for no others that live at the same time.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }
}

impl std::fmt::Debug for NameSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Deref for NameSet {
    type Target = BTreeSet<String>;

    fn deref(&self) -> &BTreeSet<String> {
        &self.0
    }
}

impl<S: Into<String>> FromIterator<S> for NameSet {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).collect()))
    }
}

impl Serialize for NameSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NameSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::deserialize(deserializer).map(|names| Self(Arc::new(names)))
    }
}
