//! What a run must satisfy. The checkers know the requests, the answers and the times; of the store's code they use only the vocabulary.
mod archive;
mod calls;
mod interpreter;
mod leases;
mod linear;
mod members;
mod revisions;
mod search;
mod watches;

pub use archive::Archive;
pub use calls::{Answer, Call, Outcome, Request};
pub use interpreter::{State, inside, interpret};
pub use leases::{LeaseRecord, LeaseTimes, check_leases};
pub use linear::{Linearity, check_linearizable};
pub use members::{MemberView, Members, check_members};
pub use revisions::check_revisions;
pub use search::{Spec, Timed, Verdict, search};
pub use watches::{Session, check_session};
