//! What the verbs do with stored objects.

mod create;
mod delete;
mod get;
mod list;
mod list_options;
mod options;
mod patch;
mod scale;
mod subresource_view;
mod update;
mod verbs;
mod watch;
mod watch_conversion;
mod watch_stream;
mod writer;

pub(crate) use options::add_warnings;
pub(crate) use verbs::method_not_allowed;
pub use verbs::{Call, handle};
pub use writer::{Deletes, Deletion, FieldOwner, Outcome, WriteRequest, Writer};
