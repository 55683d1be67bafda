//! `mainstay-proto-wire`: see docs/ARCHITECTURE.md.
