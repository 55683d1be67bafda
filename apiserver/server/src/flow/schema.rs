//! FlowSchemas: which requests belong to which flow. Pure.

use std::hash::Hasher as _;

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

use crate::authn::user::split_service_account;
use crate::types::{Attributes, UserInfo};

/// Any verb, group, resource, path or subject.
const ANY: &str = "*";
/// The precedence of a schema that states none.
const PRECEDENCE: i64 = 1000;

/// A schema as it is matched.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) name: SmolStr,
    pub(super) uid: SmolStr,
    pub(super) level: SmolStr,
    pub(super) precedence: i64,
    by: Distinguisher,
    rules: Vec<Rule>,
}

/// What tells flows of one schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

#[derive(Debug, Clone)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, Clone)]
enum Subject {
    User(SmolStr),
    Group(SmolStr),
    ServiceAccount(SmolStr, SmolStr),
}

#[derive(Debug, Clone)]
struct ResourceRule {
    verbs: Vec<SmolStr>,
    groups: Vec<SmolStr>,
    resources: Vec<SmolStr>,
    cluster_scope: bool,
    namespaces: Vec<SmolStr>,
}

#[derive(Debug, Clone)]
struct PathRule {
    verbs: Vec<SmolStr>,
    paths: Vec<SmolStr>,
}

impl Schema {
    /// Reads a FlowSchema; what is not there matches nothing.
    pub(super) fn read(object: &Value) -> Self {
        let meta = Meta(object);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let by = match spec.path_str(&["distinguisherMethod", "type"]) {
            Some("ByUser") => Distinguisher::User,
            Some("ByNamespace") => Distinguisher::Namespace,
            _ => Distinguisher::Nothing,
        };
        let precedence = match spec.get("matchingPrecedence") {
            Some(Value::Int(precedence)) => *precedence,
            _ => PRECEDENCE,
        };
        Self {
            name: meta.name().into(),
            uid: meta.uid().into(),
            level: spec.path_str(&["priorityLevelConfiguration", "name"]).unwrap_or_default().into(),
            precedence,
            by,
            rules: spec.path_list(&["rules"]).iter().map(Rule::read).collect(),
        }
    }

    /// Everything, by user: the schema that every cluster has, in case its object is not there.
    pub(super) fn catch_all() -> Self {
        let any = || vec![SmolStr::from(ANY)];
        let rule = Rule {
            subjects: vec![
                Subject::Group("system:unauthenticated".into()),
                Subject::Group("system:authenticated".into()),
            ],
            resources: vec![ResourceRule {
                verbs: any(),
                groups: any(),
                resources: any(),
                cluster_scope: true,
                namespaces: any(),
            }],
            paths: vec![PathRule { verbs: any(), paths: any() }],
        };
        Self {
            name: "catch-all".into(),
            uid: SmolStr::default(),
            level: "catch-all".into(),
            precedence: i64::MAX,
            by: Distinguisher::User,
            rules: vec![rule],
        }
    }

    /// Requests of `system:masters`, which no bound holds up.
    pub(super) fn exempt() -> Self {
        let mut schema = Self::catch_all();
        schema.name = "exempt".into();
        schema.level = "exempt".into();
        // Before every other, as upstream has it where the object is missing.
        schema.precedence = i64::MIN;
        schema.by = Distinguisher::Nothing;
        for rule in &mut schema.rules {
            rule.subjects = vec![Subject::Group("system:masters".into())];
        }
        schema
    }

    pub(super) fn matches(&self, user: &UserInfo, asked: &Attributes) -> bool {
        self.rules.iter().any(|rule| rule.matches(user, asked))
    }

    /// What tells a request's flow from others of the schema.
    pub(super) fn distinguisher(&self, user: &UserInfo, asked: &Attributes) -> SmolStr {
        match self.by {
            Distinguisher::Nothing => SmolStr::default(),
            Distinguisher::User => user.name.clone(),
            Distinguisher::Namespace => asked.namespace.clone(),
        }
    }

    /// The flow's number within the schema.
    pub(super) fn flow(&self, user: &UserInfo, asked: &Attributes) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(self.name.as_bytes());
        match self.by {
            Distinguisher::Nothing => {}
            Distinguisher::User => hasher.write(user.name.as_bytes()),
            Distinguisher::Namespace => hasher.write(asked.namespace.as_bytes()),
        }
        hasher.finish()
    }
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let texts = |value: &Value, field: &str| -> Vec<SmolStr> {
            value.path_list(&[field]).iter().filter_map(|one| one.as_str().map(SmolStr::from)).collect()
        };
        let subjects = rule.path_list(&["subjects"]).iter().filter_map(|subject| {
            let text = |path: &[&str]| subject.path_str(path).map(SmolStr::from);
            match subject.path_str(&["kind"])? {
                "User" => Some(Subject::User(text(&["user", "name"])?)),
                "Group" => Some(Subject::Group(text(&["group", "name"])?)),
                "ServiceAccount" => Some(Subject::ServiceAccount(
                    text(&["serviceAccount", "namespace"])?,
                    text(&["serviceAccount", "name"])?,
                )),
                _ => None,
            }
        });
        let resources = rule.path_list(&["resourceRules"]).iter().map(|one| ResourceRule {
            verbs: texts(one, "verbs"),
            groups: texts(one, "apiGroups"),
            resources: texts(one, "resources"),
            cluster_scope: one.get("clusterScope") == Some(&Value::Bool(true)),
            namespaces: texts(one, "namespaces"),
        });
        let paths = rule.path_list(&["nonResourceRules"]).iter();
        let paths =
            paths.map(|one| PathRule { verbs: texts(one, "verbs"), paths: texts(one, "nonResourceURLs") });
        Self { subjects: subjects.collect(), resources: resources.collect(), paths: paths.collect() }
    }

    fn matches(&self, user: &UserInfo, asked: &Attributes) -> bool {
        if !self.subjects.iter().any(|subject| subject.matches(user)) {
            return false;
        }
        if asked.resource_request {
            self.resources.iter().any(|rule| rule.matches(asked))
        } else {
            self.paths.iter().any(|rule| rule.matches(asked))
        }
    }
}

impl Subject {
    fn matches(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == ANY || *name == user.name,
            Self::Group(name) => name == ANY || user.in_group(name),
            Self::ServiceAccount(namespace, name) => split_service_account(&user.name)
                .is_some_and(|(of, account)| of == namespace && (name == ANY || account == name)),
        }
    }
}

fn has(list: &[SmolStr], value: &str) -> bool {
    list.iter().any(|one| one == ANY || one == value)
}

impl ResourceRule {
    fn matches(&self, asked: &Attributes) -> bool {
        let in_scope = if asked.namespace.is_empty() {
            self.cluster_scope
        } else {
            has(&self.namespaces, &asked.namespace)
        };
        in_scope
            && has(&self.verbs, &asked.verb)
            && has(&self.groups, &asked.api_group)
            && self.has_resource(asked)
    }

    fn has_resource(&self, asked: &Attributes) -> bool {
        self.resources.iter().any(|one| {
            if one == ANY {
                return true;
            }
            match one.split_once('/') {
                None => asked.subresource.is_empty() && *one == asked.resource,
                Some((resource, subresource)) => {
                    resource == asked.resource && subresource == asked.subresource
                }
            }
        })
    }
}

impl PathRule {
    fn matches(&self, asked: &Attributes) -> bool {
        // Upstream takes a path without a star as the beginning of longer ones too, a whole segment at a time.
        let fits = |path: &SmolStr| {
            let start = path.strip_suffix('*').unwrap_or(path);
            path == ANY
                || *path == asked.path
                || asked
                    .path
                    .strip_prefix(start)
                    .is_some_and(|rest| start.ends_with('/') || rest.starts_with('/'))
        };
        has(&self.verbs, &asked.verb) && self.paths.iter().any(fits)
    }
}
