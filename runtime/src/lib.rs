//! `mainstay-runtime`: see docs/ARCHITECTURE.md.
