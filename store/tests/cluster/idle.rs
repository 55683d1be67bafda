//! What the members of an idle cluster say to each other: heartbeats, and next to nothing else.
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use mainstay_store::{Link, LinkSender, MemoryNetwork, MemoryTransport, RangeRequest, Store, Transport};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::members::{Members, in_time, url};

/// Kinds of requests.
const APPEND: usize = 1;
const PING: usize = 13;
const QUESTION_BY_HEARTBEAT: usize = 16;
/// How often a leader of these tests says that it is there.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// After so long without an answer on a link there is a ping.
const PING_AFTER: Duration = Duration::from_secs(1);

/// So many requests of each kind were sent by all members.
#[derive(Clone, Debug)]
struct Said(Arc<Vec<AtomicUsize>>);

impl Said {
    fn of(&self, kind: usize) -> usize {
        self.0[kind].load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Counting {
    transport: MemoryTransport,
    said: Said,
}

#[derive(Debug)]
struct CountingSender {
    sender: Box<dyn LinkSender>,
    greeted: bool,
    said: Said,
}

impl LinkSender for CountingSender {
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        let greetings = usize::from(!std::mem::replace(&mut self.greeted, true));
        for frame in frames.iter().skip(greetings) {
            self.said.0[usize::from(frame[0])].fetch_add(1, Ordering::Relaxed);
        }
        self.sender.send(frames)
    }
}

impl Transport for Counting {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>> {
        Box::pin(async move {
            let Link { sender, receiver, peer } = self.transport.dial(url).await?;
            let sender = CountingSender { sender, greeted: false, said: self.said.clone() };
            Ok(Link { sender: Box::new(sender), receiver, peer })
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Link>> {
        self.transport.accept()
    }

    fn close(&self) {
        self.transport.close();
    }
}

async fn three_members() -> (Members, Said) {
    let said = Said(Arc::new((0..256).map(|_| AtomicUsize::new(0)).collect()));
    let dirs = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut members = Members { network: MemoryNetwork::new(), dirs, stores: vec![None; 3], initial: 3 };
    for member in 0..3 {
        let transport = members.network.transport(format!("m{member}"), [url(member)]);
        let config = members.config_at(member, Counting { transport, said: said.clone() });
        members.stores[member] = Some(Store::open(config).await.unwrap());
    }
    for store in members.all() {
        in_time(store.ready()).await.unwrap();
    }
    (members, said)
}

#[tokio::test]
async fn a_question_by_heartbeat_sees_every_write_acknowledged_before_it() {
    let (members, said) = three_members().await;
    let leader = members.leader().await;
    for round in 0..10 {
        let written = in_time(members.store(leader).put("k", format!("{round}"))).await.unwrap().revision;
        let asked = members.all().map(async |store| {
            let revision = in_time(store.current_revision_by_heartbeat()).await.unwrap();
            assert!(revision >= written, "{revision:?} lacks {written:?}");
            let range = RangeRequest { serializable: true, ..RangeRequest::key("k") };
            let read = store.range(range).await.unwrap();
            assert_eq!(read.kvs[0].value, format!("{round}"));
        });
        join_all(asked).await;
    }
    assert!(said.of(QUESTION_BY_HEARTBEAT) >= 20, "both followers asked the leader each time");
    members.close().await;
}

/// How often one time is in another.
fn times(long: Duration, short: Duration) -> usize {
    usize::try_from(long.as_millis() / short.as_millis()).unwrap()
}

#[tokio::test]
async fn questions_by_heartbeat_cost_no_heartbeats_and_a_link_in_use_no_pings() {
    let (members, said) = three_members().await;
    in_time(members.store(0).put("k", "v")).await.unwrap();
    let (appends, pings, began) = (said.of(APPEND), said.of(PING), Instant::now());
    let asked = members.all().map(async |store| {
        for _ in 0..20 {
            in_time(store.current_revision_by_heartbeat()).await.unwrap();
        }
    });
    join_all(asked).await;
    let (appends, pings, took) = (said.of(APPEND) - appends, said.of(PING) - pings, began.elapsed());
    // To two followers; one round may just be under way at each end, and the entry before may be told to be committed.
    let due = 2 * (times(took, HEARTBEAT) + 3);
    assert!(appends <= due, "{appends} appends in {took:?}, {due} were due");
    assert!(took < 20 * 3 * HEARTBEAT, "a question waits for the next heartbeat only: {took:?}");
    // The two links from followers to the leader are in use, and those of the leader need none: its followers answer its heartbeats. The two
    // between followers are pinged.
    let due = 2 * (times(took, PING_AFTER) + 1);
    assert!(pings <= due, "{pings} pings in {took:?}, {due} were due");
    members.close().await;
}

#[tokio::test]
async fn a_leader_knows_how_long_ago_a_quorum_confirmed_it() {
    let (mut members, _) = three_members().await;
    let leader = members.leader().await;
    let confirmed = |members: &Members, member: usize| members.store(member).leadership_confirmed_ago();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for _ in 0..10 {
        tokio::time::sleep(HEARTBEAT).await; // what is asked for is time
        assert!(confirmed(&members, leader).unwrap() < 5 * HEARTBEAT);
        assert_eq!(others.map(|other| confirmed(&members, other)), [None, None]);
    }
    for other in others {
        members.crash(other);
    }
    let alone = Instant::now();
    tokio::time::sleep(3 * HEARTBEAT).await;
    assert!(confirmed(&members, leader).is_none_or(|ago| ago + HEARTBEAT > alone.elapsed()));
    members.close().await;
}

/// Counts how often openraft looks at its timers, on this thread.
struct Looks(Arc<AtomicUsize>);

impl Visit for Looks {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" && format!("{value:?}").starts_with("received tick") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for Looks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "openraft::core::raft_core"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Looks(Arc::clone(&self.0)));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn openraft_looks_at_its_timers_while_there_is_no_leader_and_rarely_while_there_is_one() {
    let looks = Arc::new(AtomicUsize::new(0));
    let _counts = tracing::subscriber::set_default(Looks(Arc::clone(&looks)));
    let (mut members, _) = three_members().await;
    let looks_while = async |pass: Duration| {
        let before = looks.load(Ordering::Relaxed);
        tokio::time::sleep(pass).await; // what is counted is time
        looks.load(Ordering::Relaxed) - before
    };
    in_time(members.store(0).put("k", "v")).await.unwrap();
    // Each of three members would look 49 times a second.
    let idle = looks_while(Duration::from_secs(1)).await;
    assert!(idle <= 15, "{idle} looks in a second with a leader");
    let leader = members.leader().await;
    members.crash((leader + 1) % 3);
    members.crash((leader + 2) % 3);
    members.crash(leader);
    members.reopen(leader).await;
    let alone = looks_while(Duration::from_secs(2)).await;
    assert!(alone >= 50, "{alone} looks in two seconds without a leader");
    members.close().await;
}
