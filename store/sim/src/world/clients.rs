//! Clients: writers and readers, lease owners, watchers, and the one that compacts. All run on one machine, whose clock is right.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    Compare, DeleteRangeRequest, LeaseId, Op, PutRequest, RangeRequest, Revision, Txn, WatchError,
    WatchRequest,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::net::HostId;
use super::protocol::{Ask, Item, Reply, Wire};
use super::record::Recorder;
use crate::check::{Answer, Call, LeaseRecord, Outcome, Request, Session};

/// Clients wait so long for an answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A watch that is silent for so long is opened on another member: progress is due each second.
const SILENCE: Duration = Duration::from_secs(4);

/// What clients share.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The network.
    pub wire: Wire,
    /// Where they write down what they see.
    pub recorder: Recorder,
    /// How many machines there are for members.
    pub members: usize,
    /// The simulation's time zero by their clock.
    pub began: Instant,
    /// No new calls once this is set.
    pub stop: Arc<AtomicBool>,
}

/// Keys that are only ever touched alone.
pub(super) const ALONE: &[u8] = b"s/";
/// Keys that transactions and ranges touch together.
pub(super) const TOGETHER: &[u8] = b"g/";
/// Keys of leases.
pub(super) const LEASED: &[u8] = b"l/";

impl Clients {
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    async fn call(&self, member: HostId, request: Request) -> Outcome {
        let called = self.now();
        let reply = self.wire.ask(member, Ask::Keys(request.clone()), PATIENCE).await;
        let outcome = match reply {
            Some(Reply::Keys(answer)) => Outcome::Answered(self.now(), answer),
            Some(Reply::Refused(why)) => Outcome::Refused(why),
            Some(Reply::Unknown(why)) => Outcome::Unknown(why),
            Some(Reply::Done | Reply::Members(_) | Reply::NoLease) | None => {
                Outcome::Unknown("no answer".into())
            }
        };
        self.recorder.note(|notes| notes.calls.push(Call { called, request, outcome: outcome.clone() }));
        outcome
    }

    /// Writes and reads keys until it is told to stop.
    pub async fn write_and_read(self, number: usize, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut member = rng.random_range(0..self.members);
        let mut made = 0;
        while !self.stopped() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..250))).await;
            made += 1;
            let value = Bytes::from(format!("{number}-{made}"));
            let request = request(&mut rng, &value);
            let outcome = self.call(member, request).await;
            if let Outcome::Answered(_, Answer::Range(response)) = &outcome
                && let Some(kv) = response.kvs.first()
                && rng.random_bool(0.6)
            {
                // What was read is written only if nobody else did.
                let txn = Txn::when([Compare::unchanged(kv.key.clone(), kv.mod_revision)])
                    .then([PutRequest::new(kv.key.clone(), format!("{value:?}c"))])
                    .otherwise([RangeRequest::key(kv.key.clone())].map(Op::Range));
                self.call(member, Request::Txn(txn)).await;
            }
            if !matches!(outcome, Outcome::Answered(..)) || rng.random_bool(0.02) {
                member = rng.random_range(0..self.members);
            }
        }
    }

    /// Grants leases, attaches keys, keeps them alive for a while, then falls silent or revokes them.
    pub async fn own_leases(self, number: usize, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut made = 0;
        while !self.stopped() {
            made += 1;
            let id = LeaseId((number as i64 + 1) * 1_000_000 + made);
            self.one_lease(&mut rng, id, number).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(100..1500))).await;
        }
    }

    async fn one_lease(&self, rng: &mut StdRng, id: LeaseId, number: usize) {
        let ttl = Duration::from_secs(rng.random_range(2..5));
        let mut member = rng.random_range(0..self.members);
        let granted = self.now();
        let reply = self.wire.ask(member, Ask::Grant(id, ttl), PATIENCE).await;
        if !matches!(reply, Some(Reply::Done)) {
            return; // a grant that nobody knows of is no promise
        }
        let mut record = LeaseRecord::granted(id, ttl, granted, self.now());
        for key in 0..rng.random_range(1..4) {
            let key = format!("l/{number}/{}/{key}", id.0);
            let put = PutRequest::new(key.clone(), format!("{key}v")).with_lease(id);
            self.call(member, Request::Put(put)).await;
        }
        for _ in 0..rng.random_range(0..6) {
            if self.stopped() {
                break;
            }
            tokio::time::sleep(ttl.mul_f64(rng.random_range(0.1..0.5))).await;
            let called = self.now();
            let reply = self.wire.ask(member, Ask::KeepAlive(id), PATIENCE).await;
            record.last_attempt = self.now();
            match reply {
                Some(Reply::Done) => record.kept.push(called),
                Some(Reply::NoLease) => record.denied.push((called, record.last_attempt)),
                Some(Reply::Refused(_)) => member = rng.random_range(0..self.members),
                Some(Reply::Keys(_) | Reply::Members(_) | Reply::Unknown(_)) | None => {
                    // It may arrive later still: a keep-alive on its way renews the lease when it comes.
                    record.last_attempt += PATIENCE;
                    member = rng.random_range(0..self.members);
                }
            }
        }
        if rng.random_bool(0.2) {
            record.revoked = Some(self.now());
            drop(self.wire.ask(member, Ask::Revoke(id), PATIENCE).await);
        }
        self.recorder.note(|notes| notes.leases.push(record));
    }

    /// Compacts now and then, never past what is archived.
    pub async fn compact(self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        while !self.stopped() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(500..4000))).await;
            let wanted = self.recorder.note(|notes| {
                let wanted = Revision(notes.archived.0 - rng.random_range(0..40));
                notes.compacted = notes.compacted.max(wanted);
                wanted
            });
            if wanted.0 > 1 {
                let member = rng.random_range(0..self.members);
                drop(self.wire.ask(member, Ask::Compact(wanted), PATIENCE).await);
            }
        }
    }

    /// Follows everything from the first revision on, for the archive.
    pub async fn archive(self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut next = Revision(2);
        loop {
            let request =
                WatchRequest { prev_kv: true, progress: true, ..WatchRequest::prefix("").starting_at(next) };
            let session = self.follow(&mut rng, request, None, true).await;
            next = next.max(session.next());
            self.recorder.note(|notes| notes.sessions.push(session));
        }
    }

    /// Watches something, here and there, for a while, and goes on where it left off.
    pub async fn watch(self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut request = watch_request(&mut rng);
        loop {
            let patience = rng.random_bool(0.5).then(|| Duration::from_millis(rng.random_range(200..6000)));
            let session = self.follow(&mut rng, request.clone(), patience, false).await;
            request = match &session.ended {
                // Too late: begin anew, from now on, with another request.
                Some(WatchError::Compacted { .. }) => watch_request(&mut rng),
                Some(_) | None if rng.random_bool(0.2) => watch_request(&mut rng),
                Some(_) | None => WatchRequest { start: Some(session.next()), ..request },
            };
            let was_opened = session.start.0 > 0;
            if was_opened {
                self.recorder.note(|notes| notes.sessions.push(session));
            }
            if rng.random_bool(0.4) {
                // Long enough for a compaction to pass by.
                tokio::time::sleep(Duration::from_millis(rng.random_range(1..6000))).await;
            }
        }
    }

    /// One session on one member, until it ends, falls silent, or patience does.
    async fn follow(
        &self,
        rng: &mut StdRng,
        request: WatchRequest,
        patience: Option<Duration>,
        archives: bool,
    ) -> Session {
        let member = rng.random_range(0..self.members);
        let mut stream = self.wire.watch(member, request.clone());
        let mut session =
            Session { start: request.start.unwrap_or_default(), request, batches: Vec::new(), ended: None };
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            let deadline = (Instant::now() + SILENCE).min(until.unwrap_or_else(|| Instant::now() + SILENCE));
            match tokio::time::timeout_at(deadline, stream.items.recv()).await {
                Ok(Some(Item::Opened(revision))) if session.request.start.is_none() => {
                    session.start = revision.next();
                }
                Ok(Some(Item::Opened(_))) => {}
                Ok(Some(Item::Batch(batch))) => {
                    if archives {
                        self.recorder.note(|notes| {
                            notes.archived = notes.archived.max(batch.revision);
                            notes.history.extend((!batch.events.is_empty()).then(|| batch.clone()));
                        });
                    }
                    session.batches.push(batch);
                }
                Ok(Some(Item::Ended(error))) => {
                    session.ended = Some(error);
                    return session;
                }
                Ok(None) => {
                    self.wire.react().await;
                    return session;
                }
                Err(_) => return session,
            }
        }
    }
}

fn key(rng: &mut StdRng, prefix: &[u8], keys: u32) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend_from_slice(rng.random_range(0..keys).to_string().as_bytes());
    Bytes::from(key)
}

fn alone(rng: &mut StdRng) -> Bytes {
    key(rng, ALONE, 5)
}

fn together(rng: &mut StdRng) -> Bytes {
    key(rng, TOGETHER, 4)
}

fn request(rng: &mut StdRng, value: &Bytes) -> Request {
    match rng.random_range(0..100) {
        0..25 => Request::Put(PutRequest {
            prev_kv: rng.random_bool(0.5),
            ..PutRequest::new(alone(rng), value.clone())
        }),
        25..28 => {
            Request::Delete(DeleteRangeRequest { prev_kv: true, ..DeleteRangeRequest::key(alone(rng)) })
        }
        28..40 => Request::Range { range: RangeRequest::key(alone(rng)), stale: false },
        40..52 => Request::Range {
            range: RangeRequest { serializable: true, ..RangeRequest::key(alone(rng)) },
            stale: false,
        },
        52..58 => Request::Range {
            range: RangeRequest { serializable: true, ..RangeRequest::key(alone(rng)) },
            stale: true,
        },
        58..68 => Request::Put(PutRequest::new(together(rng), value.clone())),
        68..78 => {
            let stale = rng.random_bool(0.3);
            let limit = rng.random_range(0..4);
            Request::Range {
                range: RangeRequest { limit, serializable: stale, ..RangeRequest::prefix(TOGETHER) },
                stale,
            }
        }
        78..80 => Request::Delete(DeleteRangeRequest::prefix(TOGETHER)),
        80..92 => {
            // Two keys at once, whatever they were.
            let first = rng.random_range(0..4_u32);
            let puts = [first, (first + 1) % 4]
                .map(|at| PutRequest::new(format!("g/{at}"), format!("{value:?}t{at}")));
            Request::Txn(Txn::default().then(puts))
        }
        _ => {
            let key = together(rng);
            let txn = Txn::when([Compare::absent(key.clone())])
                .then([PutRequest::new(key.clone(), format!("{value:?}n"))])
                .otherwise([
                    Op::Delete(DeleteRangeRequest::key(key)),
                    Op::Range(RangeRequest::prefix(TOGETHER)),
                ]);
            Request::Txn(txn)
        }
    }
}

fn watch_request(rng: &mut StdRng) -> WatchRequest {
    let base = match rng.random_range(0..5) {
        0 => WatchRequest::prefix(""),
        1 => WatchRequest::prefix(TOGETHER),
        2 => WatchRequest::key(alone(rng)),
        3 => WatchRequest::prefix(LEASED),
        _ => WatchRequest { range_end: Some(Bytes::from_static(b"\0")), ..WatchRequest::key("g/2") },
    };
    WatchRequest {
        prev_kv: rng.random_bool(0.6),
        progress: rng.random_bool(0.8),
        filter_put: rng.random_bool(0.1),
        filter_delete: rng.random_bool(0.1),
        ..base
    }
}
