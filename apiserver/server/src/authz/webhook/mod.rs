//! Authorizers that ask another server: each is sent a SubjectAccessReview, and its answer is remembered for a while.

mod authorizer;
mod conditions;
mod config;
mod config_file;
mod metrics;
mod review;

pub use authorizer::WebhookAuthorizer;
pub use conditions::Conditions;
pub use config::{AuthorizationConfig, ConfigError, ConfigFile, Mode, ReviewVersion, WebhookConfig};
pub(crate) use metrics::AuthorizationMetrics;
