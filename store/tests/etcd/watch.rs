//! Watch.
use std::time::Duration;

use futures::channel::mpsc;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::Revision;
use mainstay_store::etcd::FaceConfig;
use pb::watch_client::WatchClient;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use tonic::Streaming;

use crate::rig::{Rig, SOON, bytes};

/// A stream of watches.
struct Watches {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watches {
    async fn open(rig: &Rig) -> Self {
        let (requests, sent) = mpsc::channel(64);
        let responses = WatchClient::new(rig.channel.clone()).watch(sent).await.unwrap().into_inner();
        Self { requests, responses }
    }

    fn ask(&mut self, request: RequestUnion) {
        self.requests.try_send(pb::WatchRequest { request_union: Some(request) }).unwrap();
    }

    /// Creates a watch and returns the answer to that.
    async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(request));
        let created = self.next().await;
        assert!(created.created, "{created:?}");
        created
    }

    async fn next(&mut self) -> pb::WatchResponse {
        tokio::time::timeout(SOON, self.responses.message()).await.unwrap().unwrap().unwrap()
    }
}

fn watch(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), ..Default::default() }
}

fn prefix_k() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: bytes("l"), ..watch("k") }
}

/// `put a=1 @2`, with the version before in parentheses.
fn shown(response: &pb::WatchResponse) -> Vec<String> {
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    response
        .events
        .iter()
        .map(|event| {
            let kv = event.kv.as_ref().unwrap();
            let kind = if event.r#type == 0 { "put" } else { "delete" };
            let prev =
                event.prev_kv.as_ref().map(|prev| format!(" ({})", text(&prev.value))).unwrap_or_default();
            format!("{kind} {}={} @{}{prev}", text(&kv.key), text(&kv.value), kv.mod_revision)
        })
        .collect()
}

#[tokio::test]
async fn many_watches_share_a_stream() {
    let rig = Rig::start().await;
    let mut watches = Watches::open(&rig).await;
    assert_eq!(watches.create(watch("k1")).await.watch_id, 0);
    assert_eq!(watches.create(pb::WatchCreateRequest { watch_id: 7, ..prefix_k() }).await.watch_id, 7);
    assert_eq!(
        watches.create(pb::WatchCreateRequest { range_end: bytes("\0"), ..watch("") }).await.watch_id,
        1
    );
    rig.put("k1", "v").await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = watches.next().await;
        assert_eq!(shown(&response), ["put k1=v @2"]);
        assert_eq!(response.header.unwrap().revision, 2);
        seen.push(response.watch_id);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 7]);
    rig.stop().await;
}

#[tokio::test]
async fn history_then_news_come_in_order_with_filters_and_previous_versions() {
    let rig = Rig::start().await;
    rig.put("k", "1").await;
    rig.put("k", "2").await;
    rig.store.delete("k").await.unwrap();
    let mut watches = Watches::open(&rig).await;
    watches.create(pb::WatchCreateRequest { start_revision: 2, prev_kv: true, ..watch("k") }).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(shown(&watches.next().await));
    }
    assert_eq!(seen, ["put k=1 @2", "put k=2 @3 (1)", "delete k= @4 (2)"]);
    rig.put("k", "3").await;
    assert_eq!(shown(&watches.next().await), ["put k=3 @5"]);
    let mut filtered = Watches::open(&rig).await;
    let only = |filter: FilterType| pb::WatchCreateRequest {
        filters: vec![filter.into()],
        start_revision: 2,
        ..watch("k")
    };
    filtered.create(pb::WatchCreateRequest { watch_id: 1, ..only(FilterType::Noput) }).await;
    assert_eq!(shown(&filtered.next().await), ["delete k= @4"]);
    filtered.create(pb::WatchCreateRequest { watch_id: 2, ..only(FilterType::Nodelete) }).await;
    assert_eq!(shown(&filtered.next().await), ["put k=1 @2", "put k=2 @3", "put k=3 @5"]);
    rig.stop().await;
}

/// Clients are told how far the store is, and after that how far the events are: as etcd does it.
#[tokio::test]
async fn the_header_names_the_present_while_a_watch_catches_up() {
    let rig = Rig::start().await;
    rig.put("k", "1").await;
    let newest = rig.put("other", "1").await.revision;
    let mut watches = Watches::open(&rig).await;
    watches.create(pb::WatchCreateRequest { start_revision: 2, ..watch("k") }).await;
    let caught_up = watches.next().await;
    assert_eq!(shown(&caught_up), ["put k=1 @2"]);
    assert_eq!(caught_up.header.unwrap().revision, newest);
    rig.put("k", "2").await;
    let news = watches.next().await;
    assert_eq!((shown(&news).len(), news.header.unwrap().revision), (1, newest + 1));
    rig.stop().await;
}

#[tokio::test]
async fn a_watch_can_be_cancelled_and_its_identifier_used_again() {
    let rig = Rig::start().await;
    let mut watches = Watches::open(&rig).await;
    watches.create(pb::WatchCreateRequest { watch_id: 5, ..watch("k") }).await;
    let duplicate = watches.create(pb::WatchCreateRequest { watch_id: 5, ..watch("k") }).await;
    assert!(duplicate.canceled && duplicate.watch_id == -1);
    assert_eq!(duplicate.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    watches.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 99 }));
    watches.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 5 }));
    let cancelled = watches.next().await;
    assert!(cancelled.canceled && cancelled.watch_id == 5 && cancelled.compact_revision == 0);
    watches.create(pb::WatchCreateRequest { watch_id: 5, ..watch("k") }).await;
    rig.put("k", "v").await;
    assert_eq!(shown(&watches.next().await), ["put k=v @2"]);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_and_the_stream_goes_on() {
    let rig = Rig::start().await;
    for value in 0..5 {
        rig.put("k", &value.to_string()).await;
    }
    rig.store.compact(Revision(4)).await.unwrap();
    let mut watches = Watches::open(&rig).await;
    let compacted = watches.create(pb::WatchCreateRequest { start_revision: 3, ..watch("k") }).await;
    assert!(!compacted.canceled);
    let ended = watches.next().await;
    assert!(ended.canceled && ended.compact_revision == 4 && ended.watch_id == compacted.watch_id);
    let negative = watches.create(pb::WatchCreateRequest { start_revision: -1, ..watch("k") }).await;
    assert_eq!((negative.canceled, negative.watch_id), (true, -1));
    assert_eq!(negative.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    let empty = watches.create(pb::WatchCreateRequest { range_end: bytes("a"), ..watch("k") }).await;
    assert_eq!((empty.canceled, empty.cancel_reason.as_str()), (true, "mvcc: watcher range is empty"));
    watches.create(pb::WatchCreateRequest { start_revision: 6, ..watch("k") }).await;
    assert_eq!(shown(&watches.next().await), ["put k=4 @6"]);
    rig.stop().await;
}

#[tokio::test]
async fn progress_comes_when_asked_for_and_by_itself() {
    let face = FaceConfig { watch_progress_interval: Duration::from_millis(100), ..FaceConfig::default() };
    let rig = Rig::with(face).await;
    let mut watches = Watches::open(&rig).await;
    watches.create(watch("k")).await;
    rig.put("other", "v").await;
    watches.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.events.len(), progress.header.unwrap().revision), (-1, 0, 2));
    watches.create(pb::WatchCreateRequest { progress_notify: true, watch_id: 3, ..watch("k") }).await;
    let progress = watches.next().await;
    assert_eq!((progress.watch_id, progress.events.len(), progress.header.unwrap().revision), (3, 0, 2));
    rig.stop().await;
}

#[tokio::test]
async fn a_large_response_comes_in_fragments_where_that_is_allowed() {
    let rig = Rig::start().await;
    let big = "v".repeat(20_000);
    for number in 0..20 {
        rig.put(&format!("k{number}"), &big).await;
    }
    let mut watches = Watches::open(&rig).await;
    watches.create(pb::WatchCreateRequest { start_revision: 2, fragment: true, ..prefix_k() }).await;
    let (mut events, mut fragments) = (0, 0);
    while events < 20 {
        let response = watches.next().await;
        assert!(response.events.len() <= 5, "five values fill a request");
        events += response.events.len();
        fragments += u32::from(response.fragment);
    }
    assert!(fragments > 0);
    let mut whole = Watches::open(&rig).await;
    whole.create(pb::WatchCreateRequest { start_revision: 2, ..prefix_k() }).await;
    assert_eq!(whole.next().await.events.len(), 20);
    rig.stop().await;
}

#[tokio::test]
async fn a_slow_stream_loses_nothing_however_far_it_falls_behind() {
    let rig = Rig::start().await;
    let mut watches = Watches::open(&rig).await;
    for id in 1..=3 {
        watches.create(pb::WatchCreateRequest { watch_id: id, ..prefix_k() }).await;
    }
    // More than the ring and the connection's windows hold.
    let value = "v".repeat(2000);
    let mut last = 0;
    for number in 0..10_000 {
        last = rig.store.put(format!("k{number}"), value.clone()).await.unwrap().revision.0;
    }
    let mut next = [2_i64; 4];
    while next[1..].iter().any(|next| *next <= last) {
        let response = watches.next().await;
        let next = &mut next[usize::try_from(response.watch_id).unwrap()];
        for event in &response.events {
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, *next);
            *next += 1;
        }
    }
    rig.stop().await;
}

/// The least backlog there is: every answer waits for room or its time, and every write and every event goes through.
#[tokio::test]
async fn writers_that_wait_for_watchers_are_answered_and_watchers_miss_nothing() {
    const STREAMS: usize = 5;
    const WRITES: usize = 40;
    let rig = Rig::with(FaceConfig { watch_backlog_bytes: Some(1), ..FaceConfig::default() }).await;
    // One more is never read.
    let mut idle = Watches::open(&rig).await;
    idle.create(prefix_k()).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut watches = Watches::open(&rig).await;
        watches.create(prefix_k()).await;
        streams.push(watches);
    }
    let writing = async {
        for round in 0..WRITES / 8 {
            let keys: Vec<String> = (0..8).map(|writer| format!("k{round}-{writer}")).collect();
            futures::future::join_all(keys.iter().map(|key| rig.put(key, "v"))).await;
        }
    };
    let reading = futures::future::join_all(streams.iter_mut().map(async |watches| {
        let mut seen = Vec::new();
        while seen.len() < WRITES {
            let events = watches.next().await.events;
            seen.extend(events.into_iter().map(|event| event.kv.unwrap().mod_revision));
        }
        seen
    }));
    let (seen, ()) = tokio::join!(reading, writing);
    let every: Vec<i64> = (2..).take(WRITES).collect();
    assert!(seen.iter().all(|seen| *seen == every), "{seen:?}");
    drop(idle);
    rig.stop().await;
}
