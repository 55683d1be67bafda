//! From typed values to the tree, and from the tree to any serde format.

use super::{BridgeError, Map, Value};
use serde::ser::{self, Error as _, Serialize, SerializeMap, SerializeSeq};
use smol_str::{SmolStr, ToSmolStr};

/// The tree of a typed value (a k8s-openapi struct, say), without passing through text.
pub fn to_value<T: Serialize + ?Sized>(typed: &T) -> Result<Value, BridgeError> {
    typed.serialize(ToTree)
}

impl Serialize for Value {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(v) => serializer.serialize_bool(*v),
            Self::Int(v) => serializer.serialize_i64(*v),
            Self::Float(v) => serializer.serialize_f64(*v),
            Self::Str(v) => serializer.serialize_str(v),
            Self::List(v) => {
                let mut seq = serializer.serialize_seq(Some(v.len()))?;
                for item in v {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Map(v) => v.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key.as_str(), value)?;
        }
        map.end()
    }
}

struct ToTree;

/// Collects the members of a struct or map; `variant` wraps the result as externally tagged enums do.
struct Members {
    pairs: Vec<(SmolStr, Value)>,
    key: Option<SmolStr>,
    variant: Option<&'static str>,
}

/// Collects the items of a sequence or tuple.
struct Items {
    items: Vec<Value>,
    variant: Option<&'static str>,
}

fn tagged(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(name) => Value::Map(Map::from_pairs(vec![(SmolStr::new_static(name), value)])),
    }
}

impl ser::Serializer for ToTree {
    type Ok = Value;
    type Error = BridgeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, v: bool) -> Result<Value, BridgeError> {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Result<Value, BridgeError> {
        Ok(Value::Int(v))
    }
    fn serialize_u8(self, v: u8) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Result<Value, BridgeError> {
        Ok(Value::from(v))
    }
    fn serialize_f32(self, v: f32) -> Result<Value, BridgeError> {
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, v: f64) -> Result<Value, BridgeError> {
        if v.is_finite() { Ok(Value::Float(v)) } else { Err(BridgeError::custom("a number is not finite")) }
    }
    fn serialize_char(self, v: char) -> Result<Value, BridgeError> {
        Ok(Value::Str(v.to_smolstr()))
    }
    fn serialize_str(self, v: &str) -> Result<Value, BridgeError> {
        Ok(Value::Str(SmolStr::new(v)))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<Value, BridgeError> {
        Ok(v.iter().map(|b| i64::from(*b)).collect())
    }
    fn serialize_none(self) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<Value, BridgeError> {
        v.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<Value, BridgeError> {
        Ok(Value::Str(SmolStr::new_static(name)))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<Value, BridgeError> {
        v.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        v: &T,
    ) -> Result<Value, BridgeError> {
        Ok(tagged(Some(name), v.serialize(self)?))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items, BridgeError> {
        Ok(Items { items: Vec::with_capacity(len.unwrap_or_default()), variant: None })
    }
    fn serialize_tuple(self, len: usize) -> Result<Items, BridgeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, BridgeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Items, BridgeError> {
        Ok(Items { items: Vec::with_capacity(len), variant: Some(name) })
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Members, BridgeError> {
        Ok(Members { pairs: Vec::with_capacity(len.unwrap_or_default()), key: None, variant: None })
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Members, BridgeError> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Members, BridgeError> {
        Ok(Members { pairs: Vec::with_capacity(len), key: None, variant: Some(name) })
    }
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        self.items.push(v.serialize(ToTree)?);
        Ok(())
    }
    fn finish(self) -> Value {
        tagged(self.variant, Value::List(self.items))
    }
}

impl SerializeSeq for Items {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        self.push(v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTuple for Items {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        self.push(v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleStruct for Items {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        self.push(v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleVariant for Items {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        self.push(v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl Members {
    fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), BridgeError> {
        self.pairs.push((SmolStr::new_static(name), v.serialize(ToTree)?));
        Ok(())
    }
    fn finish(self) -> Value {
        tagged(self.variant, Value::Map(Map::from_pairs(self.pairs)))
    }
}

impl SerializeMap for Members {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), BridgeError> {
        self.key = Some(match key.serialize(ToTree)? {
            Value::Str(key) => key,
            Value::Int(key) => key.to_smolstr(),
            Value::Bool(key) => key.to_smolstr(),
            _ => return Err(BridgeError::custom("a key is not a string")),
        });
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), BridgeError> {
        let key = self.key.take().ok_or_else(|| BridgeError::custom("a value came before its key"))?;
        self.pairs.push((key, v.serialize(ToTree)?));
        Ok(())
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStruct for Members {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        v: &T,
    ) -> Result<(), BridgeError> {
        self.put(name, v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Members {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        v: &T,
    ) -> Result<(), BridgeError> {
        self.put(name, v)
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(self.finish())
    }
}
