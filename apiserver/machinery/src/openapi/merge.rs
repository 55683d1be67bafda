//! OpenAPI v2 of other servers, as part of ours: the paths that are theirs, with the definitions that those need. Pure.
//!
//! The rules are those of upstream's aggregator: our paths win; equal definitions are shared, whatever kinds they stand for; of
//! different ones with one name the later one is renamed.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::value::{Map, Value};

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
/// Which kinds a definition stands for.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// The part of another server's document that is below `prefix` (such as `/apis/metrics.k8s.io/v1beta1/`): its paths, and the
/// definitions that they lead to. Shared parameters are written out where they are used.
pub fn part_below(document: &Value, prefix: &str) -> Value {
    let parameters = document.get("parameters").and_then(Value::as_map);
    let mut paths = Map::default();
    for (path, item) in document.get("paths").and_then(Value::as_map).into_iter().flatten() {
        if path.starts_with(prefix) {
            paths.insert(path.clone(), with_parameters(item, parameters));
        }
    }
    let definitions = document.get("definitions").and_then(Value::as_map).map(|all| reachable(&paths, all));
    let mut out = Value::map();
    out.set_path(&["paths"], Value::from(paths));
    out.set_path(&["definitions"], Value::from(definitions.unwrap_or_default()));
    out
}

/// The definitions that paths lead to, by name.
fn reachable(paths: &Map, all: &Map) -> Map {
    let mut due: Vec<&str> = Vec::new();
    paths.values().for_each(|item| references(item, &mut |name| due.push(name)));
    let mut found: BTreeMap<&str, &Value> = BTreeMap::new();
    while let Some(name) = due.pop() {
        let Some(definition) = all.get(name) else { continue };
        if found.insert(name, definition).is_none() {
            references(definition, &mut |name| due.push(name));
        }
    }
    found.into_iter().map(|(name, definition)| (SmolStr::new(name), definition.clone())).collect()
}

/// Calls `found` with the name of each definition that is referred to.
fn references<'v>(value: &'v Value, found: &mut impl FnMut(&'v str)) {
    match value {
        Value::Map(map) => {
            if let Some(name) =
                map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(DEFINITIONS))
            {
                found(name);
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::List(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// A path with its shared parameters written out.
fn with_parameters(value: &Value, known: Option<&Map>) -> Value {
    match value {
        Value::Map(map) => {
            let shared = map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(PARAMETERS));
            if let Some(parameter) = shared.and_then(|name| known?.get(name)) {
                return parameter.clone();
            }
            let members = map.iter().map(|(name, value)| (name.clone(), with_parameters(value, known)));
            Value::from(members.collect::<Map>())
        }
        Value::List(items) => Value::List(items.iter().map(|value| with_parameters(value, known)).collect()),
        other => other.clone(),
    }
}

/// Adds a part to a document.
pub(super) fn add(document: &mut Value, part: &Value) {
    let empty = Map::default();
    let members = |field| part.get(field).and_then(Value::as_map).unwrap_or(&empty);
    let map = document.make_map();
    let own = map.get_or_insert_map("paths");
    let new = members("paths").iter().filter(|(path, _)| own.get(path).is_none());
    let paths: Map = new.map(|(path, item)| (path.clone(), item.clone())).collect();
    let definitions = reachable(&paths, members("definitions"));
    let renames = take_definitions(map.get_or_insert_map("definitions"), &definitions);
    let own = map.get_or_insert_map("paths");
    for (path, item) in &paths {
        own.insert(path.clone(), renamed(item, &renames));
    }
}

/// Takes definitions over, and gives the new names of those whose own are taken.
fn take_definitions<'v>(own: &mut Map, definitions: &'v Map) -> BTreeMap<&'v str, String> {
    let mut renames: BTreeMap<&str, String> = BTreeMap::new();
    let mut new: BTreeSet<String> = BTreeSet::new();
    for (name, definition) in definitions {
        let Some(known) = own.get(name) else { continue };
        if is_same(known, definition) {
            continue;
        }
        let mut number = 2;
        let to = loop {
            let to = format!("{name}_v{number}");
            let is_free = own.get(&to).is_none_or(|known| is_same(known, definition));
            if is_free && definitions.get(&to).is_none() && !new.contains(&to) {
                break to;
            }
            number += 1;
        };
        new.insert(to.clone());
        renames.insert(name, to);
    }
    for (name, definition) in definitions {
        let to = renames.get(name.as_str()).map_or(name.as_str(), String::as_str);
        match own.get_mut(to) {
            Some(known) => add_kinds(known, definition),
            None => {
                own.insert(to, renamed(definition, &renames));
            }
        }
    }
    renames
}

/// Whether two definitions are the same but for the kinds that they stand for.
fn is_same(one: &Value, other: &Value) -> bool {
    let (Value::Map(one), Value::Map(other)) = (one, other) else { return one == other };
    let without = |map: &Map| map.iter().filter(|(name, _)| *name != KINDS).count();
    without(one) == without(other)
        && one.iter().filter(|(name, _)| *name != KINDS).all(|(name, value)| other.get(name) == Some(value))
}

/// Adds the kinds that an equal definition stands for.
fn add_kinds(known: &mut Value, definition: &Value) {
    let new = definition.path_list(&[KINDS]);
    let mut kinds = known.path_list(&[KINDS]).to_vec();
    let before = kinds.len();
    kinds.extend(new.iter().filter(|kind| !known.path_list(&[KINDS]).contains(kind)).cloned());
    if kinds.len() > before {
        known.set_path(&[KINDS], Value::List(kinds));
    }
}

/// A value whose references follow the new names.
fn renamed(value: &Value, renames: &BTreeMap<&str, String>) -> Value {
    if renames.is_empty() {
        return value.clone();
    }
    match value {
        Value::Map(map) => {
            let member = |(name, value): &(SmolStr, Value)| {
                let to =
                    value.as_str().filter(|_| name == "$ref").and_then(|to| to.strip_prefix(DEFINITIONS));
                let value = match to.and_then(|to| renames.get(to)) {
                    Some(to) => Value::from(format!("{DEFINITIONS}{to}")),
                    None => renamed(value, renames),
                };
                (name.clone(), value)
            };
            Value::from(map.iter().map(member).collect::<Map>())
        }
        Value::List(items) => Value::List(items.iter().map(|value| renamed(value, renames)).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn remote() -> Value {
        value!({
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string"}},
            "paths": {
                "/apis/a/v1/things": {"get": {"parameters": [{"$ref": "#/parameters/pretty"}],
                    "responses": {"200": {"schema": {"$ref": "#/definitions/Thing"}}}}},
                "/apis/a/v1beta1/things": {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/Old"}}}}},
                "/version/": {"get": {}}},
            "definitions": {
                "Thing": {"type": "object", "properties": {"meta": {"$ref": "#/definitions/Meta"},
                    "more": {"type": "array", "items": {"$ref": "#/definitions/Thing"}}}},
                "Meta": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "a", "kind": "Meta"}]},
                "Old": {"type": "object"}, "Unused": {"type": "object"}}})
    }

    fn names(document: &Value, field: &str) -> Vec<String> {
        document.get(field).unwrap().as_map().unwrap().iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn a_part_has_its_paths_with_what_they_need() {
        let part = part_below(&remote(), "/apis/a/v1/");
        assert_eq!(names(&part, "paths"), ["/apis/a/v1/things"]);
        assert_eq!(names(&part, "definitions"), ["Meta", "Thing"]);
        let get = part.path(&["paths", "/apis/a/v1/things", "get"]).unwrap();
        assert_eq!(get.path_list(&["parameters"])[0].path_str(&["in"]), Some("query"), "written out");
        assert_eq!(
            part_below(&value!({"paths": 7}), "/"),
            part_below(&Value::Null, "/"),
            "nothing is no fault"
        );
    }

    #[test]
    fn equal_definitions_are_shared_and_different_ones_renamed() {
        let part = part_below(&remote(), "/apis/a/v1/");
        let mut document = value!({
            "paths": {"/api": {}},
            "definitions": {
                "Thing": {"type": "string"}, "Thing_v2": {"type": "number"},
                "Meta": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "", "kind": "Meta"}]}}});
        add(&mut document, &part);
        assert_eq!(names(&document, "paths"), ["/api", "/apis/a/v1/things"]);
        assert_eq!(names(&document, "definitions"), ["Meta", "Thing", "Thing_v2", "Thing_v3"]);
        let schema =
            document.path(&["paths", "/apis/a/v1/things", "get", "responses", "200", "schema"]).unwrap();
        assert_eq!(schema.path_str(&["$ref"]), Some("#/definitions/Thing_v3"));
        let own = document.path(&["definitions", "Thing_v3", "properties", "more", "items"]).unwrap();
        assert_eq!(own.path_str(&["$ref"]), Some("#/definitions/Thing_v3"), "in itself too");
        let kinds = document.path_list(&["definitions", "Meta", KINDS]);
        assert_eq!(kinds.len(), 2, "one definition for both kinds");
        let before = document.clone();
        add(&mut document, &part);
        assert_eq!(document, before, "twice is once");
    }
}
