//! Resource classes, traits and amounts, named as placement names them.

pub const VCPU: &str = "VCPU";
pub const MEMORY_MB: &str = "MEMORY_MB";
pub const DISK_GB: &str = "DISK_GB";

/// The trait of a provider whose inventory serves every tree that it shares an aggregate with.
pub const SHARES_VIA_AGGREGATE: &str = "MISC_SHARES_VIA_AGGREGATE";

/// The largest number that an inventory or an allocation may carry.
pub const MAX_AMOUNT: i64 = i32::MAX as i64;

/// What a server asks of a host, one amount per resource class.
pub type Amounts = std::collections::BTreeMap<String, i64>;

/// The classes that OpenStack's services agree on, in the order they are listed.
pub fn standard_classes() -> impl Iterator<Item = &'static str> {
    include_str!("standard_classes.txt").lines()
}

/// The traits that OpenStack's services agree on.
pub fn standard_traits() -> impl Iterator<Item = &'static str> {
    include_str!("standard_traits.txt").lines()
}

/// (total − reserved) × ratio, towards zero, within what a claim can count with.
pub fn capacity(total: i64, reserved: i64, ratio: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "saturates, as wanted")]
    let scaled = (total.saturating_sub(reserved) as f64 * ratio) as i64;
    // Far below the end of the range, so that adding an amount never overflows.
    scaled.clamp(-(1 << 60), 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_hold_names_only() {
        let plain = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(standard_classes().chain(standard_traits()).all(plain));
        assert!(standard_classes().take(3).eq([VCPU, MEMORY_MB, DISK_GB]));
        assert!(standard_traits().any(|name| name == SHARES_VIA_AGGREGATE));
        assert!(standard_traits().count() > 300);
    }

    #[test]
    fn capacity_is_cut_towards_zero_and_saturates() {
        assert_eq!(capacity(10, 3, 1.5), 10);
        assert_eq!(capacity(8, 0, 16.0), 128);
        assert_eq!(capacity(1, 2, 1.0), -1);
        assert_eq!(capacity(2_147_483_647, 0, 3.4e38), 1 << 60);
        assert_eq!(capacity(10, 0, f64::NAN), 0);
    }
}
