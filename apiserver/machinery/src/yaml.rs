//! YAML bodies: read into the tree within a budget, then held against the schema like JSON.

use crate::json::{self, DecodeError, Decoded, Strictness, TREE_DEPTH_MAX};
use crate::schema::Type;
use crate::value::{Key, Map, Value};
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use smol_str::{SmolStr, ToSmolStr};
use std::cell::{Cell, RefCell};

/// Values and bytes that aliases may add to what the text itself holds.
const ALIAS_BUDGET: usize = 500_000;

/// Decodes one YAML document (JSON is YAML too) as [`json::decode`] does.
pub fn decode(
    body: &[u8],
    ty: Option<&'static Type>,
    strictness: Strictness,
) -> Result<Decoded, DecodeError> {
    // A flow mapping may still be no JSON, or wrong JSON: then the way below finds out which.
    if body.trim_ascii_start().starts_with(b"{")
        && let Ok(decoded) = json::decode(body, ty, strictness)
    {
        return Ok(decoded);
    }
    let (value, duplicates) = read(body)?;
    let decoded = match ty {
        Some(ty) => json::conform(&value, ty, strictness),
        None => Ok(Decoded { value, warnings: Vec::new() }),
    };
    if duplicates.is_empty() || strictness == Strictness::Ignore {
        return decoded;
    }
    match decoded {
        Ok(decoded) if strictness == Strictness::Warn => {
            Ok(Decoded { warnings: duplicates.into_iter().chain(decoded.warnings).collect(), ..decoded })
        }
        Ok(_) => Err(DecodeError::Strict(duplicates)),
        Err(DecodeError::Strict(more)) => {
            Err(DecodeError::Strict(duplicates.into_iter().chain(more).collect()))
        }
        Err(other) => Err(other),
    }
}

/// The tree and the texts about duplicate keys.
fn read(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    let text = std::str::from_utf8(body).map_err(|e| DecodeError::NotUtf8 { at: e.valid_up_to() })?;
    if flow_depth(text) > TREE_DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let reader = Reader { budget: Cell::new(text.len() + ALIAS_BUDGET), duplicates: RefCell::default() };
    let value = Node(&reader)
        .deserialize(serde_yaml_ng::Deserializer::from_str(text))
        .map_err(|e| DecodeError::Syntax(format!("yaml: {e}")))?;
    Ok((value, reader.duplicates.into_inner()))
}

/// How deep brackets are open at the deepest place. The parser's work grows with it, so it is bounded first; brackets
/// within strings count too, which only matters when hundreds of them are not closed.
fn flow_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Reader {
    budget: Cell<usize>,
    duplicates: RefCell<Vec<String>>,
}

impl Reader {
    fn spend<E: de::Error>(&self, amount: usize) -> Result<(), E> {
        match self.budget.get().checked_sub(amount) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(E::custom("document contains excessive aliasing")),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'r>(&'r Reader);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any YAML value that JSON can tell")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.spend(1).map(|()| Value::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        self.0.spend(1).map(|()| Value::Bool(v))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        self.0.spend(1).map(|()| Value::Int(v))
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        self.0.spend(1).map(|()| Value::from(v))
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        if v.is_finite() {
            self.0.spend(1).map(|()| Value::Float(v))
        } else {
            Err(E::custom("json: unsupported value: a number that is not finite"))
        }
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        self.0.spend(1 + v.len()).map(|()| Value::Str(SmolStr::new(v)))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.spend(1)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.spend(1)?;
        let mut pairs: Vec<(Key, Value)> = Vec::new();
        while let Some(key) = map.next_key_seed(self)? {
            let key = match key {
                Value::Str(key) => key,
                Value::Bool(key) => key.to_smolstr(),
                Value::Int(key) => key.to_smolstr(),
                Value::Float(key) => key.to_smolstr(),
                Value::Null => SmolStr::new_static("null"),
                other => return Err(A::Error::custom(format!("a key is an {}", other.json_kind()))),
            };
            pairs.push((key, map.next_value_seed(self)?));
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        for (one, next) in pairs.iter().zip(pairs.iter().skip(1)) {
            let mut duplicates = self.0.duplicates.borrow_mut();
            if one.0 == next.0 && duplicates.len() < 100 {
                duplicates.push(format!("key \"{}\" already set in map", one.0));
            }
        }
        Ok(Value::Map(Map::from_pairs(pairs)))
    }
    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("tags are not supported"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::lookup;
    use crate::value;
    use proptest::prelude::*;

    #[test]
    fn documents_are_read_like_json() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: |\n    x\n  \"1\": y\nfoo: 1\n";
        let decoded = decode(text.as_bytes(), lookup("core/v1.ConfigMap"), Strictness::Warn).unwrap();
        assert_eq!(
            decoded.value,
            value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "x\n", "1": "y"}})
        );
        assert_eq!(decoded.warnings, [r#"unknown field "foo""#]);
        let json = br#"{"metadata":{"name":"c"}}"#;
        assert_eq!(
            decode(json, lookup("core/v1.ConfigMap"), Strictness::Strict).unwrap().value,
            value!({"metadata": {"name": "c"}})
        );
    }

    #[test]
    fn aliases_work_but_do_not_explode() {
        let decoded = decode(b"a: &x {k: v}\nb: *x\n", None, Strictness::Warn).unwrap();
        assert_eq!(decoded.value, value!({"a": {"k": "v"}, "b": {"k": "v"}}));
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for n in 1..10 {
            let refs = vec![format!("*a{}", n - 1); 9].join(",");
            bomb = format!("{bomb}a{n}: &a{n} [{refs}]\n");
        }
        assert!(decode(bomb.as_bytes(), None, Strictness::Warn).is_err());
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(100_000), "*a,".repeat(100_000));
        assert!(decode(wide.as_bytes(), None, Strictness::Warn).is_err());
    }

    #[test]
    fn nested_flow_duplicates_and_many_documents_are_refused() {
        assert_eq!(
            decode("[{".repeat(250_000).as_bytes(), None, Strictness::Warn),
            Err(DecodeError::TooDeep)
        );
        assert!(decode(b"a: 1\n---\nb: 2\n", None, Strictness::Warn).is_err());
        assert!(matches!(decode(b"a: 1\na: 2\n", None, Strictness::Strict), Err(DecodeError::Strict(_))));
        assert!(decode(b"a: .nan", None, Strictness::Warn).is_err());
        assert!(decode(b"", lookup("core/v1.Pod"), Strictness::Warn).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c:\\-\\[\\]{}&*#|>!,\"'\n ]{0,80}|.{0,60}") {
            drop(decode(text.as_bytes(), lookup("core/v1.Pod"), Strictness::Warn));
        }
    }
}
