//! From an HTTP request to what it asks for: normalised path, request info, parameters, body, formats.

mod body;
mod context;
mod info;
mod object;
mod path;
mod query;

pub use body::read_body;
pub use context::{Peer, RequestContext};
pub use info::RequestInfo;
pub use object::{
    DecodedObject, decode_kind, decode_object, decode_options, options_tree, prune_unknown, respond_object,
    respond_status, shown_type, strictness,
};
pub use path::{PathError, normalise_path};
pub use query::{Query, number_fault};
