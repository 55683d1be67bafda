//! Gathers rows as a range request wants them: counted, bounded, filtered, ordered.
use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::Row;
use crate::api::{KeyValue, RangeOrder, RangeRequest, RangeResponse, Revision, RevisionBounds, SortTarget};

/// An ordered answer with a limit is cut back to the limit when it has grown by so many keys.
const ORDERED_SLACK: usize = 1024;

/// Takes the rows of a range in key order.
#[allow(clippy::struct_excessive_bools, reason = "the request's independent choices")]
pub(super) struct Collector {
    kvs: Vec<KeyValue>,
    count: u64,
    limit: usize,
    keys_only: bool,
    count_only: bool,
    uncounted: bool,
    more: bool,
    bytes_left: usize,
    order: Option<RangeOrder>,
    bounds: RevisionBounds,
}

impl Collector {
    pub(super) fn new(request: &RangeRequest) -> Self {
        Self::with_bytes(request, usize::MAX)
    }

    /// Ends early once the answer has `bytes_max` bytes; `more` says so. An ordered answer does not end early.
    pub(super) fn with_bytes(request: &RangeRequest, bytes_max: usize) -> Self {
        let by_key = RangeOrder::default();
        Self {
            kvs: Vec::new(),
            count: 0,
            limit: if request.limit == 0 { usize::MAX } else { request.limit },
            keys_only: request.keys_only,
            count_only: request.count_only,
            uncounted: request.uncounted && !request.count_only,
            more: false,
            bytes_left: bytes_max,
            order: request.order.filter(|order| *order != by_key),
            bounds: request.bounds,
        }
    }

    pub(super) fn visit(&mut self, row: Row<'_>) -> ControlFlow<()> {
        if self.count_only {
            self.count += 1;
            return ControlFlow::Continue(());
        }
        if !self.bounds.contain(row.create_revision, row.mod_revision) {
            self.count += 1;
            return ControlFlow::Continue(());
        }
        if let Some(order) = self.order {
            self.count += 1;
            self.keep_ordered(row, order);
        } else if self.kvs.len() < self.limit && self.bytes_left > 0 {
            self.count += 1;
            let kv = row.to_key_value(self.keys_only);
            self.bytes_left = self.bytes_left.saturating_sub(kv.key.len() + kv.value.len());
            self.kvs.push(kv);
        } else {
            self.more = true;
            if self.uncounted {
                return ControlFlow::Break(());
            }
            self.count += 1;
        }
        ControlFlow::Continue(())
    }

    fn keep_ordered(&mut self, row: Row<'_>, order: RangeOrder) {
        let without_value = self.keys_only && order.target != SortTarget::Value;
        self.kvs.push(row.to_key_value(without_value));
        if self.kvs.len() >= self.limit.saturating_mul(2).saturating_add(ORDERED_SLACK) {
            self.cut(order);
        }
    }

    fn cut(&mut self, order: RangeOrder) {
        self.kvs.sort_by(|a, b| compare(a, b, order));
        if self.kvs.len() > self.limit {
            self.kvs.truncate(self.limit);
            self.more = true;
        }
    }

    pub(super) fn finish(mut self, revision: Revision) -> RangeResponse {
        if let Some(order) = self.order {
            self.cut(order);
            if self.keys_only {
                self.kvs.iter_mut().for_each(|kv| kv.value.clear());
            }
        }
        let count = if self.uncounted { self.kvs.len() as u64 } else { self.count };
        RangeResponse { revision, kvs: self.kvs, more: self.more, count }
    }
}

fn compare(a: &KeyValue, b: &KeyValue, order: RangeOrder) -> Ordering {
    let ascending = match order.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if order.descending { ascending.reverse() } else { ascending }
}

/// The answer to a request for one key.
pub(crate) fn one_key_response(
    found: Option<&KeyValue>,
    request: &RangeRequest,
    revision: Revision,
) -> RangeResponse {
    let mut collector = Collector::new(request);
    if let Some(kv) = found {
        let _one_row: ControlFlow<()> = collector.visit(Row::of(kv));
    }
    collector.finish(revision)
}
