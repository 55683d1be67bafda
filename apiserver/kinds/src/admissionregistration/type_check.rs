//! What a ValidatingAdmissionPolicy's status says of its expressions: those that do not fit the types of the objects it is
//! about. Pure. A policy works whatever its status says.

use super::expressions::AdmissionNames;
use crate::CONFIG_MAP;
use mainstay_apiserver_cel::{Environment, Shape, Type};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::schema::Field;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::sync::{Arc, LazyLock};

/// Kinds that one policy is checked against at most; upstream's.
const KINDS_MAX: usize = 10;

/// Finds a kind by group, version and a name.
type Find<'f> = dyn Fn(&str, &str, &str) -> Option<&'static Kind> + Sync + 'f;

/// The kinds that there are.
pub struct KnownKinds<'f> {
    /// By group, version and plural resource.
    pub by_resource: &'f Find<'f>,
    /// By group, version and kind.
    pub by_kind: &'f Find<'f>,
}

/// Whether the status is about the spec as it is.
pub fn has_type_check(policy: &Value) -> bool {
    let generation = policy.path_i64(&["metadata", "generation"]);
    generation.is_some() && policy.path_i64(&["status", "observedGeneration"]) == generation
}

/// The policy with a status that is about its spec. Kinds that are not there (yet) are left out; parameters of such a kind
/// are of any type.
pub fn type_checked(policy: &Value, kinds: &KnownKinds<'_>) -> Value {
    let mut out = policy.clone();
    let warnings = warnings(policy, kinds);
    let status = out.make_map().get_or_insert_map("status");
    if let Some(generation) = policy.path_i64(&["metadata", "generation"]) {
        status.insert("observedGeneration", generation);
    }
    status.insert("typeChecking", value!({"expressionWarnings": (Value::List(warnings))}));
    out
}

fn warnings(policy: &Value, kinds: &KnownKinds<'_>) -> Vec<Value> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let params = Arc::new(params_of(spec, kinds.by_kind).map_or_else(Shape::any, shape_of));
    let environments: Vec<(String, Environment)> = kinds_of(spec, kinds.by_resource)
        .into_iter()
        .map(|kind| (named(kind), environment(spec, kind, &params)))
        .collect();
    let mut out = Vec::new();
    for (at, validation) in spec.path_list(&["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(text) = validation.path_str(&[field]).filter(|text| !text.is_empty()) else { continue };
            let faults: Vec<String> = environments
                .iter()
                .filter_map(|(kind, environment)| {
                    let error = environment.compile(text).err()?;
                    Some(format!("{kind}: compilation failed: {error}\n"))
                })
                .collect();
            if !faults.is_empty() {
                out.push(value!({
                    "fieldRef": format!("spec.validations[{at}].{field}"),
                    "warning": faults.join("\n"),
                }));
            }
        }
    }
    out
}

fn named(kind: &Kind) -> String {
    let version = if kind.group.is_empty() {
        format!("/{}", kind.version)
    } else {
        format!("{}/{}", kind.group, kind.version)
    };
    format!("{version}, Kind={}", kind.kind)
}

/// What objects of a kind are.
fn shape_of(kind: &'static Kind) -> Shape {
    if !kind.is_custom {
        return Shape::of_built_in(kind.schema());
    }
    // A definition that goes away meanwhile has no schema any more.
    kind.rules.structural().map_or_else(Shape::any, |schema| Shape::of_resource(&schema, &OBJECT_META))
}

/// `metadata` of any object.
static OBJECT_META: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let metadata = CONFIG_MAP.schema().field("metadata").and_then(Field::ty);
    Arc::new(metadata.map_or_else(Shape::any, Shape::of_built_in))
});

/// The kind of the parameters, if there are any and it is there.
fn params_of(spec: &Value, find: &Find<'_>) -> Option<&'static Kind> {
    let version = spec.path_str(&["paramKind", "apiVersion"])?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    find(group, version, spec.path_str(&["paramKind", "kind"])?)
}

/// The names of expressions where the object is of `kind`, with the variables that compile.
fn environment(spec: &Value, kind: &'static Kind, params: &Arc<Shape>) -> Environment {
    let names = AdmissionNames {
        params: spec.get("paramKind").is_some_and(|kind| !kind.is_null()),
        authorizer: true,
        variables: true,
    };
    let plain = names.environment_of(&Arc::new(shape_of(kind)), params);
    let mut variables: Vec<(SmolStr, Type)> = Vec::new();
    for variable in spec.path_list(&["variables"]) {
        let text = |field: &str| variable.path_str(&[field]).unwrap_or_default();
        let compiled = plain.clone().with_fields(variables.clone()).compile(text("expression"));
        variables.push((text("name").into(), compiled.map_or(Type::Dyn, |program| program.result().clone())));
    }
    plain.with_fields(variables)
}

/// The kinds that a policy is about, without those of rules that name any, sorted.
fn kinds_of(spec: &Value, find: &Find<'_>) -> Vec<&'static Kind> {
    let mut found: Vec<&'static Kind> = Vec::new();
    for rule in spec.path_list(&["matchConstraints", "resourceRules"]) {
        let texts = |field: &str| -> Vec<&str> {
            rule.path_list(&[field]).iter().filter_map(Value::as_str).collect()
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let resources = texts("resources").into_iter().filter(|one| !one.contains(['*', '/']));
        for resource in resources {
            for (group, version) in
                groups.iter().flat_map(|group| versions.iter().map(move |one| (group, one)))
            {
                if let Some(kind) = find(group, version, resource)
                    && !found.contains(&kind)
                    && found.len() < KINDS_MAX
                {
                    found.push(kind);
                }
            }
        }
    }
    found.sort_by_key(|kind| (kind.group, kind.version, kind.kind));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{all, by_gvr};

    const KNOWN: KnownKinds<'static> = KnownKinds {
        by_resource: &|group, version, resource| by_gvr(group, version, resource),
        by_kind: &|group, version, name| {
            let is_it = |kind: &&&Kind| (kind.group, kind.version, kind.kind) == (group, version, name);
            all().iter().find(is_it).copied()
        },
    };

    /// The warnings, each with its field and first line.
    fn told(checked: &Value) -> Vec<String> {
        let warnings = checked.path_list(&["status", "typeChecking", "expressionWarnings"]).iter();
        let text = |one: &Value, field: &str| one.path_str(&[field]).unwrap().to_owned();
        warnings
            .map(|one| format!("{} {}", text(one, "fieldRef"), text(one, "warning").lines().next().unwrap()))
            .collect()
    }

    #[test]
    fn parameters_are_of_their_kinds_type() {
        let policy = |kind: &str| {
            value!({"metadata": {"generation": 1}, "spec": {
                "paramKind": {"apiVersion": "v1", "kind": kind},
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]},
                "validations": [
                    {"expression": "params.data['max'] == 'x'"},
                    {"expression": "object.spec.replicas > params.spec.max"}]}})
        };
        assert_eq!(
            told(&type_checked(&policy("ConfigMap"), &KNOWN)),
            [
                "spec.validations[1].expression apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:30: undefined field 'spec'"
            ]
        );
        assert!(told(&type_checked(&policy("Unknown"), &KNOWN)).is_empty(), "it may be defined later");
    }

    #[test]
    fn what_does_not_fit_the_types_is_told_by_kind() {
        let policy = value!({"metadata": {"generation": 2}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/scale"]},
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]},
                {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"]}]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [
                {"expression": "object.metadata.labels.size() > 0"},
                {"expression": "object.spec.replicas > 1 && variables.n > 1"},
                {"expression": "variables.n == 'x'", "messageExpression": "object.metadata.name"},
                {"expression": "object.spec.template.spec.containers.all(c, c.image.startsWith('x'))"}]}});
        let checked = type_checked(&policy, &KNOWN);
        assert!(has_type_check(&checked) && !has_type_check(&policy));
        assert_eq!(
            told(&checked),
            [
                "spec.validations[1].expression /v1, Kind=ConfigMap: compilation failed: ERROR: <input>:1:7: undefined field 'spec'",
                "spec.validations[2].expression apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'",
                "spec.validations[3].expression /v1, Kind=ConfigMap: compilation failed: ERROR: <input>:1:7: undefined field 'spec'",
            ]
        );
    }
}
