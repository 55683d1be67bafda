//! Clients at work on every member: writers, readers and watchers. Each call is written down with when it began and ended.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mainstay_proto_wire::etcd::{etcdserverpb as pb, mvccpb};
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::SOON;
use crate::judge::{Call, Seen, What};
use crate::machine::{Machine, urls};

/// The keys that all clients share.
const KEYS: u64 = 4;
/// What a call may take.
const CALL_MAX: Duration = Duration::from_secs(8);
/// Between a client's calls, so that the machine's two cores have room for what is measured.
const PAUSE: Duration = Duration::from_millis(4);
/// The last key that is written; watchers wait for it.
pub(crate) const LAST_KEY: &str = "k/last";

/// What happens, as it happens.
#[derive(Default)]
pub(crate) struct Journal {
    /// When writes were acknowledged.
    acknowledged: RefCell<Vec<Instant>>,
}

impl Journal {
    /// A write was acknowledged.
    pub(crate) fn acknowledge(&self, at: Instant) {
        self.acknowledged.borrow_mut().push(at);
    }

    /// The longest time between two acknowledged writes, from one moment to another.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in self.acknowledged.borrow().iter().filter(|at| **at > from && **at < to).chain([&to]) {
            longest = longest.max(at.duration_since(last));
            last = *at;
        }
        longest
    }

    /// How long it took until the next acknowledged write.
    pub(crate) fn first_write_after(&self, from: Instant) -> Duration {
        let acknowledged = self.acknowledged.borrow();
        acknowledged.iter().find(|at| **at > from).map_or(Duration::MAX, |at| at.duration_since(from))
    }

    /// Waits some time, and then for an acknowledged write.
    pub(crate) async fn writes_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
        let from = Instant::now();
        while self.first_write_after(from) == Duration::MAX {
            assert!(from.elapsed() < SOON, "no write was acknowledged in {SOON:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The clients, at work.
pub(crate) struct Clients {
    pub(crate) journal: Rc<Journal>,
    stop: CancellationToken,
    callers: Vec<JoinHandle<Vec<Call>>>,
    watchers: Vec<JoinHandle<Vec<Seen>>>,
    last: KvClient<Channel>,
}

/// What they did and saw.
pub(crate) struct Finished {
    pub(crate) calls: Vec<Call>,
    pub(crate) watchers: Vec<Vec<Seen>>,
}

impl Clients {
    /// On each member two that write and read, and two that watch. Call it in a `LocalSet`.
    pub(crate) fn start(machine: &Machine) -> Self {
        let journal = Rc::new(Journal::default());
        let stop = CancellationToken::new();
        let urls = urls();
        let channel = |url: &str, call_max| machine.tls.connect_later(url, call_max);
        let mut callers = Vec::new();
        let mut watchers = Vec::new();
        for (member, url) in urls.iter().enumerate() {
            for number in 0..2 {
                let caller = Caller {
                    id: 2 * member as u64 + number,
                    kv: KvClient::new(channel(url, CALL_MAX)),
                    journal: Rc::clone(&journal),
                };
                callers.push(tokio::task::spawn_local(caller.run(stop.clone())));
                // A watcher whose member is gone goes on at the next.
                let channels: Vec<Channel> = (0..urls.len())
                    .map(|next| channel(&urls[(member + next) % urls.len()], Duration::from_secs(600)))
                    .collect();
                watchers.push(tokio::task::spawn_local(watch(channels)));
            }
        }
        let last = KvClient::new(channel(&urls[0], CALL_MAX));
        Self { journal, stop, callers, watchers, last }
    }

    /// Ends the callers, writes a last key and waits until every watcher saw it.
    pub(crate) async fn finish(mut self) -> Finished {
        self.stop.cancel();
        let mut calls = Vec::new();
        for caller in self.callers {
            calls.extend(tokio::time::timeout(SOON, caller).await.unwrap().unwrap());
        }
        let put = pb::PutRequest { key: LAST_KEY.into(), value: "last".into(), ..Default::default() };
        self.last.put(put).await.unwrap();
        let mut watchers = Vec::new();
        for watcher in self.watchers {
            let seen = tokio::time::timeout(SOON, watcher).await;
            watchers.push(seen.expect("a watcher did not see the last write").unwrap());
        }
        Finished { calls, watchers }
    }
}

/// One that writes, compares and swaps, and reads, in turns.
struct Caller {
    id: u64,
    kv: KvClient<Channel>,
    journal: Rc<Journal>,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut last_seen = 0;
        for number in 0_u64.. {
            if stop.is_cancelled() {
                break;
            }
            let key = format!("k/{}", (self.id + number) % KEYS);
            let value = format!("{}-{number}", self.id);
            let began = Instant::now();
            let (what, answer) = match number % 3 {
                0 => self.put(key, value).await,
                1 => self.swap(key, value, last_seen).await,
                _ => self.get(key).await,
            };
            let ended = Instant::now();
            let writes = !matches!(what, What::Read { .. });
            match &answer {
                Ok((revision, read)) => {
                    last_seen = read.as_ref().map_or(last_seen, |read| read.mod_revision);
                    if writes {
                        self.journal.acknowledge(ended);
                    }
                    calls.push(Call {
                        what: what.answered(read.as_ref()),
                        began,
                        ended,
                        revision: Some(*revision),
                    });
                }
                Err(_status) => {
                    // Whether it was written is not known.
                    calls.push(Call { what, began, ended, revision: None });
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        calls
    }

    async fn put(&mut self, key: String, value: String) -> (What, Answer) {
        let request =
            pb::PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
        let answer = self.kv.put(request).await.map(|put| (revision(put.into_inner().header), None));
        (What::Put { key, value }, answer)
    }

    /// Writes if the key has not changed since it was last seen, else reads it.
    async fn swap(&mut self, key: String, value: String, seen: i64) -> (What, Answer) {
        let compare = pb::Compare {
            key: key.clone().into(),
            target: pb::compare::CompareTarget::Mod.into(),
            result: pb::compare::CompareResult::Equal.into(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(seen)),
            ..Default::default()
        };
        let put =
            pb::PutRequest { key: key.clone().into(), value: value.clone().into(), ..Default::default() };
        let get = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
        let op = |request| vec![pb::RequestOp { request: Some(request) }];
        let request = pb::TxnRequest {
            compare: vec![compare],
            success: op(pb::request_op::Request::RequestPut(put)),
            failure: op(pb::request_op::Request::RequestRange(get)),
        };
        let answer = match self.kv.txn(request).await {
            Err(status) => return (What::Put { key, value }, Err(status)),
            Ok(txn) => txn.into_inner(),
        };
        let at = revision(answer.header);
        if answer.succeeded {
            return (What::Put { key, value }, Ok((at, None)));
        }
        let found = answer.responses.into_iter().next().and_then(|response| response.response);
        let Some(pb::response_op::Response::ResponseRange(range)) = found else { panic!("no range") };
        (What::Read { key, found: None }, Ok((at, range.kvs.into_iter().next())))
    }

    async fn get(&mut self, key: String) -> (What, Answer) {
        let request = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
        let answer = self.kv.range(request).await.map(|range| {
            let range = range.into_inner();
            (revision(range.header), range.kvs.into_iter().next())
        });
        (What::Read { key, found: None }, answer)
    }
}

/// The revision of an answer, and what was read.
type Answer = Result<(i64, Option<mvccpb::KeyValue>), Status>;

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.unwrap().revision
}

/// Watches all keys from the beginning until the last one is written. Where a stream ends it goes on after what it saw, on the next member.
async fn watch(channels: Vec<Channel>) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::new();
    for channel in channels.iter().cycle() {
        let next = seen.last().map_or(1, |last| last.revision + 1);
        if follow(channel.clone(), next, &mut seen).await.is_ok() {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen
}

/// One stream: ends well with the last key.
async fn follow(channel: Channel, from: i64, seen: &mut Vec<Seen>) -> Result<(), Status> {
    let create = pb::WatchCreateRequest {
        key: "k/".into(),
        range_end: "k0".into(),
        start_revision: from,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
    let mut request = tonic::Request::new(requests);
    // A member without a leader is left.
    request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
    let mut answers = WatchClient::new(channel).watch(request).await?.into_inner();
    loop {
        // A member that is frozen says nothing; nor does one without news, which comes all the time here.
        let answer = tokio::time::timeout(Duration::from_secs(2), answers.message()).await;
        let answer = answer.map_err(|_silent| Status::unavailable("silent"))??;
        let Some(answer) = answer else { return Err(Status::unavailable("ended")) };
        if answer.canceled {
            return Err(Status::unavailable(answer.cancel_reason));
        }
        for event in answer.events {
            let event = Seen::of(event);
            let is_last = event.key == LAST_KEY;
            seen.push(event);
            if is_last {
                return Ok(());
            }
        }
    }
}
