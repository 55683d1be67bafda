//! Review kinds that are answered, not stored: access, self subject, token reviews.

pub mod access;
pub mod request;
pub mod rules;
pub mod subject;
pub mod token;

pub use access::AccessReview;
pub use rules::RulesReview;
pub use subject::SelfSubjectReview;
pub use token::TokenReview;
