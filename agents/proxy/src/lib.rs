//! `mainstay-agents-proxy`: see docs/ARCHITECTURE.md.
