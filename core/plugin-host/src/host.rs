//! The engine all plugins share, and loading a folder with a manifest and a component.

use crate::fault::short;
use crate::limits::Limiter;
use crate::manifest::{MAX_TEXT, Manifest};
use crate::sandbox::{TICK, World};
use crate::scheduler::WasmScorer;
use crate::{NetworkPlugin, QuotaPlugin, SchedulerPlugin};
use canopy_placement::Scorer;
use canopy_types::Error;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, EngineWeak};

/// Bytes of a component; guests that carry an interpreter have some 20 MiB.
const MAX_COMPONENT: usize = 64 << 20;
/// Bytes of stack that guest code may use.
const GUEST_STACK: usize = 512 << 10;

/// Loads plugins. Cheap to clone; the engine ends with the last plugin.
#[derive(Clone)]
pub struct PluginHost {
    engine: Engine,
    /// Whether instructions are counted, and limited instead of time.
    fuel: bool,
}

/// A component that may run: its imports are none, its exports those of `W`.
pub(crate) struct Loaded<W: World> {
    pub(crate) manifest: Manifest,
    /// sha256 in lower-case hex.
    pub(crate) digest: String,
    /// What `init` gets.
    pub(crate) config: String,
    pub(crate) engine: Engine,
    pub(crate) fuel: bool,
    pub(crate) pre: W::Pre,
}

impl PluginHost {
    /// Starts the engine and the thread by which deadlines are kept.
    pub fn new() -> Result<Self, Error> {
        Self::with(false)
    }

    /// A host whose guests are limited by instructions instead of time, so that the same question always ends
    /// the same way. Slower; for replay and for tests.
    pub fn counting() -> Result<Self, Error> {
        Self::with(true)
    }

    fn with(fuel: bool) -> Result<Self, Error> {
        let mut config = Config::new();
        config.consume_fuel(fuel);
        config.epoch_interruption(true);
        config.max_wasm_stack(GUEST_STACK);
        // Same arguments, same answer, bit for bit and on every machine.
        config.cranelift_nan_canonicalization(true);
        config.wasm_relaxed_simd(false);
        let engine = Engine::new(&config).map_err(|e| Error::internal("plugin.engine", e.to_string()))?;
        if !fuel {
            let ticking = engine.weak();
            std::thread::Builder::new()
                .name("wasm-deadlines".to_owned())
                .spawn(move || tick(&ticking))
                .map_err(|e| Error::internal("plugin.engine", e))?;
        }
        Ok(Self { engine, fuel })
    }

    /// Loads the scheduler in `dir` (a `plugin.toml` and the component that it names), compiles it, starts it
    /// with `config` over the manifest's defaults. Takes up to seconds: not for async code.
    pub fn load_scheduler(&self, dir: &Path, config: Value) -> Result<SchedulerPlugin, Error> {
        let scorer = self.load_scorer(dir, config)?;
        SchedulerPlugin::start(&scorer.identity().name, scorer)
    }

    /// Loads the scheduler in `dir` without a thread of its own: for simulations and measurements.
    pub fn load_scorer(&self, dir: &Path, config: Value) -> Result<WasmScorer, Error> {
        WasmScorer::load(self.load(dir, config)?)
    }

    /// Loads the quota rule in `dir`, as [`Self::load_scheduler`].
    pub fn load_quota(&self, dir: &Path, config: Value) -> Result<QuotaPlugin, Error> {
        QuotaPlugin::load(self.load(dir, config)?)
    }

    /// Loads the network backend in `dir`, as [`Self::load_scheduler`].
    pub fn load_network(&self, dir: &Path, config: Value) -> Result<NetworkPlugin, Error> {
        NetworkPlugin::load(self.load(dir, config)?)
    }

    fn load<W: World>(&self, dir: &Path, config: Value) -> Result<Loaded<W>, Error> {
        let text = read(&dir.join("plugin.toml"), MAX_TEXT)?;
        let text = String::from_utf8(text).map_err(|_| {
            Error::bad_request("plugin.manifest", format!("{} is no UTF-8 text", dir.display()))
        })?;
        let manifest = Manifest::parse(&text)?;
        if manifest.kind != W::KIND {
            return Err(Error::bad_request(
                "plugin.kind",
                format!(
                    "{} is a {} plugin; a {} plugin is wanted here",
                    manifest.name,
                    manifest.kind.as_str(),
                    W::KIND.as_str()
                ),
            ));
        }
        let config = manifest.configure(config)?;
        let bytes = read(&dir.join(&manifest.component), MAX_COMPONENT)?;
        let digest = sha256(&bytes);
        if manifest.sha256.as_ref().is_some_and(|said| *said != digest) {
            return Err(refused(
                "plugin.digest",
                &manifest,
                &format!("its sha256 is {digest}, not what plugin.toml says"),
            ));
        }
        let pre = self.compile::<W>(&manifest, &bytes)?;
        Ok(Loaded { manifest, digest, config, engine: self.engine.clone(), fuel: self.fuel, pre })
    }

    fn compile<W: World>(&self, manifest: &Manifest, bytes: &[u8]) -> Result<W::Pre, Error> {
        let component = Component::new(&self.engine, bytes).map_err(|e| {
            refused("plugin.component", manifest, &format!("it is no valid component: {e:#}"))
        })?;
        let imports: Vec<String> = component
            .component_type()
            .imports(&self.engine)
            .take(4)
            .map(|(name, _)| name.to_owned())
            .collect();
        if !imports.is_empty() {
            let why = format!("it imports {}; a plugin has no imports, not even WASI", imports.join(", "));
            return Err(refused("plugin.imports", manifest, &why));
        }
        let pre = Linker::<Limiter>::new(&self.engine).instantiate_pre(&component).and_then(W::prepare);
        let kind = W::KIND.as_str();
        pre.map_err(|e| {
            refused("plugin.kind", manifest, &format!("its exports are not those of a {kind} plugin: {e:#}"))
        })
    }
}

/// In lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Advances the epoch for as long as anything uses the engine.
fn tick(engine: &EngineWeak) {
    loop {
        std::thread::sleep(TICK);
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}

fn refused(code: &'static str, manifest: &Manifest, why: &str) -> Error {
    Error::bad_request(code, format!("Plugin {} cannot be loaded: {}", manifest.name, short(why)))
}

/// A whole file of at most `most` bytes.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let unreadable = |e: std::io::Error| {
        Error::bad_request("plugin.file", format!("{} cannot be read: {e}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > most {
        return Err(Error::bad_request(
            "plugin.file",
            format!("{} has more than {most} bytes", path.display()),
        ));
    }
    Ok(bytes)
}
