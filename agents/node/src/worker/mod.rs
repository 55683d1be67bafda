//! One worker per pod: it looks at a [`PodView`], plans, acts, and looks again when something changes.

mod act;
mod backoff;
mod end;
mod learn;
mod leases;
mod lifecycle;
mod outcome;
mod plan;
#[cfg(test)]
mod plan_golden;
mod probing;
mod pull;
mod run;
mod start;
mod step;
mod take_over;
mod view;
mod write_status;

pub(crate) use lifecycle::{
    Ending, ending, init_done, init_failed, may_restart, ready, regular_created, start_time, started,
    terminal_phase,
};
pub(crate) use plan::crash_wait;
pub(crate) use run::{Wanted, Worker};
pub(crate) use view::{Failure, Op, PodView};
