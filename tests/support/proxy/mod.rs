//! A TCP proxy on 127.0.0.1 that does to a connection what networks do: delay, cut, reset, stall, swallow,
//! trickle, refuse. It must not know what is spoken over it.
//!
//! ```ignore
//! let proxy = Proxy::before(broker_address).await?;
//! proxy.set(Fault::Cut { toward: Toward::Client, after: 2_000, ending: Ending::Reset }).await;
//! ```

mod pump;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use pump::Pump;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    Upstream,
    Client,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a FIN to both sides.
    Close,
    /// With a RST to both sides.
    Reset,
}

/// What happens to every connection, also to those that are open, until something else is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    None,
    /// What was read is held this long before it passes.
    Delay(Duration),
    /// So many bytes pass that way, counted from the connection's start or from when this was set, whichever
    /// is later; then both sides end. Only what comes on top of `after` bytes that way ends it, so that a
    /// reply of exactly that length still arrives and `after: 0` ends it at the first byte.
    Cut { toward: Toward, after: u64, ending: Ending },
    /// A connection whose client says this ends with a RST when it is answered: what was asked is done, and
    /// the client cannot know.
    LoseAnswer { to: &'static str },
    /// Nothing is read, so that writers block in the end; what waited passes once another fault is set.
    Stall,
    /// Half-open: everything is taken, nothing passes, nothing is closed. A connection that lost bytes so
    /// stays like that for good.
    Swallow,
    /// One byte passes at a time, with this pause behind it.
    Trickle(Duration),
    /// Nobody listens. Open connections go on.
    Refuse,
}

/// What went through so far. `ended` counts by a fault or by [`Proxy::end_open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub accepted: u64,
    pub open: u64,
    pub ended: u64,
    pub to_upstream: u64,
    pub to_client: u64,
    pub swallowed: u64,
}

/// A running proxy. It stops, and drops its connections, when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    setting: watch::Sender<Setting>,
    end_open: watch::Sender<Ending>,
    listening: watch::Receiver<bool>,
    totals: Arc<Totals>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A proxy on a free port that connects to `upstream` for each client.
    pub async fn before(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (setting, settings) = watch::channel(Setting { number: 0, fault: Fault::None });
        let (end_open, ends) = watch::channel(Ending::Close);
        let (now_listening, listening) = watch::channel(true);
        let totals = Arc::new(Totals::default());
        let link = Link { upstream, settings, ends, totals: Arc::clone(&totals) };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, address, link, now_listening));
        Ok(Self { address, setting, end_open, listening, totals, _serving: serving })
    }

    /// The same from a URL with a port, and that URL with the proxy's port instead. The host's name stays, so
    /// that a certificate for it is still right; it must be this machine.
    pub async fn before_url(url: &str) -> anyhow::Result<(Self, String)> {
        let mut url = url::Url::parse(url)?;
        let host = url.host_str().context("a URL with a host")?;
        let port = url.port().context("a URL with a port")?;
        let upstream = tokio::net::lookup_host((host, port)).await?.find(SocketAddr::is_ipv4);
        let proxy = Self::before(upstream.context("a host with an IPv4 address")?).await?;
        url.set_port(Some(proxy.address.port())).map_err(|()| anyhow::anyhow!("{url} takes no port"))?;
        Ok((proxy, url.into()))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault for open and new connections. After [`Fault::Refuse`] has returned, nobody listens;
    /// after any other, somebody does.
    pub async fn set(&self, fault: Fault) {
        self.setting.send_modify(|setting| *setting = Setting { number: setting.number + 1, fault });
        // Fails only if the proxy's task ended, and then nobody listens anyway.
        let _ = self.listening.clone().wait_for(|listening| *listening == (fault != Fault::Refuse)).await;
    }

    /// Ends the connections that are open now.
    pub fn end_open(&self, ending: Ending) {
        self.end_open.send_replace(ending);
    }

    pub fn counts(&self) -> Counts {
        self.totals.read()
    }
}

/// A fault, and which one since the start, so that a pump notices one set anew.
#[derive(Debug, Clone, Copy)]
struct Setting {
    number: u64,
    fault: Fault,
}

#[derive(Default)]
struct Totals {
    accepted: AtomicU64,
    closed: AtomicU64,
    ended: AtomicU64,
    to_upstream: AtomicU64,
    to_client: AtomicU64,
    swallowed: AtomicU64,
}

impl Totals {
    fn read(&self) -> Counts {
        let of = |total: &AtomicU64| total.load(Ordering::SeqCst);
        Counts {
            open: of(&self.accepted).saturating_sub(of(&self.closed)),
            accepted: of(&self.accepted),
            ended: of(&self.ended),
            to_upstream: of(&self.to_upstream),
            to_client: of(&self.to_client),
            swallowed: of(&self.swallowed),
        }
    }

    fn add(total: &AtomicU64, count: usize) {
        total.fetch_add(count as u64, Ordering::SeqCst);
    }
}

/// What every connection of a proxy has.
#[derive(Clone)]
struct Link {
    upstream: SocketAddr,
    settings: watch::Receiver<Setting>,
    ends: watch::Receiver<Ending>,
    totals: Arc<Totals>,
}

/// Listens, except while the fault is to refuse. The port is bound again afterwards: the address is known.
async fn serve(first: TcpListener, address: SocketAddr, link: Link, listening: watch::Sender<bool>) {
    let mut settings = link.settings.clone();
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    loop {
        let Some(open) = listener.take() else {
            let _ = settings.wait_for(|setting| setting.fault != Fault::Refuse).await;
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                // Somebody took the port meanwhile; it may be a short-lived connection.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            listening.send_replace(listener.is_some());
            continue;
        };
        tokio::select! {
            biased;
            _ = settings.wait_for(|setting| setting.fault == Fault::Refuse) => {
                drop(open);
                listening.send_replace(false);
            }
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    Totals::add(&link.totals.accepted, 1);
                    connections.spawn(connect(client, link.clone()));
                }
                listener = Some(open);
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, from its acceptance to its end.
async fn connect(client: TcpStream, link: Link) {
    let totals = Arc::clone(&link.totals);
    match TcpStream::connect(link.upstream).await {
        Ok(upstream) => carry(client, upstream, link).await,
        // As if the client had reached the upstream's closed port itself.
        Err(_) => end(&[&client], Ending::Reset),
    }
    Totals::add(&totals.closed, 1);
}

async fn carry(mut client: TcpStream, mut upstream: TcpStream, mut link: Link) {
    // Else small writes wait for each other, which is a delay nobody asked for.
    let _ = client.set_nodelay(true).and(upstream.set_nodelay(true));
    link.ends.mark_unchanged();
    let ending = {
        let (from_client, to_client) = client.split();
        let (from_upstream, to_upstream) = upstream.split();
        let asked = Arc::new(AtomicBool::new(false));
        let out = Pump::new(Toward::Upstream, &link, &asked).run(from_client, to_upstream);
        let back = Pump::new(Toward::Client, &link, &asked).run(from_upstream, to_client);
        tokio::select! {
            ended = async { tokio::try_join!(out, back) } => ended.err(),
            _ = link.ends.changed() => {
                Totals::add(&link.totals.ended, 1);
                Some(*link.ends.borrow())
            }
        }
    };
    if let Some(ending) = ending {
        end(&[&client, &upstream], ending);
    }
}

/// The streams close when their owner drops them; this only decides how.
fn end(streams: &[&TcpStream], ending: Ending) {
    if ending == Ending::Reset {
        for stream in streams {
            let _ = stream.set_zero_linger();
        }
    }
}
