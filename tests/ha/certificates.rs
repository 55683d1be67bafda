//! Certificates that end while everything runs: renewed in time, taken by all who show them, and nothing notices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::command::eventually;
use crate::machine::{IMAGE, Machine, START, Switch};

/// How long certificates are good for, and how long the load lasts.
struct Plan {
    lifetime: &'static str,
    load: Duration,
}

impl Plan {
    /// Renewed when a quarter is left, 8 s: enough for a worker's request on a busy machine. The load lasts until the first ones have ended;
    /// MAINSTAY_ROTATION_MINUTES=10 is for a long look, with lifetimes of a minute.
    fn new() -> Self {
        match std::env::var_os("MAINSTAY_ROTATION_MINUTES") {
            None => Self { lifetime: "32s", load: Duration::from_secs(38) },
            Some(minutes) => {
                let minutes: u64 = minutes.to_str().unwrap().parse().unwrap();
                Self { lifetime: "60s", load: Duration::from_secs(60 * minutes) }
            }
        }
    }
}

/// How often is looked which certificates were renewed.
const LOOK: Duration = Duration::from_secs(5);

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// When each certificate of a machine ends, as `mainstay certs status` tells; authorities left out.
#[track_caller]
fn ends(at: &Machine) -> BTreeMap<String, String> {
    let data_dir = at.data_dir();
    let said =
        at.mainstay(&["certs", "status", "--within", "0s", "--data-dir", data_dir.to_str().unwrap()]).ok();
    let leaf = |line: &str| {
        let is_leaf = line.contains("this server, from") || line.contains("this worker, by");
        let words: Vec<&str> = line.split_whitespace().collect();
        let end = words.iter().find(|word| word.ends_with('Z') && word.contains('T'))?;
        is_leaf.then(|| (words[0].to_owned(), (*end).to_owned()))
    };
    said.lines().filter_map(leaf).collect()
}

#[track_caller]
fn pod(at: &Machine, worker: &Machine) {
    worker.import_image();
    let manifest = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "web"}}, "spec": {{
        "terminationGracePeriodSeconds": 0,
        "containers": [{{"name": "web", "image": "{IMAGE}", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "echo it logs; exec sleep 3600"]}}]}}}}"#
    );
    at.kubectl_with(&["apply", "-f", "-"], &manifest).ok();
    at.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).ok();
}

/// What came of the load.
#[derive(Debug, Default)]
struct Figures {
    /// How many objects were written.
    writes: usize,
    /// How many of them needed a second try, at the other server.
    retried: usize,
    /// The longest that one took, a start of kubectl included.
    slowest: Duration,
    /// The ends of each certificate that were seen.
    ends: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Figures {
    fn look(&mut self, at: &Machine) {
        for (name, end) in ends(at) {
            self.ends.entry((at.name(), name)).or_default().insert(end);
        }
    }
}

/// Writes through either server, one after the other, and looks at the worker and at all certificates.
fn write_while_they_end(servers: &[Machine], worker: &Machine, load: Duration) -> Figures {
    let began = Instant::now();
    let mut figures = Figures::default();
    let mut looked = began;
    while began.elapsed() < load {
        let number = figures.writes;
        let asked = Instant::now();
        let name = format!("under-load-{number}");
        let create =
            |attempt: usize| servers[(number + attempt) % 2].kubectl(&["create", "configmap", &name]);
        let made = create(0);
        if made.code != 0 {
            figures.retried += 1;
            let again = create(1);
            let is_there = again.stderr.contains("AlreadyExists");
            assert!(again.code == 0 || is_there, "after {:?}: {made:?}, {again:?}", began.elapsed());
        }
        figures.slowest = figures.slowest.max(asked.elapsed());
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        assert_eq!(
            servers[0].kubectl(&["get", "node", "m3", "-o", path]).ok(),
            "True",
            "the worker is ready"
        );
        figures.writes += 1;
        if looked.elapsed() > LOOK {
            servers.iter().chain([worker]).for_each(|at| figures.look(at));
            looked = Instant::now();
        }
    }
    servers.iter().chain([worker]).for_each(|at| figures.look(at));
    figures
}

#[test]
fn certificates_that_end_are_renewed_under_load_and_no_watch_or_request_notices() {
    let switch = Switch::new();
    let mut servers: Vec<Machine> = (1..=2).map(|number| switch.machine(number)).collect();
    let mut worker = switch.machine(3);
    let plan = Plan::new();
    let short = ["--agent=false", "--certificate-lifetime", plan.lifetime];
    servers[0].start(&[&["server"][..], &short].concat());
    let join = servers[0].join_arguments("server");
    servers[1].start(&[&text(&join)[..], &short].concat());
    worker.start(&text(&servers[0].join_arguments("agent")));
    pod(&servers[0], &worker);
    let kubectl = std::env::var_os("MAINSTAY_TEST_KUBECTL").expect("the path of kubectl");
    let seen = tempfile::NamedTempFile::new().unwrap();
    let mut watch = servers[0].command(kubectl);
    watch.arg("--kubeconfig").arg(servers[0].kubeconfig());
    watch
        .args(["get", "configmaps", "--watch-only", "-o", "name"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut watch = watch.stdout(seen.reopen().unwrap()).spawn().unwrap();
    // What is written before kubectl has opened its watch is not told.
    let mut tries = 0;
    let opened = eventually(START, || {
        servers[0].kubectl(&["create", "configmap", &format!("before-the-load-{tries}")]).ok();
        tries += 1;
        fs::read_to_string(seen.path()).unwrap().contains("before-the-load-").then_some(())
    });
    assert!(opened.is_some(), "the watch is open");

    let before: Vec<_> = servers.iter().chain([&worker]).map(ends).collect();
    assert_eq!(before.iter().map(BTreeMap::len).collect::<Vec<_>>(), [10, 10, 2], "{before:?}");
    let figures = write_while_they_end(&servers, &worker, plan.load);
    let number = figures.writes;
    let seen_ends = figures.ends.values().map(BTreeSet::len);
    println!(
        "{number} writes in {:?}, {} with a second try, the slowest took {:?}; {} certificates, each had {} to {} ends",
        plan.load,
        figures.retried,
        figures.slowest,
        figures.ends.len(),
        seen_ends.clone().min().unwrap(),
        seen_ends.max().unwrap()
    );
    for (at, before) in servers.iter().chain([&worker]).zip(&before) {
        let now = ends(at);
        for (name, end) in &now {
            assert!(*end > before[name], "{name} of {} was renewed: {end} and {}", at.name(), before[name]);
        }
    }
    for server in &servers {
        // API server to node agent and back: both show new certificates.
        assert!(server.kubectl(&["logs", "web"]).ok().contains("it logs"));
        assert_eq!(server.kubectl(&["exec", "web", "--", "echo", "hello"]).ok(), "hello\n");
        let data_dir = server.data_dir();
        let soon = server.mainstay(&["certs", "status", "--data-dir", data_dir.to_str().unwrap()]);
        assert_eq!(soon.code, 1, "they end in less than a week: {soon:?}");
    }
    let last = format!("configmap/under-load-{}", number - 1);
    let told = eventually(START, || fs::read_to_string(seen.path()).unwrap().contains(&last).then_some(()));
    assert!(told.is_some(), "the watch of before goes on");
    let lines = fs::read_to_string(seen.path()).unwrap();
    let told: Vec<&str> = lines.lines().filter(|line| line.contains("/under-load-")).collect();
    let written: Vec<String> = (0..number).map(|number| format!("configmap/under-load-{number}")).collect();
    assert_eq!(told, written, "none is missed, none told twice");
    assert!(watch.try_wait().unwrap().is_none(), "it was never cut");
    watch.kill().unwrap();
    watch.wait().unwrap();

    for at in servers.iter().chain([&worker]) {
        let data_dir = at.data_dir();
        let said = at.mainstay(&["certs", "rotate", "--data-dir", data_dir.to_str().unwrap()]).ok();
        assert_eq!(said.lines().filter(|line| line.contains("is renewed, until")).count(), ends(at).len());
    }
    servers[0].kubectl(&["create", "configmap", "after"]).ok();
    servers[1].kubectl(&["get", "configmap", "after"]).ok();
}
