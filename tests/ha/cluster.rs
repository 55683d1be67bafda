//! Three servers and two workers with pods on them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::command::{Output, eventually, run};
use crate::machine::{IMAGE, Machine, Switch};

/// What follows a fault must be over within this, whatever else runs on this machine. The figures are printed.
pub(crate) const SOON: Duration = Duration::from_secs(45);

/// All of it.
pub(crate) struct Cluster {
    _switch: Switch,
    /// How long a node may be silent.
    node_grace: &'static str,
    /// The third one runs pods.
    pub(crate) servers: Vec<Machine>,
    pub(crate) workers: Vec<Machine>,
}

/// A container's id and how often it was restarted, by its pod's name.
pub(crate) type Containers = BTreeMap<String, (String, u64)>;

impl Cluster {
    /// The arguments of server `at`.
    fn server_arguments(at: usize, node_grace: &'static str) -> Vec<&'static str> {
        let agent = if at == 2 { "--agent=true" } else { "--agent=false" };
        vec!["server", agent, "--node-monitor-grace-period", node_grace]
    }

    pub(crate) fn start(node_grace: &'static str) -> Self {
        Self::start_of(node_grace, None)
    }

    /// All of this version, if one is given.
    pub(crate) fn start_of(node_grace: &'static str, version: Option<&str>) -> Self {
        let switch = Switch::new();
        let mut servers: Vec<Machine> = (1..=3).map(|number| switch.machine(number).with_disk()).collect();
        let mut workers: Vec<Machine> = (4..=5).map(|number| switch.machine(number)).collect();
        for machine in servers.iter().chain(&workers) {
            if let Some(version) = version {
                machine.install(version);
            }
        }
        servers[0].start(&Self::server_arguments(0, node_grace));
        let server = servers[0].join_arguments("server");
        let agent = servers[0].join_arguments("agent");
        for (at, machine) in servers.iter_mut().enumerate().skip(1) {
            let mut arguments: Vec<&str> = server.iter().map(String::as_str).collect();
            arguments.extend(&Self::server_arguments(at, node_grace)[1..]);
            let took = machine.start(&arguments);
            println!("server {} joined in {} ms", machine.name(), took.as_millis());
        }
        for machine in &mut workers {
            let took = machine.start(&agent.iter().map(String::as_str).collect::<Vec<_>>());
            println!("worker {} joined in {} ms", machine.name(), took.as_millis());
        }
        let cluster = Self { _switch: switch, node_grace, servers, workers };
        cluster.until("every server lists all three", |cluster| (0..3).all(|at| cluster.listed(at) == 3));
        cluster
    }

    /// Starts a server again.
    pub(crate) fn start_server(&mut self, at: usize) {
        self.servers[at].start(&Self::server_arguments(at, self.node_grace));
    }

    /// Starts a server a few times, and kills it before it is ready.
    pub(crate) fn kill_while_it_starts(&mut self, at: usize) {
        for milliseconds in [80, 300, 700, 1200] {
            self.servers[at].spawn(&Self::server_arguments(at, self.node_grace));
            pause(Duration::from_millis(milliseconds));
            self.servers[at].kill();
        }
    }

    /// A server that is not to start; what it says.
    #[track_caller]
    pub(crate) fn server_fails(&self, at: usize) -> Output {
        self.servers[at].fails(&Self::server_arguments(at, self.node_grace))
    }

    /// Machines with pods.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Machine> {
        self.servers[2..].iter().chain(&self.workers)
    }

    /// How many servers the `kubernetes` Service leads to, as one server says.
    pub(crate) fn listed(&self, at: usize) -> usize {
        let path = "jsonpath={.endpoints[*].addresses[0]}";
        let said = self.servers[at].kubectl(&["get", "endpointslice", "kubernetes", "-o", path]);
        said.stdout.split_whitespace().count()
    }

    /// Waits until something holds; how long that took.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        eventually(SOON, || holds(self).then_some(()))
            .unwrap_or_else(|| panic!("not within {SOON:?}: {what}"));
        began.elapsed()
    }

    /// The server that leads the store, as the server `asked` says.
    pub(crate) fn leader(&self, asked: usize) -> usize {
        let leader = eventually(SOON, || {
            let said = self.servers[asked].kubectl(&["get", "--raw", "/mainstay/v1/servers"]);
            let said: serde_json::Value = serde_json::from_str(&said.stdout).ok()?;
            let leader = said["members"].as_array()?.iter().find(|member| member["isLeader"] == true)?;
            self.servers.iter().position(|server| leader["name"] == server.name())
        });
        leader.expect("somebody leads")
    }

    /// The server whose controllers act.
    pub(crate) fn holder(&self) -> usize {
        let path = "jsonpath={.spec.holderIdentity}";
        let lease = ["get", "lease", "kube-controller-manager", "-n", "kube-system", "-o", path];
        let said = self.servers[0].kubectl(&lease).ok();
        let is_holder = |server: &Machine| said.starts_with(&format!("{}_", server.name()));
        self.servers.iter().position(is_holder).expect("somebody holds the lease")
    }

    /// Starts a web server on each node; their addresses.
    pub(crate) fn web(&self) -> Vec<String> {
        for node in self.nodes() {
            node.import_image();
        }
        let template = |name: &str, command: &str, more: &str| {
            format!(
                r#"{{"metadata": {{"labels": {{"app": "{name}"}}}}, "spec": {{"terminationGracePeriodSeconds": 0, {more}
                "containers": [{{"name": "{name}", "image": "{IMAGE}", "imagePullPolicy": "Never", "command": {command}}}]}}}}"#
            )
        };
        let deployment = |name: &str, replicas: u32, template: &str| {
            format!(
                r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "{name}"}}, "spec": {{"replicas": {replicas},
                "selector": {{"matchLabels": {{"app": "{name}"}}}}, "template": {template}}}}}"#
            )
        };
        let spread = r#""topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}],"#;
        let httpd = r#"["sh", "-c", "echo the page > /www/index.html; exec httpd -f -p 8080 -h /www"]"#;
        let web = deployment("web", 3, &template("web", httpd, spread));
        // What is scaled while something is wrong.
        let scaled = deployment("scaled", 0, &template("scaled", r#"["sleep", "1000000"]"#, ""));
        for manifest in [web, scaled] {
            self.servers[0].kubectl_with(&["apply", "-f", "-"], &manifest).ok();
        }
        self.servers[0].kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
        self.servers[0].kubectl(&["expose", "deployment/web", "--port=80", "--target-port=8080"]).ok();
        let path = "jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}";
        let said = self.servers[0].kubectl(&["get", "pods", "-l", "app=web", "-o", path]).ok();
        said.lines().map(str::to_owned).collect()
    }

    /// The containers of the web servers, as the server `asked` tells.
    pub(crate) fn containers(&self, asked: usize) -> Containers {
        let said = self.servers[asked].kubectl(&["get", "pods", "-l", "app=web", "-o", "json"]).ok();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let pods = said["items"].as_array().unwrap().iter();
        pods.map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let id = container["containerID"].as_str().unwrap_or_default().to_owned();
            (
                pod["metadata"]["name"].as_str().unwrap().to_owned(),
                (id, container["restartCount"].as_u64().unwrap()),
            )
        })
        .collect()
    }
}

/// Whether a pod answers, asked from a machine.
pub(crate) fn answers(from: &Machine, address: &str, port: u16) -> bool {
    let ask = format!("exec 3<>/dev/tcp/{address}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let said = run(from.command("timeout").args(["3", "bash", "-c", &ask]), "");
    said.stdout.contains("the page")
}

/// The time between two steps of a drill.
#[allow(clippy::disallowed_methods, reason = "the time between two faults is what is chosen")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
