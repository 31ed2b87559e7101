//! A mail server for tests, in this process and on 127.0.0.1: it takes every mail, remembers what came over
//! the wire, and misbehaves as told. Fast enough to measure a sender against. It must not know the sender.
//!
//! ```ignore
//! let sink = Sink::builder().script([Step::reply_at(At::Rcpt, "451 4.7.1 later")]).start().await;
//! send_to(sink.port()).await;
//! let mails = sink.wait_for(1, Duration::from_secs(5)).await;
//! ```

mod certificate;
mod pipe;
mod script;
mod session;
mod text;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use script::{At, Chooser, Fault, Step};
use session::{End, Session};

/// A running sink. It stops, and drops its connections, when this is dropped.
pub struct Sink {
    address: SocketAddr,
    root_pem: String,
    shared: Arc<Shared>,
    /// Dropped with the sink, which ends the task or thread that serves.
    _stop: oneshot::Sender<()>,
}

/// A mail that the sink took.
#[derive(Debug, Clone)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    /// The message as its reader sees it.
    pub data: Vec<u8>,
    /// The message as it came over the wire, dots stuffed, without the final dot.
    pub raw: Vec<u8>,
    pub connection: u64,
    pub at: Instant,
    /// MAIL, RCPT and DATA arrived together.
    pub is_pipelined: bool,
    pub is_tls: bool,
    /// Who authenticated.
    pub user: Option<String>,
}

/// A command line that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub connection: u64,
    /// Which read of its connection brought it: commands with the same number arrived together.
    pub read: u64,
    pub is_tls: bool,
    pub line: String,
}

/// What a sink is to offer and how it is to misbehave.
#[derive(Default)]
pub struct Builder {
    options: Options,
    script: Vec<Step>,
    chooser: Option<Chooser>,
    names: Vec<String>,
    is_expired: bool,
    counts_only: bool,
}

#[derive(Default)]
struct Options {
    extensions: Vec<String>,
    starttls: bool,
    implicit_tls: bool,
    /// Mechanisms, user, password.
    auth: Option<(String, String, String)>,
}

struct Shared {
    options: Options,
    script: script::Script,
    tls: TlsAcceptor,
    keeps: bool,
    mails: Mutex<Vec<Received>>,
    commands: Mutex<Vec<Command>>,
    count: watch::Sender<usize>,
    connections: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Sink {
    /// A sink that offers nothing but what is asked for here.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A sink as usual servers are: PIPELINING, SIZE, 8BITMIME, no TLS, no faults.
    pub async fn start() -> Self {
        Self::builder().usual().start().await
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate to trust, PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// All mails taken so far, in the order of their acceptance.
    pub fn mails(&self) -> Vec<Received> {
        self.shared.mails.lock().unwrap().clone()
    }

    /// How many mails were taken so far.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// All mails, once there are `count` of them.
    ///
    /// # Panics
    /// If there are fewer after `limit`.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> Vec<Received> {
        let mut taken = self.shared.count.subscribe();
        let enough = tokio::time::timeout(limit, taken.wait_for(|taken| *taken >= count)).await.is_ok();
        assert!(enough, "{} of {count} mails after {limit:?}", self.count());
        self.mails()
    }

    /// All command lines so far.
    pub fn commands(&self) -> Vec<Command> {
        self.shared.commands.lock().unwrap().clone()
    }

    /// The text of all command lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.commands().into_iter().map(|command| command.line).collect()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections were open at once, at most.
    pub fn most_connections(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// Adds faults to a running sink.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.shared.script.add(steps);
    }
}

impl Builder {
    /// PIPELINING, SIZE, 8BITMIME.
    #[must_use]
    pub fn usual(self) -> Self {
        self.offer("PIPELINING").offer("SIZE 100000000").offer("8BITMIME")
    }

    /// Offers this line with EHLO.
    #[must_use]
    pub fn offer(mut self, extension: &str) -> Self {
        self.options.extensions.push(extension.to_owned());
        self
    }

    #[must_use]
    pub fn starttls(mut self) -> Self {
        self.options.starttls = true;
        self
    }

    #[must_use]
    pub fn implicit_tls(mut self) -> Self {
        self.options.implicit_tls = true;
        self
    }

    /// The certificate is for this name instead of `localhost`.
    #[must_use]
    pub fn certificate_for(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// The certificate has expired.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.is_expired = true;
        self
    }

    /// Offers `mechanisms` (`"PLAIN LOGIN"`) and takes mail only from this user.
    #[must_use]
    pub fn auth(mut self, mechanisms: &str, user: &str, password: &str) -> Self {
        self.options.auth = Some((mechanisms.to_owned(), user.to_owned(), password.to_owned()));
        self
    }

    /// Adds faults, each consumed at its first fitting chance.
    #[must_use]
    pub fn script(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.script.extend(steps);
        self
    }

    /// Chooses faults where the script has none.
    #[must_use]
    pub fn choose(mut self, choose: impl Fn(At, &str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.chooser = Some(Box::new(choose));
        self
    }

    /// Whether mails and commands are remembered (as usual) or only counted, to measure a sender.
    #[must_use]
    pub fn keep_bodies(mut self, keep: bool) -> Self {
        self.counts_only = !keep;
        self
    }

    /// Serves on this runtime.
    ///
    /// # Panics
    /// If no port can be bound.
    pub async fn start(self) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (sink, serve) = self.prepare(listener);
        let mut task = JoinSet::new();
        task.spawn(serve);
        task.detach_all();
        sink
    }

    /// Serves on a thread of its own, so that a sender is measured and not the sink.
    ///
    /// # Panics
    /// If no port can be bound or no thread be started.
    pub fn start_on_own_thread(self) -> Sink {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("a socket of ours");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Entered, not blocked on: the caller may be on a runtime already.
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(socket).expect("a socket of ours")
        };
        let (sink, serve) = self.prepare(listener);
        std::thread::spawn(move || runtime.block_on(serve));
        sink
    }

    fn prepare(self, listener: TcpListener) -> (Sink, impl Future<Output = ()> + Send + 'static) {
        let address = listener.local_addr().expect("a bound socket has an address");
        let (tls, root_pem) = certificate::make(&self.names, self.is_expired);
        let shared = Arc::new(Shared {
            options: self.options,
            script: script::Script::new(self.script, self.chooser),
            tls,
            keeps: !self.counts_only,
            mails: Mutex::default(),
            commands: Mutex::default(),
            count: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let serve = serve(listener, Arc::clone(&shared), stopped);
        (Sink { address, root_pem, shared, _stop: stop }, serve)
    }
}

impl Received {
    /// Whether a CR or LF stood alone on the wire.
    pub fn has_bare_line_end(&self) -> bool {
        let text = String::from_utf8_lossy(&self.raw).replace("\r\n", "");
        text.contains(['\r', '\n'])
    }
}

impl Shared {
    /// `None` where mails are only counted.
    fn record(&self, received: Option<Received>) {
        if let Some(received) = received {
            self.mails.lock().unwrap().push(received);
        }
        self.count.send_modify(|count| *count += 1);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(_) = conversations.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                conversations.spawn(converse(stream, Arc::clone(&shared)));
            }
        }
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_open.fetch_max(open, Ordering::SeqCst);
    let _ = stream.set_nodelay(true);
    talk(stream, &shared, connection).await;
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn talk(stream: TcpStream, shared: &Arc<Shared>, connection: u64) {
    let encrypted = if shared.options.implicit_tls {
        shared.tls.accept(stream).await
    } else {
        let mut session = Session::new(stream, Arc::clone(shared), connection, false);
        if session.greet().await.is_err() {
            return session.hang_up().await;
        }
        match session.run().await {
            End::Closed => return,
            End::Upgrade => shared.tls.accept(session.into_inner()).await,
        }
    };
    let Ok(encrypted) = encrypted else { return };
    let mut session = Session::new(encrypted, Arc::clone(shared), connection, true);
    if shared.options.implicit_tls && session.greet().await.is_err() {
        return session.hang_up().await;
    }
    session.run().await;
}
