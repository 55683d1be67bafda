//! Custom resources: the kind CustomResourceDefinition with its rules, and the kinds that definitions make. All of it is
//! pure; what serves, stores and deletes is in the server.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of schemas are compared as upstream compares them, as floating point"
)]

pub mod crd;
pub mod custom;
