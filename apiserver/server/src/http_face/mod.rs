//! Connections: TLS, HTTP/1.1 and HTTP/2 with bounds, and an orderly end.

mod connection;
mod listener;
mod stall_guard;
mod tls;

pub use listener::{BindError, Listener};
pub(crate) use tls::certified_key;
pub use tls::{Acceptor, Shown, TlsError, acceptor};
