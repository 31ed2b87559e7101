//! Connecting to the broker: the URL with its password, time-outs, back-off. The only place that sees the
//! password, which reaches no log and no error text. Knows nothing of what a connection is for.

use std::fmt;
use std::time::Duration;

use backon::ExponentialBuilder;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::transport;

/// Heartbeat in seconds: a broker that is gone without a word is noticed after 20 s.
const HEARTBEAT: u16 = 10;
/// For the whole handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait after a fault; jitter adds up to as much again, here and below.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Longest wait but for the jitter: 0.25, 0.5, 1, 2, then 2.5 s, doubled at most.
const LONGEST_DELAY: Duration = Duration::from_millis(2500);

/// Where the broker is and who we are there.
#[derive(Clone)]
pub struct BrokerUrl(AMQPUri);

/// Says nothing of the text: it has a password.
#[derive(Debug, thiserror::Error)]
#[error("is not a URL such as amqp://user:password@host:5672/vhost or amqps://…")]
pub struct InvalidUrl;

impl BrokerUrl {
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let mut uri: AMQPUri = text.parse().map_err(|_| InvalidUrl)?;
        // The parser takes an IPv6 address for none, and would connect to localhost.
        if let Ok(url) = url::Url::parse(text)
            && let Some(url::Host::Ipv6(address)) = url.host()
        {
            uri.authority.host = address.to_string();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self(uri))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.0;
        let vhost = vhost.replace('/', "%2f");
        write!(f, "{scheme}://{}@{}:{}/{vhost}", authority.userinfo.username, authority.host, authority.port)
    }
}

/// What a connection is made with.
#[derive(Clone)]
pub struct Options {
    pub url: BrokerUrl,
    /// `SIGNALPOST_AMQP_DECLARE`
    pub declare: bool,
    /// `SIGNALPOST_PREFETCH`
    pub prefetch: u16,
    /// Shown by the broker, such as `signalpost worker`.
    pub name: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the broker did not answer within 10 s")]
    TimedOut,
    /// Trying again at once would only fill the broker's log.
    #[error("the broker refused the user name or password of SIGNALPOST_AMQP_URL")]
    LoginRefused,
    #[error("could not connect to the broker: {0}")]
    Broker(#[from] lapin::Error),
}

pub(super) async fn connect(options: &Options) -> Result<Connection, ConnectError> {
    // Without lapin's own recovery: it mends connections but not channels, so everything is built anew instead.
    let properties = ConnectionProperties::default().with_connection_name(options.name.as_str().into());
    let connecting = transport::connect(options.url.0.clone(), properties);
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Err(_) => Err(ConnectError::TimedOut),
        Ok(Err(error)) if is_login(&error) => Err(ConnectError::LoginRefused),
        Ok(connected) => Ok(connected?),
    }
}

fn is_login(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(protocol) = error.kind() else { return false };
    matches!(protocol.kind(), AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED))
}

/// How long to wait between tries; never gives up by itself.
pub(super) fn backoff() -> ExponentialBuilder {
    let builder = ExponentialBuilder::default().with_min_delay(FIRST_DELAY).with_max_delay(LONGEST_DELAY);
    builder.with_jitter().without_max_times()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_in_no_text() {
        let url = BrokerUrl::parse("amqp://alice:hunter2@rabbit.example:5673/%2f").unwrap();
        assert_eq!(url.to_string(), "amqp://alice@rabbit.example:5673/%2f");
        for text in ["http://alice:hunter2@rabbit", "alice:hunter2@rabbit", "amqp://alice:hunter2@[::1", ""] {
            let error = BrokerUrl::parse(text).err().unwrap().to_string();
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn an_ipv6_address_is_the_host() {
        assert_eq!(BrokerUrl::parse("amqp://[2001:db8::1]/v").unwrap().0.authority.host, "2001:db8::1");
    }
}
