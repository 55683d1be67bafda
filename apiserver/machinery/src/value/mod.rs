//! The JSON-shaped tree that objects are while in flight. It keeps absent, null and zero apart; quantities,
//! times, byte strings and int-or-strings are held as they stand in JSON. It never interprets what it holds.

mod bridge_de;
mod bridge_error;
mod bridge_ser;
mod literal;
mod map;
mod tree;

pub use bridge_de::from_value;
pub use bridge_error::BridgeError;
pub use bridge_ser::to_value;
pub use map::{Key, Map};
pub use tree::Value;
