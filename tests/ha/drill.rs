//! Three servers and two workers, and what one machine can do wrong.

use std::time::{Duration, Instant};

use crate::command::eventually;
use crate::machine::{IMAGE, Machine, Switch};
use crate::writer::Writer;

/// What follows a machine's death must be over within this, whatever else runs here.
const SOON: Duration = Duration::from_secs(30);

struct Cluster {
    _switch: Switch,
    servers: Vec<Machine>,
    workers: Vec<Machine>,
}

impl Cluster {
    fn start() -> Self {
        let switch = Switch::new();
        let mut servers: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
        let mut workers: Vec<Machine> = (4..=5).map(|number| switch.machine(number)).collect();
        servers[0].start(&["server", "--agent=false"]);
        let mut server = servers[0].join_arguments("server");
        server.push("--agent=false".to_owned());
        let agent = servers[0].join_arguments("agent");
        let text = |arguments: &[String]| arguments.to_vec();
        for machine in &mut servers[1..] {
            let took = machine.start(&text(&server).iter().map(String::as_str).collect::<Vec<_>>());
            println!("server {} joined in {} ms", machine.name(), took.as_millis());
        }
        for machine in &mut workers {
            let took = machine.start(&text(&agent).iter().map(String::as_str).collect::<Vec<_>>());
            println!("worker {} joined in {} ms", machine.name(), took.as_millis());
        }
        let cluster = Self { _switch: switch, servers, workers };
        cluster.until("three servers are listed", |cluster| cluster.listed(0) == 3);
        cluster
    }

    /// How many servers the `kubernetes` Service leads to, as one server says.
    fn listed(&self, at: usize) -> usize {
        let path = "jsonpath={.endpoints[*].addresses[0]}";
        let said = self.servers[at].kubectl(&["get", "endpointslice", "kubernetes", "-o", path]);
        said.stdout.split_whitespace().count()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        eventually(SOON, || holds(self).then_some(()))
            .unwrap_or_else(|| panic!("not within {SOON:?}: {what}"));
        began.elapsed()
    }

    /// The server that leads the store, as the server `asked` says.
    fn leader(&self, asked: usize) -> usize {
        let members = self.servers[asked].kubectl(&["get", "--raw", "/mainstay/v1/servers"]).ok();
        let members: serde_json::Value = serde_json::from_str(&members).unwrap();
        let members = members["members"].as_array().unwrap();
        let leader = members.iter().find(|member| member["isLeader"] == true).expect("somebody leads");
        self.servers.iter().position(|server| leader["name"] == server.name()).unwrap()
    }

    fn config_maps(&self, at: usize) -> std::collections::BTreeSet<String> {
        let said = self.servers[at].kubectl(&["get", "configmaps", "-o", "name"]).ok();
        said.lines().filter_map(|line| line.strip_prefix("configmap/")).map(str::to_owned).collect()
    }

    /// Starts a web server on each worker and gives their addresses.
    fn web(&self) -> Vec<String> {
        for worker in &self.workers {
            worker.import_image();
        }
        let manifest = format!(
            r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "web"}}, "spec": {{"replicas": 2,
            "selector": {{"matchLabels": {{"app": "web"}}}}, "template": {{"metadata": {{"labels": {{"app": "web"}}}}, "spec": {{
            "terminationGracePeriodSeconds": 0,
            "topologySpreadConstraints": [{{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {{"matchLabels": {{"app": "web"}}}}}}],
            "containers": [{{"name": "web", "image": "{IMAGE}", "imagePullPolicy": "Never",
                "command": ["sh", "-c", "echo the page > /www/index.html; exec httpd -f -p 8080 -h /www"], "ports": [{{"containerPort": 8080}}]}}]}}}}}}}}"#
        );
        self.servers[0].kubectl_with(&["apply", "-f", "-"], &manifest).ok();
        self.servers[0].kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
        self.servers[0].kubectl(&["expose", "deployment/web", "--port=80", "--target-port=8080"]).ok();
        let path = "jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}";
        let said = self.servers[0].kubectl(&["get", "pods", "-l", "app=web", "-o", path]).ok();
        said.lines().map(str::to_owned).collect()
    }
}

/// Whether a pod answers, asked from a machine.
fn answers(from: &Machine, address: &str, port: u16) -> bool {
    let ask = format!("exec 3<>/dev/tcp/{address}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let said = crate::command::run(from.command("timeout").args(["3", "bash", "-c", &ask]), "");
    said.stdout.contains("the page")
}

#[test]
fn a_cluster_of_three_survives_what_one_machine_can_do_wrong_and_the_loss_of_two() {
    let mut cluster = Cluster::start();
    let pods = cluster.web();
    assert_eq!(pods.len(), 2);
    let third = |pod: &str| pod.rsplit_once('.').unwrap().0.to_owned();
    assert_ne!(third(&pods[0]), third(&pods[1]), "each node has a range of its own: {pods:?}");
    cluster.until("every machine reaches every pod", |cluster| {
        let machines = || cluster.servers.iter().chain(&cluster.workers);
        pods.iter().all(|pod| machines().all(|from| answers(from, pod, 8080)))
    });
    let service =
        cluster.servers[0].kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]).ok();
    cluster.until("every node has its proxy", |cluster| {
        cluster.workers.iter().all(|worker| answers(worker, &service, 80))
    });

    a_leader_is_cut_off(&mut cluster);
    a_server_is_killed(&mut cluster);
    two_are_lost(&mut cluster, &pods);
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = cluster.servers[0].kubectl(&["get", "pods", "-l", "app=web", "-o", restarts]).ok();
    assert_eq!(restarts, "0 0 0", "no pod was restarted because of the servers");
}

/// SIGKILL of the leader under writes: they go on within a second or so, and none that was acknowledged is lost.
fn a_server_is_killed(cluster: &mut Cluster) {
    let leader = cluster.leader(0);
    let other = (leader + 1) % 3;
    let servers: Vec<&Machine> = cluster.servers.iter().collect();
    let writer = Writer::start("killed", &cluster.workers[0], &servers);
    pause(Duration::from_secs(2));
    cluster.servers[leader].kill();
    let killed = Instant::now();
    pause(Duration::from_secs(4));
    let written = writer.end();
    println!(
        "writes go on {} ms after the leader's death; {} acknowledged",
        written.pause_after(killed).as_millis(),
        written.names.len()
    );
    assert!(written.pause_after(killed) < Duration::from_secs(5), "{:?}", written.pause_after(killed));
    let kept = cluster.config_maps(other);
    let lost: Vec<&String> = written.names.iter().filter(|name| !kept.contains(*name)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let took = cluster.until("the dead server is not listed any more", |cluster| cluster.listed(other) == 2);
    println!("the dead server is gone from the list after {} ms more", took.as_millis());
    controllers_act(cluster, other);
    // The workers have moved to another server: they start a pod.
    let kubectl = |arguments: &[&str]| cluster.servers[other].kubectl(arguments).ok();
    kubectl(&["scale", "deployment/web", "--replicas=3"]);
    kubectl(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    cluster.servers[leader].start(&["server", "--agent=false"]);
    cluster.until("it is listed again", |cluster| cluster.listed(leader) == 3);
    assert_eq!(cluster.config_maps(leader), cluster.config_maps(other), "it has caught up");
}

/// The controllers and the scheduler of another server have taken over: a deployment that is scaled gets its pods.
fn controllers_act(cluster: &Cluster, at: usize) {
    let began = Instant::now();
    cluster.servers[at].kubectl(&["create", "namespace", "after"]).ok();
    cluster.until("a namespace gets its account", |cluster| {
        cluster.servers[at].kubectl(&["get", "serviceaccount", "default", "-n", "after"]).code == 0
    });
    println!("controllers acted within {} ms", began.elapsed().as_millis());
    cluster.servers[at].kubectl(&["delete", "namespace", "after", "--wait=false"]).ok();
}

/// A leader without its cable: the others go on; it refuses; nothing is lost when it is back.
fn a_leader_is_cut_off(cluster: &mut Cluster) {
    let leader = cluster.leader(0);
    let other = (leader + 1) % 3;
    let servers: Vec<&Machine> = cluster.servers.iter().collect();
    let writer = Writer::start("cut", &cluster.workers[0], &servers);
    pause(Duration::from_secs(1));
    cluster.servers[leader].cable(false);
    let cut = Instant::now();
    pause(Duration::from_secs(5));
    let written = writer.end();
    println!("writes go on {} ms after the leader was cut off", written.pause_after(cut).as_millis());
    assert!(written.pause_after(cut) < Duration::from_secs(5), "{:?}", written.pause_after(cut));
    let refused = cluster.servers[leader].kubectl(&["create", "configmap", "from-the-minority"]);
    assert_ne!(refused.code, 0, "a server without the others must not say that it wrote");
    cluster.servers[leader].cable(true);
    cluster.until("it is one of three again", |cluster| cluster.listed(leader) == 3);
    let kept = cluster.config_maps(leader);
    assert!(written.names.iter().all(|name| kept.contains(name)));
    assert_eq!(kept, cluster.config_maps(other));
}

/// Two servers lost at once: the third refuses clearly, pods run on, and all is as before when one is back.
fn two_are_lost(cluster: &mut Cluster, pods: &[String]) {
    let before = cluster.config_maps(0);
    for at in [1, 2] {
        cluster.servers[at].kill();
    }
    let refused = cluster.servers[0].kubectl(&["create", "configmap", "without-a-quorum"]);
    assert_ne!(refused.code, 0);
    let said = refused.stderr.to_lowercase();
    assert!(["leader", "quorum", "timeout", "time"].iter().any(|word| said.contains(word)), "{said}");
    for worker in &cluster.workers {
        assert!(pods.iter().all(|pod| answers(worker, pod, 8080)), "pods run on");
    }
    for at in [1, 2] {
        cluster.servers[at].start(&["server", "--agent=false"]);
    }
    cluster.until("all three are back", |cluster| (0..3).all(|at| cluster.listed(at) == 3));
    let after = cluster.config_maps(1);
    assert!(before.is_subset(&after), "what was acknowledged is there");
}

#[allow(clippy::disallowed_methods, reason = "the time between two faults is what is chosen")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
