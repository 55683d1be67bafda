//! Authentication: users, roles and permissions as replicated state, and what they allow. The decisions know no IO, clock or randomness.
mod calls;
mod check;
mod codec;
mod decide;
mod password;
mod reach;
mod state;
mod table;
mod token;

pub use calls::Auth;
pub(crate) use check::check;
pub(crate) use codec::{decode_auth_command, decode_caller, encode_auth_command, encode_caller};
pub(crate) use codec::{decode_mark, decode_role, decode_user, encode_mark, encode_role, encode_user};
pub(crate) use decide::{AuthCommand, AuthEffect, AuthRow, decide};
pub(crate) use state::{AuthState, RoleRecord, UserRecord};
pub(crate) use table::AuthTable;
pub(crate) use token::TokenHash;
