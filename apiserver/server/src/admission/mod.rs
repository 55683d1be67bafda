//! Steps between decoding and storing: mutating, then validating.
