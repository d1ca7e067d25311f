//! `canopy openapi`: the documents that the route table makes.

use canopy_types::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Openapi {
    /// Folder for one document a service
    #[arg(long)]
    out: PathBuf,
    /// Only say whether the files there are fresh
    #[arg(long)]
    check: bool,
}

pub fn write(args: &Openapi) -> Result<()> {
    let bad = |path: &std::path::Path, what: &dyn std::fmt::Display| {
        Error::bad_request("openapi.file", format!("{}: {what}", path.display()))
    };
    std::fs::create_dir_all(&args.out).map_err(|e| bad(&args.out, &e))?;
    for (name, document) in canopy_api::openapi::documents() {
        let path = args.out.join(format!("{name}.json"));
        if !args.check {
            std::fs::write(&path, document).map_err(|e| bad(&path, &e))?;
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(&document) {
            return Err(bad(&path, &"is not what the route table says: run `cargo xtask openapi`"));
        }
    }
    Ok(())
}
