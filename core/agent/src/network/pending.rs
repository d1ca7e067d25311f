//! Names of ours that are in the middle of being created.
//!
//! An interface gets its name and its tag in two steps. The name is written here before the first and
//! taken out after the second, so that a name without a tag is known to be ours after a crash, and an
//! untagged thing of somebody else is never taken for ours.

use crate::files;
use crate::network::run::REFUSED;
use canopy_types::{Error, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest file, bytes: far more than one plan can have in the making.
const MAX_BYTES: u64 = 4 << 20;

/// The list on disk; small, since it is empty between two applications of a plan.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    saved: BTreeSet<String>,
    names: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    creating: BTreeSet<String>,
}

impl Pending {
    /// Reads `network.json` in the state directory. A missing file is an empty list.
    pub async fn load(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join("network.json");
        let names = files::blocking({
            let path = path.clone();
            move || {
                let Some(bytes) = files::read(&path, MAX_BYTES)? else { return Ok(BTreeSet::new()) };
                let document = serde_json::from_slice::<Document>(&bytes).map_err(|e| {
                    Error::new(
                        Kind::Internal,
                        "network.state_damaged",
                        format!("{} is damaged: look at it, then remove it.", path.display()),
                    )
                    .with_source(e)
                })?;
                Ok(document.creating)
            }
        })
        .await?;
        Ok(Self { path, saved: names.clone(), names })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Something could not be created. What has its name after a refusal was not made by us; but a program that was
    /// stopped, or whose answer was lost, may have made it.
    pub fn failed(&mut self, name: &str, error: &Error) {
        if error.code == REFUSED {
            self.remove(name);
        }
    }

    /// Keeps only the names that `keep` wants.
    pub fn retain(&mut self, keep: impl FnMut(&String) -> bool) {
        self.names.retain(keep);
    }

    pub fn add(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    pub fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Writes the list if it differs from the one on disk; durable when it returns.
    pub async fn save(&mut self) -> Result<(), Error> {
        if self.names == self.saved {
            return Ok(());
        }
        let (path, document) = (self.path.clone(), Document { creating: self.names.clone() });
        let saved = files::blocking(move || {
            let bytes =
                serde_json::to_vec(&document).map_err(|e| Error::internal("network.state_write", e))?;
            files::replace(&path, &bytes, 0o600)?;
            Ok(document.creating)
        })
        .await?;
        self.saved = saved;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn survives_a_restart_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut pending = Pending::load(dir.path()).await.unwrap();
        pending.add("cnb1");
        pending.add("cnv1");
        pending.save().await.unwrap();
        pending.remove("cnv1");
        let again = Pending::load(dir.path()).await.unwrap();
        assert!(again.contains("cnb1") && again.contains("cnv1"));
        let told = |code| Error::new(Kind::Internal, code, "The host's network could not be changed.");
        pending.failed("cnb1", &told("network.command_lost"));
        assert!(pending.contains("cnb1"), "it may be there, and ours");
        pending.failed("cnb1", &told(REFUSED));
        assert!(!pending.contains("cnb1"), "it is somebody else's");
        pending.save().await.unwrap();
        assert!(!Pending::load(dir.path()).await.unwrap().contains("cnv1"));
        std::fs::write(dir.path().join("network.json"), "{").unwrap();
        assert_eq!(Pending::load(dir.path()).await.unwrap_err().code, "network.state_damaged");
    }
}
