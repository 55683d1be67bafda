//! The ways in which one user may act as another. The constrained ones (KEP-5284) ask two things: may the caller do this
//! very request as somebody of that kind, and may it be this somebody. The plain right to impersonate is asked last.
//!
//! [`rights`] is pure and names what a way asks for; [`act_as`] puts it to the authorizer.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::HeaderMap;
use mainstay_apiserver_machinery::validation::names;
use mainstay_proto_api::Status;
use parking_lot::Mutex;
use smol_str::{SmolStr, format_smolstr};
use tracing::debug;

use super::impersonation::{Impersonation, parse};
use super::user::{
    ANONYMOUS, AUTHENTICATED, EXTRA_NODE_NAME, MASTERS, NODE_PREFIX, NODES, UNAUTHENTICATED,
    service_account_groups, split_service_account,
};
use crate::authz::forbidden;
use crate::types::{Attributes, Authorize, Identity, UserInfo};

const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many values on, the right to all of them is asked for first.
const WILDCARD_FROM: usize = 4;
/// Callers whose last way is remembered.
const REMEMBERED_MAX: usize = 10_000;
/// What stands for the extras of a service account that acts as its own node.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A service account as the node that its token is bound to.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Anybody who is neither a node nor a service account.
    UserInfo,
    /// The right to impersonate, for every request.
    Plain,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Plain];

/// What must hold before somebody may act as another.
#[derive(Debug, Clone, PartialEq)]
enum Right {
    Held(Attributes),
    /// All of them at once, or each.
    AllOrEach(Attributes, Vec<Attributes>),
    /// Nobody has it.
    Never(Attributes, String),
}

/// Which way each caller went last: it is tried first, so that the plain one costs no more than it did.
#[derive(Debug, Default)]
pub struct LastModes(Mutex<HashMap<SmolStr, Mode>>);

impl LastModes {
    fn of(&self, caller: &str) -> Option<Mode> {
        self.0.lock().get(caller).copied()
    }

    fn note(&self, caller: &SmolStr, mode: Mode) {
        let mut modes = self.0.lock();
        if modes.len() >= REMEMBERED_MAX && !modes.contains_key(caller) {
            modes.clear();
        }
        modes.insert(caller.clone(), mode);
    }
}

/// Who a request acts as.
#[derive(Debug)]
pub struct Acting {
    /// The caller, or whom it acts as.
    pub identity: Identity,
    /// The verb of the constrained way that allowed it; empty for the plain one.
    pub constraint: &'static str,
}

impl Mode {
    /// As `impersonate-on:NAME:VERB` has it.
    fn name(self) -> &'static str {
        self.verb().strip_prefix("impersonate:").unwrap_or_default()
    }

    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Plain => "impersonate",
        }
    }

    fn is_constrained(self) -> bool {
        self != Self::Plain
    }

    /// Whether it is for this caller and whom it wants to be.
    fn fits(self, wanted: &Impersonation, caller: &UserInfo) -> bool {
        let alone = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_of(&wanted.user);
        let is_account = split_service_account(&wanted.user).is_some();
        match self {
            Self::AssociatedNode => {
                let bound_to = caller.extra.get(EXTRA_NODE_NAME).map(Vec::as_slice);
                let own = matches!((bound_to, node), (Some([bound]), Some(node)) if bound == node);
                alone && own && caller.as_service_account().is_some()
            }
            Self::ArbitraryNode => alone && node.is_some(),
            Self::ServiceAccount => alone && is_account,
            Self::UserInfo => node.is_none() && !is_account,
            Self::Plain => true,
        }
    }

    /// As whom the authorizer knows the caller: of a service account that acts as its own node, the values of the extras
    /// are left out, as upstream does.
    fn asks_as(self, caller: &UserInfo) -> Cow<'_, UserInfo> {
        if self != Self::AssociatedNode {
            return Cow::Borrowed(caller);
        }
        let keys = caller.extra.keys().cloned().collect();
        Cow::Owned(UserInfo { extra: BTreeMap::from([(NODE_KEYS.into(), keys)]), ..caller.clone() })
    }

    /// The user to act as.
    fn user(self, wanted: Impersonation) -> UserInfo {
        let mut groups = wanted.groups;
        if self.is_constrained() && node_of(&wanted.user).is_some() {
            groups = vec![NODES.into()];
        }
        if groups.is_empty()
            && let Some((namespace, _)) = split_service_account(&wanted.user)
        {
            groups = service_account_groups(namespace);
        }
        let has = |name: &str| groups.iter().any(|group| group == name);
        let marker = if wanted.user == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !has(marker) && (marker == UNAUTHENTICATED || !has(UNAUTHENTICATED)) {
            groups.push(marker.into());
        }
        UserInfo { name: wanted.user, uid: wanted.uid, groups, extra: wanted.extra }
    }
}

/// The node whose agent has this user name.
fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::dns_subdomain(name).is_empty())
}

/// What `mode` asks for before a request about `about` may be done as `wanted`.
fn rights(mode: Mode, wanted: &Impersonation, about: &Attributes) -> Vec<Right> {
    let mut rights = Vec::new();
    if mode.is_constrained() {
        let verb = format_smolstr!("impersonate-on:{}:{}", mode.name(), about.verb);
        rights.push(Right::Held(Attributes { verb, ..about.clone() }));
    }
    let people = if mode.is_constrained() { AUTHENTICATION } else { "" };
    rights.push(Right::Held(user_right(mode, &wanted.user, people)));
    if !wanted.uid.is_empty() {
        rights.push(Right::Held(right(mode, AUTHENTICATION, "uids", &wanted.uid)));
    }
    if !wanted.groups.is_empty() {
        rights.extend(group_rights(mode, &wanted.groups, people));
    }
    if !wanted.extra.is_empty() {
        rights.extend(extra_rights(mode, &wanted.extra));
    }
    rights
}

fn right(mode: Mode, group: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        verb: mode.verb().into(),
        api_group: group.into(),
        api_version: "v1".into(),
        resource: resource.into(),
        name: name.into(),
        resource_request: true,
        ..Attributes::default()
    }
}

fn user_right(mode: Mode, user: &str, group: &str) -> Attributes {
    if let Some((namespace, name)) = split_service_account(user) {
        return Attributes { namespace: namespace.into(), ..right(mode, group, "serviceaccounts", name) };
    }
    match node_of(user).filter(|_| mode.is_constrained()) {
        // Which node is said by the caller's token alone.
        Some(_) if mode == Mode::AssociatedNode => right(mode, group, "nodes", "*"),
        Some(node) => right(mode, group, "nodes", node),
        None => right(mode, group, "users", user),
    }
}

fn group_rights(mode: Mode, groups: &[SmolStr], group: &str) -> Vec<Right> {
    let ask = |name: &str| right(mode, group, "groups", name);
    let each: Vec<Attributes> = groups.iter().map(|name| ask(name)).collect();
    if !mode.is_constrained() {
        return each.into_iter().map(Right::Held).collect();
    }
    if groups.iter().any(SmolStr::is_empty) {
        let why = "impersonating the empty string group is not allowed";
        return vec![Right::Never(ask(""), why.to_owned())];
    }
    if groups.iter().any(|name| name == MASTERS) {
        let why = "impersonating the system:masters group is not allowed";
        return vec![Right::Never(ask(MASTERS), why.to_owned())];
    }
    if groups.len() < WILDCARD_FROM {
        return each.into_iter().map(Right::Held).collect();
    }
    vec![Right::AllOrEach(ask("*"), each)]
}

fn extra_rights(mode: Mode, extra: &BTreeMap<SmolStr, Vec<SmolStr>>) -> Vec<Right> {
    let ask = |key: &str, value: &str| Attributes {
        subresource: key.into(),
        ..right(mode, AUTHENTICATION, "userextras", value)
    };
    let each: Vec<Attributes> =
        extra.iter().flat_map(|(key, values)| values.iter().map(|value| ask(key, value))).collect();
    if !mode.is_constrained() {
        return each.into_iter().map(Right::Held).collect();
    }
    if let Some(why) = extra.iter().find_map(|(key, values)| extra_fault(key, values)) {
        return vec![Right::Never(ask("", ""), why)];
    }
    if extra.len() < WILDCARD_FROM && each.len() < WILDCARD_FROM {
        return each.into_iter().map(Right::Held).collect();
    }
    vec![Right::AllOrEach(ask("*", "*"), each)]
}

fn extra_fault(key: &str, values: &[SmolStr]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    if let Some(why) = key_fault(key) {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {why}"
        ));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    let is_empty = values.iter().any(SmolStr::is_empty);
    is_empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

/// What upstream says of a key that is no domain-prefixed path.
fn key_fault(key: &str) -> Option<String> {
    let parts = key.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
    let Some((host, path)) = parts else {
        return Some(format!("{key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"));
    };
    let of =
        |part: &str, faults: names::Faults| faults.into_iter().next().map(|why| format!("{part:?}: {why}"));
    of(host, names::dns_subdomain(host)).or_else(|| of(path, names::http_path(path)))
}

/// The identity that a request about `about` acts with: the caller's own, or another that the headers name and the caller
/// may take on. The headers stay; [`super::impersonation::strip`] removes them.
///
/// # Errors
/// 400 for headers that do not add up, 403 for a value that the caller may not take on: what the first way that fits said.
pub async fn act_as(
    headers: &HeaderMap,
    about: &Attributes,
    caller: &Identity,
    (authorizer, last): (&dyn Authorize, &LastModes),
) -> Result<Acting, Status> {
    let Some(wanted) = parse(headers).map_err(|error| Status::bad_request(error.to_string()))? else {
        return Ok(Acting { identity: caller.clone(), constraint: "" });
    };
    let before = last.of(&caller.user.name);
    let order = before.into_iter().chain(MODES.into_iter().filter(|mode| Some(*mode) != before));
    let mut refused = None;
    for mode in order.filter(|mode| mode.fits(&wanted, &caller.user)) {
        match ask(mode, &wanted, about, (&caller.user, authorizer)).await {
            Ok(()) => {
                last.note(&caller.user.name, mode);
                debug!(user = %wanted.user, impersonator = %caller.user.name, "impersonated");
                let constraint = if mode.is_constrained() { mode.verb() } else { "" };
                let (user, audiences) = (Arc::new(mode.user(wanted)), caller.audiences.clone());
                let identity = Identity { user, impersonator: Some(caller.user.clone()), audiences };
                return Ok(Acting { identity, constraint });
            }
            Err(status) => _ = refused.get_or_insert(status),
        }
    }
    // The plain way fits everybody.
    Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

async fn ask(
    mode: Mode,
    wanted: &Impersonation,
    about: &Attributes,
    (caller, authorizer): (&UserInfo, &dyn Authorize),
) -> Result<(), Status> {
    let caller = mode.asks_as(caller);
    let holds = async |right: &Attributes| {
        let decision = authorizer.authorize(&caller, right).await;
        if decision.is_allowed() { Ok(()) } else { Err(forbidden(&caller, right, decision.reason())) }
    };
    for right in rights(mode, wanted, about) {
        match right {
            Right::Held(right) => holds(&right).await?,
            Right::Never(right, why) => return Err(forbidden(&caller, &right, &why)),
            Right::AllOrEach(all, each) => {
                if holds(&all).await.is_ok() {
                    continue;
                }
                for right in each {
                    holds(&right).await?;
                }
            }
        }
    }
    Ok(())
}

fn forbidden(caller: &UserInfo, right: &Attributes, why: &str) -> Status {
    let why = forbidden::message(caller, right, why);
    Status::forbidden(&right.api_group, &right.resource, &right.name, why)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::types::{Decision, Verdict};

    /// Allows what is listed, as `VERB GROUP/RESOURCE/SUBRESOURCE:NAME`.
    struct Allows(&'static [&'static str]);

    impl Authorize for Allows {
        fn ask<'a>(&'a self, user: &'a UserInfo, asked: &'a Attributes) -> Verdict<'a> {
            let text = spelt(asked);
            let extra: Vec<&str> = user.extra.keys().map(SmolStr::as_str).collect();
            assert!(!text.contains("associated-node") || extra == [NODE_KEYS], "{extra:?}");
            let allowed = self.0.contains(&text.as_str());
            Verdict::Now(if allowed {
                Decision::Allow(String::new())
            } else {
                Decision::NoOpinion(String::new())
            })
        }
    }

    fn spelt(asked: &Attributes) -> String {
        let Attributes { verb, api_group, resource, subresource, namespace, name, .. } = asked;
        format!("{verb} {api_group}/{resource}/{subresource}:{namespace}:{name}")
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn list_pods() -> Attributes {
        Attributes {
            verb: "list".into(),
            resource: "pods".into(),
            namespace: "ns".into(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    fn caller(name: &str) -> Identity {
        Identity { user: Arc::new(UserInfo::new(name, ["staff"])), ..Identity::default() }
    }

    async fn acts(
        pairs: &[(&str, &str)],
        caller: &Identity,
        allowed: &'static [&'static str],
    ) -> Result<(UserInfo, &'static str), String> {
        let last = LastModes::default();
        let acting = act_as(&headers(pairs), &list_pods(), caller, (&Allows(allowed), &last)).await;
        acting
            .map(|acting| (UserInfo::clone(&acting.identity.user), acting.constraint))
            .map_err(|status| status.message)
    }

    #[test]
    fn the_plain_way_asks_for_every_value() {
        let wanted = parse(&headers(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Acme.com%2fProject", "p"),
        ]));
        let asked = rights(Mode::Plain, &wanted.unwrap().unwrap(), &list_pods());
        let asked: Vec<String> = asked
            .iter()
            .map(|right| match right {
                Right::Held(right) => spelt(right),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            asked,
            [
                "impersonate /users/::jane",
                "impersonate authentication.k8s.io/uids/::7",
                "impersonate /groups/::system:masters",
                "impersonate authentication.k8s.io/userextras/acme.com/project::p"
            ]
        );
    }

    #[tokio::test]
    async fn a_constrained_right_is_for_one_verb_of_one_resource() {
        let jane = [("Impersonate-User", "jane")];
        let allowed = &[
            "impersonate-on:user-info:list /pods/:ns:",
            "impersonate:user-info authentication.k8s.io/users/::jane",
        ];
        let (user, constraint) = acts(&jane, &caller("joe"), allowed).await.unwrap();
        assert_eq!((user.name.as_str(), constraint), ("jane", "impersonate:user-info"));
        assert_eq!(user.groups, ["system:authenticated"]);
        let refused = acts(&jane, &caller("joe"), &["impersonate-on:user-info:list /pods/:ns:"]).await;
        assert_eq!(
            refused.unwrap_err(),
            r#"users.authentication.k8s.io "jane" is forbidden: User "joe" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope"#
        );
        let refused = acts(&jane, &caller("joe"), &[]).await;
        assert_eq!(
            refused.unwrap_err(),
            r#"pods is forbidden: User "joe" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "ns""#
        );
        let plain = acts(&jane, &caller("joe"), &["impersonate /users/::jane"]).await.unwrap();
        assert_eq!(plain.1, "", "the plain right is enough");
    }

    #[tokio::test]
    async fn masters_are_for_the_plain_way_alone() {
        let both = [("Impersonate-User", "jane"), ("Impersonate-Group", "system:masters")];
        let constrained = &[
            "impersonate-on:user-info:list /pods/:ns:",
            "impersonate:user-info authentication.k8s.io/users/::jane",
        ];
        let refused = acts(&both, &caller("joe"), constrained).await.unwrap_err();
        assert!(refused.ends_with(": impersonating the system:masters group is not allowed"), "{refused}");
        let plain = &["impersonate /users/::jane", "impersonate /groups/::system:masters"];
        assert_eq!(
            acts(&both, &caller("joe"), plain).await.unwrap().0.groups,
            ["system:masters", "system:authenticated"]
        );
    }

    #[tokio::test]
    async fn many_groups_are_asked_for_at_once() {
        let mut pairs = vec![("Impersonate-User", "jane")];
        pairs.extend(["a", "b", "c", "d"].map(|group| ("Impersonate-Group", group)));
        let all = &[
            "impersonate-on:user-info:list /pods/:ns:",
            "impersonate:user-info authentication.k8s.io/users/::jane",
            "impersonate:user-info authentication.k8s.io/groups/::*",
        ];
        assert_eq!(acts(&pairs, &caller("joe"), all).await.unwrap().0.groups.len(), 5);
    }

    #[tokio::test]
    async fn an_agent_acts_as_the_node_that_it_runs_on() {
        let node = [("Impersonate-User", "system:node:n1")];
        let mut user = UserInfo::service_account("ns", "agent", "1");
        user.extra.insert(EXTRA_NODE_NAME.into(), vec!["n1".into()]);
        let agent = Identity { user: Arc::new(user), ..Identity::default() };
        let own = &[
            "impersonate-on:associated-node:list /pods/:ns:",
            "impersonate:associated-node authentication.k8s.io/nodes/::*",
        ];
        let (user, constraint) = acts(&node, &agent, own).await.unwrap();
        assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
        assert_eq!(constraint, "impersonate:associated-node");
        let other = [("Impersonate-User", "system:node:n2")];
        let refused = acts(&other, &agent, own).await.unwrap_err();
        assert!(refused.contains("cannot impersonate-on:arbitrary-node:list"), "{refused}");
        let account = [("Impersonate-User", "system:serviceaccount:ns:sa")];
        let right = &[
            "impersonate-on:serviceaccount:list /pods/:ns:",
            "impersonate:serviceaccount authentication.k8s.io/serviceaccounts/:ns:sa",
        ];
        let groups = acts(&account, &caller("joe"), right).await.unwrap().0.groups;
        assert_eq!(groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    }

    #[tokio::test]
    async fn anonymous_stays_unauthenticated_and_the_last_way_is_tried_first() {
        let nobody = [("Impersonate-User", "system:anonymous")];
        let plain = &["impersonate /users/::system:anonymous"];
        assert_eq!(acts(&nobody, &caller("joe"), plain).await.unwrap().0.groups, ["system:unauthenticated"]);
        let last = LastModes::default();
        let about = list_pods();
        let joe = caller("joe");
        act_as(&headers(&nobody), &about, &joe, (&Allows(plain), &last)).await.unwrap();
        let refused = act_as(&headers(&nobody), &about, &joe, (&Allows(&[]), &last)).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"users "system:anonymous" is forbidden: User "joe" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
    }
}
