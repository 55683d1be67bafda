//! The dashboard under `/ui`: files that are part of this binary, and nothing else. All that the dashboard shows and changes
//! goes through the API, with the rights of whoever uses it; this module reads no object and knows no user.

mod answer;
mod file;
#[rustfmt::skip]
#[path = "../../../../dashboard/dist/files.rs"]
mod files;

pub(crate) use answer::answer;
