//! Where a request comes from.

use axum::extract::{ConnectInfo, Request};
use std::net::{IpAddr, SocketAddr};

/// Most addresses of `X-Forwarded-For` that are looked at, from the end.
const MAX_HOPS: usize = 16;

/// The client's address. A proxy's word is taken only where it is trusted: the header is read from its
/// end, and the first address that is not a trusted proxy's is the client's.
pub fn address(request: &Request, trusted: &[IpAddr]) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    let forwarded =
        request.headers().get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    Some(behind(peer, &hops, trusted))
}

fn behind(peer: IpAddr, hops: &[&str], trusted: &[IpAddr]) -> IpAddr {
    let mut address = peer;
    for hop in hops.iter().rev().take(MAX_HOPS) {
        if !trusted.contains(&address) {
            break;
        }
        // What cannot be read is not believed: the proxy that sent it is where the trace ends.
        let hop = hop.trim();
        // Some proxies add the port.
        let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
        let Ok(next) = hop.parse::<IpAddr>().or_else(|_| with_port()) else { break };
        address = next.to_canonical();
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_its_own_peer() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (proxy, inner, stranger) = (ip("127.0.0.1"), ip("10.0.0.1"), ip("203.0.113.9"));
        assert_eq!(behind(stranger, &["192.0.2.1"], &[proxy]), stranger);
        assert_eq!(behind(proxy, &["192.0.2.1"], &[]), proxy);
        assert_eq!(behind(proxy, &["192.0.2.1"], &[proxy]), ip("192.0.2.1"));
        // What the client itself put in front is not looked at.
        assert_eq!(behind(proxy, &["1.2.3.4", " 192.0.2.1 "], &[proxy]), ip("192.0.2.1"));
        assert_eq!(behind(proxy, &["1.2.3.4", "192.0.2.1", "10.0.0.1"], &[proxy, inner]), ip("192.0.2.1"));
        assert_eq!(behind(proxy, &["192.0.2.1", "unknown"], &[proxy]), proxy);
        assert_eq!(behind(proxy, &["::ffff:192.0.2.1"], &[proxy]), ip("192.0.2.1"));
        assert_eq!(behind(proxy, &["192.0.2.1:5555"], &[proxy]), ip("192.0.2.1"));
        assert_eq!(behind(proxy, &["[2001:db8::1]:5555"], &[proxy]), ip("2001:db8::1"));
        assert_eq!(behind(proxy, &[], &[proxy]), proxy);
    }
}
