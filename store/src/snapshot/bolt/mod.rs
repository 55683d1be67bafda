//! etcd's database file, which is a bbolt one: pages, a B+tree per bucket, two meta pages at the front. Both directions, without the rest of
//! bbolt: a reader that believes nothing, and a writer that lays out a whole file once.
mod page;
mod reader;
mod writer;

pub(super) use page::is_database;
pub(super) use reader::{BoltError, BoltFile, check_sum};
pub(super) use writer::BoltWriter;
