//! The served surface: `docs/kinds.txt` lists it, and it is upstream's, by the facts in
//! `apiserver/machinery/schema/resources.tsv` (what upstream serves unless told otherwise). `UPDATE_GOLDEN=1` writes
//! the page anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_underscore_must_use,
    reason = "all of this file is a test"
)]

use mainstay_apiserver_kinds as kinds;
use mainstay_apiserver_machinery::kind::{Kind, Subresource};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What upstream serves and this list of kinds does not, with the reason.
const UNSERVED: &[(&str, &str)] =
    &[("core/v1 componentstatuses", "deprecated since 1.19: nothing reports to it")];

const HEAD: &str = "\
What the API server serves: one line for each kind, one indented line for each subresource.
Made by `UPDATE_GOLDEN=1 cargo test -p mainstay-apiserver-kinds --test surface`; a test holds it against upstream's list.
A kind that is listed is stored and checked; README.md says which kinds something acts on.

";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn group_version(kind: &Kind) -> String {
    kind.api_version().into_owned()
}

fn list(items: &[&str]) -> String {
    if items.is_empty() { String::from("-") } else { items.join(",") }
}

fn page() -> String {
    let mut lines: BTreeMap<(String, &str), String> = BTreeMap::new();
    for kind in kinds::all() {
        let mut text = format!(
            "{} {} {} {} short:{} categories:{} verbs:{}\n",
            group_version(kind),
            kind.kind,
            kind.plural,
            if kind.namespaced { "namespaced" } else { "cluster" },
            list(kind.short_names),
            list(kind.categories),
            kind.verbs.join(","),
        );
        for Subresource { name, verbs, .. } in kind.subresources {
            let _ = writeln!(text, "    {}/{name} verbs:{}", kind.plural, verbs.join(","));
        }
        lines.insert((group_version(kind), kind.plural), text);
    }
    HEAD.chars().chain(lines.values().flat_map(|line| line.chars())).collect()
}

#[test]
fn the_page_lists_what_is_served() {
    let path = root().join("docs/kinds.txt");
    #[allow(clippy::disallowed_methods, reason = "the switch of golden tests")]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), page(), "UPDATE_GOLDEN=1 writes it anew");
}

/// One row of the facts.
struct Fact {
    name: String,
    found: Option<String>,
    wanted: String,
}

fn facts() -> Vec<Fact> {
    let text = std::fs::read_to_string(root().join("apiserver/machinery/schema/resources.tsv")).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut facts = Vec::new();
    for line in lines {
        let cells: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split('\t')).collect();
        let cell = |name: &str| cells.get(name).copied().unwrap_or_default();
        let group = if cell("group") == "core" { "" } else { cell("group") };
        let kind = kinds::by_gvr(group, cell("version"), cell("plural"));
        let name = format!("{}/{} {}", cell("group"), cell("version"), cell("plural"));
        let scope = |namespaced: bool| if namespaced { "1" } else { "0" };
        facts.push(if cell("subresource").is_empty() {
            let wanted = ["kind", "singular", "namespaced", "short_names", "categories", "verbs"];
            Fact {
                name,
                found: kind.map(|kind| {
                    [
                        kind.kind,
                        kind.singular,
                        scope(kind.namespaced),
                        &kind.short_names.join(","),
                        &kind.categories.join(","),
                        &kind.verbs.join(","),
                    ]
                    .join(" ")
                }),
                wanted: wanted.map(cell).join(" "),
            }
        } else {
            let sub = kind.and_then(|kind| kind.subresource(cell("subresource")));
            Fact {
                name: format!("{name}/{}", cell("subresource")),
                found: sub.map(|sub| format!("{} {}", sub.type_name, sub.verbs.join(","))),
                wanted: format!("{} {}", cell("subresource_kind"), cell("verbs")),
            }
        });
    }
    facts
}

#[test]
fn upstreams_surface_is_served_with_its_names_verbs_and_subresources() {
    let wrong: Vec<String> = facts()
        .into_iter()
        .filter(|fact| !UNSERVED.iter().any(|(name, _)| fact.name.starts_with(name)))
        .filter(|fact| fact.found.as_ref() != Some(&fact.wanted))
        .map(|fact| format!("{}: {:?}, upstream {:?}", fact.name, fact.found, fact.wanted))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
