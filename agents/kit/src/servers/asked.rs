//! Questions to one server: is it ready?
//!
//! A server that is in use is listened to: it says several times a second that it is ready, for as long as it is (`/readyz?watch=true`). One
//! that does not know this is asked as often. A server of this process is asked without a connection; now and then it is asked over one all
//! the same, because it is connections that its callers need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::watch;

use super::{Servers, ServersError};

/// How often a server in use is asked whether it is ready, or says so. With the time that it has to answer, this bounds the time until another
/// is in use.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(300);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long the answer of one of several may take, where the first to be ready is looked for: longer than a server waits, before it says that it is
/// not, for a leader to be elected.
const SEARCH_ANSWER_MAX: Duration = Duration::from_millis(2500);
const READY: &str = "/readyz";
/// Its answer goes on for as long as the server is ready.
const WATCH: &str = "/readyz?watch=true";
/// So many questions in a row are asked within the process.
const INSIDE_MAX: u32 = 9;

/// One that is not ready is asked again after this, then ever later: where a leader is elected, its successor is ready within moments.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(500);

/// Asks the API server of this process whether it is ready.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A server that is asked whether it is ready, over a connection of its own.
pub(super) struct Asked {
    pub(super) server: SocketAddr,
    client: kube::Client,
    readiness: Option<Readiness>,
    /// How often it was asked without the connection since it was last asked over it.
    inside: u32,
    /// What it goes on to say.
    words: Option<Body>,
}

impl Asked {
    pub(super) fn new(
        settings: &watch::Receiver<kube::Config>,
        server: SocketAddr,
    ) -> Result<Self, ServersError> {
        let client = Servers::beginning_with(server, vec![server]).renewing_client(settings)?;
        Ok(Self { server, client, readiness: None, inside: 0, words: None })
    }

    /// The server is of this process, where there is something to ask.
    pub(super) fn in_this_process(self, readiness: Option<Readiness>) -> Self {
        Self { readiness, ..self }
    }

    pub(super) async fn is_ready(&mut self) -> bool {
        self.says().await == Some(true)
    }

    /// Asks over the connection, as somebody does who looks for a server that can be reached.
    async fn until_ready(&mut self) -> SocketAddr {
        let mut after = AGAIN_AFTER;
        loop {
            self.inside = 0;
            if self.answers_within(SEARCH_ANSWER_MAX).await == Some(true) {
                return self.server;
            }
            tokio::time::sleep(after).await;
            after = AGAIN_AFTER_MAX.min(after * 2);
        }
    }

    /// What it says next, within [`ASK_EVERY`] and the time for an answer: whether it is ready; nothing if it is silent.
    pub(super) async fn next_word(&mut self) -> Option<bool> {
        match &mut self.words {
            Some(words) => {
                let word = tokio::time::timeout(ASK_EVERY + ANSWER_MAX, words.frame()).await;
                match word {
                    Ok(Some(Ok(_line))) => return Some(true),
                    Ok(None | Some(Err(_))) => self.words = None, // it is asked why
                    Err(_elapsed) => return None,
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            None => tokio::time::sleep(ASK_EVERY).await,
        }
        if self.readiness.is_some() { self.says().await } else { self.listen().await }
    }

    /// Asks, and keeps an answer that goes on.
    async fn listen(&mut self) -> Option<bool> {
        let request = http::Request::get(WATCH).body(Body::empty()).ok()?;
        let begun = async {
            let response = self.client.send(request).await.ok()?;
            let (head, mut words) = response.into_parts();
            if !head.status.is_success() {
                return Some((false, None));
            }
            if head.headers.contains_key(CONTENT_LENGTH) {
                return Some((true, None)); // all that it says
            }
            words.frame().await?.ok()?;
            Some((true, Some(words)))
        };
        let (is_ready, words) = tokio::time::timeout(ANSWER_MAX, begun).await.ok()??;
        self.words = words;
        Some(is_ready)
    }

    /// Whether it is ready; nothing if it does not answer.
    pub(super) async fn says(&mut self) -> Option<bool> {
        if let Some(readiness) = self.readiness.as_ref().filter(|_| self.inside < INSIDE_MAX) {
            self.inside += 1;
            return tokio::time::timeout(ANSWER_MAX, readiness()).await.ok();
        }
        self.inside = 0;
        self.answers_within(ANSWER_MAX).await
    }

    /// What it answers over the connection.
    async fn answers_within(&mut self, max: Duration) -> Option<bool> {
        let request = http::Request::get(READY).body(Vec::new()).ok()?;
        match tokio::time::timeout(max, self.client.request_text(request)).await {
            Ok(Ok(_text)) => Some(true),
            Ok(Err(kube::Error::Api(_refusal))) => Some(false),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// Of these servers the first that says it is ready, as soon as one does; of none, none. Each is asked on its own, so one that is silent holds up nobody.
pub(super) async fn first_ready(servers: impl IntoIterator<Item = &mut Asked>) -> Option<SocketAddr> {
    servers.into_iter().map(Asked::until_ready).collect::<FuturesUnordered<_>>().next().await
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use futures::channel::mpsc;
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use tokio::time::Instant;
    use tower_service::Service;

    use super::*;

    type Answer = http::Response<UnsyncBoxBody<Bytes, std::io::Error>>;

    /// Answers what it is told to, in turn.
    #[derive(Clone)]
    struct Fake(Arc<parking_lot::Mutex<Vec<Answer>>>);

    impl Service<http::Request<Body>> for Fake {
        type Response = Answer;
        type Error = std::io::Error;
        type Future = std::future::Ready<std::io::Result<Self::Response>>;

        fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
            std::future::ready(self.0.lock().pop().ok_or_else(|| std::io::Error::other("nobody there")))
        }
    }

    fn asked(mut answers: Vec<Answer>) -> Asked {
        answers.reverse();
        let client = kube::Client::new(Fake(Arc::new(parking_lot::Mutex::new(answers))), "default");
        let server = SocketAddr::from(([127, 0, 0, 1], 1));
        Asked { server, client, readiness: None, inside: 0, words: None }
    }

    fn plain(code: u16) -> Answer {
        let body = http::Response::builder().status(code).header(CONTENT_LENGTH, "2");
        let said = Full::new(Bytes::from_static(b"ok")).map_err(|never| match never {});
        body.body(said.boxed_unsync()).unwrap()
    }

    /// An answer that goes on, and what makes it.
    fn stream() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>, Answer) {
        let (says, lines) = mpsc::unbounded();
        (says, http::Response::new(StreamBody::new(lines).boxed_unsync()))
    }

    fn line() -> Frame<Bytes> {
        Frame::data(Bytes::from_static(b"ok\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_answers_is_asked_again_and_again() {
        let mut asked = asked(vec![plain(200), plain(200), plain(500)]);
        let began = Instant::now();
        assert_eq!(asked.next_word().await, Some(true));
        assert_eq!(asked.next_word().await, Some(true));
        assert_eq!(asked.next_word().await, Some(false));
        assert_eq!(asked.next_word().await, None, "no connection");
        assert_eq!(began.elapsed(), ASK_EVERY * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_on_to_say_so_is_listened_to() {
        let (says, answer) = stream();
        says.unbounded_send(Ok(line())).unwrap();
        let mut asked = asked(vec![answer, plain(500)]);
        assert_eq!(asked.next_word().await, Some(true));
        let began = Instant::now();
        says.unbounded_send(Ok(line())).unwrap();
        assert_eq!(asked.next_word().await, Some(true));
        assert_eq!(began.elapsed(), Duration::ZERO, "as soon as it says so");
        assert_eq!(asked.next_word().await, None, "it is silent");
        assert_eq!(began.elapsed(), ASK_EVERY + ANSWER_MAX);
        says.unbounded_send(Ok(line())).unwrap();
        assert_eq!(asked.next_word().await, Some(true), "it is heard again");
        drop(says);
        let ended = Instant::now();
        assert_eq!(asked.next_word().await, Some(false), "one that ends is asked why");
        assert_eq!(ended.elapsed(), AGAIN_AFTER);
    }
}
