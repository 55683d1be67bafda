//! `cargo xtask codegen`: turns the facts about Kubernetes' types (`apiserver/machinery/schema/types.tsv`) into the
//! compact table that the API server reads at its start (`types.table`). With `--check` nothing is written.

use anyhow::{Context, bail};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FACTS: &str = "apiserver/machinery/schema/types.tsv";
const DEFAULTS: &str = "apiserver/machinery/schema/defaults.tsv";
const TABLE: &str = "apiserver/machinery/schema/types.table";

/// Constants that default markers name instead of writing their value.
const NAMED_DEFAULTS: [(&str, &str); 2] =
    [("ref(AzureDataDiskCachingReadWrite)", "\"ReadWrite\""), ("ref(AzureSharedBlobDisk)", "\"Shared\"")];

/// One line of the facts: cells by column name.
struct Row<'a> {
    columns: &'a HashMap<&'a str, usize>,
    cells: Vec<&'a str>,
}

impl Row<'_> {
    fn cell(&self, column: &str) -> &str {
        self.columns.get(column).and_then(|at| self.cells.get(*at)).copied().unwrap_or_default()
    }

    fn is(&self, column: &str) -> bool {
        self.cell(column) == "1"
    }

    fn type_name(&self) -> String {
        match self.cell("version") {
            "-" => format!("{}.{}", self.cell("group"), self.cell("type")),
            version => format!("{}/{version}.{}", self.cell("group"), self.cell("type")),
        }
    }
}

/// The facts, by type name.
struct Facts<'a> {
    declared: BTreeMap<String, &'a Row<'a>>,
    fields: HashMap<String, Vec<&'a Row<'a>>>,
    /// Index of every struct in the table.
    index: HashMap<String, usize>,
    /// Defaults that upstream sets in code, as JSON, by type and field.
    code_defaults: HashMap<(&'a str, &'a str), &'a str>,
}

/// The rows (type, field, value) of the facts about defaults.
fn code_defaults(text: &str) -> anyhow::Result<HashMap<(&str, &str), &str>> {
    let rows = text.lines().skip(1).map(|line| {
        let (ty, rest) = line.split_once('\t').with_context(|| format!("a default without cells: {line}"))?;
        let (field, value) =
            rest.split_once('\t').with_context(|| format!("a default without value: {line}"))?;
        Ok(((ty, field), value))
    });
    rows.collect()
}

/// Writes the table, or with `check` reports whether the one on disk is current.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<Vec<String>> {
    let facts = fs::read_to_string(root.join(FACTS)).with_context(|| format!("reading {FACTS}"))?;
    let defaults = fs::read_to_string(root.join(DEFAULTS)).with_context(|| format!("reading {DEFAULTS}"))?;
    let table = render(&facts, &defaults)?;
    let path = root.join(TABLE);
    let current = fs::read_to_string(&path).is_ok_and(|text| text == table);
    if check && !current {
        return Ok(vec![format!("{TABLE} is not what {FACTS} gives: run `cargo xtask codegen`")]);
    }
    if !current {
        fs::write(&path, table).with_context(|| format!("writing {TABLE}"))?;
    }
    Ok(Vec::new())
}

/// The whole table.
fn render(text: &str, defaults: &str) -> anyhow::Result<String> {
    let mut lines = text.lines();
    let columns: HashMap<&str, usize> =
        lines.next().context("the facts are empty")?.split('\t').enumerate().map(|(at, c)| (c, at)).collect();
    let rows: Vec<Row<'_>> =
        lines.map(|line| Row { columns: &columns, cells: line.split('\t').collect() }).collect();
    let facts = Facts::new(&rows, code_defaults(defaults)?);
    let mut table = String::from("# Made by `cargo xtask codegen` from types.tsv. Do not edit.\n");
    for (name, row) in &facts.declared {
        if row.cell("row_kind") == "struct" {
            facts.render_struct(name, row, &mut table).with_context(|| format!("type {name}"))?;
        }
    }
    for (name, row) in &facts.declared {
        if row.cell("row_kind") == "alias" && row.cell("base") == "struct" {
            writeln!(table, "A\t{name}\t{}", facts.resolve(row.cell("elem_type")))?;
        }
    }
    Ok(table)
}

impl<'a> Facts<'a> {
    fn new(rows: &'a [Row<'a>], code_defaults: HashMap<(&'a str, &'a str), &'a str>) -> Self {
        let mut declared = BTreeMap::new();
        let mut fields: HashMap<String, Vec<&Row<'_>>> = HashMap::new();
        for row in rows {
            match row.cell("row_kind") {
                "field" => fields.entry(row.type_name()).or_default().push(row),
                _ => drop(declared.insert(row.type_name(), row)),
            }
        }
        let structs = declared.iter().filter(|(_, row)| row.cell("row_kind") == "struct");
        let index = structs.enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        Self { declared, fields, index, code_defaults }
    }

    /// Follows aliases of structs to the struct.
    fn resolve(&self, name: &str) -> String {
        match self.declared.get(name) {
            Some(row) if row.cell("row_kind") == "alias" && row.cell("base") == "struct" => {
                self.resolve(row.cell("elem_type"))
            }
            _ => name.to_owned(),
        }
    }

    fn render_struct(&self, name: &str, row: &Row<'_>, table: &mut String) -> anyhow::Result<()> {
        let mut flags = String::new();
        if row.is("served") {
            flags.push('s');
        }
        if row.cell("struct_type") == "atomic" {
            flags.push('a');
        }
        let mut body = String::new();
        for field in self.fields.get(name).into_iter().flatten() {
            let inline = field.is("inline");
            if inline && field.cell("proto_number").is_empty() {
                flags.push('m');
            } else if inline || !matches!(field.cell("json_name"), "" | "-") {
                self.render_field(field, &mut body)
                    .with_context(|| format!("field {}", field.cell("json_name")))?;
            }
        }
        writeln!(table, "T\t{name}\t{}\t{flags}", row.cell("openapi_name"))?;
        table.push_str(&body);
        Ok(())
    }

    fn render_field(&self, field: &Row<'_>, out: &mut String) -> anyhow::Result<()> {
        let (shape, elem) = self.shape(field)?;
        let reference = self.index.get(&elem).map_or_else(|| "-".to_owned(), usize::to_string);
        if shape.contains('S') && reference == "-" {
            bail!("the struct {elem} is not declared");
        }
        let mut flags = String::new();
        for (column, flag) in [("pointer", 'p'), ("omitempty", 'e'), ("omitzero", 'z'), ("inline", 'i')] {
            if field.is(column) {
                flags.push(flag);
            }
        }
        match field.cell("optional_marker") {
            marker if marker.starts_with("optional") => flags.push('o'),
            marker if marker.starts_with("required") => flags.push('r'),
            _ => {}
        }
        let number = Some(field.cell("proto_number")).filter(|n| !n.is_empty()).unwrap_or("0");
        write!(out, "F\t{}\t{number}\t{shape}\t{reference}\t{flags}", field.cell("json_name"))?;
        for (key, column) in [
            ("lt", "list_type"),
            ("lk", "list_map_keys"),
            ("mt", "map_type"),
            ("st", "struct_type"),
            ("ps", "patch_strategy"),
            ("pk", "patch_merge_key"),
        ] {
            if !field.cell(column).is_empty() {
                write!(out, "\t{key}={}", field.cell(column))?;
            }
        }
        let default = field.cell("default_marker").split('|').next().unwrap_or_default();
        if !default.is_empty() {
            let named = NAMED_DEFAULTS.iter().find(|(name, _)| *name == default);
            write!(out, "\tdf={}", named.map_or(default, |(_, value)| value))?;
        }
        if let Some(value) = self.code_defaults.get(&(field.type_name().as_str(), field.cell("json_name"))) {
            write!(out, "\tcd={value}")?;
        }
        self.render_go_type(field, out)?;
        out.push('\n');
        Ok(())
    }

    /// Go's name of a named string or number type, and its allowed values.
    fn render_go_type(&self, field: &Row<'_>, out: &mut String) -> anyhow::Result<()> {
        let elem = field.cell("elem_type");
        let Some(alias) = self.declared.get(elem) else { return Ok(()) };
        if alias.cell("row_kind") == "alias" && matches!(alias.cell("base"), "string" | "int32" | "int64") {
            let package = match alias.cell("version") {
                "-" => alias.cell("group"),
                version => version,
            };
            write!(out, "\tgt={package}.{}", alias.cell("type"))?;
            if !alias.cell("enum").is_empty() {
                write!(out, "\ten={}", alias.cell("enum"))?;
            }
        }
        Ok(())
    }

    /// The field's shape (container, wrapping, base) and the element's type.
    fn shape(&self, field: &Row<'_>) -> anyhow::Result<(String, String)> {
        let (mut container, mut base) = (field.cell("container"), field.cell("base"));
        let mut elem = field.cell("elem_type").to_owned();
        let mut wrapped = "";
        if matches!(base, "list" | "map") {
            let alias = self.declared.get(&elem).context("a list or map type is not declared")?;
            base = match alias.cell("elem_type") {
                "string" => "string",
                "quantity.Quantity" => "quantity",
                name if name.contains("JSONSchemaPropsOr") => "oneof",
                _ => "struct",
            };
            let alias_container = alias.cell("container");
            if container.is_empty() {
                container = alias_container;
                if alias_container == "list" && field.cell("proto_label") == "optional" {
                    wrapped = "w";
                }
            } else if container == "map" && alias_container == "list" {
                wrapped = "w";
            } else {
                bail!("a {container} of {alias_container} is not known");
            }
            alias.cell("elem_type").clone_into(&mut elem);
        }
        let elem = self.resolve(&elem);
        let base = base_code(base, &elem)?;
        let container = match container {
            "" => '1',
            "list" => 'L',
            "map" => 'M',
            other => bail!("container {other} is not known"),
        };
        Ok((format!("{container}{wrapped}{base}"), elem))
    }
}

fn base_code(base: &str, elem: &str) -> anyhow::Result<char> {
    Ok(match base {
        "bool" => 'B',
        "int32" => 'i',
        "int64" | "time.Duration" => 'I',
        "float64" => 'd',
        "string" => 's',
        "bytes" => 'b',
        "time" | "time.Time" => 't',
        "microtime" => 'm',
        "quantity" => 'q',
        "int-or-string" => 'x',
        "duration" => 'D',
        "raw" => 'R',
        "any" => 'T',
        "struct" => 'S',
        "oneof" if elem.ends_with("OrBool") => '2',
        "oneof" if elem.ends_with("OrArray") => '3',
        "oneof" if elem.ends_with("OrStringArray") => '4',
        other => bail!("base {other} is not known"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_tree_is_current() {
        let root = crate::root().unwrap();
        assert_eq!(run(&root, true).unwrap(), Vec::<String>::new());
    }
}
