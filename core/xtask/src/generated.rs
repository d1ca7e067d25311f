//! Files that the program writes and git keeps: written anew, or compared with what is there.

use crate::demo::build_server;
use crate::run::{Res, failed, quiet, remove};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Generated {
    /// The folder in the checkout; it holds nothing else.
    folder: &'static str,
    /// Arguments of `canopy`, which the folder to write to is added to.
    arguments: &'static [&'static str],
}

const GENERATED: &[Generated] =
    &[Generated { folder: "core/docs/openapi", arguments: &["openapi", "--out"] }];

/// Writes all of them anew.
pub fn write(root: &Path) -> Res<()> {
    let canopy = build_server(root)?;
    GENERATED.iter().try_for_each(|generated| {
        let folder = root.join(generated.folder);
        remove(&folder)?;
        generate(&canopy, generated, &folder)
    })
}

/// Fails when one of them is not what would be written now.
pub fn check(root: &Path) -> Res<()> {
    let canopy = build_server(root)?;
    for generated in GENERATED {
        let fresh = root.join("target/generated").join(generated.folder);
        remove(&fresh)?;
        generate(&canopy, generated, &fresh)?;
        let (want, have) = (read(&fresh)?, read(&root.join(generated.folder))?);
        if let Some(stale) = want.keys().chain(have.keys()).find(|name| want.get(*name) != have.get(*name)) {
            let file = Path::new(generated.folder).join(stale);
            return Err(format!("{} is not up to date: run `cargo xtask openapi`", file.display()));
        }
    }
    Ok(())
}

fn generate(canopy: &Path, generated: &Generated, folder: &Path) -> Res<()> {
    fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
    quiet(Command::new(canopy).args(generated.arguments).arg(folder))
}

fn read(folder: &Path) -> Res<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let bytes = fs::read(&path).map_err(|e| failed("read", &path, &e))?;
        files.insert(PathBuf::from(entry.file_name()), bytes);
    }
    Ok(files)
}
