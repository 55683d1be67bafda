//! `mainstay-store`: see docs/ARCHITECTURE.md.
