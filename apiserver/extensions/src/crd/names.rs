//! Which of a definition's names are accepted: those that no other definition of the group has. And the conditions that
//! follow from the definition alone.

use super::approval::{Approval, approval};
use super::conditions::{Condition, condition, set_condition};
use super::structure::violations;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::structural;
use mainstay_apiserver_machinery::validation::{Path, quote};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

/// Names that definitions of one group hold.
#[derive(Default)]
struct Taken<'v> {
    resources: HashSet<&'v str>,
    kinds: HashSet<&'v str>,
}

/// The definition with its accepted names and the conditions `NamesAccepted` and `Established` as they follow from
/// `others`, the stored definitions (itself may be among them). Nothing changes where nothing is to change.
pub fn accept_names(crd: &Value, others: &[&Value], now: OffsetDateTime) -> Value {
    let wanted = crd.path(&["spec", "names"]).cloned().unwrap_or_default();
    let accepted = crd.path(&["status", "acceptedNames"]).cloned().unwrap_or_default();
    let taken = taken(crd, others);
    let mut names = accepted.clone();
    let mut conflict: Option<(&'static str, String)> = None;
    for (field, reason, is_kind) in [
        ("plural", "PluralConflict", false),
        ("singular", "SingularConflict", false),
        ("kind", "KindConflict", true),
        ("listKind", "ListKindConflict", true),
    ] {
        let name = wanted.path_str(&[field]).unwrap_or_default();
        let held = if is_kind { &taken.kinds } else { &taken.resources };
        if accepted.path_str(&[field]).unwrap_or_default() != name && held.contains(name) {
            conflict = Some((reason, format!("{} is already in use", quote(name))));
        } else {
            names.set_path(&[field], name);
        }
        if field == "singular" {
            conflict = short_names(&wanted, &accepted, &taken, &mut names).or(conflict);
        }
    }
    copy(&wanted, &mut names, "categories");
    let mut out = crd.clone();
    out.set_path(&["status", "acceptedNames"], names);
    set_conditions(&mut out, conflict, now);
    out
}

/// Accepts the short names together, or tells which are taken.
fn short_names(
    wanted: &Value,
    accepted: &Value,
    taken: &Taken<'_>,
    names: &mut Value,
) -> Option<(&'static str, String)> {
    let own = accepted.path_list(&["shortNames"]);
    let conflicts: Vec<String> = wanted
        .path_list(&["shortNames"])
        .iter()
        .filter(|name| !own.contains(name))
        .filter_map(Value::as_str)
        .filter(|name| taken.resources.contains(name))
        .map(|name| format!("{} is already in use", quote(name)))
        .collect();
    match conflicts.as_slice() {
        [] => {
            copy(wanted, names, "shortNames");
            None
        }
        [one] => Some(("ShortNamesConflict", one.clone())),
        many => Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    match from.get(field) {
        Some(value) => to.set_path(&[field], value.clone()),
        None => drop(to.make_map().remove(field)),
    }
}

fn set_conditions(crd: &mut Value, conflict: Option<(&'static str, String)>, now: OffsetDateTime) {
    let is_accepted = conflict.is_none();
    let (reason, message) = conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    let status = if is_accepted { "True" } else { "False" };
    set_condition(crd, &Condition { condition_type: "NamesAccepted", status, reason, message }, now);
    if super::is_true(crd, "Established") {
        return;
    }
    let (reason, message) = if is_accepted {
        ("Installing", "the initial names have been accepted")
    } else {
        ("NotAccepted", "not all names are accepted")
    };
    if is_accepted || condition(crd, "Established").is_none() {
        let message = message.to_owned();
        set_condition(
            crd,
            &Condition { condition_type: "Established", status: "False", reason, message },
            now,
        );
    }
}

/// What the other definitions of the group hold.
fn taken<'v>(crd: &Value, others: &[&'v Value]) -> Taken<'v> {
    let group = crd.path_str(&["spec", "group"]).unwrap_or_default();
    let mut taken = Taken::default();
    for other in others {
        if Meta(other).name() == Meta(crd).name() || other.path_str(&["spec", "group"]) != Some(group) {
            continue;
        }
        let names = other.path(&["status", "acceptedNames"]).unwrap_or(&Value::Null);
        taken.resources.extend(["plural", "singular"].iter().filter_map(|field| names.path_str(&[field])));
        taken.resources.extend(names.path_list(&["shortNames"]).iter().filter_map(Value::as_str));
        taken.kinds.extend(["kind", "listKind"].iter().filter_map(|field| names.path_str(&[field])));
    }
    taken.resources.remove("");
    taken.kinds.remove("");
    taken
}

/// The condition that tells of schemas that are not structural; none when all are.
pub fn structure_condition(crd: &Value) -> Option<Condition> {
    let mut faults = Vec::new();
    for (at, version) in crd.path_list(&["spec", "versions"]).iter().enumerate() {
        let Some(tree) = version.path(&["schema", "openAPIV3Schema"]) else { continue };
        let path = Path::new("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
        match structural::parse(tree) {
            Ok(schema) => faults.extend(violations(&schema, &path).iter().map(ToString::to_string)),
            Err(error) => faults.push(format!("{path}: Invalid value: \"\": {error}")),
        }
    }
    if crd.path_bool(&["spec", "preserveUnknownFields"]).unwrap_or_default() {
        faults.push("spec.preserveUnknownFields: Invalid value: true: must be false".to_owned());
    }
    let message = match faults.as_slice() {
        [] => return None,
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Some(Condition { condition_type: "NonStructuralSchema", status: "True", reason: "Violations", message })
}

/// The condition that tells whether a definition in one of Kubernetes' own groups was approved; none in other groups.
pub fn approval_condition(crd: &Value) -> Option<Condition> {
    let (status, reason, message) = match approval(crd)? {
        Approval::Approved(link) => ("True", "ApprovedAnnotation", format!("approved in {link}")),
        Approval::Bypassed(why) => ("False", "UnapprovedAnnotation", format!("not approved: {}", quote(why))),
        Approval::Missing => (
            "False",
            "MissingAnnotation",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
                .to_owned(),
        ),
        Approval::Invalid(_) => (
            "False",
            "InvalidAnnotation",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a \
             reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
                .to_owned(),
        ),
    };
    Some(Condition { condition_type: "KubernetesAPIApprovalPolicyConformant", status, reason, message })
}

#[cfg(test)]
mod tests {
    use super::super::is_true;
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn crd(plural: &str, kind: &str, short: &str) -> Value {
        value!({"metadata": {"name": format!("{plural}.g.example")}, "spec": {"group": "g.example", "names": {
            "plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List"), "shortNames": [short]}}})
    }

    #[test]
    fn names_go_to_the_first_that_asks() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let first = accept_names(&crd("foos", "Foo", "f"), &[], now);
        assert!(is_true(&first, "NamesAccepted") && !is_true(&first, "Established"));
        assert_eq!(first.path_str(&["status", "acceptedNames", "kind"]), Some("Foo"));
        let others = [&first];
        let second = accept_names(&crd("bars", "Foo", "f"), &others, now);
        assert!(!is_true(&second, "NamesAccepted"));
        let told = condition(&second, "NamesAccepted").unwrap();
        assert_eq!(told.path_str(&["reason"]), Some("ListKindConflict"));
        assert_eq!(told.path_str(&["message"]), Some("\"FooList\" is already in use"));
        assert_eq!(condition(&second, "Established").unwrap().path_str(&["reason"]), Some("NotAccepted"));
        assert_eq!(second.path_str(&["status", "acceptedNames", "plural"]), Some("bars"));
        assert!(second.path(&["status", "acceptedNames", "shortNames"]).is_none());
        // Doing it again changes nothing, and the first keeps what it has.
        assert_eq!(accept_names(&first, &[&second], now), first);
        assert_eq!(accept_names(&second, &others, now), second);
        // A name that is given up goes to the one that waits.
        let freed = accept_names(&second, &[], now);
        assert!(is_true(&freed, "NamesAccepted"));
    }
}
