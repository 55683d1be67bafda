//! Aggregation: groups and versions that another server answers (`APIService` with a Service). The loop finds out which are
//! available ([`availability`]), requests for them are carried there in their user's name ([`proxy`]), and discovery shows
//! them ([`routes`]).

mod availability;
mod client;
mod headers;
mod local;
mod proxy;
mod remote;
mod routes;

pub use availability::Availability;
pub use proxy::{AGGREGATOR, FrontDoor};
pub(crate) use routes::Table;
pub use routes::{OpenApiPart, RemoteVersion, Routes};
