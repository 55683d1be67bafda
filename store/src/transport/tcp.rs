//! Frames over TCP, with or without TLS. A frame is its length, a CRC-32C of its bytes, and the bytes; both numbers are four bytes, little
//! endian. TLS is mutual: see [`PeerTls`](crate::PeerTls).
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[cfg(feature = "tls")]
use super::PeerTls;
use super::url;
use crate::api::{FRAME_BYTES_MAX, Link, LinkReceiver, LinkSender, Transport};

const HEADER_BYTES: usize = 8;
/// So many links wait to be accepted.
const BACKLOG_MAX: usize = 128;
/// A greeting under TLS takes no longer.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// What was sent and not confirmed for so long ends the link: the other machine is gone.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this for one large frame is given back.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
/// After a failed accept (no file descriptors left, say).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address cannot be listened at.
    #[error("listening at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file of the TLS configuration cannot be used.
    #[error("{file}: {what}")]
    Tls {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
}

/// The way to other machines. It listens from the beginning; links are accepted once a store uses it.
#[derive(Debug)]
pub struct TcpTransport {
    addresses: Vec<SocketAddr>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Link>>,
    stop: CancellationToken,
    #[cfg(feature = "tls")]
    tls: Option<PeerTls>,
}

impl TcpTransport {
    /// Listens at addresses, without TLS. Port 0 takes a free one.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, TransportError> {
        Self::listen(addresses, Tls::default()).await
    }

    /// Listens at addresses, and speaks mutual TLS with members whose URLs begin with `https`.
    #[cfg(feature = "tls")]
    pub async fn bind_tls(addresses: &[SocketAddr], tls: PeerTls) -> Result<Self, TransportError> {
        Self::listen(addresses, Some(tls)).await
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    async fn listen(addresses: &[SocketAddr], tls: Tls) -> Result<Self, TransportError> {
        let (links, incoming) = mpsc::channel(BACKLOG_MAX);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mut bound = Vec::with_capacity(addresses.len());
        for address in addresses {
            let failed = |source| TransportError::Listen { address: *address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            bound.push(listener.local_addr().map_err(failed)?);
            tasks.spawn(accept(listener, links.clone(), tls.clone(), stop.clone()));
        }
        Ok(Self {
            addresses: bound,
            incoming: tokio::sync::Mutex::new(incoming),
            stop,
            #[cfg(feature = "tls")]
            tls,
        })
    }
}

#[cfg(feature = "tls")]
type Tls = Option<PeerTls>;
#[cfg(not(feature = "tls"))]
type Tls = ();

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Transport for TcpTransport {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>> {
        Box::pin(async move {
            let to = url::parse(url)?;
            let stream = TcpStream::connect(to.authority).await?;
            prepare(&stream)?;
            if !to.tls {
                return Ok(link(stream, url));
            }
            #[cfg(feature = "tls")]
            if let Some(tls) = &self.tls {
                return Ok(link(tls.connect(to.host, stream).await?, url));
            }
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{url} needs TLS, which is not configured"),
            ))
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Link>> {
        Box::pin(async move {
            let link = self.incoming.lock().await.recv().await;
            link.ok_or_else(|| io::Error::other("the transport is closed"))
        })
    }

    fn close(&self) {
        self.stop.cancel();
    }
}

/// Accepts until it is stopped. Greetings run beside each other, so that a silent stranger holds up nobody.
async fn accept(listener: TcpListener, links: mpsc::Sender<Link>, tls: Tls, stop: CancellationToken) {
    let greetings = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                // Held while the greeting runs: strangers beyond that wait in the kernel.
                let Ok(room) = links.clone().reserve_owned().await else { return };
                let (tls, stop) = (tls.clone(), stop.clone());
                greetings.spawn(async move {
                    let greeting = tokio::time::timeout(HANDSHAKE_MAX, greet(stream, from, tls));
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        greeted = greeting => match greeted {
                            Ok(Ok(link)) => drop(room.send(link)),
                            Ok(Err(error)) => tracing::warn!(%from, %error, "a link was not accepted"),
                            Err(_late) => tracing::warn!(%from, "a link was not accepted: its greeting took too long"),
                        },
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a link");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

#[allow(clippy::unused_async, reason = "waits for the TLS greeting where TLS is built in")]
async fn greet(stream: TcpStream, from: SocketAddr, tls: Tls) -> io::Result<Link> {
    prepare(&stream)?;
    let peer = from.to_string();
    #[cfg(feature = "tls")]
    if let Some(tls) = tls {
        return Ok(link(tls.accept(stream).await?, &peer));
    }
    #[cfg(not(feature = "tls"))]
    let () = tls;
    Ok(link(stream, &peer))
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNCONFIRMED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, UNCONFIRMED_MAX)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    Ok(())
}

fn link<S>(stream: S, peer: &str) -> Link
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read, write) = tokio::io::split(stream);
    Link {
        sender: Box::new(TcpSender { write, buffer: Vec::new() }),
        receiver: Box::new(TcpReceiver { read, buffer: BytesMut::new() }),
        peer: peer.to_owned(),
    }
}

struct TcpSender<W> {
    write: W,
    buffer: Vec<u8>,
}

impl<W> std::fmt::Debug for TcpSender<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpSender")
    }
}

impl<W: AsyncWrite + Send + Unpin> LinkSender for TcpSender<W> {
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.buffer.clear();
            for frame in frames.drain(..) {
                if frame.len() > FRAME_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is too large"));
                }
                self.buffer.extend_from_slice(&(frame.len() as u32).to_le_bytes());
                self.buffer.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
                self.buffer.extend_from_slice(&frame);
            }
            self.write.write_all(&self.buffer).await?;
            if self.buffer.capacity() > BUFFER_KEPT_BYTES {
                self.buffer = Vec::new();
            }
            self.write.flush().await
        })
    }
}

struct TcpReceiver<R> {
    read: R,
    buffer: BytesMut,
}

impl<R> std::fmt::Debug for TcpReceiver<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpReceiver")
    }
}

impl<R: AsyncRead + Send + Unpin> LinkReceiver for TcpReceiver<R> {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            loop {
                if let Some(frame) = take_frame(&mut self.buffer)? {
                    return Ok(Some(frame));
                }
                if self.read.read_buf(&mut self.buffer).await? == 0 {
                    return if self.buffer.is_empty() {
                        Ok(None)
                    } else {
                        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the link ended inside a frame"))
                    };
                }
            }
        })
    }
}

/// Takes the first frame out of what was read, if it is whole.
fn take_frame(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some((length, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(bad(format!("a frame claims {length} bytes")));
    }
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let crc = u32::from_le_bytes(*crc);
    let Some(content) = rest.get(..length) else {
        // Grown as bytes arrive, not on the word of a stranger.
        buffer.reserve((length + HEADER_BYTES - buffer.len()).min(64 << 10));
        return Ok(None);
    };
    if crc32c::crc32c(content) != crc {
        return Err(bad("a frame was damaged on its way".into()));
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(content: &[u8]) -> Vec<u8> {
        let mut out = (content.len() as u32).to_le_bytes().to_vec();
        out.extend(crc32c::crc32c(content).to_le_bytes());
        out.extend(content);
        out
    }

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let mut buffer = BytesMut::new();
        for byte in [framed(b"one"), framed(b""), framed(b"three")].concat() {
            buffer.extend_from_slice(&[byte]);
            if let Some(frame) = take_frame(&mut buffer).unwrap() {
                assert!([&b"one"[..], b"", b"three"].contains(&&frame[..]));
            }
        }
        assert!(buffer.is_empty());
        let mut damaged = BytesMut::from(&framed(b"one")[..]);
        damaged[9] ^= 1;
        assert!(take_frame(&mut damaged).is_err());
        let mut huge = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert!(take_frame(&mut huge).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_frame)) = take_frame(&mut buffer) {}
        }
    }

    #[tokio::test]
    async fn links_carry_frames_both_ways_and_a_closed_port_refuses() {
        let transport = TcpTransport::bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let url = format!("http://{}", transport.addresses()[0]);
        let mut there = transport.dial(&url).await.unwrap();
        let mut here = transport.accept().await.unwrap();
        let large = Bytes::from(vec![7; 3 << 20]);
        let mut frames = vec![Bytes::from_static(b"small"), large.clone()];
        let (sent, received) = tokio::join!(there.sender.send(&mut frames), async {
            let small = here.receiver.receive().await.unwrap().unwrap();
            (small, here.receiver.receive().await.unwrap().unwrap())
        });
        sent.unwrap();
        assert_eq!(received, (Bytes::from_static(b"small"), large));
        here.sender.send(&mut vec![Bytes::from_static(b"back")]).await.unwrap();
        assert_eq!(there.receiver.receive().await.unwrap().unwrap(), "back");
        drop(here);
        assert_eq!(there.receiver.receive().await.unwrap(), None);
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = transport.dial(&format!("http://{closed}")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
