//! The write pipeline: prepare, validate and delete, the same for every kind.
