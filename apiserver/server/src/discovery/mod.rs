//! What the server serves, told to clients: plain and aggregated discovery, OpenAPI, version.

mod aggregated;
mod documents;
mod openapi;
mod plain;
mod version;
mod versions_order;

pub use documents::Documents;
pub use version::version_response;
