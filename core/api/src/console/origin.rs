//! From whose pages consoles may be joined. A browser sends its cookies and its user's network with whatever page asks,
//! so that a page of another host must not be able to use a link that it came by.

use http::Uri;

/// Whether a page of this origin came from one of these hosts (`host` or `host:port`).
pub fn is_own(origin: &str, hosts: &[Option<&str>]) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let plain = |host: &str| host.strip_suffix(usual).unwrap_or(host).to_ascii_lowercase();
    let theirs = plain(authority.as_str());
    hosts.iter().flatten().any(|host| !host.is_empty() && plain(host) == theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_cloud_itself_are_its_own() {
        let own = [Some("cloud.example:8774"), None, Some("consoles.example")];
        for origin in [
            "http://cloud.example:8774",
            "http://Cloud.Example:8774",
            "https://consoles.example",
            "https://consoles.example:443",
            "http://consoles.example:80",
        ] {
            assert!(is_own(origin, &own), "{origin}");
        }
        for origin in [
            "null",
            "",
            "cloud.example:8774",
            "http://cloud.example",
            "http://cloud.example:87740",
            "http://evil.example",
            "http://consoles.example.evil.example",
            "http://consoles.example:443",
            "http://user@consoles.example",
            "file:///etc/passwd",
            "ftp://consoles.example",
            "http://",
        ] {
            assert!(!is_own(origin, &own), "{origin}");
        }
        assert!(!is_own("http://", &[Some("")]));
    }
}
