//! Memory for guests that are asked often and remember little.
//!
//! Every list that crosses is allocated and freed again, in each call of the same few sizes. The standard library's
//! allocator for wasm32 keeps memory tidy for programs that live long; here that takes longer than many an answer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

/// Sizes from 16 bytes to 32 KiB, each twice the one before.
const SMALLEST: usize = 4;
const SIZES: usize = 12;

/// Keeps what is freed, by size, for whoever asks next; what is larger goes to the standard library's allocator.
///
/// Memory never goes back from one size to another, so a guest takes up to twice the most that it has used of each.
pub struct Kept {
    /// Of each size the first piece that is free; each holds the address of the next.
    free: [Cell<*mut u8>; SIZES],
}

// SAFETY: a guest has one thread.
#[cfg(target_arch = "wasm32")]
unsafe impl Sync for Kept {}

impl Kept {
    #[allow(clippy::new_without_default, reason = "for a static")]
    pub const fn new() -> Self {
        Self { free: [const { Cell::new(null_mut()) }; SIZES] }
    }

    /// The place of the least size that holds this; [`SIZES`] or beyond when none does.
    #[inline]
    fn place(layout: Layout) -> usize {
        if layout.align() > 1 << SMALLEST {
            return SIZES;
        }
        let bytes = layout.size().max(1 << SMALLEST);
        (usize::BITS - (bytes - 1).leading_zeros()) as usize - SMALLEST
    }

    #[cold]
    fn more(place: usize) -> *mut u8 {
        let layout = Layout::from_size_align(1 << (place + SMALLEST), 1 << SMALLEST);
        // SAFETY: no size is 0.
        layout.map_or(null_mut(), |layout| unsafe { System.alloc(layout) })
    }
}

// SAFETY: a piece is in one list or with one owner; it is as large and as aligned as its size says, and whoever
// returns it names the layout that it was asked with, so that it comes to the list that it is of.
unsafe impl GlobalAlloc for Kept {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = Self::place(layout);
        let Some(free) = self.free.get(place) else { return unsafe { System.alloc(layout) } };
        let first = free.get();
        if first.is_null() {
            return Self::more(place);
        }
        free.set(unsafe { first.cast::<*mut u8>().read() });
        first
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(free) = self.free.get(Self::place(layout)) else {
            return unsafe { System.dealloc(piece, layout) };
        };
        unsafe { piece.cast::<*mut u8>().write(free.get()) };
        free.set(piece);
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: whoever asks vouches for the size.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        let (old, new) = (Self::place(layout), Self::place(wanted));
        if old == new && old < SIZES {
            return piece;
        }
        if old >= SIZES && new >= SIZES {
            return unsafe { System.realloc(piece, layout, bytes) };
        }
        unsafe {
            let other = self.alloc(wanted);
            if !other.is_null() {
                other.copy_from_nonoverlapping(piece, bytes.min(layout.size()));
                self.dealloc(piece, layout);
            }
            other
        }
    }
}

/// Makes [`memory::Kept`](crate::memory::Kept) the allocator of this component: for those that are asked for every
/// decision. Once per crate; nothing outside wasm32.
#[macro_export]
macro_rules! keep_memory {
    () => {
        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static MEMORY: $crate::memory::Kept = $crate::memory::Kept::new();
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_is_the_next_of_its_size_and_nobody_elses() {
        let kept = Kept::new();
        let layout = |bytes, align| Layout::from_size_align(bytes, align).unwrap();
        let sizes = [0, 1, 16, 17, 100, 1 << 15, (1 << 15) + 1];
        let places = sizes.map(|bytes| Kept::place(layout(bytes, 4)));
        assert_eq!(places, [0, 0, 0, 1, 3, 11, 12]);
        assert_eq!(Kept::place(layout(8, 32)), SIZES);
        for (bytes, align) in [(1, 1), (3000, 4), (1 << 15, 16), (1 << 20, 8), (64, 64)] {
            let asked = layout(bytes, align);
            // SAFETY: each piece is written within its size and freed once.
            unsafe {
                let (mut one, other) = (kept.alloc(asked), kept.alloc(asked));
                let mut size = bytes;
                assert!(one != other && one.align_offset(align) == 0 && other.align_offset(align) == 0);
                one.write_bytes(1, bytes);
                other.write_bytes(2, bytes);
                assert_eq!((*one.add(bytes - 1), *other), (1, 2));
                for grown in [bytes + 1, 40_000, 90_000, bytes] {
                    one = kept.realloc(one, layout(size, align), grown);
                    assert_eq!((*one, *one.add(size.min(grown) - 1)), (1, 1));
                    one.write_bytes(1, grown);
                    size = grown;
                }
                kept.dealloc(one, asked);
                kept.dealloc(other, asked);
                if Kept::place(asked) < SIZES {
                    let again = (kept.alloc(asked), kept.alloc(asked));
                    assert_eq!(again, (other, one));
                    kept.dealloc(one, asked);
                    kept.dealloc(other, asked);
                }
            }
        }
    }
}
