//! The flow schemas and priority levels that every cluster starts with, as upstream's. Two of each are mandatory:
//! their specs are fixed.

use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

/// Names of the objects whose spec is fixed.
pub(super) const MANDATORY: &[&str] = &["exempt", "catch-all"];
const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// A limited level: name, shares, percent that may be lent, and queues, hand size and queue length where it queues.
type Level = (&'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: &[Level] = &[
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
    ("global-default", 20, 50, Some((128, 6, 50))),
];

/// Who a schema is about.
enum Who {
    User(&'static str),
    Group(&'static str),
    /// All ServiceAccounts of `kube-system`.
    SystemAccounts,
}

/// What a schema is about.
enum What {
    /// Every request.
    All,
    /// Requests to resources: verbs, group, resources, and whether cluster-scoped ones count.
    Resources(&'static [&'static str], &'static str, &'static [&'static str], bool),
    /// Reads of these paths.
    Paths(&'static [&'static str]),
}

struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    /// `ByUser`, `ByNamespace`, or empty.
    by: &'static str,
    who: &'static [Who],
    what: &'static [What],
}

const EVERYONE: &[Who] = &[Who::Group("system:unauthenticated"), Who::Group("system:authenticated")];

const SCHEMAS: &[Schema] = &[
    Schema {
        name: "exempt",
        level: "exempt",
        precedence: 1,
        by: "",
        who: &[Who::Group("system:masters")],
        what: &[What::All],
    },
    Schema {
        name: "probes",
        level: "exempt",
        precedence: 2,
        by: "",
        who: EVERYONE,
        what: &[What::Paths(&["/healthz", "/readyz", "/livez"])],
    },
    Schema {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        by: "ByUser",
        who: &[
            Who::User("system:kube-controller-manager"),
            Who::User("system:kube-scheduler"),
            Who::SystemAccounts,
        ],
        what: &[What::Resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)],
    },
    Schema {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        by: "ByUser",
        who: &[Who::Group("system:nodes")],
        what: &[
            What::Resources(&["*"], "", &["nodes", "nodes/status"], true),
            What::Resources(&["*"], "coordination.k8s.io", &["leases"], false),
        ],
    },
    Schema {
        name: "system-nodes",
        level: "system",
        precedence: 500,
        by: "ByUser",
        who: &[Who::Group("system:nodes")],
        what: &[What::All],
    },
    Schema {
        name: "kube-controller-manager",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        who: &[Who::User("system:kube-controller-manager")],
        what: &[What::All],
    },
    Schema {
        name: "kube-scheduler",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        who: &[Who::User("system:kube-scheduler")],
        what: &[What::All],
    },
    Schema {
        name: "kube-system-service-accounts",
        level: "workload-high",
        precedence: 900,
        by: "ByNamespace",
        who: &[Who::SystemAccounts],
        what: &[What::All],
    },
    Schema {
        name: "service-accounts",
        level: "workload-low",
        precedence: 9000,
        by: "ByUser",
        who: &[Who::Group("system:serviceaccounts")],
        what: &[What::All],
    },
    Schema {
        name: "global-default",
        level: "global-default",
        precedence: 9900,
        by: "ByUser",
        who: EVERYONE,
        what: &[What::All],
    },
    Schema {
        name: "catch-all",
        level: "catch-all",
        precedence: 10000,
        by: "ByUser",
        who: EVERYONE,
        what: &[What::All],
    },
];

fn object(kind: &str, name: &str, spec: Value) -> Value {
    value!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": (spec),
    })
}

/// The priority levels that a new cluster has.
pub fn bootstrap_priority_levels() -> Vec<Value> {
    let exempt = value!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mut all = vec![object("PriorityLevelConfiguration", "exempt", exempt)];
    for (name, shares, lendable, queuing) in LEVELS {
        let response = match queuing {
            None => value!({"type": "Reject"}),
            Some((queues, hand, length)) => value!({
                "type": "Queue",
                "queuing": {"queues": (*queues), "handSize": (*hand), "queueLengthLimit": (*length)},
            }),
        };
        let spec = value!({
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": (*shares),
                "lendablePercent": (*lendable),
                "limitResponse": (response),
            },
        });
        all.push(object("PriorityLevelConfiguration", name, spec));
    }
    all
}

/// The flow schemas that a new cluster has, by precedence.
pub fn bootstrap_flow_schemas() -> Vec<Value> {
    SCHEMAS.iter().map(|schema| object("FlowSchema", schema.name, schema_spec(schema))).collect()
}

fn schema_spec(schema: &Schema) -> Value {
    let mut rule = value!({"subjects": (schema.who.iter().map(subject).collect::<Value>())});
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for what in schema.what {
        match what {
            What::All => {
                resources.push(resource_rule(&["*"], "*", &["*"], true));
                paths.push(value!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
            What::Resources(verbs, group, names, cluster) => {
                resources.push(resource_rule(verbs, group, names, *cluster));
            }
            What::Paths(urls) => {
                let urls: Value = urls.iter().copied().collect();
                paths.push(value!({"verbs": ["get"], "nonResourceURLs": (urls)}));
            }
        }
    }
    for (field, rules) in [("resourceRules", resources), ("nonResourceRules", paths)] {
        if !rules.is_empty() {
            rule.set_path(&[field], rules);
        }
    }
    let mut spec = value!({
        "priorityLevelConfiguration": {"name": (schema.level)},
        "matchingPrecedence": (schema.precedence),
        "rules": [(rule)],
    });
    if !schema.by.is_empty() {
        spec.set_path(&["distinguisherMethod", "type"], schema.by);
    }
    spec
}

fn subject(who: &Who) -> Value {
    match who {
        Who::User(name) => value!({"kind": "User", "user": {"name": (*name)}}),
        Who::Group(name) => value!({"kind": "Group", "group": {"name": (*name)}}),
        Who::SystemAccounts => {
            value!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
        }
    }
}

fn resource_rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let list = |items: &[&str]| -> Value { items.iter().copied().collect() };
    let mut rule = value!({
        "verbs": (list(verbs)),
        "apiGroups": [group],
        "resources": (list(resources)),
        "namespaces": ["*"],
    });
    if cluster {
        rule.set_path(&["clusterScope"], true);
    }
    rule
}

/// The fixed spec of a mandatory object.
pub(super) fn mandatory_spec(kind: &str, name: &str) -> Option<Value> {
    if !MANDATORY.contains(&name) {
        return None;
    }
    let all = if kind == "FlowSchema" { bootstrap_flow_schemas() } else { bootstrap_priority_levels() };
    let found = all.into_iter().find(|object| object.path_str(&["metadata", "name"]) == Some(name))?;
    found.get("spec").cloned()
}
