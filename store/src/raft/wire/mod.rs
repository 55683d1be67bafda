//! What members say to each other, as frames. Version 2; `docs/decisions/0010-the-transport-between-members.md` has the whole format.
//!
//! Decoding is total: any bytes give a message or an error. Lengths are bounded by the frame that they came in.
mod codec;
mod hello;
mod message;

pub(crate) use hello::{Hello, PROTOCOL_VERSION, Purpose, Refusal, Welcome, speaks};
pub(crate) use message::{Reply, Request};
