//! `mainstay-agents-node`: see docs/ARCHITECTURE.md.
