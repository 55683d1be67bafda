//! ClusterIP, external IP, load balancer and node port traffic to pods, by nftables.

mod delta;
mod nft;
mod observe;
mod render;
mod ruleset;
mod sync;
mod world;

pub use delta::delta;
pub use nft::{NftError, remove_table};
pub(crate) use observe::{SERVICE_NAME_LABEL, service_of};
pub use render::render;
pub use ruleset::Ruleset;
pub use sync::spawn;
pub use world::{Endpoint, ServicePort, World};
