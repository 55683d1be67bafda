//! `mainstay-agents-node`: see docs/ARCHITECTURE.md.

#![allow(dead_code)]

mod names;
mod runtime_state;
mod spec;
mod status;
mod worker;
