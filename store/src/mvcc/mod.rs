//! What a committed command does, decided without IO, clock or randomness: `apply(view, command) -> Effects`.
mod alarms;
mod apply;
mod before;
mod codec;
mod collector;
mod command;
mod key_range;
#[cfg(test)]
pub(crate) mod model;
mod request_check;
mod scratch;
mod staged;
mod view;

pub(crate) use apply::{
    AlarmEffect, Applied, Change, Effects, LeaseEffect, Reply, apply, range_page, range_response, read_txn,
};
pub(crate) use before::Before;
pub(crate) use codec::{DecodeError, Reader, decode_command, encode_command, put_bytes};
pub(crate) use collector::one_key_response;
pub(crate) use command::Command;
pub(crate) use key_range::KeyRange;
pub(crate) use request_check::{
    check_delete, check_put, check_range, check_txn, command_bytes, is_read_only, is_serializable,
};
pub(crate) use staged::Staged;
pub(crate) use view::{Row, View, ViewError, Visitor};
