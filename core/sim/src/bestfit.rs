//! `examples/placer-bestfit` without WASM: the same file, told and asked as the component is.

#[path = "../../../examples/placer-bestfit/src/bestfit.rs"]
mod algorithm;

use algorithm::{BestFit, Class, Lists};
use canopy_placement::placer::{Asking, HostRows, Placer, PlacerClass, new_state};
use canopy_placement::{Columns, Names, PluginUse, Reason, Scorer};
use std::sync::Arc;

/// Best fit by vCPUs.
#[derive(Default)]
pub struct NativeBestFit {
    state: u64,
    index: BestFit,
    width: usize,
    /// Rows that it was told with or between decisions, after the beginning.
    pub corrected: usize,
    /// Calls that decided.
    pub calls: usize,
    /// States that it began.
    pub begun: usize,
}

impl NativeBestFit {
    fn read(&mut self, rows: &HostRows) {
        let count = rows.at.len();
        for (row, (host, cell)) in rows.at.iter().zip(&rows.cells).enumerate() {
            self.index.host(*host, *cell, |class| rows.free.get(class * count + row).copied().unwrap_or(0));
        }
    }
}

impl Scorer for NativeBestFit {
    fn identity(&self) -> PluginUse {
        PluginUse { name: "native-bestfit".into(), ..PluginUse::default() }
    }

    fn score(&mut self, _: &Columns) -> Result<Vec<f32>, String> {
        Err("a placer gives no scores".into())
    }

    fn explain(&mut self, _: &Columns) -> Result<Vec<Vec<Reason>>, String> {
        Err("a placer gives no scores".into())
    }

    fn placer(&mut self) -> Option<&mut dyn Placer> {
        Some(self)
    }
}

impl Placer for NativeBestFit {
    fn state(&self) -> u64 {
        self.state
    }

    fn begin(&mut self, names: &Arc<Names>, hosts: u32) -> Result<u64, String> {
        let by = names.resources.iter().position(|name| name == "VCPU").unwrap_or(0);
        self.width = names.resources.len();
        self.index = BestFit::new(by, self.width, hosts as usize);
        self.state = new_state();
        self.begun += 1;
        Ok(self.state)
    }

    fn hosts(&mut self, rows: &HostRows) -> Result<(), String> {
        self.read(rows);
        Ok(())
    }

    fn classes(&mut self, _: u32, classes: &[PlacerClass]) -> Result<(), String> {
        for class in classes.iter().cloned() {
            self.index.class(Class { wants: class.wants, cells: class.cells, barred: class.barred });
        }
        Ok(())
    }

    fn place(&mut self, _: u64, changed: &HostRows, requests: &[Asking]) -> Result<Vec<u32>, String> {
        self.corrected += changed.at.len();
        self.calls += 1;
        self.read(changed);
        let place = |asking: &Asking| {
            let own = &asking.lists;
            let lists =
                Lists { only: own.only.as_deref(), barred: &own.barred, near: &own.near, apart: &own.apart };
            self.index.place(asking.class, lists)
        };
        Ok(requests.iter().map(place).collect())
    }
}
