//! Defaults that need no knowledge of the kind: default markers, the constants that upstream's code sets on absent
//! fields, and the rounding of resource lists. Defaults that depend on other fields belong to the kinds.

use crate::schema::{Base, Container, Field, Type};
use crate::value::{Map, Value};
use mainstay_proto_api::Quantity;

/// Sets the defaults of `ty` and of everything within.
pub fn apply(object: &mut Value, ty: &'static Type) {
    if let Value::Map(map) = object
        && ty.has_defaults()
    {
        apply_struct(map, ty);
    }
}

fn apply_struct(map: &mut Map, ty: &'static Type) {
    for field in ty.defaulted() {
        if field.is_inline() {
            if let Some(inner) = field.ty().filter(|inner| inner.has_defaults()) {
                apply_struct(map, inner);
            }
            continue;
        }
        set_if_absent(map, field);
        if let Some(value) = map.get_mut(field.name) {
            apply_within(value, field, ty);
        }
    }
}

fn set_if_absent(map: &mut Map, field: &'static Field) {
    let absent = match map.get(field.name) {
        None | Some(Value::Null) => true,
        Some(value) => !field.is_pointer() && !matches!(value, Value::Map(_)) && value.is_empty(),
    };
    if !absent {
        return;
    }
    if let Some(default) = field.code_default.as_ref().or(field.default.as_ref()) {
        if field.is_pointer() || !default.is_empty() || matches!(default, Value::Map(_)) {
            map.insert(field.name, default);
        }
        return;
    }
    // A struct that is not a pointer is always there for upstream, so its own defaults are set.
    let inner = field.ty().filter(|inner| inner.has_defaults());
    if let Some(inner) = inner
        && field.container == Container::One
        && field.base == Base::Struct
        && !field.is_pointer()
    {
        let mut members = Map::new();
        apply_struct(&mut members, inner);
        if !members.is_empty() {
            map.insert(field.name, members);
        }
    }
}

fn apply_within(value: &mut Value, field: &'static Field, owner: &'static Type) {
    if field.base == Base::Quantity {
        if let Value::Map(amounts) = value
            && owner.name.starts_with("core/")
        {
            amounts.values_mut().for_each(round_up);
        }
        return;
    }
    let Some(ty) = field.ty().filter(|ty| ty.has_defaults()) else { return };
    if field.base != Base::Struct {
        return;
    }
    match value {
        Value::List(items) => items.iter_mut().for_each(|item| apply(item, ty)),
        Value::Map(members) if field.container == Container::Map => {
            members.values_mut().for_each(|member| apply(member, ty));
        }
        Value::Map(members) => apply_struct(members, ty),
        _ => {}
    }
}

/// Rounds one amount of a resource list up to thousandths.
fn round_up(amount: &mut Value) {
    let Some(quantity) = amount.as_str().and_then(|text| text.parse::<Quantity>().ok()) else { return };
    let rounded = quantity.rounded_to_milli();
    if rounded != quantity {
        *amount = Value::Str(rounded.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup;
    use crate::value;

    fn defaulted(type_name: &str, mut object: Value) -> Value {
        apply(&mut object, lookup(type_name).unwrap());
        object
    }

    #[test]
    fn constants_are_set_where_nothing_stands() {
        let pod = value!({"spec": {"containers": [{
            "name": "a",
            "ports": [{"containerPort": 80}, {"containerPort": 81, "protocol": "UDP"}],
            "livenessProbe": {"periodSeconds": 5, "failureThreshold": 0},
            "resources": {"limits": {"cpu": "1500u"}},
        }], "volumes": [{"name": "v", "configMap": {"name": "c"}}]}});
        let want = value!({"spec": {
            "containers": [{
                "name": "a",
                "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "UDP"}],
                "livenessProbe": {"periodSeconds": 5, "failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1},
                "resources": {"limits": {"cpu": "2m"}},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        }});
        assert_eq!(defaulted("core/v1.Pod", pod), want);
    }

    #[test]
    fn structs_that_are_no_pointers_are_defaulted_even_when_absent() {
        let got = defaulted("apps/v1.Deployment", value!({"spec": {"replicas": 0}}));
        assert_eq!(got.path_i64(&["spec", "replicas"]), Some(0));
        assert_eq!(got.path_str(&["spec", "strategy", "type"]), Some("RollingUpdate"));
        assert_eq!(got.path_str(&["spec", "template", "spec", "restartPolicy"]), Some("Always"));
        assert_eq!(defaulted("core/v1.Namespace", value!({})).path_str(&["status", "phase"]), Some("Active"));
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let once = defaulted("core/v1.Service", value!({"spec": {"ports": [{"port": 80}]}}));
        assert_eq!(defaulted("core/v1.Service", once.clone()), once);
    }
}
