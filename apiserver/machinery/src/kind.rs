//! The description of a kind: its names, verbs, storage key and rules.
