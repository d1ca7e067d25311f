//! `canopy plugin new`: a project that builds, tests and passes `check` as it stands, with the SDK of this very
//! version in it: nothing to look for, nothing that drifts.

mod c;
mod rust;

use canopy_types::{Error, Result};
use clap::ValueEnum;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct New {
    /// Folder to make; its name is the plugin's
    folder: PathBuf,
    /// What it decides
    #[arg(long)]
    kind: Kind,
    /// What it is written in; sdk/README.md has recipes for others
    #[arg(long, default_value = "rust")]
    lang: Lang,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Scheduler,
    Quota,
    Network,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lang {
    Rust,
    C,
}

/// A path within the project, and what is there.
type File = (String, Vec<u8>);

/// Files of the checkout, by their paths below `sdk/`.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../../../sdk/", $path)))),*]
    };
}
use sdk;

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Quota => "quota",
            Self::Network => "network",
        }
    }

    fn fill(self, text: &str, name: &str) -> String {
        text.replace("{{name}}", name).replace("{{kind}}", self.name())
    }
}

pub(super) fn new(args: &New) -> Result<()> {
    let name = args.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(1..=64).contains(&name.len())
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
    {
        let why =
            format!("{name:?} cannot name a plugin: 1 to 64 of a-z, 0-9 and -, beginning with a letter.");
        return Err(Error::bad_request("plugin.name", why));
    }
    if args.folder.exists() {
        let why = format!("{} is there already: name a new folder.", args.folder.display());
        return Err(Error::conflict("plugin.exists", why));
    }
    for (path, bytes) in files(name, args.kind, args.lang) {
        write(&args.folder.join(path), &bytes)?;
    }
    println!(
        "{} is a {} plugin; {}/README.md says how to go on",
        name,
        args.kind.name(),
        args.folder.display()
    );
    Ok(())
}

fn files(name: &str, kind: Kind, lang: Lang) -> Vec<File> {
    match lang {
        Lang::Rust => rust::files(name, kind),
        Lang::C => c::files(name, kind),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::unavailable("plugin.write", format!("{} cannot be written: {e}", path.display()))
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canopy_plugin_host::Manifest;
    use std::collections::BTreeSet;

    const KINDS: [Kind; 3] = [Kind::Scheduler, Kind::Quota, Kind::Network];

    #[test]
    fn each_project_has_a_manifest_of_its_kind_and_nothing_left_to_fill_in() {
        for (kind, lang) in KINDS.into_iter().flat_map(|kind| [(kind, Lang::Rust), (kind, Lang::C)]) {
            let files = files("my-plugin", kind, lang);
            for (path, bytes) in &files {
                let text = String::from_utf8_lossy(bytes);
                let left = ["{{name}}", "{{kind}}"].into_iter().any(|mark| text.contains(mark));
                assert!(!left, "{kind:?} in {lang:?}: {path}");
            }
            let (_, manifest) = files.iter().find(|(path, _)| path == "plugin.toml").unwrap();
            let manifest = Manifest::parse(std::str::from_utf8(manifest).unwrap()).unwrap();
            assert_eq!((manifest.name.as_str(), manifest.kind.as_str()), ("my-plugin", kind.name()));
            manifest.configure(serde_json::Value::Null).unwrap();
        }
    }

    fn below(folder: &Path, found: &mut BTreeSet<String>) {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        for entry in fs::read_dir(sdk.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                below(&path, found);
            } else {
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }

    /// The contract that the bindings in `sdk/c` were made from, by its digest. When this fails: run
    /// `wit-bindgen c --world WORLD --out-dir sdk/c/KIND sdk/wit/KIND/v1` (0.60), then write the digest here.
    #[test]
    fn the_c_bindings_are_made_from_the_contract_as_it_is() {
        use sha2::Digest;
        for (kind, contract, digest) in [
            (
                "network",
                include_bytes!("../../../../../sdk/wit/network/v1/network.wit").as_slice(),
                "1f838f16b5229582e7ed604ed0298f4e7dd9ca3b39a7b04d29f54472f3c73b04",
            ),
            (
                "quota",
                include_bytes!("../../../../../sdk/wit/quota/v1/quota.wit"),
                "6b55049b5871ee176a2357c280cd19edb0ee9f9b94a7652910902f562e322f4f",
            ),
            (
                "scheduler",
                include_bytes!("../../../../../sdk/wit/scheduler/v1/scheduler.wit"),
                "6421c3d282e4c82b94bcc0180365bd31739adae61f12563b1528a0c7b7cf14d5",
            ),
        ] {
            let now: String = sha2::Sha256::digest(contract).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(now, digest, "the bindings of {kind} in sdk/c are of another contract");
        }
    }

    #[test]
    fn no_file_of_the_guest_libraries_is_left_out() {
        let (mut rust, mut c) = (BTreeSet::new(), BTreeSet::new());
        below(Path::new("rust/src"), &mut rust);
        below(Path::new("c"), &mut c);
        below(Path::new("wit"), &mut rust);
        below(Path::new("wit"), &mut c);
        let listed: BTreeSet<String> = rust::SDK.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, rust);
        let listed: BTreeSet<String> =
            KINDS.into_iter().flat_map(c::library).map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, c);
    }

    #[test]
    fn a_folder_is_made_once_and_its_name_is_a_plugins() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, lang| new(&New { folder: dir.path().join(name), kind: Kind::Quota, lang });
        make("quota-mine", Lang::Rust).unwrap();
        assert!(dir.path().join("quota-mine/sdk/wit/quota/v1/quota.wit").is_file());
        make("quota-c", Lang::C).unwrap();
        assert!(dir.path().join("quota-c/src/plugin.c").is_file());
        assert_eq!(make("quota-mine", Lang::C).unwrap_err().code, "plugin.exists");
        for name in ["Mine", "9lives", "a_b"] {
            assert_eq!(make(name, Lang::Rust).unwrap_err().code, "plugin.name", "{name}");
        }
    }
}
