//! `mainstay-agents-scheduler`: see docs/ARCHITECTURE.md.
