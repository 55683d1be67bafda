//! The table of services.

use crate::table;
use mainstay_apiserver_machinery::kind::Column;
use mainstay_apiserver_machinery::value::Value;
use std::collections::BTreeSet;
use time::OffsetDateTime;

pub(super) const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::new("Type", "How the service is reached."),
    Column::new("Cluster-IP", "First address within the cluster."),
    Column::new("External-IP", "Addresses outside of the cluster."),
    Column::new("Port(s)", "Ports, with node ports, and protocols."),
    Column::new("Age", "Time since the object was created."),
    Column::new("Selector", "Which pods serve.").wide(),
];

pub(super) fn row(service: &Value, now: OffsetDateTime) -> Vec<Value> {
    let first = service.path_list(&["spec", "clusterIPs"]).first().and_then(Value::as_str);
    vec![
        table::name(service),
        table::text_or(service, &["spec", "type"], ""),
        first.unwrap_or("<none>").into(),
        external(service).into(),
        ports(service).into(),
        table::age(service, now),
        table::labels(service.path(&["spec", "selector"])).into(),
    ]
}

fn external(service: &Value) -> String {
    let stated: Vec<&str> =
        service.path_list(&["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    let or_none = |texts: Vec<&str>, absent: &str| {
        if texts.is_empty() { absent.to_owned() } else { texts.join(",") }
    };
    match service.path_str(&["spec", "type"]) {
        Some("ClusterIP" | "NodePort") => or_none(stated, "<none>"),
        Some("LoadBalancer") => {
            let entry = |entry: &'_ Value| -> Option<String> {
                let text = |field: &str| entry.path_str(&[field]).filter(|text| !text.is_empty());
                text("ip").or_else(|| text("hostname")).map(str::to_owned)
            };
            let ingress: BTreeSet<String> =
                service.path_list(&["status", "loadBalancer", "ingress"]).iter().filter_map(entry).collect();
            or_none(ingress.iter().map(String::as_str).chain(stated).collect(), "<pending>")
        }
        Some("ExternalName") => service.path_str(&["spec", "externalName"]).unwrap_or_default().to_owned(),
        _ => String::from("<unknown>"),
    }
}

fn ports(service: &Value) -> String {
    let shown: Vec<String> = service
        .path_list(&["spec", "ports"])
        .iter()
        .map(|port| {
            let number = |field: &str| port.path_i64(&[field]).unwrap_or_default();
            let protocol = port.path_str(&["protocol"]).unwrap_or_default();
            match number("nodePort") {
                0 => format!("{}/{protocol}", number("port")),
                node_port => format!("{}:{node_port}/{protocol}", number("port")),
            }
        })
        .collect();
    if shown.is_empty() { String::from("<none>") } else { shown.join(",") }
}
