//! A small file system, to fill up.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted when dropped, however the test ends.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one of this size (`2m`, `4g`) on a folder; `None` where this user may not.
    pub fn tmpfs(dir: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a folder");
        let options = format!("size={size},mode=0711");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }

    /// Gives it another size, not below what is used.
    pub fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "the file system can be {size}");
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let filler = self.0.join("filler");
        let written =
            std::fs::File::create(&filler).map(|mut file| std::io::copy(&mut std::io::repeat(0), &mut file));
        assert!(!matches!(written, Ok(Ok(_))), "it is full");
    }

    /// Takes away what [`Self::fill`] put there.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler");
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
