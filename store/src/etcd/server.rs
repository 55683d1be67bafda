//! A server for etcd's clients over one store.
use std::sync::Arc;

use mainstay_base::telemetry::MetricsError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::FaceConfig;
use super::face::Face;
use super::listener::{self, Listener};
use super::metrics::Metrics;
use super::pace::Pace;
use super::router::Router;
use crate::Store;

/// Serves etcd's API on any number of listeners.
///
/// It uses the tokio runtime that [`Server::serve`] is called in. One thread is enough, and cheapest.
#[derive(Debug)]
pub struct Server {
    face: Arc<Face>,
    router: Arc<Router>,
}

impl Server {
    /// A server over `store`, which stays the caller's to close.
    ///
    /// # Errors
    /// A metric has a name that is taken, which no configuration can cause.
    pub fn new(store: Store, config: FaceConfig) -> Result<Self, MetricsError> {
        let face = Arc::new(Face {
            leadership: store.leadership(),
            store,
            pace: Pace::new(config.watch_backlog_bytes),
            config,
            stop: CancellationToken::new(),
        });
        let metrics = Metrics::new()?;
        if let Some(tracer) = &face.config.tracer {
            tracer.register(&metrics.registry).map_err(MetricsError::Prometheus)?;
        }
        let router = Arc::new(Router::new(&face, metrics)?);
        Ok(Self { face, router })
    }

    /// Serves until `stop` is cancelled or the store stops. Then streams end, and requests under way get the grace period.
    pub async fn serve(self, listeners: Vec<Listener>, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        for listener in listeners {
            let router = Arc::clone(&self.router);
            tasks.spawn(listener::run(listener, router, tasks.clone()));
        }
        let face = Arc::clone(&self.face);
        tasks.spawn(async move { face.pace.run(|| face.told(), face.stop.clone()).await });
        tasks.close();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.face.store.stopped() => {}
        }
        self.face.stop.cancel();
        // Every connection bounds its own end by the grace period.
        tasks.wait().await;
    }
}
