//! Who gets in, who may do what, and what admission makes of it.

mod admission;
mod amounts;
mod arrange;
mod audit;
mod authorizers;
mod bad_inputs;
mod credentials;
mod encryption;
mod identities;
mod kms_plugin;
mod kubelet;
mod mutating_policies;
mod plugins;
mod pod_security;
mod policy;
mod policy_rights;
mod scale;
mod services;
mod streams;
mod webhook_sink;
mod webhooks;

pub(crate) use audit::Log;
pub(crate) use encryption::{aesgcm, configuration};
pub(crate) use identities::Issuer;
pub(crate) use kms_plugin::KmsPlugin;

use arrange::{grant, pod, service_account, until};
