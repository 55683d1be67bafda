//! All roles and bindings in a form that answers "what grants does this user have" without a scan.
//!
//! The maps are persistent: applying one change copies only the path to it, so that readers keep a consistent
//! version while the next is made.

use std::sync::Arc;

use imbl::HashMap;
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};

use super::rule::PolicyRule;
use crate::authn::user::SERVICE_ACCOUNT_PREFIX;
use crate::types::UserInfo;

/// Where a role or binding lives: cluster-wide (empty namespace) or in one namespace; with its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The namespace, empty for the cluster's.
    pub namespace: SmolStr,
    /// The object's name.
    pub name: SmolStr,
}

/// What a binding grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// Whether the role is a `ClusterRole`.
    pub cluster: bool,
    /// Its name.
    pub name: SmolStr,
}

impl RoleRef {
    /// Reads `roleRef` of a binding.
    pub fn from_binding(binding: &Value) -> Self {
        let field = |name: &str| binding.path(&["roleRef", name]).and_then(Value::as_str).unwrap_or_default();
        Self { cluster: field("kind") == "ClusterRole", name: field("name").into() }
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        if self.cluster { "ClusterRole" } else { "Role" }
    }
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// A user by name.
    User,
    /// A group by name.
    Group,
    /// A service account by namespace and name.
    ServiceAccount,
}

/// Whom a binding grants its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// The namespace of a service account.
    pub namespace: SmolStr,
    /// The name.
    pub name: SmolStr,
}

impl Subject {
    fn from_value(value: &Value, binding_namespace: &str) -> Option<Self> {
        let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = match field("kind") {
            "User" => SubjectKind::User,
            "Group" => SubjectKind::Group,
            "ServiceAccount" => SubjectKind::ServiceAccount,
            _ => return None,
        };
        let namespace = match field("namespace") {
            "" => binding_namespace,
            own => own,
        };
        if kind == SubjectKind::ServiceAccount && namespace.is_empty() {
            return None;
        }
        Some(Self { kind, namespace: namespace.into(), name: field("name").into() })
    }

    /// How grants name it: `Group "system:masters"`, `ServiceAccount "name/namespace"`.
    fn describe(&self) -> String {
        match self.kind {
            SubjectKind::User => format!("User {:?}", self.name),
            SubjectKind::Group => format!("Group {:?}", self.name),
            SubjectKind::ServiceAccount => {
                format!("ServiceAccount {:?}", format!("{}/{}", self.name, self.namespace))
            }
        }
    }

    fn holder(&self) -> Holder {
        match self.kind {
            SubjectKind::User => Holder::User(self.name.clone()),
            SubjectKind::Group => Holder::Group(self.name.clone()),
            SubjectKind::ServiceAccount => {
                Holder::User(format_smolstr!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.name))
            }
        }
    }
}

/// A binding of a role to subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The role.
    pub role: RoleRef,
    /// The subjects.
    pub subjects: Vec<Subject>,
}

impl Binding {
    /// Reads a stored binding. Subjects of unknown kinds grant nothing.
    pub fn from_value(binding: &Value, namespace: &str) -> Self {
        let subjects = binding.get("subjects").and_then(Value::as_list).unwrap_or_default();
        Self {
            role: RoleRef::from_binding(binding),
            subjects: subjects.iter().filter_map(|subject| Subject::from_value(subject, namespace)).collect(),
        }
    }
}

/// Who holds a grant, by the name it is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    User(SmolStr),
    Group(SmolStr),
}

/// One binding seen from one of its subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    binding: Scope,
    role: RoleRef,
    subject: Subject,
}

/// All roles and bindings. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct RbacIndex {
    roles: HashMap<Scope, Arc<[PolicyRule]>>,
    bindings: HashMap<Scope, Arc<Binding>>,
    /// Grants by the binding's namespace and the holder.
    grants: HashMap<(SmolStr, Holder), Arc<[Grant]>>,
}

/// A grant that applies to a user, with the role's rules, or why they are missing.
pub struct Applied<'a> {
    /// The rules; none if the role does not exist.
    pub rules: Option<&'a [PolicyRule]>,
    grant: &'a Grant,
}

impl Applied<'_> {
    /// Upstream's reason for what this grant allows.
    pub fn describe(&self) -> String {
        let grant = self.grant;
        let (kind, binding) = if grant.binding.namespace.is_empty() {
            ("ClusterRoleBinding", grant.binding.name.to_string())
        } else {
            ("RoleBinding", format!("{}/{}", grant.binding.name, grant.binding.namespace))
        };
        let (role, subject) = (&grant.role, grant.subject.describe());
        format!("RBAC: allowed by {kind} {binding:?} of {} {:?} to {subject}", role.kind(), role.name)
    }

    /// Upstream's error for the missing role.
    pub fn missing(&self) -> String {
        let role = &self.grant.role;
        format!("{}.rbac.authorization.k8s.io {:?} not found", role.kind().to_lowercase(), role.name)
    }
}

impl RbacIndex {
    /// Adds or replaces a role.
    pub fn set_role(&mut self, at: Scope, rules: Vec<PolicyRule>) {
        self.roles.insert(at, rules.into());
    }

    /// Removes a role.
    pub fn remove_role(&mut self, at: &Scope) {
        self.roles.remove(at);
    }

    /// Adds or replaces a binding.
    pub fn set_binding(&mut self, at: &Scope, binding: Binding) {
        self.remove_binding(at);
        for subject in &binding.subjects {
            let grant = Grant { binding: at.clone(), role: binding.role.clone(), subject: subject.clone() };
            let key = (at.namespace.clone(), subject.holder());
            let mut held = self.grants.get(&key).map(|grants| grants.to_vec()).unwrap_or_default();
            held.push(grant);
            // A fixed order makes the reasons the same after every restart.
            held.sort_by(|a, b| a.binding.cmp(&b.binding));
            self.grants.insert(key, held.into());
        }
        self.bindings.insert(at.clone(), Arc::new(binding));
    }

    /// Removes a binding.
    pub fn remove_binding(&mut self, at: &Scope) {
        let Some(old) = self.bindings.remove(at) else { return };
        for subject in &old.subjects {
            let key = (at.namespace.clone(), subject.holder());
            let Some(held) = self.grants.get(&key) else { continue };
            let kept: Vec<Grant> = held.iter().filter(|grant| grant.binding != *at).cloned().collect();
            if kept.is_empty() {
                self.grants.remove(&key);
            } else {
                self.grants.insert(key, kept.into());
            }
        }
    }

    /// The rules of a role as a binding in `namespace` refers to it.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Option<&[PolicyRule]> {
        let namespace = if role.cluster { "" } else { namespace };
        let at = Scope { namespace: namespace.into(), name: role.name.clone() };
        self.roles.get(&at).map(|rules| &**rules)
    }

    /// Every grant that applies to the user: the cluster's, and those of `namespace` unless it is empty.
    pub fn applied<'a>(&'a self, user: &UserInfo, namespace: &str) -> impl Iterator<Item = Applied<'a>> {
        let mut found: Vec<&'a Grant> = Vec::new();
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            let start = found.len();
            let user_key = (SmolStr::from(*scope), Holder::User(user.name.clone()));
            found.extend(self.grants.get(&user_key).into_iter().flat_map(|grants| grants.iter()));
            for group in &user.groups {
                let key = (SmolStr::from(*scope), Holder::Group(group.clone()));
                found.extend(self.grants.get(&key).into_iter().flat_map(|grants| grants.iter()));
            }
            if let Some(scoped) = found.get_mut(start..) {
                scoped.sort_by(|a, b| a.binding.cmp(&b.binding));
            }
        }
        found
            .into_iter()
            .map(|grant| Applied { rules: self.role_rules(&grant.role, &grant.binding.namespace), grant })
    }

    /// All rules of the user in `namespace`, and the errors of roles that do not exist.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for applied in self.applied(user, namespace) {
            match applied.rules {
                Some(held) => rules.extend_from_slice(held),
                None => errors.push(applied.missing()),
            }
        }
        (rules, errors)
    }
}
