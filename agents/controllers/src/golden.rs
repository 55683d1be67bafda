//! Scenario files: a world in YAML, a line `---`, and the steps that the plan makes of it. `UPDATE_GOLDEN=1` rewrites the
//! steps. Only tests use this.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::Step;
use serde_json::Value;

/// Runs `plan` on every scenario in `goldens/<folder>` and compares.
pub(crate) fn check(folder: &str, plan: impl Fn(&Value) -> (Vec<Step>, Next)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario in {}", folder.display());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (world, expected) = text.split_once("\n---\n").unwrap_or_else(|| (text.trim_end(), ""));
        let value: Value =
            serde_yaml_ng::from_str(world).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let actual = render(&plan(&value));
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, format!("{world}\n---\n{actual}")).unwrap();
        } else {
            wrong.push(format!("{}\nexpected:\n{expected}\nactual:\n{actual}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A typed list out of a scenario; empty when it is not there.
pub(crate) fn list<K: serde::de::DeserializeOwned>(world: &Value, field: &str) -> Vec<std::sync::Arc<K>> {
    let items = world.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    items.into_iter().map(|item| std::sync::Arc::new(serde_json::from_value(item).unwrap())).collect()
}

/// One typed object out of a scenario.
pub(crate) fn one<K: serde::de::DeserializeOwned>(world: &Value, field: &str) -> K {
    serde_json::from_value(world.get(field).cloned().unwrap_or_default()).unwrap()
}

fn render((steps, next): &(Vec<Step>, Next)) -> String {
    let mut text = String::new();
    for step in steps {
        writeln!(text, "{}", brief(step)).unwrap();
    }
    if let Next::After(delay) = next {
        writeln!(text, "again after {delay:?}").unwrap();
    }
    text
}

/// The step's line; of a status write only the status.
fn brief(step: &Step) -> String {
    match step {
        Step::Replace { target, subresource: Some("status"), body } => {
            format!("status of {target}: {}", body.get("status").cloned().unwrap_or_default())
        }
        Step::Batch(steps) => {
            let lines: Vec<String> = steps.iter().map(|step| format!("  {}", brief(step))).collect();
            format!("batch:\n{}", lines.join("\n"))
        }
        Step::Sequence(steps) => steps.iter().map(brief).collect::<Vec<_>>().join("\n    then "),
        other => other.to_string(),
    }
}
