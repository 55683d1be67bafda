//! Paths of the kinds: collections, objects, subresources.

use super::document::Dialect;
use super::operations::{Operation, PATCH};
use super::{definitions, parameters};
use crate::kind::{Kind, Subresource};
use crate::schema;
use crate::value::Value;
use std::borrow::Cow;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Every path of these kinds.
pub(super) fn all(kinds: &[&'static Kind], dialect: Dialect) -> Value {
    let mut out = Value::map();
    for kind in kinds {
        let tag = tag(kind);
        let root = if kind.group.is_empty() {
            format!("/api/{}", kind.version)
        } else {
            format!("/apis/{}/{}", kind.group, kind.version)
        };
        let collection = if kind.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("{root}/{}", kind.plural)
        };
        let context = Context {
            kind,
            tag: &tag,
            dialect,
            own: definitions::name(kind),
            list: definitions::list_name(kind),
        };
        context.collection(&collection, &mut out);
        if kind.namespaced && kind.has_verb("list") {
            context.across_namespaces(&format!("{root}/{}", kind.plural), &mut out);
        }
        let object = format!("{collection}/{{name}}");
        context.object(&object, &mut out);
        for sub in kind.subresources {
            context.subresource(&format!("{object}/{}", sub.name), sub, &mut out);
        }
    }
    out
}

/// `core_v1`, `apps_v1`.
fn tag(kind: &Kind) -> String {
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    format!("{}_{}", short.replace(['.', '-'], "_"), kind.version)
}

struct Context<'a> {
    kind: &'static Kind,
    tag: &'a str,
    dialect: Dialect,
    /// OpenAPI name of the kind's objects.
    own: Cow<'static, str>,
    /// OpenAPI name of a list of them.
    list: Option<Cow<'static, str>>,
}

impl<'a> Context<'a> {
    fn operation(&'a self, action: &'static str, verb: &str, suffix: &str) -> Operation<'a> {
        let group_version: String = self
            .tag
            .split('_')
            .map(|part| part[..1].to_uppercase() + part.get(1..).unwrap_or_default())
            .collect();
        let scope = if self.kind.namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        Operation {
            action,
            id: format!("{verb}{group_version}{scope}{}{suffix}", self.kind.kind),
            tag: self.tag,
            group: self.kind.group,
            version: self.kind.version,
            kind: self.kind.kind,
            body: None,
            answer: Some(&self.own),
        }
    }

    fn put(&self, out: &mut Value, path: &str, method: &str, operation: &Operation<'_>) {
        out.set_path(&[path, method], operation.render(self.dialect));
    }

    fn collection(&'a self, path: &str, out: &mut Value) {
        let list = self.list.as_deref();
        if let Some(list) = list {
            let operation = Operation { answer: Some(list), ..self.operation("list", "list", "") };
            self.put(out, path, "get", &operation);
        }
        if self.kind.has_verb("create") {
            let body = Some(&*self.own);
            self.put(out, path, "post", &Operation { body, ..self.operation("post", "create", "") });
        }
        if self.kind.has_verb("deletecollection") {
            let operation = Operation {
                body: Some(DELETE_OPTIONS),
                answer: Some(STATUS),
                ..self.operation("deletecollection", "deleteCollection", "")
            };
            self.put(out, path, "delete", &operation);
        }
        self.path_parameters(out, path, self.kind.namespaced, false);
    }

    fn across_namespaces(&'a self, path: &str, out: &mut Value) {
        let list = self.list.as_deref();
        let operation = Operation { answer: list, ..self.operation("list", "list", "ForAllNamespaces") };
        self.put(out, path, "get", &operation);
    }

    fn object(&'a self, path: &str, out: &mut Value) {
        let own = Some(&*self.own);
        let mut any = false;
        for (verb, method, action, name, body) in [
            ("get", "get", "get", "read", None),
            ("update", "put", "put", "replace", own),
            ("patch", "patch", "patch", "patch", Some(PATCH)),
        ] {
            if self.kind.has_verb(verb) {
                self.put(out, path, method, &Operation { body, ..self.operation(action, name, "") });
                any = true;
            }
        }
        if self.kind.has_verb("delete") {
            let answer = if self.kind.rules.returns_deleted_object() { own } else { Some(STATUS) };
            let operation =
                Operation { body: Some(DELETE_OPTIONS), answer, ..self.operation("delete", "delete", "") };
            self.put(out, path, "delete", &operation);
            any = true;
        }
        if any {
            self.path_parameters(out, path, self.kind.namespaced, true);
        }
    }

    fn subresource(&'a self, path: &str, sub: &'static Subresource, out: &mut Value) {
        let suffix: String = sub.name[..1].to_uppercase() + sub.name.get(1..).unwrap_or_default();
        let connects = sub.action == crate::kind::Action::Connect;
        let type_name = match schema::lookup(sub.type_name) {
            Some(ty) if ty.is_open => Some(&*self.own),
            found => found.map(|ty| ty.openapi_name),
        };
        for (verb, method, action, name) in [
            ("get", "get", "get", "read"),
            ("create", "post", "post", "create"),
            ("update", "put", "put", "replace"),
            ("patch", "patch", "patch", "patch"),
            ("delete", "delete", "delete", "delete"),
        ] {
            if !sub.verbs.contains(&verb) {
                continue;
            }
            // What is connected to streams, unless it takes an object of its own (Binding, Eviction, TokenRequest).
            let streams = connects
                && (type_name.is_none()
                    || sub.type_name == self.kind.type_name
                    || sub.kind.ends_with("Options"));
            let operation = Operation {
                action: if streams { "connect" } else { action },
                group: sub.group,
                version: sub.version,
                kind: sub.kind,
                body: match verb {
                    "create" | "update" if !streams => type_name,
                    "patch" if !streams => Some(PATCH),
                    _ => None,
                },
                answer: if streams { None } else { type_name },
                ..self.operation(action, if streams { "connect" } else { name }, &suffix)
            };
            self.put(out, path, method, &operation);
        }
        self.path_parameters(out, path, self.kind.namespaced, true);
    }

    /// Parameters that the path itself holds.
    fn path_parameters(&self, out: &mut Value, path: &str, namespaced: bool, named: bool) {
        let mut list = Vec::new();
        if named {
            let what = format!("name of the {}", self.kind.kind);
            list.push(parameters::in_path("name", &what, self.dialect));
        }
        if namespaced {
            let what = "the namespace of the object, for authorization and auditing";
            list.push(parameters::in_path("namespace", what, self.dialect));
        }
        if !list.is_empty() && out.get(path).is_some() {
            out.set_path(&[path, "parameters"], list);
        }
    }
}
