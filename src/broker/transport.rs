//! The way from the broker's socket to lapin: every octet that lapin reads goes through a [`Screen`], after TLS.
//! Knows nothing of frames.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use super::screen::Screen;

/// Octets asked of the socket at a time.
const CHUNK: usize = 64 * 1024;

/// Connects as lapin does by itself, but for what it gets to read.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
) -> Result<Connection, lapin::Error> {
    let runtime = Runtime::new(RuntimeParts::new(Tokio::current(), Screening(Tokio::current())));
    let connect = async move |uri: AMQPUri, _: Runtime<_>| {
        let stream = uri.connect_async(&Runtime::tokio_current()).await?;
        Ok(AsyncTcpStream::Plain(Screened::new(stream, uri.query.frame_max)))
    };
    Connection::connector(uri, runtime, connect, properties).await
}

type Socket = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A socket of which only what was screened can be read.
struct Screened {
    socket: Socket,
    screen: Screen,
    chunk: Box<[u8]>,
    /// Screened; up to `read` lapin has it.
    ready: Vec<u8>,
    read: usize,
}

impl Screened {
    fn new(socket: Socket, frame_max: Option<u32>) -> Self {
        let (screen, chunk) = (Screen::new(frame_max), vec![0; CHUNK].into_boxed_slice());
        Self { socket, screen, chunk, ready: Vec::new(), read: 0 }
    }
}

impl AsyncRead for Screened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        while this.read == this.ready.len() {
            this.ready.clear();
            this.read = 0;
            let count = ready!(Pin::new(&mut this.socket).poll_read(context, &mut this.chunk))?;
            if count == 0 {
                return Poll::Ready(Ok(0));
            }
            this.screen.pass(&this.chunk[..count], &mut this.ready);
        }
        let left = &this.ready[this.read..];
        let count = left.len().min(to.len());
        to[..count].copy_from_slice(&left[..count]);
        this.read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Screened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context)
    }
}

/// Tokio, but its sockets are screened: by this lapin knows their type.
#[derive(Clone, Debug)]
struct Screening(Tokio);

impl Reactor for Screening {
    type TcpStream = Screened;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Screened::new(AsyncTcpStream::Plain(connecting.await?), None)) }
    }
}
