//! Review kinds that are answered, not stored: access, self subject, token reviews.
