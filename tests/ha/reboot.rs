//! Machines that are booted anew, in order or after a power cut: what was on their disks is there, all else has to be made again.

use crate::bare::{Bare, Init};
use crate::cluster::SOON;
use crate::command::eventually;
use crate::machine::{IMAGE, Switch, image_archive};
use crate::service::{booted, is_up, property};

const KUBECTL: &str = "kubectl --kubeconfig /var/lib/mainstay/admin.kubeconfig";

/// Waits until the service, which nobody has started, serves what was there before.
#[track_caller]
fn is_back(machine: &Bare) {
    is_up(machine);
    let kept = eventually(SOON, || {
        let said = machine.run(&format!("{KUBECTL} get configmaps kept -o name"));
        (said.code == 0).then_some(said.stdout)
    });
    assert_eq!(kept.as_deref(), Some("configmap/kept\n"), "{:?}", machine.run("systemctl status mainstay"));
    assert_eq!(property(machine, "ActiveState"), "active");
    assert_eq!(property(machine, "NRestarts"), "0");
}

#[test]
fn a_service_starts_with_its_machine_after_a_reboot_and_after_a_power_cut() {
    let switch = Switch::new();
    let mut machine = booted(&switch, 1);
    machine.run("mainstay install server --agent=false").ok();
    machine.run(&format!("{KUBECTL} create configmap kept")).ok();
    machine.reboot();
    is_back(&machine);
    machine.lose_power();
    is_back(&machine);
}

/// The pod's address and how often its container was started again, once it runs and is ready.
#[track_caller]
fn ready(machine: &Bare, after: u32) -> String {
    let look = format!(
        "{KUBECTL} get pod web -o 'jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}} \
         {{.status.containerStatuses[0].restartCount}} {{.status.podIP}}'"
    );
    let address = eventually(SOON, || {
        let said = machine.run(&look).stdout;
        let mut words = said.split_whitespace();
        let is_it = words.next() == Some("True") && words.next() == Some(after.to_string().as_str());
        is_it.then(|| words.next().unwrap_or_default().to_owned())
    });
    address.unwrap_or_else(|| panic!("{:?}", machine.run(&format!("{KUBECTL} get pod web -o yaml"))))
}

#[test]
fn pods_of_a_machine_that_lost_its_power_run_again_and_services_lead_to_them() {
    let switch = Switch::new();
    let mut machine = Bare::new(switch.machine(1), Init::Nothing);
    machine.run("install -m 0755 mainstay /usr/local/bin/mainstay").ok();
    machine.starts("mainstay server", "mainstay agent --join ");
    std::fs::copy(image_archive(), machine.data("image.tar")).unwrap();
    machine.run("mainstay image import /var/lib/mainstay/image.tar").ok();
    machine
        .run(&format!(
            "{KUBECTL} run web --image {IMAGE} --image-pull-policy Never --port 8080 --expose \
             -- sh -c 'echo the page > /www/index.html; exec httpd -f -p 8080 -h /www'"
        ))
        .ok();
    ready(&machine, 0);
    let page = format!(
        "curl -sS --max-time 5 http://$({KUBECTL} get service web -o jsonpath={{.spec.clusterIP}}):8080/"
    );
    let shows = |machine: &Bare| {
        let seen = eventually(SOON, || (machine.run(&page).stdout == "the page\n").then_some(()));
        assert!(seen.is_some(), "{:?}", machine.run(&page));
    };
    shows(&machine);
    let uid = format!("{KUBECTL} get pod web -o jsonpath={{.metadata.uid}}");
    let before = machine.run(&uid).ok();

    machine.lose_power();
    machine.starts("mainstay server", "ready in ");
    ready(&machine, 1);
    assert_eq!(machine.run(&uid).ok(), before, "it is the same pod");
    shows(&machine);
}
