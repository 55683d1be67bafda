//! From the tree to typed values, and from any serde format to the tree.

use super::{BridgeError, Map, Value};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, Visitor,
};
use smol_str::SmolStr;

/// A typed value (a k8s-openapi struct, say) from the tree, without passing through text.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, BridgeError> {
    T::deserialize(value)
}

impl<'de> de::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tree;
        impl<'de> Visitor<'de> for Tree {
            type Value = Value;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
                de::Deserialize::deserialize(d)
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Bool(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Int(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
                Ok(Value::from(v))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
                if v.is_finite() { Ok(Value::Float(v)) } else { Err(E::custom("a number is not finite")) }
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
                Ok(Value::Str(SmolStr::new(v)))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut pairs: Vec<(SmolStr, Value)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Value::Map(Map::from_pairs(pairs)))
            }
        }
        deserializer.deserialize_any(Tree)
    }
}

impl<'de> Deserializer<'de> for &Value {
    type Error = BridgeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Int(v) => visitor.visit_i64(*v),
            Value::Float(v) => visitor.visit_f64(*v),
            Value::Str(v) => visitor.visit_str(v),
            Value::List(v) => visitor.visit_seq(Items { rest: v.iter() }),
            Value::Map(v) => visitor.visit_map(Members { rest: v.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        match self {
            Value::Str(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(map) => match (map.iter().next(), map.len()) {
                (Some((name, content)), 1) => visitor.visit_enum(Tagged { name, content }),
                _ => Err(BridgeError::custom("an enum is written as one name, or as a map of one member")),
            },
            other => Err(BridgeError::custom(format_args!("{} is no enum", other.json_kind()))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    rest: std::slice::Iter<'a, Value>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = BridgeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BridgeError> {
        self.rest.next().map(|item| seed.deserialize(item)).transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Members<'a> {
    rest: std::slice::Iter<'a, (SmolStr, Value)>,
    value: Option<&'a Value>,
}

impl<'de> de::MapAccess<'de> for Members<'_> {
    type Error = BridgeError;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, BridgeError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let key: StrDeserializer<'_, BridgeError> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, BridgeError> {
        seed.deserialize(self.value.take().unwrap_or(&Value::Null))
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// An externally tagged enum: a map of one member.
struct Tagged<'a> {
    name: &'a str,
    content: &'a Value,
}

impl<'a, 'de> de::EnumAccess<'de> for Tagged<'a> {
    type Error = BridgeError;
    type Variant = Content<'a>;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), BridgeError> {
        let name: StrDeserializer<'_, BridgeError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content<'a>(&'a Value);

impl<'de> de::VariantAccess<'de> for Content<'_> {
    type Error = BridgeError;
    fn unit_variant(self) -> Result<(), BridgeError> {
        if self.0.is_null() { Ok(()) } else { Err(BridgeError::custom("a unit variant has no content")) }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, BridgeError> {
        seed.deserialize(self.0)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, BridgeError> {
        self.0.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        self.0.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::to_value;
    use super::*;
    use crate::value;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sample {
        some_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<i32>,
        list: Vec<u16>,
        map: BTreeMap<String, f64>,
        choice: Choice,
        pair: (bool, char),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        Unit,
        Struct { a: i64 },
    }

    #[test]
    fn typed_values_pass_through_the_tree_unchanged() {
        for choice in [Choice::Unit, Choice::Struct { a: -1 }] {
            let sample = Sample {
                some_name: "n".into(),
                absent: None,
                list: vec![1, 65535],
                map: BTreeMap::from([("k".into(), 1.5)]),
                choice,
                pair: (true, 'c'),
            };
            let tree = to_value(&sample).unwrap();
            assert_eq!(tree.path_str(&["someName"]), Some("n"));
            assert_eq!(tree.get("absent"), None);
            assert_eq!(from_value::<Sample>(&tree).unwrap(), sample);
        }
    }

    #[test]
    fn a_tree_is_read_from_and_written_to_serde_json() {
        let tree = value!({"a": [1, 2.5, null, true, "x"], "b": {"c": {}}});
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(text, r#"{"a":[1,2.5,null,true,"x"],"b":{"c":{}}}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), tree);
    }
}
