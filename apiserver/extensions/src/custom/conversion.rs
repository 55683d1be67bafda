//! The question that a conversion webhook is asked (`ConversionReview`) and what may be answered. The webhook converts
//! what is in an object, never what it is: of its metadata only labels and annotations may change.

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{ErrorList, Path, validate_annotations, validate_labels};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// The parts of metadata that a webhook may change.
const CONVERTED: [&str; 2] = ["labels", "annotations"];

/// The first version of a review among `wanted` that this server makes.
///
/// # Errors
/// Upstream's text when there is none.
pub fn review_version(wanted: &[Value]) -> Result<&'static str, String> {
    let known = |version: &Value| match version.as_str() {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    };
    wanted.iter().find_map(known).ok_or_else(|| "no supported conversion review versions".to_owned())
}

/// The review that asks for `objects` in `api_version`.
pub fn question(review_version: &str, uid: &str, api_version: &str, objects: &[Value]) -> Value {
    value!({
        "apiVersion": format!("apiextensions.k8s.io/{review_version}"),
        "kind": "ConversionReview",
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects.to_vec()},
    })
}

/// The objects of an answer, each with the metadata of its original.
///
/// # Errors
/// Upstream's text about an answer that does not fit the question, with what failed in front.
pub fn answer(
    (review_version, uid, api_version): (&str, &str, &str),
    originals: &[Value],
    mut review: Value,
) -> Result<Vec<Value>, String> {
    let webhook = webhook_for(originals);
    let failed = |why: String| format!("{webhook} failed: {why}");
    check_review(review_version, uid, &review).map_err(failed)?;
    let converted = match review.path_mut(&["response", "convertedObjects"]).map(Value::take) {
        Some(Value::List(converted)) => converted,
        _ => Vec::new(),
    };
    if converted.len() != originals.len() {
        return Err(format!("{webhook} returned {} objects, expected {}", converted.len(), originals.len()));
    }
    let is_single = originals.len() == 1;
    let objects = originals.iter().zip(converted).enumerate();
    objects
        .map(|(at, (original, mut object))| {
            let told = |alone: &'static str, listed: &'static str| {
                let (webhook, at) = (&webhook, at);
                move |why: String| {
                    if is_single {
                        format!("{webhook} returned invalid {alone}: {why}")
                    } else {
                        format!("{webhook} returned invalid {listed} object at index {at}: {why}")
                    }
                }
            };
            check_type(original, &object, api_version).map_err(told("object at index 0", "converted"))?;
            check_identity(original, &object).map_err(told("object", "converted"))?;
            keep_meta(original, &mut object).map_err(told("metadata", "metadata in"))?;
            Ok(object)
        })
        .collect()
}

/// How errors name the webhook that was to convert `originals`.
pub fn webhook_for(originals: &[Value]) -> String {
    let first = originals.first().unwrap_or(&Value::Null);
    format!("conversion webhook for {}, Kind={}", Meta(first).api_version(), Meta(first).kind())
}

fn check_review(review_version: &str, uid: &str, review: &Value) -> Result<(), String> {
    let is_v1 = review_version == "v1";
    let (api_version, kind) = (Meta(review).api_version(), Meta(review).kind());
    if is_v1 && (api_version, kind) != ("apiextensions.k8s.io/v1", "ConversionReview") {
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {api_version}, Kind={kind}"
        ));
    }
    let Some(response) = review.get("response").filter(|response| !response.is_null()) else {
        return Err("no response provided".to_owned());
    };
    let text = |path: &[&str]| response.path_str(path).unwrap_or_default();
    if is_v1 && text(&["uid"]) != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(&["uid"])));
    }
    match (text(&["result", "status"]), text(&["result", "message"])) {
        ("Success", _) => Ok(()),
        (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => Err(message.to_owned()),
    }
}

fn check_type(original: &Value, object: &Value, api_version: &str) -> Result<(), String> {
    let (wanted, found) = (Meta(original).kind(), Meta(object).kind());
    match Meta(object).api_version() {
        version if version != api_version => {
            Err(format!("invalid groupVersion (expected {api_version}, received {version})"))
        }
        _ if wanted != found => Err(format!("invalid kind (expected {wanted}, received {found})")),
        _ => Ok(()),
    }
}

fn check_identity(original: &Value, object: &Value) -> Result<(), String> {
    let (wanted, found) = (Meta(original), Meta(object));
    for (what, wanted, found) in [
        ("name", wanted.name(), found.name()),
        ("namespace", wanted.namespace(), found.namespace()),
        ("UID", wanted.uid(), found.uid()),
    ] {
        if wanted != found {
            return Err(format!("must have the same {what}: {wanted} != {found}"));
        }
    }
    Ok(())
}

/// Gives a converted object its original's metadata, but its own labels and annotations.
fn keep_meta(original: &Value, object: &mut Value) -> Result<(), String> {
    let Some(answered) = object.get_mut("metadata").map(Value::take) else {
        return Err("missing metadata in converted object".to_owned());
    };
    if answered.as_map().is_none() {
        return Err(format!("invalid metadata of type {} in converted object", go_type(&answered)));
    }
    let mut meta = original.get("metadata").cloned().unwrap_or_else(Value::map);
    for field in CONVERTED {
        let Some(texts) = answered.get(field).filter(|texts| !texts.is_null()) else {
            meta.make_map().remove(field);
            continue;
        };
        let Some(map) = texts.as_map() else {
            return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(texts)));
        };
        for (key, value) in map {
            if value.as_str().is_none() {
                let found = go_type(value);
                return Err(format!(
                    "metadata.{field}[{key}] must be a string, but is {found} in converted object"
                ));
            }
        }
        if original.path(&["metadata", field]) != Some(texts) {
            let mut errors = ErrorList::new();
            match field {
                "labels" => validate_labels(Some(map), &Path::new("metadata").child("labels"), &mut errors),
                // Upstream's path, without the plural.
                _ => validate_annotations(Some(map), &Path::new("metadata").child("annotation"), &mut errors),
            }
            if let Err(status) = errors.into_result("", "", "") {
                return Err(status.message);
            }
        }
        meta.make_map().insert(field, texts.clone());
    }
    object.make_map().insert("metadata", meta);
    Ok(())
}

/// What upstream's language calls the type of a decoded value.
fn go_type(value: &Value) -> SmolStr {
    SmolStr::new_static(match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Float(_) => "float64",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, meta: &Value) -> Value {
        value!({"apiVersion": format!("x.example/{version}"), "kind": "Thing", "metadata": meta.clone()})
    }

    fn converted(answered: &Value) -> Result<Vec<Value>, String> {
        let meta =
            value!({"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "5", "labels": {"k": "v"}});
        let review = value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [answered.clone()]}});
        answer(("v1", "u", "x.example/v2"), &[object("v1", &meta)], review)
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_are_converted() {
        let meta =
            value!({"name": "a", "namespace": "n", "uid": "1", "annotations": {"b": "c"}, "generation": 9});
        let kept = converted(&object("v2", &meta)).unwrap();
        assert_eq!(
            kept.first().unwrap().get("metadata").unwrap(),
            &value!({"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "5", "annotations": {"b": "c"}})
        );
    }

    #[test]
    fn answers_must_fit_the_question() {
        let good = value!({"name": "a", "namespace": "n", "uid": "1"});
        let with = |field: &str, value: Value| {
            let mut meta = good.clone();
            meta.set_path(&[field], value);
            object("v2", &meta)
        };
        for (answered, why) in [
            (
                object("v1", &good),
                "returned invalid object at index 0: invalid groupVersion (expected x.example/v2, received x.example/v1)",
            ),
            (with("name", "b".into()), "returned invalid object: must have the same name: a != b"),
            (with("uid", "2".into()), "returned invalid object: must have the same UID: 1 != 2"),
            (
                with("labels", value!({"k": 1})),
                "returned invalid metadata: metadata.labels[k] must be a string, but is int64 in converted object",
            ),
            (
                with("labels", value!([])),
                "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
            ),
        ] {
            let told = converted(&answered).unwrap_err();
            assert_eq!(told, format!("conversion webhook for x.example/v1, Kind=Thing {why}"));
        }
        let review = |response: Value| value!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        for (response, why) in [
            (Value::Null, "failed: no response provided"),
            (value!({"uid": "x"}), r#"failed: expected response.uid="u", got "x""#),
            (value!({"uid": "u", "result": {"status": "Failed", "message": "no idea"}}), "failed: no idea"),
            (
                value!({"uid": "u", "result": {"status": "Failed"}}),
                "failed: response.result.status was 'Failed', not 'Success'",
            ),
            (value!({"uid": "u", "result": {"status": "Success"}}), "returned 0 objects, expected 1"),
        ] {
            let told =
                answer(("v1", "u", "x.example/v2"), &[object("v1", &good)], review(response)).unwrap_err();
            assert_eq!(told, format!("conversion webhook for x.example/v1, Kind=Thing {why}"));
        }
    }
}
