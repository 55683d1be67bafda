//! The shared vocabulary of the server: users, access questions, admission requests, endpoints, bodies.
//!
//! Everything here is data and traits; nothing here does work. The gates (authentication, authorization, admission) and
//! the special endpoints implement these traits; the request path calls them.

mod access;
mod admission;
mod body;
mod endpoint;
mod gates;
mod identity;

pub use access::{Attributes, Decision};
pub use admission::{AdmissionRequest, AdmissionWarning, Marks, Operation, Reinvocation, Rounds, Warnings};
pub use body::{Body, BodyError, Request, Response, empty_body, full_body};
pub use endpoint::{Endpoint, EndpointKey};
pub use gates::{Admit, Assembly, Authenticate, AuthnError, Authorize, Verdict};
pub use identity::{Identity, UserInfo};
