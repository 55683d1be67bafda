//! Which rule decides about which request.

use super::policy::{Level, Policy, PolicyError, Stage};
use crate::types::{Attributes, UserInfo};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources:
  - group: ""
    resources: [secrets, "pods/*", "*/scale"]
- level: Request
  userGroups: [devs]
  namespaces: [default]
  omitStages: [ResponseStarted]
  omitManagedFields: false
- level: RequestResponse
  resources:
  - group: apps
    resources: [deployments]
    resourceNames: [web]
"#;

fn resource(
    verb: &str,
    group: &str,
    resource: &str,
    subresource: &str,
    namespace: &str,
    name: &str,
) -> Attributes {
    Attributes {
        verb: verb.into(),
        api_group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn level(user: &str, groups: &[&str], attributes: &Attributes) -> Level {
    let user = UserInfo::new(user, groups.iter().copied());
    Policy::parse(POLICY).unwrap().told(Some(&user), attributes).level
}

#[test]
fn the_first_rule_that_matches_decides() {
    let secret = resource("get", "", "secrets", "", "default", "s");
    assert_eq!(level("joe", &["devs"], &secret), Level::Metadata, "before the rule of its group");
    assert_eq!(level("system:kube-proxy", &[], &resource("watch", "", "secrets", "", "", "")), Level::None);
    assert_eq!(
        level("system:kube-proxy", &[], &resource("list", "", "secrets", "", "", "")),
        Level::Metadata
    );
    assert_eq!(level("joe", &["devs"], &resource("get", "", "services", "", "default", "p")), Level::Request);
    assert_eq!(level("joe", &["devs"], &resource("get", "", "services", "", "other", "p")), Level::None);
    assert_eq!(level("joe", &[], &resource("get", "", "pods", "log", "other", "p")), Level::Metadata);
    assert_eq!(
        level("joe", &[], &resource("get", "apps", "deployments", "", "x", "web")),
        Level::RequestResponse
    );
    assert_eq!(level("joe", &[], &resource("get", "apps", "deployments", "", "x", "db")), Level::None);
    assert_eq!(
        level("joe", &[], &resource("get", "", "replicationcontrollers", "scale", "x", "r")),
        Level::Metadata
    );
    let path = |path: &str| Attributes { path: path.into(), verb: "get".into(), ..Attributes::default() };
    assert_eq!(level("joe", &["devs"], &path("/healthz/ping")), Level::None);
    assert_eq!(level("joe", &["devs"], &path("/metrics")), Level::None, "no rule: nothing");
}

#[test]
fn stages_add_up_and_managed_fields_are_said_by_the_rule() {
    let policy = Policy::parse(POLICY).unwrap();
    let user = UserInfo::new("joe", ["devs"]);
    let told = policy.told(Some(&user), &resource("get", "", "services", "", "default", "p"));
    assert!(told.omitted.has(Stage::RequestReceived) && told.omitted.has(Stage::ResponseStarted));
    assert!(!told.omitted.has(Stage::ResponseComplete) && !told.omit_managed_fields);
    let told = policy.told(None, &resource("get", "", "secrets", "", "default", "s"));
    assert!(!told.omitted.has(Stage::ResponseStarted) && told.omit_managed_fields);
}

#[test]
fn what_is_wrong_is_said_in_upstreams_words() {
    let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
    let wrong = |rest: &str| Policy::parse(&format!("{head}{rest}")).unwrap_err().to_string();
    assert_eq!(wrong("rules: []"), "loaded illegal policy with 0 rules");
    assert_eq!(wrong("rules: [{}]"), "rules[0].level: Required value");
    assert_eq!(
        wrong("rules: [{level: Metadata, nonResourceURLs: [metrics]}]"),
        r#"rules[0].nonResourceURLs[0]: Invalid value: "metrics": non-resource URL rules must begin with a '/' character"#
    );
    assert!(
        wrong("rules: [{level: Metadata, omitStages: [Never]}]")
            .contains("allowed stages are RequestReceived,")
    );
    assert!(matches!(Policy::parse("kind: Pod\napiVersion: v1"), Err(PolicyError::Version(_))));
    assert!(matches!(Policy::parse("{"), Err(PolicyError::Decode(_))));
}
