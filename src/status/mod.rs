//! `mainstay status`: how a cluster is, in words. Every server tells of itself ([`report`], served by [`desk`]); the command asks
//! each of them ([`ask`]) and [`words`] says what is there, what is wrong and what is to be done.

mod ask;
mod command;
mod desk;
mod report;
mod words;

pub(crate) use command::run;
pub(crate) use desk::{STATUS, StatusDesk};
