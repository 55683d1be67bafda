//! Who may do what: RBAC over an index that events keep up to date, and the refusal texts.
//!
//! Deciding is pure and never touches the store: [`RbacIndex`] is a persistent map that [`feed`] replaces after
//! each change of a role or binding, so that a request reads one consistent version and never lists anything.

pub mod aggregation;
pub mod aggregator;
pub mod authorizer;
pub mod covers;
pub mod feed;
pub mod forbidden;
pub mod index;
pub mod node;
pub(crate) mod reload;
pub mod rule;
pub mod webhook;

pub use authorizer::{Authorizer, Link};
pub use index::{Binding, RbacIndex, RoleRef, Scope, Subject, SubjectKind};
pub use rule::PolicyRule;
