//! The address that a request came from, for throttles and for the audit, never for links. A proxy that is
//! trusted speaks for whom it serves; nobody else's `X-Forwarded-For` is read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use super::State;
use crate::mail::network::Cidr;

/// Who is at the other end of the connection; put into every request that came over one.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The client's address, if the request came over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) Option<IpAddr>);

impl FromRequestParts<Arc<State>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Infallible> {
        Ok(client(&parts.extensions, &parts.headers, &state.trusted_proxies))
    }
}

pub(super) fn client(extensions: &Extensions, headers: &HeaderMap, trusted: &[Cidr]) -> ClientAddress {
    let peer = extensions.get::<Peer>().map(|peer| peer.0.to_canonical());
    ClientAddress(peer.map(|peer| behind(peer, headers, trusted)))
}

/// From the right, the first address that no trusted proxy has: what stands before it anybody can have written.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|block| block.contains(ip));
    let mut client = peer;
    let told = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let told: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
    for text in told.into_iter().rev() {
        if !is_trusted(client) {
            break;
        }
        let Ok(ip) = text.parse::<IpAddr>() else { break };
        client = ip.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, told: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for text in told {
            headers.append("x-forwarded-for", text.parse().unwrap());
        }
        behind(peer.parse().unwrap(), &headers, &[trusted.parse().unwrap()]).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_tells_whom_it_serves() {
        assert_eq!(seen("203.0.113.9", &["198.51.100.1"], "10.0.0.0/8"), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"], "10.0.0.0/8"), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &[], "10.0.0.0/8"), "10.0.0.1");
    }

    #[test]
    fn what_a_client_wrote_itself_is_not_believed() {
        let told = ["1.1.1.1, 198.51.100.1", "10.0.0.2"];
        assert_eq!(seen("10.0.0.1", &told, "10.0.0.0/8"), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["nonsense, x"], "10.0.0.0/8"), "10.0.0.1");
    }
}
