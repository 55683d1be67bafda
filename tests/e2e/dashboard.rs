//! The dashboard in a real browser: what a person sees and does, asserted on the page's own elements.

use crate::browser::Browser;
use crate::cluster::Cluster;

/// Two accounts: one that may do everything, one that may look at namespace `default`.
const ACCOUNTS: &str = r"
apiVersion: v1
kind: ServiceAccount
metadata: {name: captain, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: captain}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: captain, namespace: kube-system}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: guest, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: guest, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: guest, namespace: default}]
---
apiVersion: v1
kind: Secret
metadata: {name: treasure, namespace: default}
stringData: {where: under-the-palm}
";

const TALKER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker, namespace: default}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: talker
    image: mainstay-hello:1
    imagePullPolicy: Never
    command: ["sh", "-c", "for i in 1 2 3; do echo line $i of the log; done; until [ -e /tmp/more ]; do sleep 0.1; done; echo one more line; sleep 600"]
"#;

fn token(cluster: &Cluster, account: &str, namespace: &str) -> String {
    cluster.kubectl(&["-n", namespace, "create", "token", account]).ok().trim().to_owned()
}

fn sign_in(browser: &mut Browser, token: &str) {
    browser.until("document.querySelector('#token')");
    browser.eval("document.querySelector('#token').focus()");
    browser.write(token);
    browser.click("form button[type=submit]:not([disabled])");
}

fn go(browser: &mut Browser, page: &str) {
    browser.eval(&format!("location.hash = '{page}'"));
}

#[test]
fn a_person_signs_in_watches_pods_reads_logs_and_runs_a_command() {
    let cluster = Cluster::start();
    cluster.apply(ACCOUNTS);
    let hello = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello/hello.yaml");
    cluster.kubectl(&["apply", "-f", hello]).ok();
    let captain = token(&cluster, "captain", "kube-system");
    let guest = token(&cluster, "guest", "default");
    let mut browser = Browser::start(cluster.number());
    browser.size(1280, 860, false);
    browser.prefer("light");
    browser.open(cluster.port(), "/ui/");

    sign_in(&mut browser, "nonsense");
    browser.until("document.querySelector('.note.bad').innerText.includes('does not accept this token')");
    browser.screenshot("sign-in");
    browser.eval("document.querySelector('#token').select()");
    sign_in(&mut browser, &captain);
    // It is one document from here on: what comes, comes by watches.
    browser.until("document.querySelector('.shell')");
    browser.eval("window.isTheSame = true");

    overview(&mut browser);
    pods_come_alive(&mut browser, &cluster);
    logs_and_terminal(&mut browser, &cluster);
    themes_and_phone(&mut browser);
    secrets_stay_hidden(&mut browser);

    browser.until("window.isTheSame");
    let others = browser.eval(
        "performance.getEntriesByType('resource').filter((one) => !one.name.startsWith(location.origin)).length",
    );
    assert_eq!(others, 0, "the page asked others");
    assert_eq!(
        browser.eval("Object.values({...localStorage}).join()"),
        "",
        "something was left in the browser"
    );
    rights_are_the_users(&mut browser, &guest);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

fn overview(browser: &mut Browser) {
    browser.until("document.querySelector('[data-verdict=ok], [data-verdict=warn]')");
    browser.until("document.querySelectorAll('.checks .badge.ok').length >= 6");
    browser.until("document.querySelector('[data-figure=Nodes] .value').innerText.startsWith('1')");
    browser.until("document.querySelector('[data-figure=Deployments] .value').innerText.startsWith('1')");
    browser.until("document.querySelector('.members').innerText.includes('Leader')");
    browser.screenshot("overview");
}

fn pods_come_alive(browser: &mut Browser, cluster: &Cluster) {
    go(browser, "#/pods");
    browser.until("document.querySelectorAll('tr[data-name^=hello]').length === 3");
    assert_eq!(browser.eval("!!document.querySelector('tr[data-name=talker]')"), false);
    cluster.apply(TALKER);
    browser.until("document.querySelector('tr[data-name=talker] .badge.ok')?.innerText === 'Running'");
    browser.screenshot("pods");
}

fn logs_and_terminal(browser: &mut Browser, cluster: &Cluster) {
    browser.click("tr[data-name=talker] a");
    browser.click("a[href$='default/talker/logs']");
    browser.until("document.querySelector('.log').innerText.includes('line 3 of the log')");
    cluster.kubectl(&["exec", "talker", "--", "touch", "/tmp/more"]).ok();
    browser.until("document.querySelector('.log').innerText.includes('one more line')");
    browser.screenshot("logs");

    browser.click("a[href$='default/talker/terminal']");
    browser.until("document.querySelector('[data-exec=Connected]')");
    browser.eval("document.querySelector('.term-input').focus()");
    browser.write("echo $((6 * 7)) is what $HOSTNAME says; test -t 0 && echo on a terminal");
    browser.enter();
    browser.until("document.querySelector('.term').innerText.includes('42 is what')");
    browser.until("/^on a terminal/m.test(document.querySelector('.term').innerText)");
    browser.screenshot("terminal");

    browser.click("a[href$='default/talker/yaml']");
    browser.until("document.querySelector('.yaml').innerText.includes('restartPolicy')");
    assert_eq!(browser.eval("document.querySelector('.yaml').innerText.includes('managedFields')"), false);
    cluster.kubectl(&["delete", "pod", "talker", "--wait=false"]).ok();
    browser.until("document.querySelector('.note.warn').innerText.includes('no longer there')");
}

fn themes_and_phone(browser: &mut Browser) {
    let brightness =
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((all, one) => all + +one, 0)";
    go(browser, "#/");
    browser.until("document.querySelector('[data-figure=Pods] .value')?.innerText.startsWith('3')");
    browser.until(&format!("{brightness} > 600"));
    browser.click("[data-action=theme]");
    browser.until(&format!("{brightness} < 120"));
    browser.screenshot("overview-dark");
    browser.click("[data-action=theme]");
    browser.until(&format!("{brightness} > 600"));
    browser.prefer("dark");
    browser.until(&format!("{brightness} < 120"));

    browser.size(390, 844, true);
    browser.until("getComputedStyle(document.querySelector('.bottom')).display === 'grid'");
    assert_eq!(browser.eval("getComputedStyle(document.querySelector('.side')).display"), "none");
    browser.screenshot("overview-phone");
    browser.click(".bottom a[href='#/pods']");
    browser.until("getComputedStyle(document.querySelector('tr[data-name^=hello]')).display === 'grid'");
    assert_eq!(
        browser.eval("document.documentElement.scrollWidth <= innerWidth"),
        true,
        "wider than a phone"
    );
    browser.screenshot("pods-phone");
    browser.size(1280, 860, false);
    browser.prefer("light");
}

fn secrets_stay_hidden(browser: &mut Browser) {
    let shows = "document.body.innerText.includes('under-the-palm')";
    go(browser, "#/config/secrets");
    browser.click("tr[data-name=treasure] a");
    browser.until(
        "[...document.querySelectorAll('button')].find((one) => one.innerText.includes('Read the values'))",
    );
    browser.eval("[...document.querySelectorAll('button')].find((one) => one.innerText.includes('Read the values')).click()");
    browser.until("document.querySelector('[data-key=where]')");
    assert_eq!(browser.eval(shows), false);
    browser.eval(
        "[...document.querySelectorAll('button')].find((one) => one.innerText.includes('Reveal')).click()",
    );
    browser.until(shows);
}

/// Who may only look is offered nothing else, and sees what is forbidden as such.
fn rights_are_the_users(browser: &mut Browser, guest: &str) {
    browser.click("[aria-label='Sign out']");
    sign_in(browser, guest);
    go(browser, "#/pods");
    browser.until("document.querySelector('.empty')?.innerText.includes('You may not list pods here')");
    browser.eval("sessionStorage.setItem('mainstay.namespace', 'default')");
    browser.eval("setTimeout(() => location.reload(), 0), true");
    browser.until("!window.isTheSame && document.querySelectorAll('tr[data-name^=hello]').length === 3");
    browser.click("tr[data-name^=hello] a");
    browser.until("document.querySelector(\"a[href$='/logs']\")");
    let offered = browser.eval("document.querySelectorAll(\"a[href$='/terminal'], .button.danger\").length");
    assert_eq!(offered, 0, "a guest was offered what only refuses");
}
