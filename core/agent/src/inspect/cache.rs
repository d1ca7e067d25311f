//! The host's image cache. Images that nobody needs now are no finding: that is what a cache is for.

use super::finding;
use crate::images::{Images, digest_of};
use crate::shared::Shared;
use crate::{domain, files, record};
use canopy_agent_api::{Blob, Desired, HostFinding, HostKind, HostProblem};
use canopy_types::Error;
use canopy_types::effect::effect;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

pub async fn look(shared: &Arc<Shared>, desired: &Desired) -> Result<Vec<HostFinding>, Error> {
    let (shared, referenced) = (Arc::clone(shared), referenced(desired));
    let bases = bases(desired);
    files::blocking(move || {
        let records = record::scan(&shared.config.state_dir)?;
        // A disk that was made needs what it stands on; everything else is fetched when it is needed.
        let made: BTreeSet<_> = records.iter().filter(|record| record.power_n > 0).map(|r| r.id).collect();
        let mut found = Vec::new();
        for (digest, blob) in &referenced {
            let needed = bases.get(digest).is_some_and(|servers| servers.iter().any(|id| made.contains(id)));
            found.extend(one(&shared.images, blob, needed)?);
        }
        for name in shared.images.left_over()? {
            let detail = "an interrupted fetch has left it";
            found.push(finding(HostKind::ImageCache, HostProblem::Extra, name, detail, true));
        }
        Ok(found)
    })
    .await
}

fn one(images: &Images, blob: &Blob, needed: bool) -> Result<Option<HostFinding>, Error> {
    let say = |problem, detail: String| {
        Ok(Some(finding(HostKind::ImageCache, problem, &blob.digest, detail, true)))
    };
    let Some(metadata) = files::kind(&images.path(blob)?)? else {
        return match needed {
            true => say(HostProblem::Missing, "disks stand on the image and it is not there".into()),
            false => Ok(None),
        };
    };
    if !metadata.is_file() || i64::try_from(metadata.len()) != Ok(blob.size) {
        return say(
            HostProblem::Changed,
            format!("the image has {} bytes and not {}", metadata.len(), blob.size),
        );
    }
    if metadata.permissions().mode() & 0o222 != 0 {
        return say(HostProblem::Changed, "the image can be written to, and perhaps was".into());
    }
    Ok(None)
}

/// Fetches what is missing or not what its name says, and removes what is left over.
pub async fn mend(shared: &Arc<Shared>, desired: &Desired, finding: &HostFinding) -> Result<(), Error> {
    if finding.problem == HostProblem::Extra {
        return shared.images.remove_left_over(&finding.subject).await;
    }
    let Some(blob) = referenced(desired).remove(&finding.subject) else { return Ok(()) };
    if finding.problem == HostProblem::Changed && shared.images.has(&blob) {
        let path = shared.images.path(&blob)?;
        let same = files::blocking({
            let path = path.clone();
            move || digest_of(&path)
        })
        .await?
            == blob.digest;
        if same {
            return effect("agent.image.protect", files::blocking(move || files::set_mode(&path, 0o444)))
                .await;
        }
    }
    shared.images.renew(&blob).await.map(drop)
}

/// Whose disks stand on an image, by digest.
fn bases(desired: &Desired) -> BTreeMap<String, Vec<canopy_types::ServerId>> {
    let mut bases: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for spec in desired.servers.iter().filter(|spec| !spec.deleted) {
        if let Some(image) = &spec.image {
            bases.entry(image.blob.digest.clone()).or_default().push(spec.id);
        }
    }
    bases
}

fn referenced(desired: &Desired) -> BTreeMap<String, Blob> {
    let live = desired.servers.iter().filter(|spec| !spec.deleted);
    live.flat_map(|spec| domain::blobs(spec)).map(|blob| (blob.digest.clone(), blob.clone())).collect()
}
