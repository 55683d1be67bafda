//! Single values: which JSON fits which base, and upstream's canonical text of times, durations and quantities.

mod duration;
mod fit;
mod instant;

pub use duration::{format_duration, parse_duration};
pub use fit::{Misfit, fit};
pub use instant::{
    Instant, append_micro_time, append_time, format_micro_time, format_time, parse_micro_time, parse_time,
};
