//! Microversions. A range is advertised; a handler knows only the newest model, and older shapes are made
//! by pure converters chosen by the version asked.

use crate::route::Service;
use canopy_types::{Error, Kind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microversion {
    pub major: u16,
    pub minor: u16,
}

pub const fn v(major: u16, minor: u16) -> Microversion {
    Microversion { major, minor }
}

impl std::fmt::Display for Microversion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Microversion {
    /// `2.37`; no signs, spaces or leading zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |s: &str| {
            let plain = !s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit());
            let canonical = s == "0" || !s.starts_with('0');
            (plain && canonical).then(|| s.parse().ok()).flatten()
        };
        Some(v(number(major)?, number(minor)?))
    }
}

/// The range a service serves.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The name in `OpenStack-API-Version`.
    pub service: &'static str,
    pub min: Microversion,
    pub max: Microversion,
}

pub const COMPUTE: Range = Range { service: "compute", min: v(2, 1), max: v(2, 79) };

pub const PLACEMENT: Range = Range { service: "placement", min: v(1, 0), max: v(1, 39) };

/// The range of a service that has microversions.
pub fn range(service: Service) -> Option<Range> {
    match service {
        Service::Compute => Some(COMPUTE),
        Service::Placement => Some(PLACEMENT),
        _ => None,
    }
}

/// The version a request asks for: the standard header first, then compute's old one, else the minimum.
pub fn negotiate(range: Range, standard: &[&str], legacy: Option<&str>) -> Result<Microversion> {
    let asked = standard
        .iter()
        .flat_map(|value| value.split(','))
        .filter_map(|entry| entry.trim().split_once(' '))
        .find(|(service, _)| service.eq_ignore_ascii_case(range.service))
        .map(|(_, version)| version.trim())
        .or(legacy.map(str::trim));
    let Some(asked) = asked else { return Ok(range.min) };
    if asked.eq_ignore_ascii_case("latest") {
        return Ok(range.max);
    }
    let version = Microversion::parse(asked).ok_or_else(|| {
        let text = match range.service {
            "placement" => format!("invalid version string: {asked}"),
            _ => format!(
                "API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
            ),
        };
        Error::bad_request("version.malformed", text)
    })?;
    if version < range.min || version > range.max {
        let refused = match range.service {
            "placement" => format!("Unacceptable version header: {version}"),
            _ => format!("Version {version} is not supported by the API"),
        };
        return Err(Error::new(
            Kind::NotAcceptable,
            "version.unsupported",
            format!("{refused}. Minimum is {} and maximum is {}.", range.min, range.max),
        ));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_either_header_and_defaults_to_the_minimum() {
        assert_eq!(negotiate(COMPUTE, &[], None).unwrap(), v(2, 1));
        assert_eq!(negotiate(COMPUTE, &["compute 2.19"], Some("2.3")).unwrap(), v(2, 19));
        assert_eq!(negotiate(COMPUTE, &["volume 3.1, compute 2.4"], None).unwrap(), v(2, 4));
        assert_eq!(negotiate(COMPUTE, &["volume 3.1"], Some("2.3")).unwrap(), v(2, 3));
        assert_eq!(negotiate(COMPUTE, &["compute latest"], None).unwrap(), COMPUTE.max);
    }

    #[test]
    fn malformed_is_400_and_out_of_range_is_406() {
        for bad in ["compute 2", "compute 2.01", "compute 2.-1", "compute two", "compute 2.999999"] {
            assert_eq!(negotiate(COMPUTE, &[bad], None).unwrap_err().kind, Kind::BadRequest, "{bad}");
        }
        for far in ["compute 2.0", "compute 2.9999", "compute 3.1"] {
            assert_eq!(negotiate(COMPUTE, &[far], None).unwrap_err().kind, Kind::NotAcceptable, "{far}");
        }
    }
}
