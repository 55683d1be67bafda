//! Connections of a whole client, for what is no load.
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// Connects to a server.
pub(crate) async fn connect(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(endpoint.to_owned())?
        .connect_timeout(Duration::from_secs(5))
        .initial_connection_window_size(16 << 20)
        .initial_stream_window_size(1 << 20)
        .tcp_nodelay(true)
        .connect()
        .await
}
