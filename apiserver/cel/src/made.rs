//! Objects that expressions make for mutations: their types, and what they are as a tree.

use crate::types::Type;
use crate::value::Val;
use base64::Engine;
use mainstay_apiserver_machinery::value::{Map, Value};
use smol_str::{SmolStr, format_smolstr};
use time::format_description::well_known::Rfc3339;

/// The type whose members are the steps of a JSON patch.
const JSON_PATCH: &str = "JSONPatch";
/// The type of the object that is changed; those of its members follow with dots.
const OBJECT: &str = "Object";

/// Whether a name is that of a type that expressions can make.
pub(crate) fn is_type(name: &str) -> bool {
    name == JSON_PATCH || name.split('.').next() == Some(OBJECT)
}

/// The type of a member; none for a member that the type does not have.
pub(crate) fn field_type(name: &str, field: &str) -> Option<Type> {
    if name != JSON_PATCH {
        return Some(Type::Dyn);
    }
    match field {
        "op" | "path" | "from" => Some(Type::Str),
        "value" => Some(Type::Dyn),
        _ => None,
    }
}

impl Val<'_> {
    /// The value as a tree; objects become maps.
    ///
    /// # Errors
    /// Values that no JSON can hold.
    pub fn to_tree(&self) -> Result<Value, String> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Uint(number) => Value::Int(
                i64::try_from(*number).map_err(|_range| format!("the number {number} is too large"))?,
            ),
            Self::Double(number) if !number.is_finite() => return Err(format!("{number} is no JSON")),
            Self::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Value::Int(*number as i64)
            }
            Self::Double(number) => Value::Float(*number),
            Self::Str(text) | Self::Url(text) => Value::Str(text.clone()),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::Duration(length) => format!("{}s", length.as_seconds_f64()).into(),
            Self::Timestamp(at) => at.format(&Rfc3339).map_err(|error| error.to_string())?.into(),
            Self::Tree(tree, _) => (*tree).clone(),
            Self::List(items) => Value::List(items.iter().map(Self::to_tree).collect::<Result<_, _>>()?),
            Self::Map(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs.iter() {
                    let Self::Str(key) = key else {
                        return Err(format!("map key is of type {}, not string", key.type_name()));
                    };
                    map.insert(key.clone(), value.to_tree()?);
                }
                Value::Map(map)
            }
            Self::Made(made) => {
                let mut map = Map::new();
                for (name, value) in &made.1 {
                    map.insert(name.clone(), value.to_tree()?);
                }
                Value::Map(map)
            }
            Self::Optional(Some(inner)) => inner.to_tree()?,
            other => return Err(format!("a value of type {} is no JSON", other.type_name())),
        })
    }

    /// Whether the type of every object within is named after the place where it stands, from `Object` on.
    ///
    /// # Errors
    /// Upstream's text, one line for each object that is named otherwise.
    pub fn check_made_names(&self) -> Result<(), String> {
        let mut faults = Vec::new();
        let root = match self {
            Self::Made(made) => made.0.clone(),
            _ => return Ok(()),
        };
        check_names(self, &root, &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }

    /// A member of a map or object; none when it is not there.
    pub fn field(&self, name: &str) -> Option<Result<Self, String>>
    where
        Self: Sized,
    {
        self.member(name)
    }

    /// The name of a made object's type.
    pub fn made_type(&self) -> Option<&SmolStr> {
        match self {
            Self::Made(made) => Some(&made.0),
            _ => None,
        }
    }
}

fn check_names(value: &Val<'_>, place: &SmolStr, faults: &mut Vec<String>) {
    match value {
        Val::Made(made) => {
            if made.0 != *place {
                faults.push(format!(
                    "unexpected type name {:?}, expected {:?}, which matches field name path from root Object type",
                    made.0.as_str(),
                    place.as_str()
                ));
            }
            for (name, value) in &made.1 {
                check_names(value, &format_smolstr!("{place}.{name}"), faults);
            }
        }
        Val::List(items) => items.iter().for_each(|item| check_names(item, place, faults)),
        Val::Map(pairs) => pairs.iter().for_each(|(_, value)| check_names(value, place, faults)),
        Val::Optional(Some(inner)) => check_names(inner, place, faults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Meter;
    use crate::program::{Environment, Variable};
    use crate::shape::Shape;
    use mainstay_apiserver_machinery::value;
    use std::sync::Arc;

    fn made(text: &str) -> Result<Value, String> {
        let any = Arc::new(Shape::any());
        let environment = Environment::of(vec![Variable::new("object", any)]).making_objects();
        let program = environment.compile(text).map_err(|error| error.to_string())?;
        let object = value!({"spec": {"replicas": 2, "names": ["a"]}});
        let names = vec![("object", Val::new(&object, None).unwrap())];
        let value = program.run(names, &mut Meter::new(10_000)).map_err(|error| error.to_string())?;
        value.check_made_names()?;
        value.to_tree()
    }

    #[test]
    fn objects_and_patches_are_made() {
        for (text, wanted) in [
            ("Object{}", value!({})),
            (
                "Object{spec: Object.spec{replicas: object.spec.replicas + 1, names: object.spec.names}}",
                value!({"spec": {"replicas": 3, "names": ["a"]}}),
            ),
            (
                "Object{metadata: Object.metadata{?labels: object.?metadata.labels, annotations: {'a': 'b'}}}",
                value!({"metadata": {"annotations": {"a": "b"}}}),
            ),
            (
                "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'x', ports: [1, 2]}]}}",
                value!({"spec": {"containers": [{"name": "x", "ports": [1, 2]}]}}),
            ),
            (
                "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('x/y~'), value: Object.spec{a: 1.5}}]",
                value!([{"op": "add", "path": "/a/x~1y~0", "value": {"a": 1.5}}]),
            ),
            ("Object{spec: Object.spec{a: 1}} == Object{spec: Object.spec{a: 1}}", Value::Bool(true)),
            ("Object{spec: Object.spec{a: 1}}.spec.a", Value::Int(1)),
        ] {
            assert_eq!(made(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_made_wrongly_is_told() {
        for (text, why) in [
            ("Thing{a: 1}", "undeclared reference to 'Thing' (in container '')"),
            ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
            ("JSONPatch{what: 1}", "undefined field 'what'"),
            ("[Object{}, Object.spec{}]", "expected type 'Object' but found 'Object.spec'"),
            (
                "Object{spec: Object.status{}}",
                r#"unexpected type name "Object.status", expected "Object.spec""#,
            ),
            ("Object{a 1}", "Syntax error: mismatched input '1'"),
        ] {
            let told = made(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        let plain = Environment::of(Vec::new()).compile("Object{}").unwrap_err().to_string();
        assert!(plain.contains("undeclared reference to 'Object'"), "{plain}");
    }
}
