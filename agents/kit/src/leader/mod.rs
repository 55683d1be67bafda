//! Leader election by a Lease: of several processes that want to run the same loops, one does.
//!
//! A candidate has a mandate: something outside says which of the processes may lead, such as the store, whose members elect a leader anyhow. So the
//! Lease need not be renewed often: it tells others who leads, and keeps away programs that know nothing of the mandate. A holder stops its loops
//! when the mandate ends, well before another that has it by then begins, so that no two act at once (docs/decisions/0045).

mod elector;
mod rule;

pub use elector::{Election, Started};
pub use rule::{Timings, identity};
