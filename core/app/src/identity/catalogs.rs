//! Catalogs as tokens show them, made once for a state of the directory.
//!
//! A token's body is mostly its catalog, and that is the same for all tokens of a project until somebody edits services,
//! endpoints or what is shown to the project. The memory belongs to the state of the directory and goes with it.

use super::catalog::Entry;
use canopy_types::ProjectId;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Catalogs kept. Past it all are forgotten: addresses come from clients.
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
pub(super) struct Catalogs(Mutex<HashMap<Key, Arc<Catalog>>>);

impl Catalogs {
    pub fn of(
        &self,
        base: &str,
        project: Option<&ProjectId>,
        make: impl FnOnce() -> Vec<Entry>,
    ) -> Arc<Catalog> {
        let key = (base.to_owned(), project.cloned());
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Arc::clone(known);
        }
        let made = Arc::new(Catalog { entries: make(), text: OnceLock::new() });
        if base.len() <= LONGEST {
            let mut kept = lock();
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(key, Arc::clone(&made));
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
    fn each_address_and_project_has_its_own_and_they_do_not_grow_without_end() {
        let catalogs = Catalogs::default();
        let (a, b) = (ProjectId::from("a".to_owned()), ProjectId::from("b".to_owned()));
        for (base, project) in [("x", None), ("x", Some(&a)), ("x", Some(&b)), ("y", Some(&a))] {
            assert!(made(&catalogs, base, project));
            assert!(!made(&catalogs, base, project));
        }
        assert!(made(&catalogs, &"long".repeat(100), None));
        assert!(made(&catalogs, &"long".repeat(100), None));
        for n in 0..3 * KEPT {
            assert!(made(&catalogs, &format!("host-{n}"), None));
            assert!(catalogs.0.lock().unwrap().len() <= KEPT);
        }
    }
}
