//! Golden tests of kinds: what a request becomes, what is wrong with it, and how it is shown.
//!
//! Each file in `tests/golden` is a script. A command starts with `## `, its input follows, then `## result` and
//! what the command answers. `UPDATE_GOLDEN=1` writes the answers anew; they are read in review.
//!
//! - `create <text>`: the input is an object (YAML). The answer is the object as stored, or what is wrong.
//! - `update <text>`, `status <text>`, `part:<name> <text>`: the input is a merge patch of the last stored object.
//!   The answer is what changed, or what is wrong. Only a sound update replaces the stored object.
//! - `set <text>`: like `status`, without any check: a state to look at.
//! - `row <text>`: the cells of the last stored object.
//! - `fields <text>`: its selectable fields.
//! - `delete <text>`: the input is DeleteOptions; the answer is the plan.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::let_underscore_must_use,
    clippy::or_fun_call,
    clippy::result_large_err,
    reason = "all of this file is a test"
)]

use mainstay_apiserver_kinds as kinds;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::{Action, Kind};
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline::deletion::{self, DeleteOptions, DeletePlan};
use mainstay_apiserver_machinery::pipeline::{self, Creation, Target};
use mainstay_apiserver_machinery::value::{Value, to_value};
use mainstay_apiserver_machinery::{patch, protobuf};
use mainstay_proto_api::Status;
use std::fmt::Write as _;
use std::path::Path;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);
const CREATION: Creation<'static> =
    Creation { now: NOW, uid: "11111111-2222-3333-4444-555555555555", name_suffix: "bcdfg" };

#[derive(Default)]
struct Session {
    kind: Option<&'static Kind>,
    stored: Option<Value>,
    version: u64,
}

fn free(text: &str) -> Value {
    let parsed: serde_json::Value = serde_yaml_ng::from_str(text).expect("the input is YAML");
    let value = to_value(&parsed).expect("JSON fits a tree");
    if value.is_null() { Value::map() } else { value }
}

fn yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(value).expect("a tree prints as YAML")
}

fn refusal(status: &Status) -> String {
    let mut out = format!("{} {}\n", status.code, status.reason);
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    for cause in causes {
        let _ = writeln!(out, "{} {}: {}", cause.reason, cause.field, cause.message);
    }
    if causes.is_empty() {
        let _ = writeln!(out, "{}", status.message);
    }
    out
}

fn changes(old: &Value, new: &Value, path: &str, out: &mut String) {
    let text =
        |value: Option<&Value>| value.map_or("(absent)".to_owned(), |v| serde_json::to_string(v).unwrap());
    match (old, new) {
        _ if old == new => {}
        (Value::Map(before), Value::Map(after)) => {
            let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let below = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) => changes(before, after, &below, out),
                    (before, after) => drop(writeln!(out, "{below}: {} -> {}", text(before), text(after))),
                }
            }
        }
        _ => drop(writeln!(out, "{path}: {} -> {}", text(Some(old)), text(Some(new)))),
    }
}

impl Session {
    fn kind(&self) -> &'static Kind {
        self.kind.expect("a create comes first")
    }

    fn stored(&self) -> &Value {
        self.stored.as_ref().expect("a sound create comes first")
    }

    fn store(&mut self, mut object: Value) {
        // What is stored comes back the same from the stored form.
        let ty = self.kind().schema();
        let mut bytes = Vec::new();
        protobuf::encode_object(&object, ty, &mut bytes).expect("a sound object encodes");
        let back = protobuf::decode_object(&bytes).expect("stored bytes decode");
        if back != object {
            let mut difference = String::new();
            changes(&object, &back, "", &mut difference);
            panic!("the object is not canonical, it comes back from the store changed:\n{difference}");
        }
        self.version += 1;
        MetaMut(&mut object).set_resource_version(&self.version.to_string());
        self.stored = Some(object);
    }

    fn create(&mut self, input: &str) -> Result<String, Status> {
        let raw = free(input);
        let meta = Meta(&raw);
        let gvk = meta.gvk();
        let kind = kinds::by_gvk(&gvk.group, &gvk.version, &gvk.kind).expect("the kind is built");
        self.kind = Some(kind);
        let namespace = if kind.namespaced { "default" } else { "" };
        let decoded = json::conform(&raw, kind.schema(), Strictness::Strict)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let mut object = decoded.value;
        pipeline::accept(kind, &mut object, namespace)?;
        let once = object.clone();
        pipeline::accept(kind, &mut object, namespace)?;
        assert_eq!(object, once, "defaults that are set change nothing");
        pipeline::prepare_create(kind, &mut object, &CREATION)?;
        let warnings = pipeline::validate_create(kind, &object)?;
        let mut out = String::new();
        for warning in warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        out.push_str(&yaml(&object));
        if kind.is_stored() {
            self.store(object);
        } else {
            self.stored = Some(object);
        }
        Ok(out)
    }

    fn update(&mut self, target: Target<'_>, input: &str) -> Result<String, Status> {
        let kind = self.kind();
        let old = self.stored().clone();
        let patched = patch::merge_patch(&old, &free(input)).expect("a merge patch applies");
        let decoded = json::conform(&patched, kind.schema(), Strictness::Strict)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let mut new = decoded.value;
        pipeline::accept(kind, &mut new, Meta(&old).namespace())?;
        pipeline::prepare_update(kind, target, &mut new, &old)?;
        let warnings = pipeline::validate_update(kind, target, &new, &old)?;
        let mut out = String::new();
        for warning in warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        if pipeline::is_unchanged(&new, &old) {
            out.push_str("(unchanged)\n");
            return Ok(out);
        }
        changes(&old, &new, "", &mut out);
        if pipeline::removes_object(kind, &new) {
            out.push_str("(removed)\n");
        }
        MetaMut(&mut new).set_resource_version("");
        self.store(new);
        Ok(out)
    }

    fn set(&mut self, input: &str) -> String {
        let patched = patch::merge_patch(self.stored(), &free(input)).expect("a merge patch applies");
        let decoded =
            json::conform(&patched, self.kind().schema(), Strictness::Strict).expect("a sound state");
        self.stored = Some(decoded.value);
        String::from("(set)\n")
    }

    fn delete(&self, input: &str) -> Result<String, Status> {
        let options = DeleteOptions::from_value(&free(input))?;
        let stored = self.stored();
        Ok(match deletion::plan(self.kind(), stored, &options, NOW)? {
            DeletePlan::Remove { .. } => String::from("remove\n"),
            DeletePlan::Pending => String::from("pending\n"),
            DeletePlan::Mark { object } => {
                let mut out = String::from("mark\n");
                changes(stored, &object, "", &mut out);
                out
            }
        })
    }

    fn run(&mut self, command: &str, input: &str) -> String {
        let word = command.split_whitespace().next().unwrap_or_default();
        let result = match word {
            "create" => self.create(input),
            "update" => self.update(Target::Object, input),
            "status" => self.update(Target::Status, input),
            "set" => Ok(self.set(input)),
            "delete" => self.delete(input),
            "row" => {
                let row = self.kind().rules.row(self.stored(), NOW);
                assert_eq!(row.len(), self.kind().rules.columns().len(), "a row has a cell for each column");
                let cells = row.iter().zip(self.kind().rules.columns()).map(|(cell, column)| {
                    let text =
                        cell.as_str().map_or_else(|| serde_json::to_string(cell).unwrap(), str::to_owned);
                    format!("{}{}: {text}\n", if column.priority == 0 { "" } else { "(wide) " }, column.name)
                });
                Ok(cells.collect())
            }
            "fields" => {
                let fields = self.kind().rules.fields(self.stored());
                let mut out = String::new();
                for (name, value) in fields {
                    let _ = writeln!(out, "{name}={value}");
                }
                Ok(out)
            }
            other => match other.strip_prefix("part:") {
                Some(name) => self.update(Target::Part(name), input),
                None => panic!("{other} is no command"),
            },
        };
        result.unwrap_or_else(|status| refusal(&status))
    }
}

fn replay(script: &str) -> String {
    let mut session = Session::default();
    let mut out = String::new();
    let mut sections = script.split("\n## ");
    out.push_str(sections.next().unwrap_or_default());
    for section in sections.filter(|section| section.lines().next() != Some("result")) {
        let (command, input) = section.split_once('\n').unwrap_or((section, ""));
        println!("{command}");
        let answer = session.run(command, input);
        let _ = write!(out, "\n## {command}\n{}\n## result\n{}", input.trim_end_matches('\n'), answer);
    }
    let mut clean = String::with_capacity(out.len());
    for line in out.lines() {
        clean.push_str(line.trim_end());
        clean.push('\n');
    }
    clean
}

fn scripts() -> Vec<std::path::PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 10, "the scripts are in {}", dir.display());
    paths
}

/// Paths of everything in a tree.
fn places(value: &Value, here: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
    out.push(here.clone());
    match value {
        Value::Map(map) => {
            for (key, value) in map {
                here.push(Step::Field(key.to_string()));
                places(value, here, out);
                here.pop();
            }
        }
        Value::List(items) => {
            for (i, value) in items.iter().enumerate() {
                here.push(Step::Item(i));
                places(value, here, out);
                here.pop();
            }
        }
        _ => {}
    }
}

#[derive(Clone)]
enum Step {
    Field(String),
    Item(usize),
}

fn place<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name).unwrap(),
        Step::Item(i) => &mut value.as_list_mut().unwrap()[*i],
    })
}

/// Calls every rule with an object in any state.
fn exercise(kind: &'static Kind, object: &Value, sound: &Value) {
    let mut new = object.clone();
    drop(pipeline::accept(kind, &mut new, "default"));
    let mut created = new.clone();
    drop(pipeline::prepare_create(kind, &mut created, &CREATION));
    drop(pipeline::validate_create(kind, &created));
    let parts = kind.subresources.iter().filter(|sub| sub.action == Action::Part);
    let parts = parts.map(|sub| (Target::Part(sub.name), &new, sound));
    let whole = [(Target::Object, &new, sound), (Target::Object, sound, &new), (Target::Status, &new, sound)];
    for (target, new, old) in parts.chain(whole) {
        let mut new = new.clone();
        drop(pipeline::prepare_update(kind, target, &mut new, old));
        drop(pipeline::validate_update(kind, target, &new, old));
    }
    drop(deletion::plan(kind, object, &DeleteOptions::default(), NOW));
    drop(kind.rules.row(object, NOW));
    drop(kind.rules.fields(object));
    let mut converted = object.clone();
    kind.rules.to_storage(&mut converted);
    kind.rules.from_storage(&mut converted);
}

#[test]
fn rules_hold_out_against_any_value_in_any_place() {
    let strange = [
        Value::Null,
        Value::Int(i64::MAX),
        Value::Int(i64::MIN),
        Value::from("é\u{0}/../x%"),
        Value::from(vec![Value::Null]),
        Value::map(),
    ];
    let scripts = scripts();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some(path) = scripts.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    exercise_script(path, &strange);
                }
            });
        }
    });
}

/// Puts each strange value into each place of every object of a script.
fn exercise_script(path: &Path, strange: &[Value]) {
    let script = std::fs::read_to_string(path).unwrap();
    for section in script.split("\n## ").filter(|section| section.starts_with("create")) {
        println!("{}: {}", path.display(), section.lines().next().unwrap());
        let mut object = free(section.split_once('\n').unwrap().1.split("\n## ").next().unwrap());
        let gvk = Meta(&object).gvk();
        let kind = kinds::by_gvk(&gvk.group, &gvk.version, &gvk.kind).unwrap();
        drop(pipeline::accept(kind, &mut object, "default"));
        let mut all = Vec::new();
        places(&object, &mut Vec::new(), &mut all);
        for place_of in &all {
            for value in strange {
                let mut changed = object.clone();
                *place(&mut changed, place_of) = value.clone();
                exercise(kind, &changed, &object);
            }
        }
    }
}

#[test]
fn kinds_answer_as_their_scripts_say() {
    #[allow(clippy::disallowed_methods, reason = "the switch of golden tests")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    let mut wrong = Vec::new();
    for path in scripts() {
        let script = std::fs::read_to_string(&path).unwrap();
        println!("{}", path.display());
        let answer = replay(&script);
        if update {
            std::fs::write(&path, &answer).unwrap();
        } else if answer != script {
            let line = answer.lines().zip(script.lines()).position(|(a, b)| a != b).unwrap_or_default();
            wrong.push(format!(
                "{}:{}: expected {:?}, found {:?}",
                path.display(),
                line + 1,
                script.lines().nth(line).unwrap_or_default(),
                answer.lines().nth(line).unwrap_or_default()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
