//! The pages of docs/operations are followed to the letter: their commands, as they stand there, are typed on bare machines that were set up
//! by the README. Who asks is answered at a terminal.

use std::fs;
use std::time::Duration;

use crate::bare::{Bare, Init};
use crate::cluster::{SOON, pause};
use crate::command::{Output, eventually, run};
use crate::machine::{IMAGE, Switch, image_archive};
use crate::readme::{Steps, by_the_readme, printed};
use crate::service::booted;

const KUBECONFIG: &str = "export KUBECONFIG=/var/lib/mainstay/admin.kubeconfig\n";
/// What a pod needs to be the same one still: its container, and how often that was restarted.
const CONTAINER: &str = "kubectl get pod web -o 'jsonpath={.status.containerStatuses[0].containerID} \
     {.status.containerStatuses[0].restartCount}'";

/// One section of a page.
fn page(name: &str, section: &str) -> Steps {
    Steps::read(&format!("docs/operations/{name}.md"), section)
}

/// The line of a step that begins so, with what the page leaves open filled in.
#[track_caller]
fn line(step: &str, begins: &str, open: &[(&str, &str)]) -> String {
    let mut found = step.lines().filter(|line| line.starts_with(begins));
    let line = found.next().unwrap_or_else(|| panic!("no line begins with {begins:?}: {step}"));
    assert!(found.next().is_none(), "two lines begin with {begins:?}: {step}");
    open.iter().fold(line.to_owned(), |line, (name, is)| {
        assert!(line.contains(name), "{line:?} leaves no {name} open");
        line.replace(name, is)
    })
}

#[track_caller]
fn kubectl(at: &Bare, arguments: &str) -> Output {
    at.run(&format!("{KUBECONFIG}kubectl {arguments}"))
}

/// Types `answer` where the commands ask at the terminal.
#[track_caller]
fn at_a_terminal(at: &Bare, commands: &str, answer: &str) -> Output {
    run(&mut at.shell(&format!("script -qec '{commands}' /dev/null")), &format!("{answer}\n"))
}

/// Sends what runs in the foreground a signal, and waits for its end; its containers run on.
#[track_caller]
fn ends_by(at: &Bare, signal: &str) {
    let server = "'^mainstay server'"; // no shell that has this in its commands
    at.run(&format!("pkill -{signal} -f {server}; while pgrep -f {server} > /dev/null; do sleep 0.1; done"))
        .ok();
}

/// Waits until `mainstay status` at one machine finds nothing wrong with so many servers.
#[track_caller]
fn is_well(at: &Bare, servers: usize) -> String {
    let status = || at.run("mainstay status");
    let seen = eventually(SOON, || {
        let said = status();
        let listed = said.stdout.lines().filter(|line| line.starts_with("server ")).count();
        (said.code == 0 && listed == servers).then_some(said.stdout)
    });
    seen.unwrap_or_else(|| panic!("{} servers, and all is well: {:?}", servers, status()))
}

/// Runs a pod on that machine; says what it is.
#[track_caller]
fn pod(at: &Bare) -> String {
    fs::copy(image_archive(), at.data("image.tar")).unwrap();
    at.run("mainstay image import /var/lib/mainstay/image.tar").ok();
    let spec = format!("{{\"spec\": {{\"nodeName\": \"{}\"}}}}", at.name());
    let command = "sh -c 'echo hello; exec sleep 100000'";
    kubectl(
        at,
        &format!("run web --image {IMAGE} --image-pull-policy Never --overrides '{spec}' -- {command}"),
    )
    .ok();
    kubectl(at, "wait --for condition=Ready pod/web --timeout 60s").ok();
    at.run(&format!("{KUBECONFIG}{CONTAINER}")).ok()
}

#[test]
fn the_pages_about_lost_servers_lead_back_to_three() {
    let switch = Switch::new();
    let mut machines = by_the_readme(&switch, 3);
    let container = pod(&machines[0]);
    kubectl(&machines[1], "create configmap precious").ok();
    kubectl(&machines[0], "get configmap precious").ok();

    for lost in [1, 2] {
        ends_by(&machines[lost], "KILL");
    }
    let look = page("failures", "Two of three servers");
    let look = look.of("To look at the cluster meanwhile").replace("kubectl logs POD", "kubectl logs web");
    let said = machines[0].run(&look);
    assert!(
        said.stderr.contains("Warning: too few servers of the cluster answer: this is as of "),
        "{said:?}"
    );
    let said = said.ok();
    assert!(said.contains("web ") && said.lines().any(|line| line == "hello"), "{said}");

    let steps = page("recover", "# Two of three servers are lost for good");
    ends_by(&machines[0], "INT");
    let recover = steps.of("On the server that is left").trim();
    let refused = at_a_terminal(&machines[0], recover, "no");
    assert!(refused.code == 2 && refused.stdout.contains("nothing was changed"), "{refused:?}");
    let said = at_a_terminal(&machines[0], recover, "yes").ok();
    assert!(said.contains("given up: server m2") && said.contains("given up: server m3"), "{said}");
    machines[0].starts(steps.of("It says what it keeps"), "ready in ");
    kubectl(&machines[0], "get configmap precious").ok();
    machines[1].starts("mainstay server", "ready in ");
    assert!(machines[1].data("store.replaced").exists());
    machines[2].run("mainstay down; rm -rf /var/lib/mainstay/*").ok(); // its disk is gone
    kubectl(&machines[0], "delete node m3").ok();
    let shown = fs::read_to_string(machines[0].log()).unwrap();
    let join = printed(&shown, steps.of("One whose disk is gone"));
    machines[2].starts(&join, "ready in ");
    is_well(&machines[2], 3);

    // One of them dies, and another machine takes its name.
    let steps = page("replace-a-server", "# Replace a dead server");
    ends_by(&machines[1], "KILL");
    let said = machines[0].run(steps.of("With two of three servers left")).ok();
    let token = said.lines().last().unwrap_or_default();
    let open = [("IP", "10.213.0.1"), ("T", token)];
    let join = line(steps.of("On the new machine"), "mainstay server", &open);
    let mut new = Bare::new(switch.machine(4).called("m2"), Init::Nothing);
    new.run("install -m 0755 mainstay /usr/local/bin/mainstay").ok();
    new.starts(&join, "ready in ");
    is_well(&new, 3);
    let old = machines[1].run("mainstay server");
    let told = "mainstay: waiting for the other servers: the store stopped: this member was removed from the cluster";
    assert!(old.code == 1 && old.stderr.lines().any(|line| line == told), "{old:?}");
    let documented =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/replace-a-server.md"));
    assert!(documented.unwrap().contains(told));
    assert_eq!(machines[0].run(&format!("{KUBECONFIG}{CONTAINER}")).ok(), container, "its pod ran on");
}

#[test]
fn the_page_about_snapshots_leads_back_to_the_cluster_as_it_was() {
    let switch = Switch::new();
    let mut machines = by_the_readme(&switch, 3);
    let container = pod(&machines[0]);
    kubectl(&machines[1], "create secret generic precious --from-literal=key=value").ok();
    let steps = page("snapshots", "What is taken");
    let said = machines[0].run(steps.of("Every server takes a snapshot")).ok();
    assert!(said.contains("before-the-change.snapshot"), "{said}");
    let with_keys = steps.of("`list` and `save` read every byte again");
    for begins in ["openssl", "mainstay snapshot save"] {
        machines[0].run(&line(with_keys, begins, &[])).ok();
    }
    kubectl(&machines[0], "create configmap later").ok();

    let steps = page("snapshots", "Restore");
    let on_one = steps.of("Stop all servers");
    let restored = |machines: &mut [Bare], restore: &str, start: &str| {
        for machine in &*machines {
            ends_by(machine, "INT");
        }
        let said = at_a_terminal(&machines[0], restore, "yes").ok();
        machines[0].starts(start, "ready in ");
        for machine in &mut machines[1..] {
            machine.starts("mainstay server", "ready in ");
        }
        is_well(&machines[1], 3);
        said
    };
    let start = line(on_one, "mainstay server", &[]);
    let restore = line(on_one, "mainstay snapshot restore", &[("FILE", "full.snapshot")]);
    restored(&mut machines, &restore, &start);
    assert_ne!(kubectl(&machines[2], "get configmap later").code, 0);
    kubectl(&machines[2], "get secret precious").ok();
    assert!(machines[0].data("store.replaced").exists());

    // Somebody deletes it by mistake: by the time, and by the revision.
    let steps = page("snapshots", "Back to a moment");
    let steps = steps.of("A snapshot holds the history");
    for by in ["--at", "--revision"] {
        for machine in &machines {
            machine.run("rm -rf /var/lib/mainstay/store.replaced").ok();
        }
        kubectl(&machines[0], &format!("create configmap before{by}")).ok();
        pause(Duration::from_secs(6)); // moments are noted every five seconds
        let moment = machines[0].run("date --utc +%Y-%m-%dT%H:%M:%SZ").ok();
        let list = kubectl(&machines[0], "get --raw /api/v1/namespaces | head -c 200").ok();
        let revision = list.split("\"resourceVersion\":\"").nth(1).and_then(|rest| rest.split('"').next());
        pause(Duration::from_secs(1)); // of a time there are whole seconds
        kubectl(&machines[0], "delete secret precious").ok();
        let said = machines[0].run(&line(steps, "mainstay snapshot save", &[])).ok();
        assert!(said.contains("now.snapshot"), "{said}");
        let mut restore = steps.lines().filter(|line| line.contains(by));
        let restore = restore.next().unwrap_or_else(|| panic!("a line with {by}"));
        let restore = restore.replace("2026-11-27T04:30:00Z", moment.trim());
        let restore = restore.replace("REVISION", revision.unwrap_or_else(|| panic!("{list}")));
        restored(&mut machines, &restore, &start);
        kubectl(&machines[1], "get secret precious").ok();
        kubectl(&machines[1], &format!("get configmap before{by}")).ok();
        machines[0].run("rm now.snapshot").ok();
    }
    assert_eq!(machines[0].run(&format!("{KUBECONFIG}{CONTAINER}")).ok(), container, "its pod ran on");
}

#[test]
fn the_pages_about_certificates_monitoring_and_the_dashboard_say_what_is_so() {
    let switch = Switch::new();
    let machines = by_the_readme(&switch, 3);
    let steps = page("certificates", "# Certificates");
    let status = steps.of("Servers and workers renew");
    let listed = machines[1].run(status).ok();
    assert!(listed.contains("admin.crt"), "{listed}");
    machines[1].run(steps.of("lists them on any machine")).ok();
    assert_ne!(machines[1].run(status).ok(), listed, "they are new");
    kubectl(&machines[1], "get nodes").ok();
    let copy = "cp /var/lib/mainstay/admin.kubeconfig before.kubeconfig";
    machines[0].run(copy).ok();
    let with_the_old = "kubectl --kubeconfig before.kubeconfig get nodes";
    let steps = page("certificates", "A new authority");
    let said = machines[0].run(steps.of("If the key of `ca.crt` may have become known")).ok();
    assert!(said.contains("--finish"), "{said}");
    machines[0].run(with_the_old).ok();
    machines[0].run(steps.of("| of before")).ok(); // after the table
    assert_ne!(machines[0].run(with_the_old).code, 0, "the old one counts no more");
    for machine in &machines {
        kubectl(machine, "get nodes").ok();
    }
    is_well(&machines[2], 3);

    let steps = page("monitoring", "# Seeing how a cluster is");
    machines[0].run(&format!("{KUBECONFIG}{}", steps.of("Someone who may read them"))).ok();
    let read = |path: &str| {
        let url = format!("https://10.213.0.2:6443{path}");
        let command = "curl -sS --fail --cacert /var/lib/mainstay/pki/ca.crt";
        machines[0].run(&format!("{command} -H \"Authorization: Bearer $(cat prometheus.token)\" {url}"))
    };
    assert!(read("/metrics").ok().contains("\napiserver_request_total{"));
    assert!(read("/metrics/store").ok().contains("\netcd_server_has_leader"));
    assert_ne!(read("/api/v1/namespaces/kube-system/secrets").code, 0, "and nothing else");

    let steps = page("dashboard", "Sign in");
    let said = machines[0].run(&format!("{KUBECONFIG}{}", steps.of("Make an account"))).ok();
    let token = said.lines().last().unwrap_or_default();
    let page = machines[0]
        .run("curl -sS --fail --cacert /var/lib/mainstay/pki/ca.crt https://10.213.0.3:6443/ui/")
        .ok();
    assert!(page.to_lowercase().contains("<!doctype html>"), "{page}");
    let command = format!("kubectl --kubeconfig /dev/null --token {token} --server https://10.213.0.3:6443");
    machines[0]
        .run(&format!("{command} --certificate-authority /var/lib/mainstay/pki/ca.crt get nodes"))
        .ok();
}

#[test]
fn the_page_about_upgrades_exchanges_the_program_of_a_service() {
    let switch = Switch::new();
    let machine = booted(&switch, 1);
    machine.run("mainstay install server").ok();
    let serves = machine.run("systemctl show mainstay --property MainPID").ok();
    machine.run("cp --remove-destination mainstay new; umount mainstay; mv new mainstay").ok();
    let said = machine.run(page("upgrades", "# Upgrades").of("One machine after the other")).ok();
    assert!(said.contains(": serves, "), "{said}");
    assert_ne!(
        machine.run("systemctl show mainstay --property MainPID").ok(),
        serves,
        "it is another process"
    );
}
