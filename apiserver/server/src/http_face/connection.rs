//! One connection: handshake, protocol, requests, and an end that lets requests under way finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::stall_guard::StallGuard;
use super::tls::Acceptor;
use crate::core::Core;
use crate::front;
use crate::request::Peer;
use crate::types::Response;

/// Resets a client may have pending before the connection is closed (CVE-2023-44487).
const H2_RESETS_MAX: usize = 50;
/// Bytes of flow-control window of an HTTP/2 stream and connection.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A silent HTTP/2 client is pinged this often, and given up when it does not answer.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of one response that wait in an HTTP/2 connection.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// Headers of one HTTP/1.1 request.
const H1_HEADERS_MAX: usize = 200;

/// Serves one connection until it ends or the server stops.
pub(super) async fn serve(core: Arc<Core>, acceptor: Acceptor, stream: TcpStream, addr: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "setting TCP_NODELAY");
    }
    let handshake = tokio::time::timeout(core.limits.handshake_timeout, acceptor.accept(stream)).await;
    let tls = match handshake {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            core.metrics.handshake_errors.inc();
            debug!(%error, peer = %addr, "TLS handshake failed");
            return;
        }
        Err(_elapsed) => {
            core.metrics.handshake_errors.inc();
            debug!(peer = %addr, "TLS handshake timed out");
            return;
        }
    };
    core.metrics.connections.inc();
    let gauge = core.metrics.connections.clone();
    serve_tls(core, tls, addr).await;
    gauge.dec();
}

async fn serve_tls(core: Arc<Core>, tls: TlsStream<TcpStream>, addr: SocketAddr) {
    let (_, session) = tls.get_ref();
    let certs =
        session.peer_certificates().map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect());
    let peer = Peer { addr, certs: certs.unwrap_or_else(|| Arc::from([])) };
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(StallGuard::new(tls, core.limits.write_stall_timeout));
    let service_core = Arc::clone(&core);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (core, peer) = (Arc::clone(&service_core), peer.clone());
        // Boxed, so that a watch that is answered keeps nothing of its handler: HTTP/1.1 holds the future's place.
        Box::pin(async move { Ok::<Response, Infallible>(front::serve(core, peer, request).await) })
    });
    let ended = if is_h2 {
        let connection = std::pin::pin!(h2(&core).serve_connection(io, service));
        drain(&core, connection, http2::Connection::graceful_shutdown).await
    } else {
        let connection = std::pin::pin!(h1(&core).serve_connection(io, service).with_upgrades());
        drain(&core, connection, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Err(error) = ended {
        debug!(%error, peer = %addr, "connection ended");
    }
}

/// Runs a connection; when the server stops, it takes no new requests and finishes those it has.
async fn drain<C: Future<Output = Result<(), hyper::Error>>>(
    core: &Core,
    mut connection: std::pin::Pin<&mut C>,
    shut: impl Fn(std::pin::Pin<&mut C>),
) -> Result<(), hyper::Error> {
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = core.stop.cancelled() => {}
    }
    shut(connection.as_mut());
    connection.await
}

fn h1(core: &Core) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(core.limits.handshake_timeout.max(Duration::from_secs(120)))
        .max_buf_size(core.limits.header_bytes_max)
        .max_headers(H1_HEADERS_MAX)
        .half_close(false)
        .keep_alive(true);
    builder
}

fn h2(core: &Core) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(core.limits.h2_streams_max)
        .max_header_list_size(u32::try_from(core.limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_RESETS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .max_send_buf_size(H2_SEND_BUFFER);
    builder
}
