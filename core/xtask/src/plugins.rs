//! `cargo xtask plugins`: builds every plugin under `plugins/` and `examples/` to a component under `target/plugins`.
//!
//! The output is `target/plugins/<name>/{<component>.wasm,plugin.toml}`, whatever `CARGO_TARGET_DIR` says:
//! tests and the demo look there. Nothing is rebuilt while sources and toolchain are what they were. How to
//! get a wasm32 toolchain is in `toolchain`; wrapping is done with wit-component as a library, so that no
//! tool has to be installed.

mod stamp;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use toolchain::Toolchain;

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds what is out of date. The error says what failed and what to do.
pub fn build(root: &Path) -> Result<(), String> {
    let plugins = list(root)?;
    let toolchain = Toolchain::find()?;
    let out = root.join("target/plugins");
    let sources = ["plugins", "sdk", "examples"].map(|folder| root.join(folder));
    let stamp = stamp::of(&sources.each_ref().map(PathBuf::as_path), &toolchain.fingerprint()?)?;
    let stamp_file = out.join(".stamp");
    let complete = plugins.iter().all(|plugin| out.join(&plugin.name).join(&plugin.component).is_file());
    if complete && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }

    let scratch = root.join("target/plugins-build");
    let mut cargo = toolchain.cargo();
    cargo.current_dir(root.join("plugins"));
    cargo.args(["build", "--release", "--locked", "--lib", "--target", TARGET, "--target-dir"]).arg(&scratch);
    for plugin in &plugins {
        cargo.args(["--package", &plugin.name]);
    }
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", rustflags(root));
    run(&mut cargo)?;

    for plugin in &plugins {
        let module = scratch.join(TARGET).join("release").join(plugin.name.replace('-', "_") + ".wasm");
        let component = wrap(&module)?;
        let into = out.join(&plugin.name);
        fs::create_dir_all(&into).map_err(|e| failed("create", &into, &e))?;
        replace(&into.join(&plugin.component), &component)?;
        let manifest = plugin.folder.join("plugin.toml");
        let text = fs::read(&manifest).map_err(|e| failed("read", &manifest, &e))?;
        replace(&into.join("plugin.toml"), &text)?;
        println!("plugin {} {} KiB", plugin.name, component.len() / 1024);
    }
    replace(&stamp_file, stamp.as_bytes())
}

/// Tests the plugins' logic and the guest library on the host, without WASM.
pub fn test(root: &Path) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root.join("plugins")).args([
        "test",
        "--workspace",
        "--locked",
        "--quiet",
        "--target-dir",
    ]);
    run(cargo.arg(root.join("target/plugins-build")))
}

struct Plugin {
    name: String,
    /// File name of the component, from the manifest.
    component: String,
    folder: PathBuf,
}

/// Every folder under `plugins/` and `examples/` with a manifest, by name.
fn list(root: &Path) -> Result<Vec<Plugin>, String> {
    let mut folders = Vec::new();
    for parent in ["plugins", "examples"].map(|folder| root.join(folder)) {
        for entry in fs::read_dir(&parent).map_err(|e| failed("read", &parent, &e))? {
            folders.push(entry.map_err(|e| failed("read", &parent, &e))?.path());
        }
    }
    let mut plugins = Vec::new();
    for folder in folders {
        let manifest = folder.join("plugin.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = fs::read_to_string(&manifest).map_err(|e| failed("read", &manifest, &e))?;
        let table: toml::Table = text.parse().map_err(|e| format!("{}: {e}", manifest.display()))?;
        let field = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.map(str::to_owned).ok_or_else(|| format!("{}: `{key}` is missing", manifest.display()))
        };
        let (name, component) = (field("name")?, field("component")?);
        if folder.file_name().is_none_or(|own| own != name.as_str()) {
            return Err(format!("{}: the name is {name}, the folder's is not", manifest.display()));
        }
        plugins.push(Plugin { name, component, folder });
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plugins)
}

/// SIMD, without which scoring is five times slower; and paths that say nothing of the machine, so that
/// equal sources give equal digests.
fn rustflags(root: &Path) -> String {
    let mut flags = format!("-Ctarget-feature=+simd128 --remap-path-prefix={}=/canopy", root.display());
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))) {
        flags += &format!(" --remap-path-prefix={}=/cargo", home.display());
    }
    flags
}

/// A core module with its contract in a custom section becomes a component.
fn wrap(module: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(module).map_err(|e| failed("read", module, &e))?;
    let encoder = wit_component::ComponentEncoder::default().validate(true).module(&bytes);
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| format!("{} is no component: {e:#}", module.display()))
}

/// Whole or not at all: another process may be reading.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes).map_err(|e| failed("write", &temporary, &e))?;
    fs::rename(&temporary, path).map_err(|e| failed("write", path, &e))
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} ended with {status}")),
        Err(e) => Err(format!("{shown} could not be started: {e}")),
    }
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {verb} {}: {error}", path.display())
}
