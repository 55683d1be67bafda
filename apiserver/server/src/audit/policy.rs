//! The audit policy: which level and which stages a request is told with. Pure; the first rule that matches decides.

use mainstay_apiserver_machinery::validation::{ErrorList, Path, names};
use serde::Deserialize;

use crate::types::{Attributes, UserInfo};

/// How much of a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Everything but the bodies.
    Metadata,
    /// The request's object too.
    Request,
    /// The answer's object too.
    RequestResponse,
}

impl Level {
    const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// Upstream's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// When an event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The request was read and its caller is known.
    RequestReceived,
    /// The head of a long-running answer is sent.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The handler panicked.
    Panic,
}

impl Stage {
    const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// Upstream's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    fn parse(list: &[String], path: &Path, errors: &mut ErrorList) -> Self {
        let mut stages = Self::default();
        for (at, text) in list.iter().enumerate() {
            match Stage::ALL.into_iter().find(|stage| stage.as_str() == text) {
                Some(stage) => stages.0 |= 1 << stage as u8,
                None => errors.invalid(
                    &path.index(at),
                    text.as_str(),
                    "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
                ),
            }
        }
        stages
    }

    /// Whether `stage` is in the set.
    pub fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A policy that cannot be used; upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not YAML of the right shape.
    #[error("failed decoding: {0}")]
    Decode(String),
    /// Another kind of object.
    #[error("unknown group version field {0} in policy")]
    Version(String),
    /// Fields that are wrong.
    #[error("{0}")]
    Invalid(String),
    /// No rule at all.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyFile {
    api_version: String,
    kind: String,
    rules: Vec<RuleText>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleText {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// An audit policy that has been checked.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    default: Told,
}

#[derive(Debug, Clone)]
struct Rule {
    told: Told,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
}

/// What the policy says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// How much is told.
    pub level: Level,
    /// Stages without an event.
    pub omitted: Stages,
    /// Whether `metadata.managedFields` is left out of objects.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy of `audit.k8s.io/v1`, as YAML or JSON.
    ///
    /// # Errors
    /// [`PolicyError`], in upstream's words.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile =
            serde_yaml_ng::from_str(text).map_err(|error| PolicyError::Decode(error.to_string()))?;
        if (file.api_version.as_str(), file.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return Err(PolicyError::Version(format!("{}, Kind={}", file.api_version, file.kind)));
        }
        let mut errors = ErrorList::new();
        let omitted = Stages::parse(&file.omit_stages, &Path::new("omitStages"), &mut errors);
        let default = Told { level: Level::None, omitted, omit_managed_fields: file.omit_managed_fields };
        let path = Path::new("rules");
        let rules: Vec<Rule> = (file.rules.into_iter().enumerate())
            .map(|(at, rule)| Rule::of(rule, default, &path.index(at), &mut errors))
            .collect();
        if !errors.is_empty() {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let all = if let [one] = all.as_slice() { one.clone() } else { format!("[{}]", all.join(", ")) };
            return Err(PolicyError::Invalid(all));
        }
        if rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        Ok(Self { rules, default })
    }

    /// What is told of a request. `user` is the caller before impersonation; none where authentication failed.
    pub fn told(&self, user: Option<&UserInfo>, attributes: &Attributes) -> Told {
        let rule = self.rules.iter().find(|rule| rule.matches(user, attributes));
        rule.map_or(self.default, |rule| rule.told)
    }
}

impl Rule {
    fn of(text: RuleText, default: Told, path: &Path, errors: &mut ErrorList) -> Self {
        let level = Level::parse(&text.level);
        match (level, text.level.as_str()) {
            (Some(_), _) => {}
            (None, "") => errors.required(&path.child("level"), ""),
            (None, other) => {
                errors.not_supported(&path.child("level"), other, &Level::ALL.map(Level::as_str));
            }
        }
        check_paths(&text.non_resource_urls, &path.child("nonResourceURLs"), errors);
        check_resources(&text.resources, &path.child("resources"), errors);
        let omitted = Stages::parse(&text.omit_stages, &path.child("omitStages"), errors);
        let about_resources = !text.resources.is_empty() || !text.namespaces.is_empty();
        if !text.non_resource_urls.is_empty() && about_resources {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&path.child("nonResourceURLs"), format!("{:?}", text.non_resource_urls), detail);
        }
        let told = Told {
            level: level.unwrap_or(Level::None),
            omitted: omitted.union(default.omitted),
            omit_managed_fields: text.omit_managed_fields.unwrap_or(default.omit_managed_fields),
        };
        Self {
            told,
            users: text.users,
            groups: text.user_groups,
            verbs: text.verbs,
            resources: text.resources,
            namespaces: text.namespaces,
            paths: text.non_resource_urls,
        }
    }

    fn matches(&self, user: Option<&UserInfo>, asked: &Attributes) -> bool {
        let has = |list: &[String], value: &str| list.iter().any(|one| one == value);
        if !self.users.is_empty() && !user.is_some_and(|user| has(&self.users, &user.name)) {
            return false;
        }
        let in_group = |user: &UserInfo| user.groups.iter().any(|group| has(&self.groups, group));
        if !self.groups.is_empty() && !user.is_some_and(in_group) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.resource_request
                && (self.namespaces.is_empty() || has(&self.namespaces, &asked.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(asked)));
        }
        self.paths.is_empty()
            || (!asked.resource_request && self.paths.iter().any(|path| path_matches(&asked.path, path)))
    }
}

impl GroupResources {
    fn matches(&self, asked: &Attributes) -> bool {
        if self.group != "*" && self.group != asked.api_group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| *name == asked.name) {
            return false;
        }
        self.resources.iter().any(|wanted| {
            if wanted == "*" {
                return true;
            }
            match wanted.split_once('/') {
                None => asked.subresource.is_empty() && *wanted == asked.resource,
                Some((resource, subresource)) => {
                    let of_resource = resource == asked.resource;
                    let of_subresource = !asked.subresource.is_empty() && subresource == asked.subresource;
                    (of_resource && (of_subresource || subresource == "*"))
                        || (resource == "*" && of_subresource)
                }
            }
        })
    }
}

fn path_matches(path: &str, wanted: &str) -> bool {
    wanted == "*"
        || wanted == path
        || wanted.strip_suffix('*').is_some_and(|start| path.starts_with(start.trim_end_matches('*')))
}

fn check_paths(paths: &[String], at: &Path, errors: &mut ErrorList) {
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| *path != "*") {
        let at = at.index(index);
        if !path.starts_with('/') {
            errors.invalid(&at, path.as_str(), "non-resource URL rules must begin with a '/' character");
        }
        let mut characters = path.chars();
        characters.next_back();
        if characters.as_str().contains('*') {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.invalid(&at, path.as_str(), detail);
        }
    }
}

fn check_resources(resources: &[GroupResources], at: &Path, errors: &mut ErrorList) {
    for one in resources {
        if !one.group.is_empty() && one.group != "*" {
            let wrong = names::dns_subdomain(&one.group);
            if !wrong.is_empty() {
                errors.invalid(&at.child("group"), one.group.as_str(), &wrong.join(","));
            }
        }
        if !one.resource_names.is_empty() && one.resources.is_empty() {
            let detail = "using resourceNames requires at least one resource";
            errors.invalid(&at.child("resourceNames"), format!("{:?}", one.resource_names), detail);
        }
    }
}
