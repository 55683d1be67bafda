//! One bucket over HTTP: each request signed, with a deadline, tried again where that helps, and refused in words where not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use http::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, BodyStream, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay_base::lifecycle::{Backoff, Clock as _, SystemClock};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action as _, UrlStyle};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio_util::bytes::Bytes;
use url::Url;

use super::flags::BucketFlags;
use super::refusals::{Refused, Subject};
use crate::refusal::refuse;
use crate::snapshots::place::InBucket;
use crate::snapshots::shelf::Entry;

/// How long a signature is good for; the server's clock may be some minutes off.
pub(super) const SIGNED_FOR: Duration = Duration::from_secs(900);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take to a request without much of a body.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The longest silence while an object comes in.
const SILENCE: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: u32 = 4;
const AGAIN_FIRST: Duration = Duration::from_millis(300);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// A listing has up to 1,000 names of up to 1 KiB a page.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Pages of a listing: a bucket with more is not one for snapshots alone.
const PAGES_MAX: usize = 100;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A bucket, and the prefix that snapshots are under.
pub(in crate::snapshots) struct Bucket {
    pub(super) place: InBucket,
    pub(super) api: rusty_s3::Bucket,
    pub(super) credentials: Credentials,
    source: String,
    endpoint: String,
    http: Http,
}

/// One request. It is signed anew at each attempt.
pub(super) struct Call<'a> {
    /// Such as `listing s3://b/k`.
    pub(super) doing: String,
    pub(super) method: Method,
    pub(super) sign: &'a (dyn Fn() -> Url + Send + Sync),
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    /// How long one attempt may take until the answer begins.
    pub(super) within: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(doing: String, method: Method, sign: &'a (dyn Fn() -> Url + Send + Sync)) -> Self {
        Self { doing, method, sign, headers: Vec::new(), body: Bytes::new(), within: ANSWER_MAX }
    }
}

/// Why an attempt came to nothing.
struct Failed {
    why: String,
    /// Whether another may do better.
    is_passing: bool,
}

impl Bucket {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// A refusal: flags or credentials that cannot be used.
    pub(in crate::snapshots) fn new(place: &InBucket, flags: &BucketFlags) -> anyhow::Result<Self> {
        let (endpoint, is_amazon) = flags.endpoint()?;
        // A name with dots in it is in no certificate of Amazon's; other servers need not know the bucket as a host.
        let style =
            if is_amazon && !place.bucket.contains('.') { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let shown = endpoint.as_str().trim_end_matches('/').to_owned();
        let api = rusty_s3::Bucket::new(endpoint, style, place.bucket.clone(), flags.s3_region.clone())
            .map_err(|error| refuse(format!("--s3-endpoint {shown}: {error}")))?;
        let asker = flags.asker()?;
        Ok(Self {
            place: place.clone(),
            api,
            credentials: asker.credentials,
            source: asker.source,
            endpoint: shown,
            http: http(flags)?,
        })
    }

    /// The names under the prefix, in order.
    ///
    /// # Errors
    /// A line that says why not.
    pub(in crate::snapshots) async fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let prefix = if self.place.key.is_empty() { String::new() } else { format!("{}/", self.place.key) };
        let doing = format!("listing {}", self.place);
        let (mut entries, mut token) = (Vec::new(), None::<String>);
        for _page in 0..PAGES_MAX {
            let sign = || {
                let mut list = ListObjectsV2::new(&self.api, Some(&self.credentials));
                list.with_prefix(prefix.as_str());
                if let Some(token) = &token {
                    list.with_continuation_token(token.as_str());
                }
                list.sign(SIGNED_FOR)
            };
            let text = self.text(Call::new(doing.clone(), Method::GET, &sign)).await?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|error| refuse(format!("{doing}: {} answers no listing: {error}", self.endpoint)))?;
            entries.extend(page.contents.into_iter().filter_map(|object| {
                let name = object.key.strip_prefix(&prefix)?.to_owned();
                Some(Entry { name, bytes: object.size.unwrap_or(0) })
            }));
            token = page.next_continuation_token;
            if token.is_none() {
                entries.sort();
                return Ok(entries);
            }
        }
        Err(refuse(format!(
            "{doing}: there are more than {PAGES_MAX} pages of objects: give snapshots a prefix of their own"
        )))
    }

    /// The bytes of an object, as long as they come.
    ///
    /// # Errors
    /// A line that says why not.
    pub(in crate::snapshots) async fn get(
        &self,
        name: &str,
    ) -> anyhow::Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
        let key = self.place.key_of(name);
        let sign = || self.api.get_object(Some(&self.credentials), &key).sign(SIGNED_FOR);
        let answer =
            self.call(&Call::new(format!("reading {}", self.shown(name)), Method::GET, &sign)).await?;
        Ok(pieces_of(answer.into_body()))
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// A line that says why not.
    pub(in crate::snapshots) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let key = self.place.key_of(name);
        let sign = || self.api.delete_object(Some(&self.credentials), &key).sign(SIGNED_FOR);
        self.text(Call::new(format!("removing {}", self.shown(name)), Method::DELETE, &sign)).await.map(drop)
    }

    /// An object as people name it.
    pub(in crate::snapshots) fn shown(&self, name: &str) -> String {
        format!("s3://{}/{}", self.place.bucket, self.place.key_of(name))
    }

    /// A call with a short answer.
    pub(super) async fn text(&self, call: Call<'_>) -> anyhow::Result<String> {
        let answer = self.call(&call).await?;
        let body =
            tokio::time::timeout(ANSWER_MAX, Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect())
                .await;
        let body = body.map_err(|_elapsed| refuse(format!("{}: the answer does not end", call.doing)))?;
        let body = body.map_err(|error| refuse(format!("{}: the answer was cut: {error}", call.doing)))?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    /// Asks until there is a good answer, or none is to be had.
    pub(super) async fn call(&self, call: &Call<'_>) -> anyhow::Result<Response<Incoming>> {
        let mut again = Backoff::new(AGAIN_FIRST, AGAIN_MAX);
        loop {
            match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) if failed.is_passing && again.attempts() + 1 < ATTEMPTS_MAX => {
                    tracing::debug!(why = failed.why, "the bucket is asked again");
                    again.wait().await;
                }
                Err(failed) => return Err(refuse(failed.why)),
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Response<Incoming>, Failed> {
        let passing = |why: String| Failed { why: format!("{}: {why}", call.doing), is_passing: true };
        let endpoint = &self.endpoint;
        let mut request = Request::builder().method(call.method.clone()).uri((call.sign)().as_str());
        if let Some(headers) = request.headers_mut() {
            headers.extend(call.headers.iter().cloned());
        }
        let request = request.body(Full::new(call.body.clone()));
        let request =
            request.map_err(|error| Failed { why: format!("{}: {error}", call.doing), is_passing: false })?;
        let answer = tokio::time::timeout(call.within, self.http.request(request)).await;
        let answer = answer.map_err(|_elapsed| {
            passing(format!("{endpoint} did not answer within {} s", call.within.as_secs()))
        })?;
        let answer = answer.map_err(|error| self.unreachable(call, error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
        let body = tokio::time::timeout(ANSWER_MAX, body).await.ok().and_then(Result::ok);
        let body =
            body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let text = |name: &str| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
        let refused =
            Refused::new(parts.status.as_u16(), &body, text("x-amz-bucket-region"), ahead(&parts.headers));
        Err(Failed { why: self.words(&refused, &call.doing), is_passing: refused.is_passing() })
    }

    /// What an answer that is no success says.
    pub(super) fn words(&self, refused: &Refused, doing: &str) -> String {
        let Self { source, endpoint, place, .. } = self;
        refused.words(&Subject { doing, bucket: &place.bucket, endpoint, source })
    }

    fn unreachable(&self, call: &Call<'_>, error: hyper_util::client::legacy::Error) -> Failed {
        let endpoint = &self.endpoint;
        let error = anyhow::Error::new(error);
        let tls = error.chain().find_map(of_tls);
        let doing = &call.doing;
        match tls {
            Some(why) => Failed {
                why: format!(
                    "{doing}: the TLS of {endpoint} cannot be trusted ({why}): give --s3-ca-file, or correct --s3-endpoint"
                ),
                is_passing: false,
            },
            None => Failed {
                why: format!(
                    "{doing}: {endpoint} cannot be reached ({}): correct --s3-endpoint, or look at the network",
                    error.root_cause()
                ),
                is_passing: true,
            },
        }
    }
}

/// What TLS says, if that is the cause; errors of IO wrap each other.
fn of_tls(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    of_tls(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

/// By how many seconds this machine's clock is ahead of the one that an answer was sent by.
fn ahead(headers: &HeaderMap) -> Option<i64> {
    let date = OffsetDateTime::parse(headers.get(DATE)?.to_str().ok()?, &Rfc2822).ok()?;
    Some((SystemClock.wall() - date).whole_seconds())
}

/// What speaks HTTP and HTTPS.
fn http(flags: &BucketFlags) -> anyhow::Result<Http> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &flags.s3_ca_file {
        let refused = |why: String| refuse(format!("--s3-ca-file {}: {why}", file.display()));
        let text = std::fs::read(file).map_err(|error| refused(error.to_string()))?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = certificates.map_err(|error| refused(error.to_string()))?;
        let (taken, _odd) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(refused("it holds no certificate".to_owned()));
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("preparing TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_MAX));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The pieces of a body, as long as they come. One that is cut ends with an error.
fn pieces_of(body: Incoming) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    futures::stream::unfold(BodyStream::new(body), |mut body| async move {
        let piece = match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
            Ok(Some(Err(error))) => {
                Err(std::io::Error::other(format!("the object was cut on its way: {error}")))
            }
            Err(_elapsed) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "nothing came for 60 s")),
        };
        Some((piece, body))
    })
}
