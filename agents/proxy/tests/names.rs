//! The answers of the cluster's DNS server, by the Kubernetes DNS specification.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mainstay_agents_kit::informer::Reader;
use mainstay_agents_proxy::dns::{Answer, Records, answer};

fn parse<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn records() -> Records {
    let services: Vec<Service> = vec![
        parse(serde_json::json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.43.0.20", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})),
        parse(serde_json::json!({"metadata": {"name": "db", "namespace": "shop"},
            "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}})),
        parse(serde_json::json!({"metadata": {"name": "out", "namespace": "shop"},
            "spec": {"type": "ExternalName", "externalName": "example.org"}})),
    ];
    let slices: Vec<EndpointSlice> = vec![parse(serde_json::json!({
    "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
    "addressType": "IPv4",
    "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.42.0.7"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.42.0.8"], "conditions": {"ready": true}},
        {"addresses": ["10.42.0.9"], "conditions": {"ready": false}}
    ]}))];
    Records::over(Reader::fixed(services), Reader::fixed(slices))
}

/// `code: record, record …` as text.
fn ask(name: &str, kind: RecordType) -> String {
    let query = Query::query(Name::from_ascii(name).unwrap(), kind);
    match answer(&query, &records(), &Name::from_ascii("cluster.local.").unwrap()) {
        Answer::Forward => "forward".to_owned(),
        Answer::Own { code, records, authority } => {
            assert_eq!(authority.is_some(), records.is_empty(), "negative answers name the authority");
            let code = if code == ResponseCode::NoError { "ok" } else { "nxdomain" };
            let data: Vec<_> = records.iter().map(|record| record.data.to_string()).collect();
            format!("{code}: {}", data.join(", ")).trim_end().to_owned()
        }
    }
}

#[test]
fn names_get_the_answers_of_the_specification() {
    let cases = [
        ("web.shop.svc.cluster.local.", RecordType::A, "ok: 10.43.0.20"),
        ("WEB.Shop.svc.cluster.local.", RecordType::A, "ok: 10.43.0.20"),
        ("web.shop.svc.cluster.local.", RecordType::AAAA, "ok:"),
        (
            "_http._tcp.web.shop.svc.cluster.local.",
            RecordType::SRV,
            "ok: 0 100 80 web.shop.svc.cluster.local.",
        ),
        ("_dns._tcp.web.shop.svc.cluster.local.", RecordType::SRV, "nxdomain:"),
        ("db.shop.svc.cluster.local.", RecordType::A, "ok: 10.42.0.7, 10.42.0.8"),
        ("db-0.db.shop.svc.cluster.local.", RecordType::A, "ok: 10.42.0.7"),
        ("10-42-0-8.db.shop.svc.cluster.local.", RecordType::A, "ok: 10.42.0.8"),
        ("db-9.db.shop.svc.cluster.local.", RecordType::A, "nxdomain:"),
        (
            "_sql._tcp.db.shop.svc.cluster.local.",
            RecordType::SRV,
            "ok: 0 100 5432 db-0.db.shop.svc.cluster.local., 0 100 5432 10-42-0-8.db.shop.svc.cluster.local.",
        ),
        ("out.shop.svc.cluster.local.", RecordType::A, "ok: example.org."),
        ("10-42-0-7.shop.pod.cluster.local.", RecordType::A, "ok: 10.42.0.7"),
        ("x.shop.pod.cluster.local.", RecordType::A, "nxdomain:"),
        ("none.shop.svc.cluster.local.", RecordType::A, "nxdomain:"),
        ("shop.svc.cluster.local.", RecordType::A, "ok:"),
        ("web.none.svc.cluster.local.", RecordType::A, "nxdomain:"),
        ("example.org.", RecordType::A, "forward"),
        ("20.0.43.10.in-addr.arpa.", RecordType::PTR, "ok: web.shop.svc.cluster.local."),
        ("7.0.42.10.in-addr.arpa.", RecordType::PTR, "ok: db-0.db.shop.svc.cluster.local."),
        ("8.8.8.8.in-addr.arpa.", RecordType::PTR, "forward"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    }
}
