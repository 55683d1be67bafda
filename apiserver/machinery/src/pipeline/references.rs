//! Owner references that an object has twice: they are told and taken out, as upstream does.

use crate::value::Value;

/// Takes equal owner references out but for the first; the sentence for a `Warning` header, if there were any.
pub fn dedup_owner_references(object: &mut Value, after_admission: bool) -> Option<String> {
    let references = object.path_list(&["metadata", "ownerReferences"]);
    if references.len() < 2 {
        return None;
    }
    let (mut kept, mut twice): (Vec<Value>, Vec<&str>) = (Vec::with_capacity(references.len()), Vec::new());
    for reference in references {
        if kept.contains(reference) {
            twice.push(reference.path_str(&["uid"]).unwrap_or_default());
        } else {
            kept.push(reference.clone());
        }
    }
    if twice.is_empty() {
        return None;
    }
    let when = if after_admission { " after mutating admission happens" } else { "" };
    let warning = format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    );
    object.set_path(&["metadata", "ownerReferences"], kept);
    Some(warning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn equal_references_are_one_and_told() {
        let reference = |uid: &str| value!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
        let mut object = value!({"metadata": {"name": "a"}});
        object
            .set_path(&["metadata", "ownerReferences"], vec![reference("1"), reference("2"), reference("1")]);
        let told = dedup_owner_references(&mut object, false).unwrap();
        assert!(
            told.starts_with(".metadata.ownerReferences contains duplicate entries; API server dedups"),
            "{told}"
        );
        assert!(told.ends_with("duplicate UID(s) observed: 1"), "{told}");
        assert_eq!(object.path_list(&["metadata", "ownerReferences"]), [reference("1"), reference("2")]);
        assert_eq!(dedup_owner_references(&mut object, true), None);
    }
}
