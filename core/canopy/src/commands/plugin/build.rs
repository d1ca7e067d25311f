//! `canopy plugin build`: from a project in Rust or C to a folder that can be installed. The component is wrapped by
//! this program, so that no tool has to be installed beside the compiler.

mod c;
mod rust;

use canopy_plugin_host::Manifest;
use canopy_types::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

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

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| failed(format!("{}: {e}", path.display())))
}

fn build_in(folder: &Path) -> Result<PathBuf> {
    let manifest_text = read(&folder.join("plugin.toml"))?;
    let manifest = Manifest::parse(&manifest_text)?;
    let module = if folder.join("Cargo.toml").is_file() {
        rust::module(folder)?
    } else if folder.join("src/plugin.c").is_file() {
        c::module(folder, &manifest)?
    } else {
        let why = format!(
            "{} has neither a Cargo.toml nor a src/plugin.c: it is no project in Rust or C.",
            folder.display()
        );
        return Err(failed(why));
    };
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
