//! Machines of several versions, and which of them go together; and a node that was off for too long.

use crate::authority::{reaches_the_pod, rotate, web};
use crate::command::eventually;
use crate::machine::{START, Switch};

const OWN: &str = env!("CARGO_PKG_VERSION");
const NEXT: &str = "0.2.0";
const AFTER_NEXT: &str = "0.3.0";

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn versions_are_one_minor_apart_at_most_and_the_lowest_decides_what_is_used() {
    assert!(OWN.starts_with("0.1."), "the versions of this test are beside {OWN}");
    let server = ["server", "--agent=false"];
    let switch = Switch::new();
    let (mut first, mut second) = (switch.machine(1), switch.machine(2));
    let (mut worker, third) = (switch.machine(3), switch.machine(4));
    first.start(&server);
    let join = first.join_arguments("server");
    let join = [&text(&join)[..], &["--agent=false"]].concat();

    // A worker of an older version: what all must know is not used.
    worker.install("0.0.9");
    worker.start(&text(&first.join_arguments("agent")));
    let refused = rotate(&first, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("needs 0.1 or later on all machines; older are m3 (0.0.9)"),
        "{refused:?}"
    );
    worker.stop();
    worker.install(OWN);
    worker.start(&["agent"]);
    let allowed = eventually(START, || (rotate(&first, &[]).code == 0).then_some(()));
    assert!(allowed.is_some(), "{:?}", rotate(&first, &[]));

    third.install(AFTER_NEXT);
    let refused = third.fails(&join);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("one minor version apart at most"), "{refused:?}");
    second.install(NEXT);
    second.start(&join);

    // A server that goes too far ahead of the other ends, and is what it was.
    second.stop();
    second.install(AFTER_NEXT);
    let refused = second.fails(&server);
    assert_eq!(refused.code, 2, "{refused:?}");
    let why = format!("mainstay 0.3.0 cannot run beside m1, which has {OWN}");
    assert!(refused.stderr.contains(&why), "{refused:?}");
    second.install(NEXT);
    second.start(&server);
    first.stop();
    first.install(NEXT);
    first.start(&server);
    second.stop();
    second.install(AFTER_NEXT);
    second.start(&server);
    // It may go back while not all are of the newer one.
    second.stop();
    second.install(NEXT);
    second.start(&server);
    // A worker that is too far behind is told so when it starts.
    worker.stop();
    worker.install("0.0.9");
    let refused = worker.fails(&["agent"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("mainstay 0.0.9 cannot run beside m"), "{refused:?}");
    worker.install(NEXT);
    worker.start(&["agent"]);
}

#[test]
fn a_node_that_was_off_until_its_certificate_ended_comes_back_by_a_token() {
    let switch = Switch::new();
    let (mut server, mut worker) = (switch.machine(1), switch.machine(2));
    server.start(&["server", "--agent=false", "--certificate-lifetime", "30s"]);
    let join = server.join_arguments("agent");
    worker.start(&text(&join));
    let before = web(&server, &worker);
    worker.stop();
    let data_dir = worker.data_dir();
    let status = ["certs", "status", "--data-dir", data_dir.to_str().unwrap()];
    let ended = eventually(START * 2, || {
        let said = worker.mainstay(&status).stdout;
        said.lines().any(|line| line.starts_with("node.crt") && line.contains("ENDED")).then_some(())
    });
    assert!(ended.is_some(), "{:?}", worker.mainstay(&status));
    let refused = worker.fails(&["agent"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("the certificate of node m2 ended on"), "{refused:?}");
    assert!(refused.stderr.contains("--join https://IP:6443 and --token"), "{refused:?}");
    worker.start(&text(&join));
    let ready = ["wait", "--for=condition=Ready", "node/m2", "--timeout=60s"];
    server.kubectl(&ready).ok();
    reaches_the_pod(std::slice::from_ref(&server), &before);
}
