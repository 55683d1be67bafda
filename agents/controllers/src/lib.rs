//! `mainstay-agents-controllers`: see docs/ARCHITECTURE.md.
