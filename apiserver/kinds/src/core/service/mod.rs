//! core/v1 Service. Addresses and node ports are allocated by admission in the server; here is what a service must
//! look like before and after that.

mod carry_over;
mod cluster_ips;
mod row;
mod rules;
mod traffic;
mod warnings;

pub use rules::SERVICE;
