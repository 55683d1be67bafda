//! `PodSecurity`: the Pod Security Standards. A namespace's labels say which level its pods are held to, in three modes:
//! enforce refuses, warn tells the client, audit tells the audit log. Deciding is pure; only the step reads the cache.

mod baseline;
mod check;
mod policy;
mod restricted;
mod step;

pub use step::{Exemptions, PodSecurity};
