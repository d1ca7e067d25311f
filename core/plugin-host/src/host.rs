//! The engine all plugins share, and loading a folder with a manifest and a component.

use crate::cache::Cache;
use crate::caps::Caps;
use crate::fault::short;
use crate::limits::Limiter;
use crate::manifest::{Manifest, PluginKind};
use crate::meter::Meter;
use crate::package::Package;
use crate::sandbox::{TICK, World};
use crate::scheduler::WasmScorer;
use crate::{NetworkPlugin, QuotaPlugin, SchedulerPlugin};
use canopy_placement::Scorer;
use canopy_types::Error;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, EngineWeak};

/// Bytes of stack that guest code may use.
const GUEST_STACK: usize = 512 << 10;

/// Loads plugins. Cheap to clone; the engine ends with the last plugin.
#[derive(Clone)]
pub struct PluginHost {
    engine: Engine,
    /// Whether instructions are counted, and limited instead of time.
    fuel: bool,
    caps: Caps,
    cache: Option<Cache>,
    /// A component that is needed more than once in a row.
    held: Option<(String, Component)>,
    faults: Arc<Notify>,
}

/// What ends a call that does not end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Time,
    Instructions,
    Nothing,
}

/// What a host may be told beside its engine.
#[derive(Clone, Default)]
pub struct Options {
    /// What any plugin may have at most.
    pub caps: Caps,
    /// Where compiled code is kept; without one every load compiles.
    pub cache: Option<Cache>,
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
    pub(crate) meter: Meter,
}

impl PluginHost {
    /// Starts the engine and the thread by which deadlines are kept.
    pub fn new() -> Result<Self, Error> {
        Self::with(Bound::Time, Options::default())
    }

    /// As [`Self::new`], with the operator's bounds and a place for compiled code.
    pub fn with_options(options: Options) -> Result<Self, Error> {
        Self::with(Bound::Time, options)
    }

    /// A host whose guests are limited by instructions instead of time, so that the same question always ends
    /// the same way. Slower; for replay and for tests.
    pub fn counting() -> Result<Self, Error> {
        Self::with(Bound::Instructions, Options::default())
    }

    /// A host whose guests run for as long as they like: for measuring what deadlines cost, of guests that are known.
    pub fn without_deadlines() -> Result<Self, Error> {
        Self::with(Bound::Nothing, Options::default())
    }

    fn with(bound: Bound, options: Options) -> Result<Self, Error> {
        let mut config = Config::new();
        let fuel = bound == Bound::Instructions;
        config.consume_fuel(fuel);
        config.epoch_interruption(bound != Bound::Nothing);
        config.max_wasm_stack(GUEST_STACK);
        // Same arguments, same answer, bit for bit and on every machine.
        config.cranelift_nan_canonicalization(true);
        config.wasm_relaxed_simd(false);
        let engine = Engine::new(&config).map_err(|e| Error::internal("plugin.engine", e.to_string()))?;
        if bound == Bound::Time {
            let ticking = engine.weak();
            std::thread::Builder::new()
                .name("wasm-deadlines".to_owned())
                .spawn(move || tick(&ticking))
                .map_err(|e| Error::internal("plugin.engine", e))?;
        }
        Ok(Self {
            engine,
            fuel,
            caps: options.caps,
            cache: options.cache,
            held: None,
            faults: Arc::default(),
        })
    }

    /// Told of every fault of every plugin of this host.
    pub fn faults(&self) -> Arc<Notify> {
        Arc::clone(&self.faults)
    }

    /// Loads the scheduler in `dir` (a `plugin.toml` and the component that it names), compiles it, starts it
    /// with `config` over the manifest's defaults. Takes up to seconds: not for async code.
    pub fn load_scheduler(&self, dir: &Path, config: Value) -> Result<SchedulerPlugin, Error> {
        self.start_scheduler(&Package::read(dir)?, config)
    }

    /// Loads the scheduler in `dir` without a thread of its own: for simulations and measurements.
    pub fn load_scorer(&self, dir: &Path, config: Value) -> Result<WasmScorer, Error> {
        self.start_scorer(&Package::read(dir)?, config)
    }

    /// Loads the quota rule in `dir`, as [`Self::load_scheduler`].
    pub fn load_quota(&self, dir: &Path, config: Value) -> Result<QuotaPlugin, Error> {
        self.start_quota(&Package::read(dir)?, config)
    }

    /// Loads the network backend in `dir`, as [`Self::load_scheduler`].
    pub fn load_network(&self, dir: &Path, config: Value) -> Result<NetworkPlugin, Error> {
        self.start_network(&Package::read(dir)?, config)
    }

    /// As [`Self::load_scheduler`], of a package in memory.
    pub fn start_scheduler(&self, package: &Package, config: Value) -> Result<SchedulerPlugin, Error> {
        let scorer = self.start_scorer(package, config)?;
        SchedulerPlugin::start(&scorer.identity().name, scorer)
    }

    /// As [`Self::load_scorer`], of a package in memory.
    pub fn start_scorer(&self, package: &Package, config: Value) -> Result<WasmScorer, Error> {
        WasmScorer::load(self.load(package, config)?)
    }

    /// As [`Self::load_quota`], of a package in memory.
    pub fn start_quota(&self, package: &Package, config: Value) -> Result<QuotaPlugin, Error> {
        QuotaPlugin::load(self.load(package, config)?)
    }

    /// As [`Self::load_network`], of a package in memory.
    pub fn start_network(&self, package: &Package, config: Value) -> Result<NetworkPlugin, Error> {
        NetworkPlugin::load(self.load(package, config)?)
    }

    /// Loads it as its kind and starts it once with `config`: whatever would be refused is refused here. What is
    /// compiled stays in the cache. Takes up to seconds.
    pub fn try_out(&self, package: &Package, config: Value) -> Result<(), Error> {
        match package.manifest().kind {
            PluginKind::Scheduler => self.start_scorer(package, config).map(drop),
            PluginKind::Quota => self.start_quota(package, config).map(drop),
            PluginKind::Network => self.start_network(package, config).map(drop),
        }
    }

    fn load<W: World>(&self, package: &Package, config: Value) -> Result<Loaded<W>, Error> {
        let manifest = package.manifest();
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
        self.caps.admit(manifest)?;
        let config = manifest.configure(config)?;
        let pre = self.compile::<W>(package)?;
        let meter = Meter::new(manifest, package.digest(), &sha256(config.as_bytes()), self.faults());
        Ok(Loaded {
            manifest: manifest.clone(),
            digest: package.digest().to_owned(),
            config,
            engine: self.engine.clone(),
            fuel: self.fuel,
            pre,
            meter,
        })
    }

    fn compile<W: World>(&self, package: &Package) -> Result<W::Pre, Error> {
        let component = self.component(package)?;
        let manifest = package.manifest();
        let imports: Vec<String> =
            component.component_type().imports(&self.engine).take(4).map(|(name, _)| short(name)).collect();
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

    /// Names of what the component imports and exports, and of what its interfaces export.
    pub(crate) fn edges(&self, package: &Package) -> Result<(Vec<String>, Vec<String>), Error> {
        let kind = self.component(package)?.component_type();
        let imports = kind.imports(&self.engine).map(|(name, _)| short(name)).collect();
        let mut exports = Vec::new();
        for (name, item) in kind.exports(&self.engine) {
            exports.push(short(name));
            if let ComponentItem::ComponentInstance(instance) = item.ty {
                exports.extend(
                    instance.exports(&self.engine).map(|(inner, _)| short(&format!("{name}#{inner}"))),
                );
            }
        }
        Ok((imports, exports))
    }

    /// The same host, which compiles this package once and for all; guests that carry an interpreter take long.
    pub(crate) fn holding(&self, package: &Package) -> Result<Self, Error> {
        let held = Some((package.digest().to_owned(), self.component(package)?));
        Ok(Self { held, ..self.clone() })
    }

    /// For a package that is gone: removes what was compiled of it. Blocks.
    pub fn forget(&self, digest: &str) {
        if let Some(cache) = &self.cache {
            cache.forget(digest);
        }
    }

    /// Compiled before, or now.
    pub(crate) fn component(&self, package: &Package) -> Result<Component, Error> {
        if let Some((digest, component)) = &self.held
            && digest == package.digest()
        {
            return Ok(component.clone());
        }
        if let Some(known) = self.cache.as_ref().and_then(|cache| cache.get(&self.engine, package.digest())) {
            return Ok(known);
        }
        let component = Component::new(&self.engine, package.component()).map_err(|e| {
            let why = format!("it is no valid component: {e:#}");
            refused("plugin.component", package.manifest(), &why)
        })?;
        if let Some(cache) = &self.cache {
            cache.put(&self.engine, package.digest(), &component);
        }
        Ok(component)
    }
}

/// In lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    canopy_types::hex(Sha256::digest(bytes))
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

pub(crate) fn refused(code: &'static str, manifest: &Manifest, why: &str) -> Error {
    Error::bad_request(code, format!("Plugin {} cannot be loaded: {}", manifest.name, short(why)))
}
