//! One guest instance with its limits, thrown away after a fault and made anew when next needed.
//!
//! After a trap no call may enter that instance again, nor a new instance in the same `Store`; so the pair
//! lives and dies together. The epoch deadline is set before instantiation and before each call: an
//! instance that loops in its constructor is as much a fault as one that loops in an answer.

use crate::fault::{Fault, short};
use crate::limits::Limiter;
use crate::manifest::{Limits, PluginKind};
use crate::meter::Meter;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store, Trap};

/// How often the engine's epoch advances; deadlines are kept to within two of these.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The bindings of one world, as the sandbox needs them.
pub(crate) trait World: Sized + Send + 'static {
    const KIND: PluginKind;
    type Pre: Send + 'static;

    /// Checks that the exports are those of this world.
    fn prepare(pre: InstancePre<Limiter>) -> wasmtime::Result<Self::Pre>;
    fn instantiate(pre: &Self::Pre, store: &mut Store<Limiter>) -> wasmtime::Result<Self>;
}

macro_rules! world {
    ($kind:ident, $module:ident, $world:ident, $pre:ident) => {
        impl World for crate::bindings::$module::$world {
            const KIND: PluginKind = PluginKind::$kind;
            type Pre = crate::bindings::$module::$pre<Limiter>;

            fn prepare(pre: InstancePre<Limiter>) -> wasmtime::Result<Self::Pre> {
                Self::Pre::new(pre)
            }

            fn instantiate(pre: &Self::Pre, store: &mut Store<Limiter>) -> wasmtime::Result<Self> {
                pre.instantiate(store)
            }
        }
    };
}

world!(Quota, quota, Rule, RulePre);

/// What a call of the guest gives: an outer error is a trap, an inner one an answer outside the contract.
pub(crate) type Called<T> = wasmtime::Result<Result<T, String>>;
type Init<W> = Box<dyn Fn(&W, &mut Store<Limiter>) -> Called<()> + Send>;

/// At most one live instance of a component.
pub(crate) struct Sandbox<W: World> {
    engine: Engine,
    pre: W::Pre,
    limits: Limits,
    /// What an instance's deadline is in ticks of the engine.
    ticks: u64,
    /// Whether instructions are limited instead of time.
    fuel: bool,
    used: Option<u64>,
    /// Most bytes of guest memory so far.
    peak: Arc<AtomicU64>,
    init: Init<W>,
    alive: Option<(Store<Limiter>, W)>,
    /// Whether an instance answers one question and no other.
    once: bool,
    /// The instance of the last answer: taking it apart can wait until the asker has the answer.
    spent: Option<Store<Limiter>>,
}

impl<W: World> Sandbox<W> {
    pub(crate) fn new(
        engine: Engine,
        pre: W::Pre,
        limits: Limits,
        init: impl Fn(&W, &mut Store<Limiter>) -> Called<()> + Send + 'static,
    ) -> Self {
        // One more: the current tick may be nearly over.
        let ticks = limits.deadline().as_micros().div_ceil(TICK.as_micros()) + 1;
        Self {
            engine,
            pre,
            limits,
            ticks: u64::try_from(ticks).unwrap_or(u64::MAX),
            fuel: false,
            used: None,
            peak: Arc::default(),
            init: Box::new(init),
            alive: None,
            once: false,
            spent: None,
        }
    }

    /// Limits instructions instead of time, when the engine counts them.
    pub(crate) fn counting(mut self, fuel: bool) -> Self {
        self.fuel = fuel;
        self
    }

    /// Gives every question an instance of its own: what one tenant's question leaves in memory, no other's finds.
    /// [`Self::renew`] has the next one ready before it is asked for.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Tells `meter` of the memory that instances take.
    pub(crate) fn watched(mut self, meter: &Meter) -> Self {
        self.peak = meter.peak();
        self
    }

    /// Instructions of the last call that gave an answer.
    pub(crate) fn fuel_used(&self) -> Option<u64> {
        self.used
    }

    /// Instructions that one call may take: as many as fit in the deadline of an ordinary machine.
    fn budget(&self) -> u64 {
        u64::try_from(self.limits.deadline().as_micros()).unwrap_or(u64::MAX).saturating_mul(1000)
    }

    /// Starts the next call with another `init`, in a new instance.
    pub(crate) fn restart(&mut self, init: impl Fn(&W, &mut Store<Limiter>) -> Called<()> + Send + 'static) {
        self.alive = None;
        self.init = Box::new(init);
    }

    /// Makes the instance, so that what is wrong with it shows before the first question.
    pub(crate) fn ready(&mut self) -> Result<(), Fault> {
        if self.alive.is_none() {
            self.alive = Some(self.fresh()?);
        }
        Ok(())
    }

    /// After an answer, where instances answer once: makes the next one. Should that fail, the next question says so.
    pub(crate) fn renew(&mut self) {
        if self.spent.take().is_some() && self.alive.is_none() {
            self.alive = self.fresh().ok();
        }
    }

    /// One call. Whatever goes wrong, the instance is gone and the next call gets a new one.
    pub(crate) fn call<T>(
        &mut self,
        call: impl FnOnce(&W, &mut Store<Limiter>) -> Called<T>,
    ) -> Result<T, Fault> {
        self.spent = None;
        self.ready()?;
        let Some((mut store, world)) = self.alive.take() else {
            return Err(Fault::Host("no instance".to_owned()));
        };
        self.arm(&mut store);
        match call(&world, &mut store) {
            Ok(Ok(answer)) => {
                if self.fuel {
                    self.used = store.get_fuel().ok().map(|left| self.budget().saturating_sub(left));
                }
                if self.once {
                    self.spent = Some(store);
                } else {
                    self.alive = Some((store, world));
                }
                Ok(answer)
            }
            Ok(Err(why)) => Err(Fault::Answer(short(&why))),
            Err(error) => Err(self.classify(&error, &mut store, Fault::Answer)),
        }
    }

    fn fresh(&self) -> Result<(Store<Limiter>, W), Fault> {
        let mut store = Store::new(&self.engine, Limiter::new(&self.limits, Arc::clone(&self.peak)));
        store.limiter(|limiter| limiter);
        store.set_hostcall_fuel(self.limits.answer());
        self.arm(&mut store);
        let world = W::instantiate(&self.pre, &mut store);
        let world = world.map_err(|error| self.classify(&error, &mut store, Fault::Memory))?;
        self.arm(&mut store);
        match (self.init)(&world, &mut store) {
            Ok(Ok(())) => Ok((store, world)),
            Ok(Err(why)) => Err(Fault::Init(short(&why))),
            Err(error) => Err(self.classify(&error, &mut store, Fault::Answer)),
        }
    }

    fn arm(&self, store: &mut Store<Limiter>) {
        store.data_mut().take_refusal();
        if self.fuel {
            // Fails only where instructions are not counted; then the call traps at once and says so.
            let _ = store.set_fuel(self.budget());
            store.set_epoch_deadline(u64::MAX / 2);
            return;
        }
        store.set_epoch_deadline(self.ticks);
    }

    /// A refusal of memory explains whatever came after it: Rust guests then end as `unreachable`.
    fn classify(
        &self,
        error: &wasmtime::Error,
        store: &mut Store<Limiter>,
        other: fn(String) -> Fault,
    ) -> Fault {
        if let Some(why) = store.data_mut().take_refusal() {
            return Fault::Memory(why);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt | Trap::OutOfFuel) => Fault::Deadline(self.limits.deadline()),
            Some(trap) => Fault::Trap(trap.to_string()),
            None => other(short(&format!("{error:#}"))),
        }
    }
}
