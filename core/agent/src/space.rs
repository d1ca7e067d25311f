//! How much room the agent's file system has, and the one message for too little.

use canopy_types::{Error, Kind};
use std::path::Path;

const GIB: u64 = 1 << 30;

/// Left free always, for the agent's own records: 64 MiB.
pub const RESERVE: u64 = 64 << 20;

/// Bytes that an unprivileged writer may still use. Blocking, but short.
pub fn free(path: &Path) -> Result<u64, Error> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|e| Error::internal("agent.statvfs", e))?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Size of the file system, in whole GiB.
pub fn total_gib(path: &Path) -> Result<i64, Error> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|e| Error::internal("agent.statvfs", e))?;
    Ok(i64::try_from(stat.blocks().saturating_mul(stat.fragment_size()) / GIB).unwrap_or(i64::MAX))
}

/// Whether `needed` bytes fit beside the reserve.
pub fn check(needed: u64, free: u64) -> Result<(), Error> {
    if needed.saturating_add(RESERVE) <= free {
        return Ok(());
    }
    Err(Error::new(
        Kind::StorageFull,
        "agent.disk_full",
        format!("The host's disk is full: {} needed, {} free.", text(needed), text(free)),
    ))
}

/// `5 GiB`, `3.2 GiB`, `300 MiB`.
fn text(bytes: u64) -> String {
    if bytes < GIB {
        return format!("{} MiB", bytes >> 20);
    }
    let tenths = u128::from(bytes) * 10 / u128::from(GIB);
    if tenths.is_multiple_of(10) {
        format!("{} GiB", tenths / 10)
    } else {
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_in_the_users_units() {
        assert!(check(GIB, 2 * GIB).is_ok());
        let error = check(5 * GIB, 3 * GIB).expect_err("too little");
        assert_eq!(error.kind, Kind::StorageFull);
        assert_eq!(error.message, "The host's disk is full: 5 GiB needed, 3 GiB free.");
        assert!(check(u64::MAX - 1, u64::MAX - 2).is_err(), "no overflow");
        assert_eq!(text(GIB + GIB / 2), "1.5 GiB");
        assert_eq!(text(300 << 20), "300 MiB");
    }

    #[test]
    fn the_file_system_answers() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path()).unwrap() > 0);
        assert!(free(Path::new("/nowhere/at/all")).is_err());
    }
}
