//! Kinds of batch/v1.

mod cron_job;
mod failure_policy;
mod indexes;
mod job;
mod job_spec;
mod job_status;
mod schedule;
mod template_update;

pub use cron_job::CRON_JOB;
pub use job::JOB;
