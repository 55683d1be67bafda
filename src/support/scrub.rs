//! Takes out of objects what may be secret. Pure: what stays is what names, counts and says how things are.

use serde_json::Value;

/// What stands in the place of what was taken out.
const LEFT_OUT: &str = "(left out)";
/// Fields whose strings may be anything, passwords too: what a container is started with.
const FREE_TEXT: [&str; 2] = ["args", "command"];
/// Fields that hold data, or say all over again what an object is.
const DATA: [&str; 5] = ["data", "binaryData", "stringData", "annotations", "managedFields"];

/// The list without what may be secret.
pub(super) fn scrub(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    name if DATA.contains(&name) => leave_out(field),
                    name if FREE_TEXT.contains(&name) => leave_out(field),
                    // Of a variable the name stays, and where its value is from.
                    "env" => each_object(field, |variable| {
                        if let Some(value) = variable.get_mut("value") {
                            leave_out(value);
                        }
                    }),
                    "httpHeaders" => each_object(field, |header| {
                        if let Some(value) = header.get_mut("value") {
                            leave_out(value);
                        }
                    }),
                    _ => scrub(field),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A text without the tokens that join commands in it show.
pub(super) fn without_tokens(text: &str) -> String {
    const FLAG: &str = "--token";
    let mut parts = text.split(FLAG);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let from = part.find(|c: char| c != ' ' && c != '=').unwrap_or(part.len());
        let (gap, rest) = part.split_at(from);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let rest = rest.get(end..).unwrap_or_default();
        // `--token-auth-file` and the like name a file.
        let is_token = gap.starts_with([' ', '=']) && end > 0;
        out.push_str(FLAG);
        if is_token {
            out.extend([gap, LEFT_OUT, rest]);
        } else {
            out.push_str(part);
        }
    }
    out
}

fn leave_out(value: &mut Value) {
    if !value.is_null() {
        *value = Value::from(LEFT_OUT);
    }
}

fn each_object(value: &mut Value, change: impl Fn(&mut serde_json::Map<String, Value>)) {
    value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_of_join_commands_are_left_out() {
        let text = "mainstay agent --join https://a:1 --token x.y.hunter2\nnext --token=hunter2 z --token-auth-file f\n";
        assert_eq!(
            without_tokens(text),
            "mainstay agent --join https://a:1 --token (left out)\nnext --token=(left out) z --token-auth-file f\n"
        );
        assert_eq!(without_tokens("ends with --token"), "ends with --token");
        assert_eq!(without_tokens("token: é"), "token: é");
    }

    #[test]
    fn what_may_be_secret_is_left_out_and_the_rest_stays() {
        let mut pod = json!({"items": [{
            "metadata": {"name": "web", "annotations": {"note": "hunter2"}, "managedFields": [{"manager": "x"}]},
            "spec": {"containers": [{
                "image": "web:1", "args": ["--password=hunter2"], "command": ["sh", "-c", "hunter2"],
                "env": [{"name": "PASSWORD", "value": "hunter2"},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}],
                "livenessProbe": {"exec": {"command": ["hunter2"]}},
                "readinessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "hunter2"}]}},
            }]},
            "data": {"k": "hunter2"}, "status": {"phase": "Running", "restartCount": 3},
        }]});
        scrub(&mut pod);
        let text = pod.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        let container = &pod["items"][0]["spec"]["containers"][0];
        assert_eq!(container["env"][0], json!({"name": "PASSWORD", "value": LEFT_OUT}));
        assert_eq!(container["env"][1]["valueFrom"]["secretKeyRef"]["name"], "keys");
        assert_eq!(container["image"], "web:1");
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], 80);
        assert_eq!(pod["items"][0]["status"], json!({"phase": "Running", "restartCount": 3}));
    }
}
