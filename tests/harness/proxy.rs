//! The chaos proxy before an upstream that sends back what it gets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::support::proxy::{Ending, Fault, Proxy, Toward};

/// Long enough that only a fault makes a test wait so long.
const LONG: Duration = Duration::from_secs(10);
/// How long a test watches that nothing comes.
const SILENCE: Duration = Duration::from_millis(100);

/// An upstream and the proxy before it.
struct Scene {
    proxy: Proxy,
    upstream: SocketAddr,
    _serving: JoinSet<()>,
}

impl Scene {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        Self { proxy: Proxy::before(upstream).await.unwrap(), upstream, _serving: serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }
}

/// Sends and reads the echo, so that the connection is known to work.
async fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    timeout(LONG, stream.read_exact(&mut answer)).await??;
    Ok(answer)
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn bytes_and_ends_pass_and_are_counted() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    assert_eq!(echo(&mut stream, b"hello").await.unwrap(), b"hello");
    stream.write_all(b" world").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b" world");
    let counts = scene.proxy.counts();
    assert_eq!((counts.accepted, counts.ended, counts.to_upstream, counts.to_client), (1, 0, 11, 11));
}

#[tokio::test]
async fn a_delay_holds_what_passes() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    scene.proxy.set(Fault::Delay(Duration::from_millis(60))).await;
    let begun = Instant::now();
    assert_eq!(echo(&mut stream, b"slow").await.unwrap(), b"slow");
    assert!(begun.elapsed() >= Duration::from_millis(120), "both ways: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cut_lets_so_many_bytes_pass_either_way() {
    for toward in [Toward::Upstream, Toward::Client] {
        for (ending, after) in [(Ending::Close, 0), (Ending::Close, 7), (Ending::Reset, 7)] {
            let scene = Scene::new().await;
            let mut stream = scene.connect().await;
            echo(&mut stream, b"not counted").await.unwrap();
            scene.proxy.set(Fault::Cut { toward, after, ending }).await;
            stream.write_all(b"0123456789").await.unwrap();
            let mut rest = Vec::new();
            let end = timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap();
            // Cut on the way out, the echo of what passed may still come back before the end.
            assert!(b"0123456".starts_with(&rest), "{rest:?}");
            if toward == Toward::Client {
                assert_eq!(rest.len() as u64, after);
            }
            if ending == Ending::Reset {
                assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            } else {
                end.unwrap();
            }
            let counts = scene.proxy.counts();
            let passed = if toward == Toward::Client { counts.to_client } else { counts.to_upstream };
            assert_eq!((passed, counts.ended), (11 + after, 1));
        }
    }
}

#[tokio::test]
async fn a_cut_spares_a_connection_that_stays_below_it() {
    let scene = Scene::new().await;
    scene.proxy.set(Fault::Cut { toward: Toward::Client, after: 5, ending: Ending::Reset }).await;
    let mut first = scene.connect().await;
    let mut second = scene.connect().await;
    assert_eq!(echo(&mut first, b"12345").await.unwrap(), b"12345");
    assert_eq!(echo(&mut second, b"12345").await.unwrap(), b"12345");
    assert!(echo(&mut first, b"6").await.is_err());
}

#[tokio::test]
async fn a_stall_holds_bytes_and_gives_them_back() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    echo(&mut stream, b"before").await.unwrap();
    scene.proxy.set(Fault::Stall).await;
    stream.write_all(b"held").await.unwrap();
    assert!(is_silent(&mut stream).await);
    scene.proxy.set(Fault::None).await;
    let mut held = [0; 4];
    timeout(LONG, stream.read_exact(&mut held)).await.unwrap().unwrap();
    assert_eq!(&held, b"held");
}

#[tokio::test]
async fn a_half_open_connection_takes_everything_and_stays_so() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    echo(&mut stream, b"before").await.unwrap();
    scene.proxy.set(Fault::Swallow).await;
    stream.write_all(&vec![0; 1_000_000]).await.unwrap();
    assert!(is_silent(&mut stream).await);
    scene.proxy.set(Fault::None).await;
    stream.write_all(b"more").await.unwrap();
    assert!(is_silent(&mut stream).await);
    assert_eq!(scene.proxy.counts().swallowed, 1_000_004);
    assert_eq!(echo(&mut scene.connect().await, b"new").await.unwrap(), b"new");
}

#[tokio::test]
async fn a_trickle_passes_single_bytes_until_it_ends() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    echo(&mut stream, b"before").await.unwrap();
    scene.proxy.set(Fault::Trickle(Duration::from_millis(10))).await;
    let begun = Instant::now();
    echo(&mut stream, b"0123456789").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    stream.write_all(&[7; 10_000]).await.unwrap();
    scene.proxy.set(Fault::None).await;
    timeout(LONG, stream.read_exact(&mut vec![0; 10_000])).await.unwrap().unwrap();
}

#[tokio::test]
async fn refusing_spares_open_connections() {
    let scene = Scene::new().await;
    let mut open = scene.connect().await;
    echo(&mut open, b"before").await.unwrap();
    scene.proxy.set(Fault::Refuse).await;
    let refused = TcpStream::connect(scene.proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(echo(&mut open, b"during").await.unwrap(), b"during");
    scene.proxy.set(Fault::None).await;
    assert_eq!(echo(&mut scene.connect().await, b"after").await.unwrap(), b"after");
}

#[tokio::test]
async fn open_connections_end_at_once_when_told() {
    let scene = Scene::new().await;
    let mut stream = scene.connect().await;
    echo(&mut stream, b"before").await.unwrap();
    scene.proxy.end_open(Ending::Reset);
    let error = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(echo(&mut scene.connect().await, b"new").await.unwrap(), b"new");
    assert_eq!(scene.proxy.counts().ended, 1);
}

#[tokio::test]
async fn a_url_keeps_its_host_and_gets_the_proxys_port() {
    let scene = Scene::new().await;
    let url = format!("amqp://user:pass@localhost:{}/vhost", scene.upstream.port());
    let (proxy, through) = Proxy::before_url(&url).await.unwrap();
    assert_eq!(through, format!("amqp://user:pass@localhost:{}/vhost", proxy.address().port()));
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(echo(&mut stream, b"through").await.unwrap(), b"through");
}
