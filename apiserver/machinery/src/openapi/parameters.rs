//! Query and path parameters of operations.

use super::document::Dialect;
use crate::value;
use crate::value::Value;

/// A query parameter: name, type, what it does.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', the output is indented.");
const DRY_RUN: Parameter = ("dryRun", "string", "'All' runs every step of the request but stores nothing.");
const FIELD_MANAGER: Parameter =
    ("fieldManager", "string", "Who makes this change; recorded with the fields that it sets.");
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "What happens to unknown and duplicate fields: 'Ignore' drops them, 'Warn' drops them and warns, 'Strict' refuses the request.",
);
const FORCE: Parameter =
    ("force", "boolean", "Take over fields that other managers own. Apply patches only.");

const LIST: [Parameter; 11] = [
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events in a watch."),
    ("continue", "string", "The token that the page before gave."),
    ("fieldSelector", "string", "Only objects whose fields have these values."),
    ("labelSelector", "string", "Only objects whose labels meet these conditions."),
    ("limit", "integer", "How many objects a page holds at most."),
    ("resourceVersion", "string", "How new the answer must be, or where a watch begins."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: 'Exact' or 'NotOlderThan'."),
    ("sendInitialEvents", "boolean", "Begin a watch with the objects that exist."),
    ("timeoutSeconds", "integer", "How long the request may take."),
    ("watch", "boolean", "Send changes as they happen instead of a list."),
    PRETTY,
];

const DELETE: [Parameter; 6] = [
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "How long the object may take to end; 0 is at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object even if it cannot be read from the store.",
    ),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "What happens to dependents: 'Orphan', 'Background' or 'Foreground'."),
    PRETTY,
];

/// The query parameters of an action.
pub(super) fn of_action(action: &str, dialect: Dialect) -> Vec<Value> {
    let named: Vec<Parameter> = match action {
        "list" | "watchlist" => LIST.to_vec(),
        "get" => vec![PRETTY],
        "post" | "put" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, PRETTY],
        "patch" => vec![DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE, PRETTY],
        "delete" => DELETE.to_vec(),
        "deletecollection" => {
            let mut both: Vec<Parameter> = LIST.iter().chain(&DELETE).copied().collect();
            both.retain(|(name, ..)| !matches!(*name, "watch" | "allowWatchBookmarks"));
            both.sort_unstable();
            both.dedup();
            both
        }
        _ => Vec::new(),
    };
    named.into_iter().map(|parameter| query(parameter, dialect)).collect()
}

fn query((name, ty, description): Parameter, dialect: Dialect) -> Value {
    let schema = value!({"type": ty, "uniqueItems": true});
    match dialect {
        Dialect::V2 => {
            value!({"name": name, "in": "query", "description": description, "type": ty, "uniqueItems": true})
        }
        Dialect::V3 => value!({"name": name, "in": "query", "description": description, "schema": schema}),
    }
}

/// A parameter that is part of the path.
pub(super) fn in_path(name: &str, description: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => value!({
            "name": name, "in": "path", "description": description, "required": true, "type": "string", "uniqueItems": true,
        }),
        Dialect::V3 => value!({
            "name": name, "in": "path", "description": description, "required": true,
            "schema": {"type": "string", "uniqueItems": true},
        }),
    }
}
