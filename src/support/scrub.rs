//! Takes out of objects what may be secret. Pure: what stays is what names, counts and says how things are.

use serde_json::Value;

/// What stands in the place of what was taken out.
const LEFT_OUT: &str = "(left out)";
/// Fields whose strings may be anything, passwords too: what a container is started with, data, and what says all over again what
/// an object is.
const SECRET: [&str; 7] =
    ["args", "command", "data", "binaryData", "stringData", "annotations", "managedFields"];
/// Lists whose items keep their names, and where their values are from, but not the values.
const NAMED: [&str; 2] = ["env", "httpHeaders"];

/// The list without what may be secret.
pub(super) fn scrub(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match name.as_str() {
                    name if SECRET.contains(&name) => leave_out(field),
                    name if NAMED.contains(&name) => leave_out_values(field),
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

fn leave_out_values(items: &mut Value) {
    let items = items.as_array_mut().into_iter().flatten();
    items.filter_map(|item| item.get_mut("value")).for_each(leave_out);
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
