//! What is counted against quotas: names here and in OpenStack's unified limits, units, and defaults.

/// Counted as `class:<resource class>`: what flavors ask for beside vCPUs, memory and disk. Without a limit
/// until one is registered.
pub const CLASS: &str = "class:";

/// A resource that quotas know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Countable {
    pub name: &'static str,
    /// The limit of a project that has none of its own, as long as the operator sets no other.
    pub default: i64,
    /// The type of the service that counts it.
    pub service: &'static str,
    /// In keystone's registered limits.
    pub unified: &'static str,
    /// Ours per one of the unified limit's units.
    pub unit: i64,
    /// Counted per user and zone too, and may have limits per user.
    pub by_user: bool,
    /// Each request stands alone, and nothing is counted.
    pub per_claim: bool,
}

const fn countable(
    name: &'static str,
    default: i64,
    service: &'static str,
    unified: &'static str,
) -> Countable {
    Countable { name, default, service, unified, unit: 1, by_user: false, per_claim: false }
}

pub const INSTANCES: &str = "instances";
pub const CORES: &str = "cores";
pub const RAM: &str = "ram";
pub const KEY_PAIRS: &str = "key_pairs";
pub const SERVER_GROUPS: &str = "server_groups";
pub const SERVER_GROUP_MEMBERS: &str = "server_group_members";
pub const METADATA_ITEMS: &str = "metadata_items";
pub const NETWORKS: &str = "networks";
pub const SUBNETS: &str = "subnets";
pub const PORTS: &str = "ports";
pub const IMAGES: &str = "images";
pub const IMAGE_BYTES: &str = "image_bytes";

/// All but the classes.
pub const COUNTABLES: [Countable; 12] = [
    Countable { by_user: true, ..countable(INSTANCES, 10, "compute", "servers") },
    Countable { by_user: true, ..countable(CORES, 20, "compute", "class:VCPU") },
    Countable { by_user: true, ..countable(RAM, 51_200, "compute", "class:MEMORY_MB") },
    countable(KEY_PAIRS, 100, "compute", "server_key_pairs"),
    Countable { by_user: true, ..countable(SERVER_GROUPS, 10, "compute", "server_groups") },
    // Counted in the group's own row.
    Countable { per_claim: true, ..countable(SERVER_GROUP_MEMBERS, 10, "compute", "server_group_members") },
    Countable { per_claim: true, ..countable(METADATA_ITEMS, 128, "compute", "server_metadata_items") },
    countable(NETWORKS, 100, "network", "network"),
    countable(SUBNETS, 100, "network", "subnet"),
    countable(PORTS, 500, "network", "port"),
    countable(IMAGES, 100, "image", "image_count_total"),
    Countable { unit: 1 << 20, ..countable(IMAGE_BYTES, -1, "image", "image_size_total") },
];

pub fn countable_named(name: &str) -> Option<&'static Countable> {
    COUNTABLES.iter().find(|countable| countable.name == name)
}

/// The resource class of a `class:…` that flavors can ask for.
pub fn class_of(name: &str) -> Option<&str> {
    let class = name.strip_prefix(CLASS)?;
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let named = !class.is_empty() && class.len() <= 255 && class.bytes().all(plain);
    // These are `cores`, `ram`, and nothing that nova counts.
    (named
        && ![super::resources::VCPU, super::resources::MEMORY_MB, super::resources::DISK_GB].contains(&class))
    .then_some(class)
}

/// Whether usage is kept per user and zone as well.
pub fn by_user(name: &str) -> bool {
    countable_named(name).map_or_else(|| name.starts_with(CLASS), |countable| countable.by_user)
}

/// Whether nothing is counted: each request stands alone.
pub fn per_claim(name: &str) -> bool {
    countable_named(name).is_some_and(|countable| countable.per_claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_here_and_in_unified_limits() {
        for (at, one) in COUNTABLES.iter().enumerate() {
            assert!(one.default >= -1 && one.unit > 0);
            assert!(!COUNTABLES[..at].iter().any(|o| o.name == one.name || o.unified == one.unified));
        }
    }

    #[test]
    fn a_class_is_what_placement_calls_one_and_not_counted_otherwise() {
        assert_eq!(class_of("class:CUSTOM_GPU"), Some("CUSTOM_GPU"));
        for no in ["class:", "class:VCPU", "class:DISK_GB", "class:gpu", "CUSTOM_GPU", "cores"] {
            assert_eq!(class_of(no), None, "{no}");
        }
        assert!(by_user("class:VGPU") && by_user("cores") && !by_user("networks"));
        assert!(per_claim("metadata_items") && !per_claim("class:VGPU"));
    }
}
