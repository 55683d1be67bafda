//! `mainstay-proto-api`: see docs/ARCHITECTURE.md.
