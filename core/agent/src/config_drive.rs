//! The config drive: an ISO 9660 image with the guest's metadata, made once in this process.
//!
//! Written only when it is missing, because the guest may already have used what is on it (its seed
//! above all). Mode 0600: it holds user data and the seed; libvirt gives it to QEMU's user.

use crate::metadata::content::GuestData;
use crate::record::ServerDir;
use crate::{files, images::Images, iso9660};
use canopy_agent_api::{NetworkSpec, ServerSpec};
use canopy_types::Error;
use canopy_types::effect::effect;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// cloud-init looks for this label.
const LABEL: &str = "config-2";
/// Where an image describes itself, in bytes.
const DESCRIPTOR: u64 = 16 * 2_048;
/// As nova gives: 512 bytes.
const SEED: usize = 512;

pub async fn write(
    spec: &ServerSpec,
    networks: &[NetworkSpec],
    dir: &ServerDir,
    images: &Images,
) -> Result<(), Error> {
    let guest = GuestData::new(Arc::new(spec.clone()), Arc::new(networks.to_vec()));
    let mut seed = [0; SEED];
    getrandom::fill(&mut seed).map_err(|e| Error::internal("agent.entropy", e.to_string()))?;
    let path = dir.config_drive();
    let image = files::blocking(move || iso9660::build(LABEL, &guest.config_drive(&seed))).await?;
    images.make_room(image.len() as u64).await?;
    effect("agent.config_drive.write", files::blocking(move || files::replace(&path, &image, 0o600))).await
}

/// Whether a file is an ISO 9660 image with our label. Blocking.
pub fn is_one(path: &Path) -> Result<bool, Error> {
    let failed = |e| files::error("read", path, e);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(DESCRIPTOR)).map_err(failed)?;
    let mut head = [0; 72];
    match file.read_exact(&mut head) {
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read.map_err(failed)?,
    }
    // The volume's name stands padded behind two names of 32 and 8 characters.
    Ok(&head[1..6] == b"CD001" && head[40..].trim_ascii_end() == LABEL.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::testing::{self, FakeController};
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_drive_is_private_and_holds_the_guests_metadata() {
        let state = tempfile::tempdir().unwrap();
        let images = Images::new(state.path(), Arc::new(FakeController::default()), 1);
        images.open().unwrap();
        let (spec, networks) = testing::spec_with_network();
        let dir = ServerDir::new(state.path(), spec.id);
        dir.save(&Record::new(spec.id, "boot")).await.unwrap();
        write(&spec, &networks, &dir, &images).await.unwrap();
        let mode = std::fs::metadata(dir.config_drive()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(is_one(&dir.config_drive()).unwrap());
        let other = state.path().join("other");
        for bytes in [b"short".to_vec(), vec![0; 64 << 10]] {
            std::fs::write(&other, bytes).unwrap();
            assert!(!is_one(&other).unwrap());
        }
        let files = iso9660::reader::files(&std::fs::read(dir.config_drive()).unwrap(), 16);
        let meta = &files["openstack/latest/meta_data.json"];
        assert!(String::from_utf8_lossy(meta).contains(&spec.id.to_string()));
        assert!(files.contains_key("ec2/latest/meta-data.json"));
    }
}
