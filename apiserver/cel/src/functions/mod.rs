//! The functions, by what they are about. The checker has seen to the types where it could; what it could not know is
//! looked at here, so any values give a value or an error.

mod access;
mod convert;
mod dispatch;
mod formats;
mod lists;
mod network;
mod quantity;
mod semver;
mod strings;
mod times;

pub(crate) use access::AccessVal;
pub use access::{Access, AccessAnswer, AccessQuestion};
pub(crate) use convert::shown;
pub(crate) use dispatch::{Patterns, call, regex};
pub(crate) use semver::Semver;
