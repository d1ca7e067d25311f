//! Catalogs as tokens show them, made once for a state of the directory.
//!
//! A token's body is mostly its catalog, and that is the same for all tokens of a project until somebody edits services,
//! endpoints or what is shown to the project. The memory belongs to the state of the directory and goes with it.

use super::catalog::Entry;
use super::memo::Memo;
use canopy_types::ProjectId;
use serde_json::value::RawValue;
use std::sync::{Arc, OnceLock};

/// Catalogs kept.
const KEPT: usize = 256;
/// Bytes of an address; a catalog of a longer one is not kept.
const LONGEST: usize = 256;

pub struct Catalog {
    entries: Vec<Entry>,
    text: OnceLock<Box<RawValue>>,
}

impl Catalog {
    /// The catalog as `write` writes it, which is asked once.
    pub fn text<E>(&self, write: impl FnOnce(&[Entry]) -> Result<Box<RawValue>, E>) -> Result<&RawValue, E> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let text = write(&self.entries)?;
        Ok(self.text.get_or_init(|| text))
    }
}

/// The address that a client reached us at, and its project.
type Key = (String, Option<ProjectId>);

#[derive(Default)]
pub(super) struct Catalogs(Memo<Key, Catalog, KEPT>);

impl Catalogs {
    pub fn of(
        &self,
        base: &str,
        project: Option<&ProjectId>,
        make: impl FnOnce() -> Vec<Entry>,
    ) -> Arc<Catalog> {
        let key = (base.to_owned(), project.cloned());
        if let Some(known) = self.0.get(&key) {
            return known;
        }
        let made = Arc::new(Catalog { entries: make(), text: OnceLock::new() });
        if base.len() <= LONGEST {
            self.0.keep(key, Arc::clone(&made));
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(catalogs: &Catalogs, base: &str, project: Option<&ProjectId>) -> bool {
        let mut made = false;
        let catalog = catalogs.of(base, project, || {
            made = true;
            Vec::new()
        });
        let text = |text: &str| RawValue::from_string(text.to_owned());
        assert_eq!(catalog.text(|_| text("[1]")).unwrap().get(), "[1]");
        assert_eq!(catalog.text(|_| text("[2]")).unwrap().get(), "[1]", "written once");
        made
    }

    #[test]
    fn each_address_and_project_has_its_own_and_a_long_address_none() {
        let catalogs = Catalogs::default();
        let (a, b) = (ProjectId::from("a".to_owned()), ProjectId::from("b".to_owned()));
        for (base, project) in [("x", None), ("x", Some(&a)), ("x", Some(&b)), ("y", Some(&a))] {
            assert!(made(&catalogs, base, project));
            assert!(!made(&catalogs, base, project));
        }
        assert!(made(&catalogs, &"long".repeat(100), None));
        assert!(made(&catalogs, &"long".repeat(100), None));
    }
}
