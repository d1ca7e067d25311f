//! The default policies, compiled in, so that `canopy serve` decides rightly with nothing configured.
//!
//! A test holds this list against the folder: a policy file that is not listed here would not ship.

/// The schema's file name in a bundle.
pub const SCHEMA: &str = "schema.cedarschema";

/// Name and text of every file of `policies/`, sorted by name.
pub const FILES: &[(&str, &str)] = &[
    ("canopy.cedar", include_str!("../../../policies/canopy.cedar")),
    ("compute.cedar", include_str!("../../../policies/compute.cedar")),
    ("identity.cedar", include_str!("../../../policies/identity.cedar")),
    ("image.cedar", include_str!("../../../policies/image.cedar")),
    ("network.cedar", include_str!("../../../policies/network.cedar")),
    ("placement.cedar", include_str!("../../../policies/placement.cedar")),
    (SCHEMA, include_str!("../../../policies/schema.cedarschema")),
];
