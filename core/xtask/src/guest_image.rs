//! The small guest that demo and tests boot, made once and kept.

use crate::packages;
use crate::run::{Res, as_root, failed, is_root, quiet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest wait for another run that makes the same image, seconds.
const LOCK_SECONDS: &str = "600";

pub struct GuestImage {
    pub disk: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// The command line for direct boot; the disk's own boot loader has the same.
pub const COMMAND_LINE: &str =
    "quiet console=tty0 console=ttyS0,115200 net.ifnames=0 mitigations=off no_timer_check";

/// Makes the image in `folder` unless it is up to date.
pub fn build(root: &Path, folder: &Path) -> Res<GuestImage> {
    packages::ensure(packages::IMAGE)?;
    fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
    if quiet(&mut recipe(root, folder)).is_err() {
        // Most likely apt's lists are absent, or older than what the mirror has.
        packages::update()?;
        quiet(&mut recipe(root, folder))?;
    }
    let [disk, kernel, initrd] = ["guest.qcow2", "vmlinuz", "initrd"].map(|name| folder.join(name));
    Ok(GuestImage { disk, kernel, initrd })
}

/// The lock is held by the recipe itself, so it outlasts us when only we are killed.
fn recipe(root: &Path, folder: &Path) -> Command {
    let mut command = as_root("flock");
    command.args(["-w", LOCK_SECONDS]).arg(folder.join("lock"));
    if !is_root() {
        // sudo's own PATH may be the user's.
        command.args(["env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    }
    command.arg(root.join("examples/guest-image/build")).arg(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "downloads packages"]
    fn an_image_is_made_once() {
        let root = crate::layout::root().unwrap();
        let folder = PathBuf::from(format!("/var/tmp/canopy-image-{}", std::process::id()));
        let image = build(&root, &folder).unwrap();
        let made = |file: &Path| fs::metadata(file).unwrap().modified().unwrap();
        let before = made(&image.disk);
        build(&root, &folder).unwrap();
        assert_eq!(made(&image.disk), before);
        // Killed before the end, it is made anew.
        fs::remove_file(folder.join("stamp")).unwrap();
        build(&root, &folder).unwrap();
        assert!(made(&image.disk) > before && image.kernel.is_file() && image.initrd.is_file());
        crate::run::remove(&folder).unwrap();
    }
}
