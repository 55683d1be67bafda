//! One operation: its parameters, body, answers and the kind that it concerns.

use super::document::Dialect;
use super::{definitions, parameters};
use crate::value;
use crate::value::Value;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What an operation does and with which types.
pub(super) struct Operation<'a> {
    /// `get`, `list`, `post`, `put`, `patch`, `delete`, `deletecollection`, `connect`.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) tag: &'a str,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) kind: &'a str,
    /// OpenAPI name of the body's type; none for operations without.
    pub(super) body: Option<&'a str>,
    /// OpenAPI name of the answer's type; none for streams and the like.
    pub(super) answer: Option<&'a str>,
}

impl Operation<'_> {
    /// The operation as it stands in the document.
    pub(super) fn render(&self, dialect: Dialect) -> Value {
        let mut out = value!({
            "operationId": self.id.as_str(),
            "tags": [self.tag],
            "responses": self.responses(dialect),
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": {"group": self.group, "version": self.version, "kind": self.kind},
        });
        let mut parameters = parameters::of_action(self.action, dialect);
        match dialect {
            Dialect::V2 => {
                if let Some(body) = self.body {
                    parameters.push(value!({
                        "name": "body", "in": "body", "required": self.action != "delete" && self.action != "deletecollection",
                        "schema": {"$ref": dialect.reference(body)},
                    }));
                }
                let consumes = if self.action == "patch" { PATCH_TYPES.to_vec() } else { vec!["*/*"] };
                out.set_path(&["consumes"], consumes);
                let produces = if self.answer.is_some() { vec![JSON, YAML, PROTOBUF] } else { vec!["*/*"] };
                out.set_path(&["produces"], produces);
                out.set_path(&["schemes"], vec!["https"]);
            }
            Dialect::V3 => {
                if let Some(body) = self.body {
                    let media = if self.action == "patch" { PATCH_TYPES.to_vec() } else { vec!["*/*"] };
                    out.set_path(&["requestBody", "content"], content(&media, body, dialect));
                    if !self.action.starts_with("delete") {
                        out.set_path(&["requestBody", "required"], true);
                    }
                }
            }
        }
        if !parameters.is_empty() {
            out.set_path(&["parameters"], parameters);
        }
        out
    }

    fn responses(&self, dialect: Dialect) -> Value {
        let codes: &[(&str, &str)] = match self.action {
            "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            "put" | "patch" => &[("200", "OK"), ("201", "Created")],
            "delete" => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        };
        let mut out = value!({"401": {"description": "Unauthorized"}});
        for (code, description) in codes {
            let mut response = value!({"description": *description});
            match (self.answer, dialect) {
                (Some(answer), Dialect::V2) => {
                    response.set_path(&["schema"], value!({"$ref": dialect.reference(answer)}));
                }
                (Some(answer), Dialect::V3) => {
                    response.set_path(&["content"], content(&[JSON, YAML, PROTOBUF], answer, dialect));
                }
                (None, _) => {}
            }
            out.set_path(&[code], response);
        }
        out
    }
}

fn content(media: &[&str], name: &str, dialect: Dialect) -> Value {
    let mut out = Value::map();
    for media in media {
        out.set_path(&[media, "schema", "$ref"], dialect.reference(name));
    }
    out
}

/// OpenAPI name of the type that patches are.
pub(super) const PATCH: &str = definitions::PATCH;
