//! How many uploads are received at once, so that neither disk nor memory is outrun, and how many of them may
//! be one project's, so that no tenant keeps the others from uploading.

use canopy_types::{Error, ProjectId, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Uploads received at once; past it a client gets 503.
const ALL: usize = 32;
/// Of them, of one project.
const PER_PROJECT: usize = 8;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Slots(Arc<Mutex<HashMap<ProjectId, usize>>>);

/// One upload's place; free again when dropped.
pub struct Slot {
    slots: Slots,
    project: ProjectId,
}

impl Slots {
    pub fn take(&self, project: &ProjectId) -> Result<Slot> {
        let mut taken = self.lock();
        let own = taken.get(project).copied().unwrap_or(0);
        if own >= PER_PROJECT || taken.values().sum::<usize>() >= ALL {
            return Err(Error::unavailable(
                "image.busy",
                "Too many images are being uploaded. Try again when one of them is done.",
            ));
        }
        taken.insert(project.clone(), own + 1);
        Ok(Slot { slots: self.clone(), project: project.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, usize>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(count) = taken.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_leaves_room_for_others_and_all_have_a_bound() {
        let slots = Slots::default();
        let mut held = Vec::new();
        for project in ["a", "b", "c", "d"].map(ProjectId::from) {
            held.extend((0..PER_PROJECT).map(|_| slots.take(&project).unwrap()));
            assert_eq!(slots.take(&project).err().unwrap().code, "image.busy");
        }
        let other = ProjectId::from("e");
        assert_eq!(slots.take(&other).err().unwrap().code, "image.busy");
        held.pop();
        let last = slots.take(&other).unwrap();
        drop((held, last));
        assert!(slots.lock().is_empty());
    }
}
