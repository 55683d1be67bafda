//! Hands, fairness, classification, and seats under way.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use mainstay_apiserver_kinds::{bootstrap_flow_schemas, bootstrap_priority_levels};

use mainstay_base::lifecycle::{Clock, ManualClock};

use super::control::FlowControl;
use super::level::{Hold, Kind, Level, Offer, Ticket};
use super::metrics::FlowMetrics;
use super::plan::Plan;
use super::queues::{Layout, Queues, deal};
use super::roster::About;
use crate::types::{Attributes, UserInfo};

const LAYOUT: Layout = Layout { queues: 8, hand: 2, length_max: 3 };

#[test]
fn a_hand_is_of_different_queues_and_the_same_for_a_flow() {
    for flow in 0..1000 {
        let hand = deal(flow * 7_919, 64, 8);
        let mut unique = hand.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 8);
        assert!(hand.iter().all(|at| *at < 64));
        assert_eq!(hand, deal(flow * 7_919, 64, 8));
    }
    assert_eq!(deal(5, 3, 8).len(), 3, "no more cards than queues");
}

#[test]
fn a_greedy_flow_fills_its_hand_and_is_served_in_turns() {
    let mut queues: Queues<&str> = Queues::new(LAYOUT);
    let (greedy, modest) = (0, 34);
    assert!(deal(greedy, 8, 2).iter().all(|at| !deal(modest, 8, 2).contains(at)), "hands that do not meet");
    for _ in 0..6 {
        queues.push(greedy, 1, "greedy", |_| false).unwrap();
    }
    assert!(queues.push(greedy, 1, "greedy", |_| false).is_err(), "its hand is full");
    queues.push(modest, 1, "modest", |_| false).unwrap();
    let order: Vec<&str> = std::iter::from_fn(|| queues.pop()).map(|(_, request)| request).collect();
    let place = order.iter().position(|request| *request == "modest").unwrap();
    assert!(place <= 2, "{order:?}");
    assert_eq!((queues.waiting(), queues.seats()), (0, 0));
    for _ in 0..6 {
        queues.push(greedy, 2, "gone", |_| false).unwrap();
    }
    queues.push(greedy, 1, "late", |request| *request == "gone").unwrap();
    assert_eq!(
        (queues.waiting(), queues.seats()),
        (4, 7),
        "who went away makes room in the queue that is full"
    );
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo::new(name, groups.iter().copied())
}

fn resource(verb: &str, group: &str, resource: &str, namespace: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        api_group: group.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn metrics() -> FlowMetrics {
    FlowMetrics::register(&prometheus::Registry::new()).unwrap()
}

#[test]
fn upstreams_objects_classify_as_upstream() {
    let plan =
        Plan::of(&bootstrap_flow_schemas(), &bootstrap_priority_levels(), 600, &Plan::default(), &metrics());
    let flow =
        |user: &UserInfo, asked: &Attributes| plan.classify(user, asked).unwrap().schema.name.to_string();
    let node = user("system:node:a", &["system:nodes", "system:authenticated"]);
    let account = user("system:serviceaccount:x:y", &["system:serviceaccounts", "system:authenticated"]);
    let pods = resource("get", "", "pods", "x");
    assert_eq!(flow(&user("admin", &["system:masters", "system:authenticated"]), &pods), "exempt");
    assert_eq!(flow(&node, &pods), "system-nodes");
    assert_eq!(
        flow(&node, &resource("update", "coordination.k8s.io", "leases", "kube-node-lease")),
        "system-node-high"
    );
    assert_eq!(flow(&account, &pods), "service-accounts");
    assert_eq!(flow(&user("jane", &["system:authenticated"]), &pods), "global-default");
    let probe = Attributes { verb: "get".into(), path: "/healthz".into(), ..Attributes::default() };
    assert_eq!(flow(&user("system:anonymous", &["system:unauthenticated"]), &probe), "probes");
    let limits: Vec<String> = plan
        .levels
        .iter()
        .map(|(name, standing)| {
            let bounds = standing.bounds;
            format!("{name} {} {}..{}", bounds.nominal, bounds.least, bounds.most)
        })
        .collect();
    assert_eq!(
        limits,
        [
            "catch-all 13 13..613",
            "exempt 0 0..600",
            "global-default 49 24..649",
            "leader-election 25 25..625",
            "node-high 98 73..698",
            "system 74 50..674",
            "workload-high 98 49..698",
            "workload-low 245 24..845"
        ]
    );
}

fn ticket(flow: u64) -> Ticket {
    let about = About {
        schema: "schema".into(),
        distinguisher: "jane".into(),
        user: "jane".into(),
        asked: resource("get", "apps", "deployments", "x"),
        arrived: time::OffsetDateTime::UNIX_EPOCH,
        seats: 1,
    };
    Ticket { flow, about: Arc::new(about) }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(time::OffsetDateTime::UNIX_EPOCH))
}

fn hold(offer: Offer) -> Hold {
    match offer {
        Offer::Seats(hold) => hold,
        _ => panic!("no seats"),
    }
}

#[tokio::test]
async fn seats_are_given_back_and_wake_who_waits() {
    let level = Arc::new(Level::new(Kind::Queue(LAYOUT), 2));
    let first = hold(level.ask(|| ticket(1), 1));
    let second = hold(level.ask(|| ticket(1), 1));
    let Offer::Wait(third) = level.ask(|| ticket(1), 1) else { panic!("it should wait") };
    let Offer::Wait(gone) = level.ask(|| ticket(2), 1) else { panic!("it should wait") };
    drop(gone);
    assert_eq!(level.taken(), 2);
    drop(first);
    let third = third.await.unwrap();
    drop((second, third));
    assert_eq!(level.taken(), 0, "who went away took no seat along");
    drop(hold(level.ask(|| ticket(3), 5)));
    let reject = Arc::new(Level::new(Kind::Reject, 1));
    let _one = hold(reject.ask(|| ticket(1), 1));
    assert!(matches!(reject.ask(|| ticket(1), 1), Offer::Refused));
    let exempt = Arc::new(Level::new(Kind::Exempt, 0));
    let all: Vec<Hold> = (0..100).map(|_| hold(exempt.ask(|| ticket(1), 1))).collect();
    assert_eq!(all.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seat_is_lost_under_many_requests() {
    let level = Arc::new(Level::new(Kind::Queue(Layout { queues: 4, hand: 2, length_max: 10_000 }), 3));
    let works = (0..200_u64).map(|flow| {
        let level = Arc::clone(&level);
        async move {
            for _ in 0..50 {
                let _hold = match level.ask(|| ticket(flow), 1 + (flow % 2) as u32) {
                    Offer::Seats(hold) => hold,
                    Offer::Wait(turn) => turn.await.unwrap(),
                    _ => panic!("there is room to wait"),
                };
                assert!(level.taken() <= 3);
                tokio::task::yield_now().await;
            }
        }
    });
    let mut set = tokio::task::JoinSet::new();
    works.for_each(|work| drop(set.spawn(work)));
    let all = async { while set.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("everybody gets a turn");
    assert_eq!(level.taken(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end_and_is_counted() {
    let registry = prometheus::Registry::new();
    let control = FlowControl::new(245, FlowMetrics::register(&registry).unwrap(), clock());
    control.replan(&bootstrap_flow_schemas(), &bootstrap_priority_levels());
    let (jane, pods) = (user("jane", &["system:authenticated"]), resource("get", "", "pods", "x"));
    let admit = async |user: &UserInfo| {
        let flow = control.classify(user, &pods).unwrap();
        control.seat(&flow, (user, &pods), 1, Duration::from_secs(15)).await
    };
    let limit = control.classify(&jane, &pods).unwrap().level.limit();
    let mut held = Vec::new();
    for _ in 0..limit {
        held.push(admit(&jane).await.unwrap());
    }
    assert!(admit(&jane).await.is_none());
    let other = user("system:serviceaccount:x:y", &["system:serviceaccounts", "system:authenticated"]);
    assert!(admit(&other).await.is_some(), "another level has seats");
    control.lend();
    let lent = control.classify(&jane, &pods).unwrap().level.limit();
    assert!(lent > limit, "a level that is full borrows: {lent} after {limit}");
    assert!(admit(&jane).await.is_some());
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = r#"apiserver_flowcontrol_rejected_requests_total{flow_schema="global-default",priority_level="global-default",reason="time-out"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_seat_that_is_free_costs_little() {
    let control = FlowControl::new(600, metrics(), clock());
    control.replan(&bootstrap_flow_schemas(), &bootstrap_priority_levels());
    // The last schema but one: all others are looked at first.
    let (jane, pods) = (user("jane", &["dev", "system:authenticated"]), resource("get", "", "pods", "x"));
    let rounds = 20_000_u32;
    let clock = mainstay_base::lifecycle::SystemClock;
    let began = mainstay_base::lifecycle::Clock::now(&clock);
    for _round in 0..rounds {
        let flow = control.classify(&jane, &pods).unwrap();
        let seat = control.seat(&flow, (&jane, &pods), 1, Duration::from_secs(15)).now_or_never();
        assert!(seat.flatten().is_some());
    }
    let each = mainstay_base::lifecycle::Clock::now(&clock).saturating_duration_since(began) / rounds;
    println!("{each:?} a request, not optimised");
    assert!(each < Duration::from_micros(50), "{each:?}");
}

#[tokio::test]
async fn who_waits_and_who_runs_is_dumped_as_upstream_does() {
    let control = FlowControl::new(245, metrics(), clock());
    control.replan(&bootstrap_flow_schemas(), &bootstrap_priority_levels());
    let (jane, pods) = (user("jane", &["system:authenticated"]), resource("get", "apps", "pods", "x"));
    let flow = control.classify(&jane, &pods).unwrap();
    flow.level.set_limit(1);
    let wait = Duration::from_secs(15);
    let _runs = control.seat(&flow, (&jane, &pods), 1, wait).await.unwrap();
    let mut waits = Box::pin(control.seat(&flow, (&jane, &pods), 1, wait));
    assert!(waits.as_mut().now_or_never().is_none());

    let rows = |text: String| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split(',').map(|cell| cell.trim().to_owned()).collect()).collect()
    };
    let requests = rows(control.dump_requests(true));
    assert_eq!(requests[0].len(), 18);
    let ours: Vec<_> = requests.iter().filter(|row| row[0] == "global-default").collect();
    let [waiting, running] = ours.as_slice() else { panic!("{requests:?}") };
    let details = ["jane", "get", "", "x", "", "apps/", "pods", ""];
    assert_eq!(waiting[10..], details);
    let epoch = "1970-01-01T00:00:00Z";
    assert_eq!(waiting[3..10], ["0", "jane", epoch, "1", "0", "0s", "0001-01-01T00:00:00Z"]);
    assert_eq!(running[2..10], ["-1", "-1", "jane", epoch, "1", "0", "0s", epoch]);

    let queues = rows(control.dump_queues());
    assert_eq!(queues[0][..4], ["PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests"]);
    let ours: Vec<_> = queues.iter().filter(|row| row[0] == "global-default").collect();
    assert_eq!(ours.len(), 128, "a row for each queue of the level");
    let filled: Vec<_> = ours.iter().filter(|row| row[2] == "1").collect();
    assert_eq!(filled.len(), 1);
    assert_eq!(filled[0][1], waiting[2], "both pages name the same queue");
    assert_eq!(filled[0][6..], ["1", "1", "1.00000000ss"]);
    drop(waits);
    assert_eq!(rows(control.dump_requests(false)).iter().filter(|row| row[0] == "global-default").count(), 1);
}
