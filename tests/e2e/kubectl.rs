//! What kubectl does with objects: every verb that needs no running pod, and some that do.

use crate::cluster::Cluster;

const CONFIG: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, labels: {app: a}}\ndata: {key: value}\n";

#[test]
fn kubectl_reads_changes_and_deletes_objects() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    assert_eq!(cluster.apply(CONFIG), "configmap/settings created\n");
    assert_eq!(cluster.apply(CONFIG), "configmap/settings unchanged\n");
    let changed = CONFIG.replace("value", "other");
    let diff = cluster.kubectl_with(&["diff", "-f", "-"], &changed);
    assert!(diff.code == 1 && diff.stdout.contains("+  key: other"), "{diff:?}");
    assert_eq!(cluster.apply(&changed), "configmap/settings configured\n");

    k(&["label", "configmap", "settings", "tier=front"]);
    k(&["annotate", "configmap", "settings", "note=hello"]);
    for (kind, patch) in [
        ("strategic", r#"{"data":{"a":"1"}}"#),
        ("merge", r#"{"data":{"b":"2"}}"#),
        ("json", r#"[{"op":"add","path":"/data/c","value":"3"}]"#),
    ] {
        k(&["patch", "configmap", "settings", "--type", kind, "-p", patch]);
    }
    let data = k(&[
        "get",
        "configmap",
        "settings",
        "-o",
        "jsonpath={.data.a}{.data.b}{.data.c}{.metadata.labels.tier}",
    ]);
    assert_eq!(data, "123front");
    let mut edit = cluster.kubectl_command(&["edit", "configmap", "settings"]);
    edit.env("EDITOR", "sed -i s/other/edited/");
    assert!(crate::command::run(&mut edit, "").ok().contains("configmap/settings edited"));
    assert_eq!(k(&["get", "configmap", "settings", "-o", "jsonpath={.data.key}"]), "edited");
    let described = k(&["describe", "configmap", "settings"]);
    assert!(described.contains("edited") && described.contains("note: hello"), "{described}");
    let listed = k(&["get", "configmaps", "-l", "app=a", "--show-labels"]);
    assert!(listed.contains("settings   4      ") && listed.contains("tier=front"), "{listed}");
    k(&["delete", "configmap", "settings"]);
    let gone = cluster.kubectl(&["get", "configmap", "settings"]);
    assert_eq!(gone.code, 1);
    assert_eq!(gone.stderr, "Error from server (NotFound): configmaps \"settings\" not found\n");
}

#[test]
fn kubectl_discovers_explains_and_asks_for_rights() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    let explained = k(&["explain", "pod.spec.containers.livenessProbe"]);
    assert!(explained.contains("httpGet") && explained.contains("KIND:       Pod"), "{explained}");
    let resources = k(&["api-resources", "--no-headers"]);
    for name in ["pods", "deployments", "endpointslices", "clusterrolebindings", "leases"] {
        assert!(resources.lines().any(|line| line.starts_with(name)), "{name} is not in\n{resources}");
    }
    let refused = cluster.kubectl_with(
        &["create", "-f", "-"],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containerz: []}\n",
    );
    assert!(refused.code != 0 && refused.stderr.contains("unknown field \"spec.containerz\""), "{refused:?}");

    k(&["create", "serviceaccount", "robot"]);
    k(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]);
    k(&["create", "rolebinding", "robot-reads", "--role=reader", "--serviceaccount=default:robot"]);
    let rights = k(&["auth", "can-i", "--list", "--as=system:serviceaccount:default:robot"]);
    assert!(rights.lines().any(|line| line.starts_with("pods ") && line.contains("[get list]")), "{rights}");
    let token = k(&["create", "token", "robot"]);
    let as_robot = |arguments: &[&str]| cluster.kubectl_as(token.trim(), arguments);
    assert_eq!(as_robot(&["get", "pods"]).ok(), "");
    let denied = as_robot(&["get", "secrets"]);
    assert!(
        denied.stderr.contains(
            "secrets is forbidden: User \"system:serviceaccount:default:robot\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
        ),
        "{denied:?}"
    );
}

#[test]
fn kubectl_runs_exposes_waits_and_shows_events() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    k(&[
        "run",
        "page",
        "--image=mainstay-hello:1",
        "--image-pull-policy=Never",
        "--port=8080",
        "--labels=app=page",
    ]);
    k(&["wait", "--for=condition=Ready", "pod/page", "--timeout=60s"]);
    k(&["expose", "pod", "page", "--port=80", "--target-port=8080"]);
    let events = k(&["events", "--for=pod/page"]);
    for reason in ["Scheduled", "Created", "Started"] {
        assert!(events.contains(reason), "{reason} is not in\n{events}");
    }
    let described = k(&["describe", "pod", "page"]);
    assert!(described.contains("Successfully assigned default/page to"), "{described}");
    let listed = k(&["get", "pods", "-o", "wide"]);
    assert!(listed.contains("1/1     Running   0 "), "{listed}");

    k(&["create", "deployment", "owner", "--image=mainstay-hello:1", "--replicas=1", "--", "httpd", "-f"]);
    k(&["wait", "--for=jsonpath={.status.replicas}=1", "deployment/owner", "--timeout=30s"]);
    k(&["delete", "deployment", "owner", "--cascade=orphan"]);
    let orphans = k(&["get", "replicasets", "-o", "name"]);
    assert!(orphans.starts_with("replicaset.apps/owner-"), "{orphans}");
    k(&["delete", orphans.trim(), "--cascade=background"]);
    k(&["wait", "--for=delete", "pods", "-l", "app=owner", "--timeout=60s"]);

    k(&["create", "namespace", "brief"]);
    k(&["run", "page", "-n", "brief", "--image=mainstay-hello:1", "--image-pull-policy=Never"]);
    k(&["delete", "namespace", "brief", "--timeout=90s"]);
    assert_eq!(cluster.kubectl(&["get", "namespace", "brief"]).code, 1);
}
