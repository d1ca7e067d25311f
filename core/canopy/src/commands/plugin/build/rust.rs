//! A core module from a Rust crate.

use super::{failed, read};
use canopy_types::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's compiler, from the packages rustc-web, cargo-web, rust-web-src and lld-19: it builds the standard
/// library from source.
const DEBIAN: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/wasm-ld-19"];

pub(super) fn module(folder: &Path) -> Result<PathBuf> {
    let package: toml::Table = read(&folder.join("Cargo.toml"))?
        .parse()
        .map_err(|e| failed(format!("{}: {e}", folder.join("Cargo.toml").display())))?;
    let name = package.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.ok_or_else(|| failed("Cargo.toml names no package.".to_owned()))?;
    let target = folder.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let mut cargo = cargo()?;
    cargo.current_dir(folder).args(["build", "--release", "--lib", "--target", TARGET]);
    // Without SIMD a scorer is about five times slower.
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Ctarget-feature=+simd128");
    let status = cargo.status().map_err(|e| failed(format!("cargo cannot be started: {e}")))?;
    if !status.success() {
        return Err(failed(format!("cargo ended with {status}.")));
    }
    Ok(target.join(TARGET).join("release").join(name.replace('-', "_") + ".wasm"))
}

/// The active toolchain when it has the target, else Debian's.
fn cargo() -> Result<Command> {
    let rustc = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let has_target = rustc.is_ok_and(|output| {
        output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
    });
    if has_target {
        return Ok(Command::new("cargo"));
    }
    let [rustc, cargo, linker] = DEBIAN;
    if !DEBIAN.iter().all(|tool| Path::new(tool).exists()) {
        return Err(failed(format!(
            "No Rust toolchain here builds for {TARGET}: run `rustup target add {TARGET}`, or install Debian's rustc-web, cargo-web, rust-web-src and lld-19."
        )));
    }
    let mut command = Command::new(cargo);
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    for inherited in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        command.env_remove(inherited);
    }
    command.arg("-Zbuild-std=std,panic_abort");
    Ok(command)
}
