//! `mainstay-agents-kit`: see docs/ARCHITECTURE.md.
