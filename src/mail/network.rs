//! Which addresses a mail server may have, and dialling one that was checked. An integration from the
//! operator's own file goes anywhere; one made over the API reaches public addresses only, or it would be a
//! way into the network this program runs in. It must not know SMTP.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Addresses of one name that are tried: more would only prolong a failure.
const ADDRESSES_LIMIT: usize = 8;
/// Ports of mail servers: relay, submission with TLS, submission, and the usual alternative to submission.
const MAIL_PORTS: [u16; 4] = [25, 465, 587, 2525];

/// What may be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Any address and port: the integration is the operator's own.
    Any,
    /// Public addresses at the ports of mail servers, and any port in the networks named here.
    Public { also: Vec<Cidr> },
}

/// A block of addresses, written `10.0.0.0/8` or `fd00::/8`. An address alone is a block of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: u128,
    bits: u32,
    is_v4: bool,
}

/// The text is not a block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network such as 10.0.0.0/8 or fd00::/8")]
pub struct BadCidr;

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// None of the addresses may be dialled, so none was.
    #[error("the network policy permits none of the server's addresses")]
    Refused,
    #[error("time ran out")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Blocks that are not public. An address that carries another inside (mapped, NAT64, 6to4, Teredo) is
/// judged by the one inside, see [`embedded`].
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),           // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, metadata services
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24), // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24), // automatic multicast tunnelling
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];
/// Public IPv6 is only what is in `2000::/3` and not in one of these.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16), // segment routing
];
const GLOBAL_UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

impl Network {
    /// Whether this address may be dialled.
    #[must_use]
    pub fn permits(&self, address: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Public { also } => {
                let ip = canonical(address.ip());
                also.iter().any(|block| block.contains(ip))
                    || (is_public(ip) && MAIL_PORTS.contains(&address.port()))
            }
        }
    }
}

impl Cidr {
    /// Whether the block holds `ip`. IPv4 and its form inside IPv6 are the same address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = canonical(ip);
        let shift = width(self.is_v4) - self.bits;
        ip.is_ipv4() == self.is_v4 && number(ip).checked_shr(shift) == self.base.checked_shr(shift)
    }

    fn new(ip: IpAddr, bits: u32) -> Self {
        Self { base: number(ip), bits, is_v4: ip.is_ipv4() }
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| BadCidr)?;
        let most = width(ip.is_ipv4());
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| BadCidr)?;
        if bits > most { Err(BadCidr) } else { Ok(Self::new(ip, bits)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = match u32::try_from(self.base) {
            Ok(number) if self.is_v4 => IpAddr::V4(Ipv4Addr::from(number)),
            _ => IpAddr::V6(Ipv6Addr::from(self.base)),
        };
        write!(out, "{ip}/{}", self.bits)
    }
}

/// Resolves `host` once, checks every address and dials the permitted ones in turn, so that a name that
/// changes between two look-ups gains nothing. Each of the two steps, and each address, has `limit`.
pub async fn dial(host: &str, port: u16, network: &Network, limit: Duration) -> Result<TcpStream, DialError> {
    let addresses = timeout(limit, lookup_host((host, port))).await.map_err(|_| DialError::TimedOut)??;
    dial_first(addresses, network, limit).await
}

/// Dials the permitted ones of `addresses` in turn until one answers; the last error is given if none does.
pub async fn dial_first(
    addresses: impl IntoIterator<Item = SocketAddr>,
    network: &Network,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let mut last = DialError::Refused;
    for address in addresses.into_iter().filter(|address| network.permits(*address)).take(ADDRESSES_LIMIT) {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = DialError::Io(error),
            Err(_) => last = DialError::TimedOut,
        }
    }
    Err(last)
}

fn is_public(ip: IpAddr) -> bool {
    let inside = |(base, bits): (IpAddr, u32)| Cidr::new(base, bits).contains(ip);
    match ip {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.into_iter().any(|(base, bits)| inside((base.into(), bits))),
        IpAddr::V6(v6) => {
            if let Some(v4) = embedded(v6) {
                return is_public(v4.into());
            }
            let (base, bits) = GLOBAL_UNICAST_V6;
            inside((base.into(), bits))
                && !NOT_PUBLIC_V6.into_iter().any(|(base, bits)| inside((base.into(), bits)))
        }
    }
}

/// The IPv4 address that a gateway would make of this: NAT64 (`64:ff9b::/96`) and 6to4 (`2002::/16`). The
/// local NAT64 block `64:ff9b:1::/48` and the old compatible form `::/96` are outside `2000::/3` anyway.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// IPv4 inside IPv6 (`::ffff:10.0.0.1`) as the IPv4 that the kernel dials.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn width(is_v4: bool) -> u32 {
    if is_v4 { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn permits(network: &Network, ip: &str, port: u16) -> bool {
        network.permits(SocketAddr::new(ip.parse().unwrap(), port))
    }

    #[test]
    fn only_public_addresses_may_be_dialled() {
        let public = Network::Public { also: Vec::new() };
        let inner = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.1.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "3fff::1",
            "5f00::1",
        ];
        for ip in inner {
            assert!(!permits(&public, ip, 587), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(permits(&public, ip, 587), "{ip}");
        }
    }

    #[test]
    fn a_public_address_is_dialled_at_mail_ports_only() {
        let public = Network::Public { also: Vec::new() };
        assert!([25, 465, 587, 2525].into_iter().all(|port| permits(&public, "8.8.8.8", port)));
        assert!([22, 80, 443, 5432, 6379].into_iter().all(|port| !permits(&public, "8.8.8.8", port)));
    }

    #[test]
    fn the_operator_can_permit_a_network_at_any_port() {
        let network = Network::Public { also: vec!["10.1.0.0/16".parse().unwrap()] };
        assert!(permits(&network, "10.1.2.3", 1025) && permits(&network, "::ffff:10.1.2.3", 1025));
        assert!(!permits(&network, "10.2.0.1", 587));
        assert!(permits(&Network::Any, "127.0.0.1", 1));
    }

    #[test]
    fn a_network_is_read_and_written() {
        for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.1".parse::<Cidr>().unwrap().to_string(), "192.0.2.1/32");
        for text in ["", "10/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "a/8", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Cidr>(), Err(BadCidr), "{text}");
        }
        assert!("::/0".parse::<Cidr>().unwrap().contains("2001::1".parse().unwrap()));
        assert!(!"::/0".parse::<Cidr>().unwrap().contains("10.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed, open.local_addr().unwrap()];
        let stream = dial_first(addresses, &Network::Any, Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }

    #[tokio::test]
    async fn a_refused_address_is_not_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = Network::Public { also: Vec::new() };
        let error =
            dial_first([listener.local_addr().unwrap()], &public, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, DialError::Refused));
    }
}
