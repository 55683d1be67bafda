//! A client whose certificate may change: it is made anew then. Requests that are under way, watches among them, end on the
//! connections that they began on; the next ones go over new connections, which show the new certificate.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::watch;
use tower_service::Service;
use tracing::warn;

use super::ServersError;

type Make = dyn Fn(&kube::Config) -> Result<kube::Client, ServersError> + Send + Sync;

struct Newest {
    settings: watch::Receiver<kube::Config>,
    client: kube::Client,
}

#[derive(Clone)]
struct Renewing {
    newest: Arc<Mutex<Newest>>,
    make: Arc<Make>,
}

/// A client that `make` makes of the settings, and makes again whenever they have changed.
///
/// # Errors
/// The first settings cannot be used. Later ones that cannot be used leave things as they are, which the log says.
pub fn renewing(
    mut settings: watch::Receiver<kube::Config>,
    make: impl Fn(&kube::Config) -> Result<kube::Client, ServersError> + Send + Sync + 'static,
) -> Result<kube::Client, ServersError> {
    let first = settings.borrow_and_update().clone();
    let newest = Arc::new(Mutex::new(Newest { settings, client: make(&first)? }));
    Ok(kube::Client::new(Renewing { newest, make: Arc::new(make) }, first.default_namespace))
}

impl Renewing {
    fn client(&self) -> kube::Client {
        let mut newest = self.newest.lock();
        // An error means that nobody renews any more.
        if newest.settings.has_changed().unwrap_or(false) {
            let settings = newest.settings.borrow_and_update().clone();
            match (self.make)(&settings) {
                Ok(client) => newest.client = client,
                Err(error) => {
                    warn!(%error, "a new client certificate cannot be used; the one before stays");
                }
            }
        }
        newest.client.clone()
    }
}

impl Service<http::Request<Body>> for Renewing {
    type Response = http::Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let client = self.client();
        Box::pin(async move { client.send(request).await })
    }
}
