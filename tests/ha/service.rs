//! `mainstay install` on machines that are run by a real systemd, with its journal: ready, watched, started again, stopped, taken away.
//!
//! Needs systemd's package and a cgroup2 hierarchy.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::bare::{Bare, Init};
use crate::cluster::SOON;
use crate::command::eventually;
use crate::machine::Switch;
use crate::readme::{Steps, nodes, printed, three_servers_and_a_worker};

/// A service that hangs is ended within the watchdog's time, and starts again.
const RESTARTED: Duration = Duration::from_secs(120);
/// Puts the program where the documentation has it.
const INSTALL: &str = "install -m 0755 mainstay /usr/local/bin/mainstay";

#[track_caller]
pub(crate) fn booted(switch: &Switch, number: u8) -> Bare {
    assert!(
        Path::new("/lib/systemd/systemd").exists(),
        "systemd is missing: install it with `apt-get install systemd`, or run the tests with `make test`"
    );
    let machine = Bare::new(switch.machine(number), Init::Systemd);
    is_up(&machine);
    machine.run(INSTALL).ok();
    machine
}

/// Waits until its systemd has started what is to be started.
#[track_caller]
pub(crate) fn is_up(machine: &Bare) {
    let up = eventually(SOON, || {
        let said = machine.run("systemctl is-system-running || true").stdout;
        ["running\n", "degraded\n"].contains(&said.as_str()).then_some(())
    });
    assert!(up.is_some(), "{:?}", machine.run("systemctl list-jobs; systemctl --failed"));
}

pub(crate) fn property(machine: &Bare, name: &str) -> String {
    machine.run(&format!("systemctl show mainstay --property {name} --value")).ok().trim().to_owned()
}

/// Waits until the service has been started again so often, and serves.
#[track_caller]
fn started_again(machine: &Bare, times: u32) {
    let is_back = eventually(RESTARTED, || {
        let is_back = property(machine, "NRestarts") == times.to_string()
            && property(machine, "ActiveState") == "active"
            && machine.run("mainstay status").stdout.contains("API server: ok");
        is_back.then_some(())
    });
    assert!(is_back.is_some(), "{}", machine.run("systemctl status mainstay || true").stdout);
}

/// Where a service could leave something behind.
fn traces(machine: &Bare) -> BTreeSet<String> {
    let files = "find /etc /usr/local /opt /srv /var/lib -xdev -not -path '/var/lib/systemd*' | sort";
    let network = "nft list ruleset; ip -brief link; ip route";
    let said = machine.run(&format!("{files}; {network}; ls /run/mainstay 2>&1 || true")).ok();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn a_service_is_ready_is_watched_starts_again_and_goes_without_a_trace() {
    let switch = Switch::new();
    let machine = booted(&switch, 1);
    machine.run("umount /var/lib/mainstay; rmdir /var/lib/mainstay").ok(); // no pods here: it may be where everything else is
    let before = traces(&machine);
    let said = machine.run("mainstay install server --agent=false").ok();
    assert!(said.contains("mainstay.service runs and starts with the machine"), "{said}");
    for (name, value) in [
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("Type", "notify"),
        ("UnitFileState", "enabled"),
        ("WatchdogUSec", "30s"),
        ("NRestarts", "0"),
    ] {
        assert_eq!(property(&machine, name), value, "{name}");
    }
    machine.run("kubectl --kubeconfig /var/lib/mainstay/admin.kubeconfig create configmap kept").ok();
    let journal = machine.run("journalctl -u mainstay -o cat").ok();
    assert!(journal.lines().any(|line| line.starts_with("mainstay server --join https://")), "{journal}");

    // Sooner than in half a minute; all else is the unit's.
    machine.run("mkdir /run/systemd/system/mainstay.service.d").ok();
    machine
        .run("printf '[Service]\\nWatchdogSec=10\\n' > /run/systemd/system/mainstay.service.d/quick.conf")
        .ok();
    machine.run("systemctl daemon-reload && systemctl restart mainstay").ok();
    let told = property(&machine, "WatchdogTimestampMonotonic");
    let again = eventually(SOON, || (property(&machine, "WatchdogTimestampMonotonic") != told).then_some(()));
    again.expect("the service says again and again that it lives");
    assert_eq!(property(&machine, "NRestarts"), "0");
    machine.run("kill -STOP $(systemctl show mainstay --property MainPID --value)").ok();
    started_again(&machine, 1);
    let journal = machine.run("journalctl -u mainstay -o cat").ok();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    machine.run("kill -KILL $(systemctl show mainstay --property MainPID --value)").ok();
    started_again(&machine, 2);
    machine.run("kubectl --kubeconfig /var/lib/mainstay/admin.kubeconfig get configmap kept").ok();

    machine.run("systemctl stop mainstay").ok();
    for (name, value) in [("ActiveState", "inactive"), ("Result", "success"), ("ExecMainStatus", "0")] {
        assert_eq!(property(&machine, name), value, "{name}");
    }
    machine.run("systemctl start mainstay").ok();
    assert_eq!(property(&machine, "ActiveState"), "active");
    machine.run("rm -r /run/systemd/system/mainstay.service.d").ok();
    machine.run("mainstay uninstall --delete-data").ok();
    assert_eq!(property(&machine, "LoadState"), "not-found");
    let after = traces(&machine);
    let changed: Vec<&String> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_service_that_cannot_join_says_why() {
    let switch = Switch::new();
    let machine = booted(&switch, 1);
    let token = format!("{}.abc123.0123456789abcdef", "0".repeat(64));
    let join = format!("mainstay install agent --join https://10.213.0.77:6443 --token {token}");
    let refused = machine.run(&join);
    assert_ne!(refused.code, 0, "{refused:?}");
    let line = refused.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("mainstay: https://10.213.0.77:6443 cannot be reached"), "{refused:?}");
    assert!(line.contains("tries again every 2 s; `mainstay uninstall` takes it away"), "{refused:?}");
    machine.run("mainstay uninstall").ok();
}

#[test]
fn the_page_about_several_machines_leads_to_services_on_each() {
    let steps = Steps::read("docs/operations/several-machines.md", "Set up");
    let switch = Switch::new();
    let mut machines: Vec<Bare> = (1..=4).map(|number| booted(&switch, number)).collect();
    let said = machines[0].run(steps.of("On the first machine")).ok();
    let join = |said: &str, documented: &str| {
        let command = printed(said, &documented.replacen("install ", "", 1));
        command.replacen("mainstay ", "mainstay install ", 1)
    };
    let server = join(&said, steps.of("On two more machines"));
    for machine in &machines[1..3] {
        machine.run(&server).ok();
    }
    machines[3].run(&join(&said, steps.of("and on workers"))).ok();
    let tokens = machines[1].run(steps.of("Both tokens end after 24 hours")).ok();
    assert_eq!(tokens.lines().count(), 2, "{tokens}");

    let look = Steps::read("docs/operations/several-machines.md", "See");
    let look = look.of("On any server");
    let seen = eventually(SOON, || {
        let said = machines[2].run(look);
        (said.code == 0).then_some(said.stdout)
    });
    let seen = seen.unwrap_or_else(|| panic!("{:?}", machines[2].run(look)));
    assert_eq!(nodes(&seen), three_servers_and_a_worker(), "{seen}");

    // One is lost.
    drop(machines.remove(2));
    let lost = Steps::read("docs/operations/several-machines.md", "A server is lost");
    let said = machines[0].run(lost.of("On a server that is left")).ok();
    let token = said.lines().last().unwrap_or_default();
    let new = booted(&switch, 5);
    new.run(&format!("mainstay install server --join https://10.213.0.1:6443 --token {token}")).ok();
    let seen = eventually(SOON, || {
        let said = new.run(look);
        (said.code == 0).then_some(said.stdout)
    });
    let names: Vec<String> = seen.iter().flat_map(|seen| nodes(seen)).map(|[name, ..]| name).collect();
    assert_eq!(names, ["m1", "m2", "m4", "m5"], "{seen:?}");
}
