//! Ways between members: in one process, and over TCP with or without TLS.
mod memory;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use memory::{MemoryNetwork, MemoryTransport};
pub use tcp::{TcpTransport, TransportError};
#[cfg(feature = "tls")]
pub use tls::PeerTls;
