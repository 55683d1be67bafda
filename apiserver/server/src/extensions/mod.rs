//! CustomResourceDefinitions at work: names are accepted, kinds are served within moments of an event, and the objects of
//! a definition that is deleted are deleted first. What is decided is pure and stands in the extensions crate.

mod cleanup;
mod conversion;
mod custom_kinds;
mod published;

pub use conversion::WebhookConverter;
pub use custom_kinds::CustomKinds;
