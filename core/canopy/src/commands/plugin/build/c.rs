//! A core module from C: all of `src`, the guest library, and the bindings of the manifest's kind. Freestanding: no C
//! library but the guest library's, so that nothing can be imported by accident.

use super::failed;
use canopy_plugin_host::Manifest;
use canopy_types::Result;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FLAGS: [&str; 16] = [
    "--target=wasm32-unknown-unknown",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-O3",
    // Without SIMD a scorer is several times slower; without bulk memory copying would call itself.
    "-msimd128",
    "-mbulk-memory",
    "-ffreestanding",
    // The same sums natively and here.
    "-ffp-contract=off",
    "-nostdlib",
    "-Wl,--no-entry",
    // A stack that overflows ends in a trap, not in the data.
    "-Wl,--stack-first",
    "-Wl,-z,stack-size=65536",
    "-Wl,--gc-sections",
    "-Wl,--strip-all",
    "-Wl,--fatal-warnings",
];
/// Newest first, after the plain name; Debian's packages have the number in it.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=22;

pub(super) fn module(folder: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let library = Path::new("sdk/c");
    let kind = library.join(manifest.kind.as_str());
    let mut inputs = Vec::new();
    for (at, extensions) in [(Path::new("src"), &["c"][..]), (library, &["c"]), (&kind, &["c", "o"])] {
        inputs.extend(listed(folder, at, extensions)?);
    }
    let target = folder.join("target");
    fs::create_dir_all(&target).map_err(|e| failed(format!("{}: {e}", target.display())))?;
    let mut clang = Command::new(clang()?);
    clang.current_dir(folder).args(FLAGS);
    clang.arg("-isystem").arg(library.join("include")).arg("-I").arg(library).arg("-I").arg(&kind);
    clang.arg("-o").arg("target/plugin.wasm").args(inputs);
    let status = clang.status().map_err(|e| failed(format!("clang cannot be started: {e}")))?;
    if !status.success() {
        return Err(failed(format!("clang ended with {status}.")));
    }
    Ok(target.join("plugin.wasm"))
}

/// The files in a folder of the project with one of these extensions, by name.
fn listed(project: &Path, folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let unreadable = |e| {
        let hint = "`canopy plugin new --lang c` writes what belongs there";
        failed(format!("{}: {e}; {hint}", project.join(folder).display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(project.join(folder)).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let extension = Path::new(&name).extension().and_then(OsStr::to_str);
        if extension.is_some_and(|extension| extensions.contains(&extension)) {
            files.push(folder.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// `$CLANG`, else the first that can make WASM: not every vendor's can.
fn clang() -> Result<String> {
    if let Ok(named) = std::env::var("CLANG") {
        return Ok(named);
    }
    let names = std::iter::once("clang".to_owned()).chain(VERSIONS.rev().map(|n| format!("clang-{n}")));
    let makes_wasm = |name: &String| {
        let targets = Command::new(name).arg("--print-targets").stderr(Stdio::null()).output();
        targets.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("wasm32"))
    };
    names.into_iter().find(makes_wasm).ok_or_else(|| {
        let why =
            "No clang here builds for wasm32: install Debian's clang-19 and lld-19, or name one in CLANG.";
        failed(why.to_owned())
    })
}
