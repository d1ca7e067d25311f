//! Tools from the Python package index, each set in a virtual environment of its own.

use crate::packages;
use crate::run::{Res, failed, program, quiet};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes `folder/NAME` hold what `core/xtask/requirements/NAME.txt` says; returns its folder of programs.
pub fn tools(root: &Path, folder: &Path, name: &str) -> Res<PathBuf> {
    let requirements = root.join("core/xtask/requirements").join(name).with_extension("txt");
    let wanted = fs::read_to_string(&requirements).map_err(|e| failed("read", &requirements, &e))?;
    let own = folder.join(name);
    let programs = own.join("bin");
    let done = own.join("installed.txt");
    if fs::read_to_string(&done).is_ok_and(|have| have == wanted) {
        return Ok(programs);
    }
    packages::ensure(packages::PYTHON)?;
    fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
    // The list is put there last, and says that the rest is whole. The lock is the shell's, so it outlasts
    // us when only we are killed.
    let script = "set -e; cmp -s \"$2\" \"$1/installed.txt\" && exit 0; rm -rf \"$1\"; python3 -m venv \"$1\"; \
        \"$1/bin/pip\" install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r \"$2\"; \
        cp \"$2\" \"$1/installed.txt\"";
    let mut command = program("flock");
    command.args(["-w", "600"]).arg(folder.join(format!("{name}.lock")));
    quiet(command.args(["sh", "-c", script, "sh"]).arg(&own).arg(&requirements))?;
    Ok(programs)
}
