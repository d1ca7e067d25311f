//! What tests choose at random, the same again for the same seed.

/// xorshift64*: enough to choose with, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    /// `CANOPY_TEST_SEED`, or another one each time; printed, so that a failure can be had again.
    pub fn seed() -> u64 {
        let given = std::env::var("CANOPY_TEST_SEED").ok();
        let seed = given.map_or_else(random, |text| text.parse().expect("CANOPY_TEST_SEED is a number"));
        println!("CANOPY_TEST_SEED={seed}");
        seed
    }

    pub fn new(seed: u64) -> Self {
        // Of nothing nothing comes.
        Self(seed | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`; 0 where that is 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    pub fn one<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        (!all.is_empty()).then(|| &all[self.below(all.len())])
    }
}

fn random() -> u64 {
    let (high, low) = canopy_types::NetworkId::random().0.as_u64_pair();
    high ^ low
}
