//! Exchanging the cluster's authority for a new one while everything runs (docs/decisions/0066).
//!
//! It goes in stages, and never on to the next one before all servers and workers have done the one before. What stage it is
//! is a record in the store; what a machine has done of it is a key of its own beside that, its standing. The new authority's
//! key is in the record too, sealed under a key that servers alone have.

mod command;
mod decide;
mod desk;
mod follow;
mod held;
mod lines;
mod record;
mod standing;

pub(crate) use command::{RotateAuthority, rotate, told};
pub(crate) use desk::{AuthorityDesk, TRUST, Trust};
pub(crate) use follow::{Followed, STAGE, STAGE_KEY, follow};
pub(crate) use held::{Authorities, NEW_AUTHORITY, OPTIONAL, former, known_authorities, stage_held};
pub(crate) use lines::{FRONT_PROXY, LineAuthorities, LineStanding, PEERS};
pub(crate) use record::{under_way, versions_said};
pub(crate) use standing::Standing;
