//! Printer columns: the cells of a custom resource's row.

use super::json_path::JsonPath;
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// One of `additionalPrinterColumns`.
#[derive(Debug, Clone, PartialEq)]
pub struct PrinterColumn {
    /// Heading.
    pub name: SmolStr,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub column_type: SmolStr,
    /// OpenAPI format.
    pub format: SmolStr,
    /// What the column shows.
    pub description: SmolStr,
    /// 0 is always shown, more only in wide output.
    pub priority: i32,
    /// Where the value is; `None` for a path that cannot be read, whose cells are empty.
    pub path: Option<JsonPath>,
}

/// The cell of `column` for an object.
pub fn cell(column: &PrinterColumn, object: &Value, now: OffsetDateTime) -> Value {
    let Some(path) = &column.path else { return Value::Null };
    let found = path.find(object);
    let Some(value) = found.first() else { return Value::Null };
    match (column.column_type.as_str(), value) {
        ("string", Value::Str(text)) => Value::Str(text.clone()),
        ("string", Value::Null) => Value::Null,
        ("string", other) => Value::from(json::to_string(other)),
        ("integer" | "number", Value::Int(number)) => Value::Int(*number),
        ("integer", Value::Float(number)) => Value::Int(*number as i64),
        ("number", Value::Float(number)) => Value::Float(*number),
        ("boolean", Value::Bool(flag)) => Value::Bool(*flag),
        ("date", Value::Str(text)) => date(text, now),
        _ => Value::Null,
    }
}

fn date(text: &str, now: OffsetDateTime) -> Value {
    match parse_timestamp(text) {
        Some(time) => mainstay_apiserver_machinery::pipeline::human_duration(now - time).into(),
        None => Value::from("<invalid>"),
    }
}
