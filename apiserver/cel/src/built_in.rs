//! Shapes of the built-in kinds, from the tables of their types. Types that hold themselves end in anything after a while.

use crate::shape::{Field, Shape};
use mainstay_apiserver_machinery::schema::{Base, Container, Type};

/// How deep a type is followed.
const DEPTH_MAX: usize = 12;

impl Shape {
    /// The shape of an object of a built-in type.
    pub fn of_built_in(ty: &'static Type) -> Self {
        of_struct(ty, 0)
    }
}

fn of_struct(ty: &'static Type, depth: usize) -> Shape {
    if depth > DEPTH_MAX {
        return Shape::any();
    }
    let field = |field: &'static mainstay_apiserver_machinery::schema::Field| -> Field {
        let element = match field.base {
            Base::Bool => Shape::flag(),
            Base::Int32 | Base::Int64 => Shape::number(),
            Base::Float => Shape::double(),
            Base::Str | Base::Duration => Shape::text(None),
            Base::Bytes => Shape::bytes(),
            Base::Time | Base::MicroTime => Shape::timestamp(),
            Base::Struct => field.ty().map_or_else(Shape::any, |ty| of_struct(ty, depth + 1)),
            // As upstream: what may be of several types is looked at when it is there.
            Base::Quantity
            | Base::IntOrString
            | Base::Raw
            | Base::Any
            | Base::SchemaOrBool
            | Base::SchemaOrArray
            | Base::SchemaOrStrings => Shape::any(),
        };
        let shape = match field.container {
            Container::One => element,
            Container::List => Shape::list(element, None),
            Container::Map => Shape::map(element, None),
        };
        Shape::field(field.name, shape, field.is_required())
    };
    Shape::object(ty.short_name(), ty.json_fields().map(field).collect())
}
