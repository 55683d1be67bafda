//! Accepting connections, and what one connection may do.
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use super::access::PeerCertificate;
use super::authority::Authorities;
use super::gathered::Gathered;
use super::metered::Metered;
use super::pages;
use super::router::Router;
use super::tls::ReloadingTls;
use super::{Endpoint, TlsError, TlsFiles};

/// The longest handshake, and the longest wait for the headers of an HTTP/1.1 request.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Bytes on their way to us, for one stream and one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of one answer that wait in a connection.
const SEND_BUFFER: usize = 256 << 10;
/// A silent client is pinged so often, and given up if it does not answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Resets that a client may have pending (CVE-2023-44487).
const RESETS_MAX: usize = 1024;
/// After an error in accepting, most likely too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The endpoint could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("listening on {endpoint}")]
    Listen {
        /// The endpoint.
        endpoint: Endpoint,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// Its TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// The file goes when the listener does.
    Unix(UnixListener, PathBuf),
}

/// An open endpoint that is not served yet: clients wait.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    endpoint: Endpoint,
    tls: Option<Arc<ReloadingTls>>,
    serves: Serves,
}

/// What a listener's clients may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Everything,
    /// `/metrics` and the pages about health: nothing that reads or writes data.
    Metrics,
}

impl Listener {
    /// Listens. TLS endpoints need `tls`, others ignore it.
    ///
    /// # Errors
    /// The address is taken, or the certificate does not load.
    pub async fn bind(endpoint: &Endpoint, tls: Option<&TlsFiles>) -> Result<Self, BindError> {
        let loaded = match (endpoint.is_tls(), tls) {
            (true, Some(files)) => Some(Arc::new(ReloadingTls::load(files.clone())?)),
            (true, None) => return Err(TlsError::NoCertificate(endpoint.to_string()).into()),
            (false, _) => None,
        };
        let failed = |source| BindError::Listen { endpoint: endpoint.clone(), source };
        let (socket, bound) = match endpoint {
            Endpoint::Tcp { host, port, tls } => {
                let socket = TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                (Socket::Tcp(socket), Endpoint::Tcp { host: host.clone(), port, tls: *tls })
            }
            Endpoint::Unix { path, .. } => {
                let socket = bind_unix(path).await.map_err(failed)?;
                (Socket::Unix(socket, path.clone()), endpoint.clone())
            }
        };
        Ok(Self { socket, endpoint: bound, tls: loaded, serves: Serves::Everything })
    }

    /// Has it serve `/metrics`, `/health`, `/livez` and `/readyz` only, as etcd's `--listen-metrics-urls`: such a port may be open to more than
    /// the data is, and without certificates.
    #[must_use]
    pub fn metrics_only(self) -> Self {
        Self { serves: Serves::Metrics, ..self }
    }

    /// The endpoint, with the port that was chosen.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// A socket's file that nobody listens on any more is left over from a crash.
async fn bind_unix(path: &PathBuf) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "removing a socket's file");
        }
    }
}

/// Accepts until the server stops.
pub(super) async fn run(listener: Listener, router: Arc<Router>, tasks: TaskTracker) {
    let stop = router.face.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept(&router, &tasks) => accepted,
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "accepting a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

impl Listener {
    async fn accept(&self, router: &Arc<Router>, tasks: &TaskTracker) -> io::Result<()> {
        let names_users = self.tls.as_ref().is_some_and(|tls| tls.names_users());
        let site = Site { router: Arc::clone(router), serves: self.serves, names_users };
        let own = tasks.clone();
        // Asked for once there is a connection: what was renewed while none came counts for this one.
        let tls = || self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.current()));
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                tasks.spawn(connection(stream, tls(), site, own));
            }
            Socket::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                tasks.spawn(connection(stream, tls(), site, own));
            }
        }
        Ok(())
    }
}

/// What a connection leads to.
#[derive(Clone, Debug)]
struct Site {
    router: Arc<Router>,
    serves: Serves,
    /// Whether a client's certificate says who it is.
    names_users: bool,
}

async fn connection<S>(stream: S, tls: Option<TlsAcceptor>, site: Site, tasks: TaskTracker)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(acceptor) = tls else { return serve(stream, None, site, tasks).await };
    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.filter(|_| site.names_users).and_then(|leaf| common_name(leaf));
            Box::pin(serve(stream, certificate, site, tasks)).await;
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "a connection was refused in its TLS handshake");
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake broke off"),
        Err(_elapsed) => tracing::debug!("a TLS handshake took too long"),
    }
}

fn common_name(certificate: &[u8]) -> Option<PeerCertificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(PeerCertificate { common_name: name.into() })
}

/// Runs the tasks of a connection where the server can wait for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

async fn serve<S>(stream: S, certificate: Option<PeerCertificate>, site: Site, tasks: TaskTracker)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let face = &site.router.face;
    let (stop, grace) = (face.stop.clone(), face.config.stop_grace);
    let builder = protocol(face.config.concurrent_streams_max, tasks);
    let metered = Authorities::new(Gathered::new(Metered::new(stream, &site.router.metrics)));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        let site = site.clone();
        // In a box: each request becomes a task, and this is moved several times until it is one.
        Box::pin(async move {
            Ok::<_, Infallible>(match site.serves {
                Serves::Everything => site.router.answer(request).await,
                Serves::Metrics => Box::pin(pages::metrics_and_health(&site.router, request)).await,
            })
        })
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(metered), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(grace, connection).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// HTTP/2 for gRPC, HTTP/1.1 for the rest.
fn protocol(streams_max: u32, tasks: TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(streams_max)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .auto_date_header(false) // gRPC has no use for it, and it is new every second
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
