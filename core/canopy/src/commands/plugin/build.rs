//! `canopy plugin build`: from a Rust project to a folder that can be installed. The component is wrapped by this
//! program, so that no tool has to be installed beside Rust.

use canopy_plugin_host::Manifest;
use canopy_types::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
/// Debian's compiler, from the packages rustc-web, cargo-web, rust-web-src and lld-19: it builds the standard
/// library from source.
const DEBIAN: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/wasm-ld-19"];

#[derive(clap::Args)]
pub struct Build {
    /// The project
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) async fn build(args: &Build) -> Result<()> {
    let folder = args.folder.clone();
    let out = tokio::task::spawn_blocking(move || build_in(&folder))
        .await
        .map_err(|e| Error::internal("plugin.build", e))??;
    println!("{} can be installed: `canopy plugin check {}`", out.display(), out.display());
    Ok(())
}

fn failed(why: String) -> Error {
    Error::bad_request("plugin.build", why)
}

fn build_in(folder: &Path) -> Result<PathBuf> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| failed(format!("{}: {e}", path.display())));
    let manifest_text = read(&folder.join("plugin.toml"))?;
    let manifest = Manifest::parse(&manifest_text)?;
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
    let module = target.join(TARGET).join("release").join(name.replace('-', "_") + ".wasm");
    let bytes = fs::read(&module).map_err(|e| failed(format!("{}: {e}", module.display())))?;
    let component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| failed(format!("{} is no component: {e:#}", module.display())))?;
    let out = folder.join("dist");
    let write = || {
        fs::create_dir_all(&out)?;
        fs::write(out.join(&manifest.component), &component)?;
        fs::write(out.join("plugin.toml"), &manifest_text)
    };
    write().map_err(|e| failed(format!("{}: {e}", out.display())))?;
    Ok(out)
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
