//! The agent's loops against a runtime and an API that live in memory. Tests only.

mod fake_api;
mod fake_cri;
mod rig;
mod scenarios;
mod stream_scenarios;
