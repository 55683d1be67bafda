//! TLS on the client face: who is let in, as whom, and certificates that change while it serves.
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use mainstay_proto_wire::etcd::{authpb, etcdserverpb as pb};
use mainstay_store::etcd::{Endpoint, FaceConfig, Listener, Server, TlsFiles};
use mainstay_store::{Config, Store};
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Request};

use crate::authority::Authority;
use crate::rig::{SOON, bytes, refused};

impl Authority {
    fn chain(&self, name: &str) -> Vec<CertificateDer<'static>> {
        certificates(&self.file(&format!("{name}.pem")))
    }

    /// A client that trusts this authority and shows the certificate of `name`, if any.
    fn client(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&self.file("ca.pem")).remove(0)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(self.chain(name), key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A server on https that may ask clients for certificates of the authority.
struct TlsRig {
    store: Store,
    port: u16,
    stop: CancellationToken,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl TlsRig {
    async fn start(authority: &Authority, asks: bool, client_cert_auth: bool) -> Self {
        authority.issue("server");
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().join("store"), sync: false, ..Config::default() };
        let store = Store::open(config).await.unwrap();
        let files = TlsFiles {
            cert: authority.file("server.pem"),
            key: authority.file("server.key"),
            trusted_ca: asks.then(|| authority.file("ca.pem")),
            client_cert_auth,
        };
        let endpoint: Endpoint = "https://127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&endpoint, Some(&files)).await.unwrap();
        let Endpoint::Tcp { port, .. } = *listener.endpoint() else { panic!("not TCP") };
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "a test's own task, joined at its end")]
        let served = tokio::spawn(
            Server::new(store.clone(), FaceConfig::default()).unwrap().serve(vec![listener], stop.clone()),
        );
        Self { store, port, stop, served, _dir: dir }
    }

    async fn dial(&self, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        TlsConnector::from(client).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// A channel over one connection.
    async fn channel(&self, client: Arc<ClientConfig>) -> Channel {
        let opened = Opened(Some(TokioIo::new(self.dial(client).await.unwrap())));
        Channel::from_static("http://localhost").connect_with_connector(opened).await.unwrap()
    }

    async fn kv(&self, client: Arc<ClientConfig>) -> KvClient<Channel> {
        KvClient::new(self.channel(client).await)
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.served).await.unwrap().unwrap();
        self.store.close().await.unwrap();
    }
}

/// Gives a channel the connection that it is to use.
struct Opened(Option<TokioIo<TlsStream<TcpStream>>>);

impl tower_service::Service<Uri> for Opened {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = std::future::Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| std::io::Error::other("it was used")))
    }
}

fn put(key: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() }
}

/// Under TLS 1.3 a client hears of its refusal only when it reads.
async fn is_turned_away(rig: &TlsRig, client: Arc<ClientConfig>) -> bool {
    let Ok(mut stream) = rig.dial(client).await else { return true };
    if stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").await.is_err() {
        return true;
    }
    !matches!(tokio::time::timeout(SOON, stream.read(&mut [0; 16])).await.unwrap(), Ok(1..))
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_let_in() {
    let authority = Authority::new();
    let rig = TlsRig::start(&authority, true, false).await;
    authority.issue("client");
    assert!(is_turned_away(&rig, authority.client(None)).await, "without a certificate");
    let stranger = Authority::new();
    stranger.issue("client");
    std::fs::copy(authority.file("ca.pem"), stranger.file("ca.pem")).unwrap();
    assert!(is_turned_away(&rig, stranger.client(Some("client"))).await, "with another authority's");
    assert!(!is_turned_away(&rig, authority.client(Some("client"))).await);
    rig.kv(authority.client(Some("client"))).await.put(put("k")).await.unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", rig.port)).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or the end: no page.
    drop(tokio::time::timeout(SOON, plain.read_to_end(&mut answer)).await.unwrap());
    assert!(!answer.starts_with(b"HTTP"), "plain text was answered");
    rig.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections_and_a_broken_one_is_not_taken() {
    let authority = Authority::new();
    let rig = TlsRig::start(&authority, false, false).await;
    let shown = async || {
        let stream = rig.dial(authority.client(None)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = authority.chain("server").remove(0);
    let mut open = rig.kv(authority.client(None)).await;
    open.put(put("k")).await.unwrap();
    assert_eq!(shown().await, first);
    authority.issue("server");
    let second = authority.chain("server").remove(0);
    assert_ne!(first, second);
    assert_eq!(shown().await, second, "the renewed one is shown without a restart");
    open.put(put("k")).await.unwrap();
    std::fs::write(authority.file("server.pem"), "half of a certif").unwrap();
    assert_eq!(shown().await, second, "one that cannot be read leaves the last in use");
    authority.issue("server");
    assert_eq!(shown().await, authority.chain("server").remove(0));
    drop(open);
    rig.stop().await;
}

#[tokio::test]
async fn the_common_name_of_a_certificate_is_the_user() {
    let authority = Authority::new();
    let rig = TlsRig::start(&authority, true, true).await;
    authority.issue("alice");
    authority.issue("nobody");
    let mut admin = AuthClient::new(rig.channel(authority.client(Some("nobody"))).await);
    for (name, password) in [("root", "toor"), ("alice", "secret")] {
        let user =
            pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() };
        admin.user_add(user).await.unwrap();
        admin.role_add(pb::AuthRoleAddRequest { name: name.into() }).await.unwrap();
        let grant = pb::AuthUserGrantRoleRequest { user: name.into(), role: name.into() };
        admin.user_grant_role(grant).await.unwrap();
    }
    let perm = authpb::Permission {
        perm_type: authpb::permission::Type::Readwrite.into(),
        key: bytes("a/"),
        range_end: bytes("a0"),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "alice".into(), perm: Some(perm) };
    admin.role_grant_permission(grant).await.unwrap();
    admin.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let alice = rig.channel(authority.client(Some("alice"))).await;
    let mut kv = KvClient::new(alice.clone());
    kv.put(put("a/1")).await.unwrap();
    let denied = (Code::PermissionDenied, "etcdserver: permission denied".to_owned());
    assert_eq!(refused(kv.put(put("b/1")).await), denied);
    let mut nobody = rig.kv(authority.client(Some("nobody"))).await;
    assert_eq!(refused(nobody.put(put("a/1")).await), denied);

    // A token counts before the certificate.
    let login = pb::AuthenticateRequest { name: "root".into(), password: "toor".into() };
    let token = AuthClient::new(alice).authenticate(login).await.unwrap().into_inner().token;
    let mut as_root = Request::new(put("b/1"));
    as_root.metadata_mut().insert("token", token.parse().unwrap());
    kv.put(as_root).await.unwrap();

    // The gateway takes users by token only.
    let mut stream = rig.dial(http1(&authority.client(Some("alice")))).await.unwrap();
    let body = r#"{"key":"YS8x"}"#;
    let length = body.len();
    let request = format!("POST /v3/kv/range HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("etcdserver: user name is empty"), "{answer}");
    drop((admin, kv, nobody));
    rig.stop().await;
}

/// As with etcd: trusted authorities alone say who is let in, not who somebody is.
#[tokio::test]
async fn without_client_cert_auth_a_certificate_names_nobody() {
    let authority = Authority::new();
    let rig = TlsRig::start(&authority, true, false).await;
    authority.issue("root");
    let channel = rig.channel(authority.client(Some("root"))).await;
    let mut admin = AuthClient::new(channel.clone());
    let user = pb::AuthUserAddRequest { name: "root".into(), password: "toor".into(), ..Default::default() };
    admin.user_add(user).await.unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    admin.role_add(pb::AuthRoleAddRequest { name: "root".into() }).await.unwrap();
    admin.user_grant_role(grant).await.unwrap();
    admin.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let refusal = refused(KvClient::new(channel).put(put("k")).await);
    assert_eq!(refusal.1, "etcdserver: user name is empty");
    drop(admin);
    rig.stop().await;
}

fn http1(client: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = client.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
