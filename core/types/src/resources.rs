//! Resource classes and amounts, named as placement names them.

pub const VCPU: &str = "VCPU";
pub const MEMORY_MB: &str = "MEMORY_MB";
pub const DISK_GB: &str = "DISK_GB";

/// What a server asks of a host, one amount per resource class.
pub type Amounts = std::collections::BTreeMap<String, i64>;
