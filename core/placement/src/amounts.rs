//! Amounts that many share: a request is told on, reserved, written down and given back without being copied.

use canopy_types::resources::Amounts;
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Iter;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Cheap to clone; changing one leaves its clones as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedAmounts(Arc<Amounts>);

impl Deref for SharedAmounts {
    type Target = Amounts;

    fn deref(&self) -> &Amounts {
        &self.0
    }
}

impl DerefMut for SharedAmounts {
    fn deref_mut(&mut self) -> &mut Amounts {
        Arc::make_mut(&mut self.0)
    }
}

impl<A: Into<Amounts>> From<A> for SharedAmounts {
    fn from(amounts: A) -> Self {
        Self(Arc::new(amounts.into()))
    }
}

impl FromIterator<(String, i64)> for SharedAmounts {
    fn from_iter<I: IntoIterator<Item = (String, i64)>>(amounts: I) -> Self {
        Self(Arc::new(amounts.into_iter().collect()))
    }
}

impl<'a> IntoIterator for &'a SharedAmounts {
    type Item = (&'a String, &'a i64);
    type IntoIter = Iter<'a, String, i64>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
