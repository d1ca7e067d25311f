//! Numbers that are the same on every machine and in every version: hashes for breaking ties, and a small
//! generator for tests and made-up workloads. Not for secrets.

/// Spreads a number over all 64 bits (splitmix64).
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A hash of fields; each is delimited by its length.
#[derive(Clone, Copy, Default)]
pub struct StableHash(u64);

impl StableHash {
    pub fn number(&mut self, n: u64) {
        self.0 = mix(self.0 ^ n);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    pub fn finish(self) -> u64 {
        self.0
    }
}

/// A generator: the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// From 0 to below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.number() % n }
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_every_other_machine() {
        let mut rng = Rng::new(1);
        assert_eq!([rng.number(), rng.number()], [9_716_232_063_330_790_915, 13_608_149_317_741_381_227]);
        let hash = |parts: &[&str]| {
            let mut hash = StableHash::default();
            parts.iter().for_each(|part| hash.bytes(part.as_bytes()));
            hash.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a\0"]), hash(&["a"]));
    }
}
