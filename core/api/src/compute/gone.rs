//! What nova has taken out at every version, and answers so instead of not knowing it.

use canopy_types::{Error, Kind};

const GONE: [&str; 7] = [
    "os-cells",
    "os-certificates",
    "os-cloudpipe",
    "os-fixed-ips",
    "os-floating-ip-dns",
    "os-floating-ips-bulk",
    "os-fping",
];
const GONE_OF_SERVERS: &str = "os-virtual-interfaces";

/// The answer to a path that no route takes, if nova once did.
pub fn gone(path: &str) -> Option<Error> {
    let path = path.strip_prefix("/compute/v2.1/").or_else(|| path.strip_prefix("/compute/v2/"))?;
    let parts: Vec<&str> = path.trim_end_matches('/').splitn(4, '/').collect();
    let known = match parts.as_slice() {
        ["servers", _, of_server] => *of_server == GONE_OF_SERVERS,
        [first, ..] => GONE.contains(first),
        [] => false,
    };
    known.then(|| {
        let words = "This resource is no longer available. No forwarding address is given.";
        Error::new(Kind::Gone, "api.gone", words)
    })
}

#[cfg(test)]
mod tests {
    use super::gone;

    #[test]
    fn what_nova_took_out_is_told_from_what_it_never_had() {
        for path in ["os-fping", "os-fping/", "os-cells/1/capacities", "servers/7/os-virtual-interfaces"] {
            for version in ["v2", "v2.1"] {
                assert!(gone(&format!("/compute/{version}/{path}")).is_some(), "{path}");
            }
        }
        for path in [
            "/compute/v2.1/os-fpings",
            "/compute/v2.1/servers/os-fping",
            "/compute/v2.1/",
            "/image/v2/os-fping",
        ] {
            assert!(gone(path).is_none(), "{path}");
        }
    }
}
