//! Leases: the table of those alive, and the loop that ends them.
mod expiry;
mod table;

pub(crate) use expiry::run as run_expiry;
pub(crate) use table::LeaseTable;
