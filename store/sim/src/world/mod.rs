//! The simulated world: machines with clocks and disks, the network between them, clients, and what goes wrong.
mod clients;
mod disk;
mod faults;
mod harm;
mod host;
mod judge;
mod net;
mod operator;
mod panics;
mod peers;
mod protocol;
mod record;
mod run;

pub use clients::Clients;
pub use disk::SimDisk;
pub use faults::{Fault, Mood};
pub use host::{Desk, Host};
pub use net::{Arrival, HostId, Net};
pub use operator::Order;
pub use peers::{SimTransport, peer_url};
pub use protocol::{Ask, Item, MemberOf, Reply, Stream, Wire};
pub use record::{Notes, Recorder};
pub use run::{Plan, Report, run};
