//! `canopy:scheduler@1`: a preference over hosts.

use serde::de::DeserializeOwned;

#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit/scheduler/v1",
        world: "scorer",
        pub_export_macro: true,
        default_bindings_module: "canopy_sdk::scheduler::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::exports::canopy::scheduler::scoring::{Class, Columns, Reason};

/// Names that later calls refer to by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Resource classes, e.g. `VCPU`, `MEMORY_MB`, `DISK_GB`.
    pub resources: Vec<String>,
    /// Traits of hosts; empty when the cloud uses none.
    pub traits: Vec<String>,
    /// Numbers that change with time: `soft-affinity`, `soft-anti-affinity`, `home-zone`, then the cloud's own.
    pub signals: Vec<String>,
}

/// A pure scorer. The score of a row may depend on the class and that row only.
///
/// ```
/// use canopy_sdk::scheduler::{Class, Columns, Names, Reason, Scorer};
///
/// /// Prefers the host with the most free vCPUs.
/// struct MostFree { vcpu: usize }
///
/// impl Scorer for MostFree {
///     type Config = canopy_sdk::serde_json::Value;
///
///     fn init(_: Self::Config, names: Names) -> Result<Self, String> {
///         let vcpu = names.resources.iter().position(|n| n == "VCPU").ok_or("this cloud counts no VCPU")?;
///         Ok(Self { vcpu })
///     }
///
///     fn score(&self, _: &Class, columns: &Columns) -> Vec<f32> {
///         columns.free_of(self.vcpu).to_vec()
///     }
///
///     fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>> {
///         let reason = |v: f32| vec![Reason { code: "free-vcpus".into(), value: v.into() }];
///         self.score(class, columns).into_iter().map(reason).collect()
///     }
/// }
/// canopy_sdk::export_scorer!(MostFree);
///
/// let names = Names { resources: vec!["VCPU".into()], ..Names::default() };
/// let scorer = MostFree::init(Default::default(), names)?;
/// let columns = Columns { capacity: vec![8.0, 8.0], free: vec![2.0, 7.0], ..Columns::of(2) };
/// assert_eq!(scorer.score(&Class { wants: vec![1.0], traits: vec![] }, &columns), [2.0, 7.0]);
/// # Ok::<(), String>(())
/// ```
pub trait Scorer: Sized + 'static {
    /// Read from the operator's JSON; use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned;

    /// Called once before anything else. The error is for the operator.
    fn init(config: Self::Config, names: Names) -> Result<Self, String>;

    /// One score per row: higher is better, −∞ is a veto; NaN or a wrong length is a fault.
    fn score(&self, class: &Class, columns: &Columns) -> Vec<f32>;

    /// Why each row got its score: one list per row, at most 16 reasons each.
    fn explain(&self, class: &Class, columns: &Columns) -> Vec<Vec<Reason>>;
}

impl Columns {
    /// So many rows, and no columns yet: for tests.
    pub fn of(rows: u32) -> Self {
        Self { rows, capacity: vec![], free: vec![], traits: vec![], signals: vec![] }
    }

    /// One signal, a value per row; empty when there is no such signal, or all of them are 0.
    pub fn signal(&self, index: usize) -> &[f32] {
        column(&self.signals, index, self.rows)
    }

    /// Capacity of one resource class, a value per row; empty when there is no such class.
    pub fn capacity_of(&self, class: usize) -> &[f32] {
        column(&self.capacity, class, self.rows)
    }

    /// What is free of one resource class, a value per row; empty when there is no such class.
    pub fn free_of(&self, class: usize) -> &[f32] {
        column(&self.free, class, self.rows)
    }

    /// One trait, 1 per row that has it; empty when there is no such trait.
    pub fn trait_of(&self, index: usize) -> &[u8] {
        column(&self.traits, index, self.rows)
    }
}

/// Rows of one [`Block`].
pub const BLOCK: usize = 16;
/// The numbers of some rows. Loops over whole blocks have a length that the compiler knows, and become SIMD whose
/// numbers stay in registers; loops over slices mostly do not, which makes them several times as slow.
pub type Block = [f32; BLOCK];

/// A column, made ready to be read block by block.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    values: &'a [f32],
    /// The block that is not whole, filled up with 0.
    last: Block,
}

impl<'a> Blocks<'a> {
    pub fn of(values: &'a [f32]) -> Self {
        let mut last = [0.0; BLOCK];
        let rest = values.chunks_exact(BLOCK).remainder();
        for (last, value) in last.iter_mut().zip(rest) {
            *last = *value;
        }
        Self { values, last }
    }

    /// The rows from `from` on, a multiple of [`BLOCK`]. Values are 0 after the last row, and all of an empty column.
    #[inline]
    pub fn at(&self, from: usize) -> &Block {
        self.values.get(from..).and_then(<[f32]>::first_chunk).unwrap_or(&self.last)
    }
}

/// What is free of one resource class, found once and read block by block.
#[derive(Clone, Copy, Debug)]
pub struct FreeShares<'a> {
    capacity: Blocks<'a>,
    free: Blocks<'a>,
    want: f32,
}

impl<'a> FreeShares<'a> {
    /// When `want` is taken; `class` is a place among the resource classes.
    pub fn of(columns: &'a Columns, class: usize, want: f32) -> Self {
        Self {
            capacity: Blocks::of(columns.capacity_of(class)),
            free: Blocks::of(columns.free_of(class)),
            want,
        }
    }

    /// For each row from `from` on, a multiple of [`BLOCK`], the share of its capacity that is free; NaN where there is
    /// no capacity, which is neither less nor more than any share.
    #[inline]
    pub fn at(&self, from: usize) -> Block {
        let (capacity, free) = (self.capacity.at(from), self.free.at(from));
        let mut shares = [0.0; BLOCK];
        for row in 0..BLOCK {
            let part = (free[row] - self.want) / capacity[row];
            shares[row] = if capacity[row] > 0.0 { part } else { f32::NAN };
        }
        shares
    }
}

/// The scores of so many rows, block by block: `score` is given the first row of each. What it says of rows after the
/// last is dropped.
#[inline]
pub fn by_blocks(rows: u32, mut score: impl FnMut(usize) -> Block) -> Vec<f32> {
    let rows = rows as usize;
    let mut scores = Vec::with_capacity(rows.next_multiple_of(BLOCK));
    for from in (0..rows).step_by(BLOCK) {
        scores.extend_from_slice(&score(from));
    }
    scores.truncate(rows);
    scores
}

fn column<T>(values: &[T], index: usize, rows: u32) -> &[T] {
    let rows = rows as usize;
    let range = index.checked_mul(rows).and_then(|start| Some(start..start.checked_add(rows)?));
    range.and_then(|range| values.get(range)).unwrap_or(&[])
}

/// Makes a [`Scorer`] the scorer that this component exports. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! export_scorer {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use ::std::cell::OnceCell;
            use $crate::scheduler::{Class, Columns, Names, Reason, Scorer, bindings};

            ::std::thread_local! {
                static PLUGIN: OnceCell<$plugin> = const { OnceCell::new() };
            }

            fn ask<T>(question: impl FnOnce(&$plugin) -> T) -> T {
                PLUGIN.with(|cell| question(cell.get().expect($crate::__private::NOT_READY)))
            }

            struct Component;

            impl bindings::exports::canopy::scheduler::scoring::Guest for Component {
                fn init(
                    config: String,
                    resources: Vec<String>,
                    traits: Vec<String>,
                    signals: Vec<String>,
                ) -> Result<(), String> {
                    let config = $crate::parse_config(&config)?;
                    let plugin = <$plugin as Scorer>::init(config, Names { resources, traits, signals })?;
                    PLUGIN.with(|cell| cell.set(plugin)).map_err(|_| $crate::__private::TWICE.to_owned())
                }

                fn score(class: Class, columns: Columns) -> Vec<f32> {
                    ask(|plugin| plugin.score(&class, &columns))
                }

                fn explain(class: Class, columns: Columns) -> Vec<Vec<Reason>> {
                    ask(|plugin| plugin.explain(&class, &columns))
                }
            }

    bindings::export!(Component with_types_in bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_row_once_and_are_filled_up_with_nothing() {
        for rows in [0_u16, 1, 15, 16, 17, 200] {
            let column: Vec<f32> = (1..=rows).map(f32::from).collect();
            let blocks = Blocks::of(&column);
            assert_eq!(by_blocks(rows.into(), |from| *blocks.at(from)), column);
        }
        assert_eq!(Blocks::of(&[1.0, 2.0]).at(0)[..3], [1.0, 2.0, 0.0]);
        assert_eq!(Blocks::of(&[]).at(3 * BLOCK), &[0.0; BLOCK]);
        let columns = Columns { capacity: vec![8.0, 0.0], free: vec![4.0, -1.0], ..Columns::of(2) };
        let shares = FreeShares::of(&columns, 0, 2.0).at(0);
        assert!(shares[0] == 0.25 && shares[1..].iter().all(|share| share.is_nan()));
    }

    #[test]
    fn columns_are_found_by_position_and_absent_ones_are_empty() {
        let columns = Columns { capacity: vec![1.0, 2.0, 3.0, 4.0], traits: vec![0, 1], ..Columns::of(2) };
        assert_eq!(columns.capacity_of(1), [3.0, 4.0]);
        assert!(columns.capacity_of(2).is_empty());
        assert!(columns.capacity_of(usize::MAX).is_empty());
        assert!(columns.free_of(0).is_empty());
        assert_eq!(columns.trait_of(0), [0, 1]);
        assert!(columns.signal(0).is_empty());
    }
}
