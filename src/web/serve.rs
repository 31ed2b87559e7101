//! Connections: accepted, bounded in number and in the time that a request's head may take, and let go in
//! order at a stop. HTTP/1.1 only; a proxy in front speaks the rest. Must not know what is served.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::client::Peer;

/// The longest that a request's head may take, and that a kept connection may be idle.
const HEAD: Duration = Duration::from_secs(20);
/// The largest head, in bytes.
const HEAD_BYTES: usize = 32 * 1024;
/// The most header fields.
const HEADERS: usize = 100;
/// Connections at once; the next ones wait in the listener's queue.
const CONNECTIONS: usize = 20_000;
/// The wait after an `accept` that failed, as it does when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// What requests in flight have left once a stop was asked for; the process has 20 s in all.
const STOP: Duration = Duration::from_secs(15);

/// Serves until `stop`, then ends what is in flight. No connection outlives the call.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let connections = TaskTracker::new();
    let hard_stop = CancellationToken::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some((stream, permit)) = next(&listener, &room, &stop).await {
        let connection = connection(stream, router.clone(), stop.clone());
        let hard_stop = hard_stop.clone();
        connections.spawn(async move {
            hard_stop.run_until_cancelled(connection).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(STOP, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were cut off at the stop");
        hard_stop.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// The next connection, with its place; `None` at the stop.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let accepted = async {
        // The semaphore is never closed.
        let permit = room.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepted).await.flatten()
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are small; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    let service = router.map_request(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        request.map(axum::body::Body::new)
    });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // A client that went away or spoke no HTTP: nothing to be done about it.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
