//! Admission of connections: exec, attach, port-forward and proxies are admitted with their options as the object, before
//! anything is looked up.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::Status;

use crate::request::{Query, RequestContext};
use crate::types::{AdmissionRequest, Marks, Operation, Reinvocation, Warnings};

/// Admits a connection to a subresource of `kind`; `path` is what a proxy is asked for. Warnings have no place in an
/// upgraded stream and are dropped, as upstream's clients do not see them either.
///
/// # Errors
/// The refusal.
pub(super) async fn admit(context: &RequestContext, kind: &'static Kind, path: &str) -> Result<(), Status> {
    let info = &context.info;
    let Some(sub) = kind.subresource(&info.subresource) else { return Ok(()) };
    let mut options = options(sub.name, &context.query, path);
    options.set_path(&["apiVersion"], sub.version);
    options.set_path(&["kind"], sub.kind);
    let mut request = AdmissionRequest {
        kind,
        subresource: info.subresource.clone(),
        operation: Operation::Connect,
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        object: options,
        old: None,
        user: context.user().clone(),
        dry_run: false,
        options: Value::Null,
        warnings: Warnings::default(),
        marks: Marks::default(),
        reinvocation: Reinvocation::default(),
    };
    let admission = context.writer.admission();
    admission.mutate(&mut request).await?;
    admission.validate(&request).await
}

/// The options of a connection, as its query states them.
fn options(subresource: &str, query: &Query, path: &str) -> Value {
    let mut options = Value::map();
    match subresource {
        "exec" | "attach" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.is_true(flag) {
                    options.set_path(&[flag], true);
                }
            }
            if let Some(container) = query.non_empty("container") {
                options.set_path(&["container"], container);
            }
            let command: Vec<Value> = query.all("command").map(Value::from).collect();
            if !command.is_empty() && subresource == "exec" {
                options.set_path(&["command"], command);
            }
        }
        "portforward" => {
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            let ports: Vec<Value> =
                ports.filter_map(|port| port.parse::<i64>().ok()).map(Value::from).collect();
            if !ports.is_empty() {
                options.set_path(&["ports"], ports);
            }
        }
        _ if !path.is_empty() => options.set_path(&["path"], value::Value::from(path)),
        _ => {}
    }
    options
}
