//! The error of both bridges between typed values and the tree.

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
