//! Kinds of certificates.k8s.io/v1.

mod cluster_trust_bundle;
mod pem;
mod pod_certificate_request;
mod pod_certificate_status;
mod signer_name;
mod signing_request;
mod signing_request_update;
mod stub_request;

pub use cluster_trust_bundle::CLUSTER_TRUST_BUNDLE;
pub use pod_certificate_request::POD_CERTIFICATE_REQUEST;
pub use signing_request::CERTIFICATE_SIGNING_REQUEST;
