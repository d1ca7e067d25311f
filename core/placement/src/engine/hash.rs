//! Hashes within one process: quick, and never stored or compared with another machine's.

use crate::seeded::mix;
use crate::{NameSet, Request};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys nobody outside chooses: ids and hashes that this cloud made.
pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Default)]
pub(super) struct Quick(u64);

impl Quick {
    fn text(&mut self, text: &str) {
        self.write(text.as_bytes());
        self.write_usize(text.len());
    }

    fn names(&mut self, names: &NameSet) {
        self.write_usize(names.len());
        names.iter().for_each(|name| self.text(name));
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(eight));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            self.write_u64(rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(ODD);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        // A table uses both ends of it, and ids may differ in a few bits only.
        mix(self.0)
    }
}

/// Equal for requests of one class; others are told apart by comparing them.
pub(super) fn quick(request: &Request) -> u64 {
    let mut hash = Quick::default();
    for (class, amount) in &request.amounts {
        hash.text(class);
        hash.write_u64(amount.cast_unsigned());
    }
    hash.text(request.zone.as_deref().unwrap_or("\0"));
    hash.names(&request.required_traits);
    hash.names(&request.forbidden_traits);
    request.member_of.iter().for_each(|any| hash.names(any));
    hash.names(&request.forbidden_aggregates);
    hash.text(request.home_zone.as_deref().unwrap_or("\0"));
    hash.finish()
}
