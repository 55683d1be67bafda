//! One worker per pod: it looks at a [`PodView`], plans, acts, and looks again when something changes.

mod backoff;
mod end;
mod lifecycle;
mod plan;
mod step;
mod view;

pub(crate) use lifecycle::{
    Ending, ending, has_post_start, init_done, init_failed, may_restart, ready, regular_created, start_time,
    started, terminal_phase,
};
pub(crate) use plan::{crash_wait, plan};
pub(crate) use step::{KillWhy, PodStep};
pub(crate) use view::{ContainerMemory, Failure, Op, PodMemory, PodView, ProbeResults, Retry, VolumesState};
