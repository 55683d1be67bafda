//! Validation errors by field path, and the checks that many kinds share.
