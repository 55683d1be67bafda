//! The JSON-shaped tree that objects are while in flight. It keeps absent, null and zero apart; quantities,
//! times, byte strings and int-or-strings are held as they stand in JSON. It never interprets what it holds.

mod bridge_de;
mod bridge_ser;
mod literal;
mod map;
mod tree;

pub use bridge_de::from_value;
pub use bridge_ser::to_value;
pub use map::Map;
pub use tree::Value;

/// A member's name.
pub type Key = smol_str::SmolStr;

use smol_str::{SmolStr, ToSmolStr};

/// Why a typed value and a tree could not be turned into each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BridgeError {
    message: SmolStr,
}

impl serde::de::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { message: message.to_smolstr() }
    }
}

impl serde::ser::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self { message: message.to_smolstr() }
    }
}
