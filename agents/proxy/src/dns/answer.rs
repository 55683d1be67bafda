//! Decides the answer to one question about the cluster's domain. Pure but for the caches it reads.

use std::net::Ipv4Addr;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;

use super::records::{HeadlessEndpoint, Records, srv_labels};

/// Lifetime of records, in seconds; kubeadm's CoreDNS gives 30, its default is 5. Short follows changes sooner.
const TTL_SECONDS: u32 = 5;
/// Version of the specification, published as `dns-version.<domain>`.
const SPECIFICATION: &str = "1.1.0";

/// What the cluster says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name is in the cluster's domain.
    Own {
        /// `NoError` or `NXDomain`.
        code: ResponseCode,
        /// Records that answer; empty with `NoError` says that the name has no record of this type.
        records: Vec<Record>,
        /// Start of authority, for negative answers.
        authority: Option<Box<Record>>,
    },
    /// The name is outside: ask another server.
    Forward,
}

/// What a name stands for, before the question's type selects records.
enum Found {
    /// The name does not exist.
    Nothing,
    /// It exists, with these records.
    Records(Vec<RData>),
}

/// Answers a question from `records`; `domain` is such as `cluster.local`.
pub fn answer(query: &Query, records: &Records, domain: &Name) -> Answer {
    let name = query.name();
    if let Some(ip) = reverse_address(name) {
        return reverse(name, ip, records, domain);
    }
    if !domain.zone_of(name) {
        return Answer::Forward;
    }
    let labels = labels_below(name, domain);
    let borrowed: Vec<_> = labels.iter().map(String::as_str).collect();
    let found = match borrowed.as_slice() {
        [] => Found::Records(vec![RData::SOA(soa(domain))]),
        ["dns-version"] => Found::Records(vec![RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()]))]),
        ["svc" | "pod"] => Found::Records(Vec::new()),
        [namespace, "svc" | "pod"] if records.has_namespace(namespace) => Found::Records(Vec::new()),
        [address, _namespace, "pod"] => pod(address),
        [service, namespace, "svc"] => {
            service_records(records, namespace, service, &ServiceName::Itself, domain)
        }
        [host, service, namespace, "svc"] if !host.starts_with('_') => {
            service_records(records, namespace, service, &ServiceName::Host(host), domain)
        }
        [port, protocol, service, namespace, "svc"] => {
            match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(port), Some(protocol)) => {
                    service_records(records, namespace, service, &ServiceName::Port(port, protocol), domain)
                }
                _ => Found::Nothing,
            }
        }
        _ => Found::Nothing,
    };
    own(query, found, domain)
}

/// Which name at or below a Service is asked for.
enum ServiceName<'a> {
    Itself,
    Host(&'a str),
    Port(&'a str, &'a str),
}

fn own(query: &Query, found: Found, domain: &Name) -> Answer {
    let authority =
        || Some(Box::new(Record::from_rdata(domain.clone(), TTL_SECONDS, RData::SOA(soa(domain)))));
    let Found::Records(data) = found else {
        return Answer::Own { code: ResponseCode::NXDomain, records: Vec::new(), authority: authority() };
    };
    let wanted = |data: &RData| {
        let kind = data.record_type();
        kind == query.query_type() || kind == RecordType::CNAME || query.query_type() == RecordType::ANY
    };
    let record = |data| Record::from_rdata(query.name().clone(), TTL_SECONDS, data);
    let records: Vec<_> = data.into_iter().filter(wanted).map(record).collect();
    let authority = if records.is_empty() { authority() } else { None };
    Answer::Own { code: ResponseCode::NoError, records, authority }
}

fn service_records(
    records: &Records,
    namespace: &str,
    name: &str,
    asked: &ServiceName<'_>,
    domain: &Name,
) -> Found {
    let Some(service) = records.service(namespace, name) else { return Found::Nothing };
    let Some(spec) = service.spec.as_ref() else { return Found::Nothing };
    let base = format!("{name}.{namespace}.svc");
    if spec.type_.as_deref() == Some("ExternalName") {
        let target =
            spec.external_name.as_deref().and_then(|target| Name::from_ascii(format!("{target}.")).ok());
        return match (asked, target) {
            (ServiceName::Itself, Some(target)) => Found::Records(vec![RData::CNAME(CNAME(target))]),
            _ => Found::Nothing,
        };
    }
    match spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) {
        Some(ip) => cluster_ip_records(&service, ip, asked, &base, domain),
        None if spec.cluster_ip.as_deref() == Some("None") => {
            headless_records(&records.headless(&service), asked, &base, domain)
        }
        None => Found::Records(Vec::new()), // not allocated yet, or IPv6 only
    }
}

fn cluster_ip_records(
    service: &Service,
    ip: Ipv4Addr,
    asked: &ServiceName<'_>,
    base: &str,
    domain: &Name,
) -> Found {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    match asked {
        ServiceName::Itself => Found::Records(vec![RData::A(A(ip))]),
        ServiceName::Host(_) => Found::Nothing,
        ServiceName::Port(port, protocol) => {
            let matching = ports.iter().filter(|candidate| {
                let (name, transport) = srv_labels(candidate);
                !name.is_empty() && name == *port && transport == *protocol
            });
            let targets = matching.filter_map(|port| srv(base, domain, u16::try_from(port.port).ok()?));
            some_or_nothing(targets.collect())
        }
    }
}

fn headless_records(
    endpoints: &[HeadlessEndpoint],
    asked: &ServiceName<'_>,
    base: &str,
    domain: &Name,
) -> Found {
    match asked {
        ServiceName::Itself => Found::Records(endpoints.iter().map(|e| RData::A(A(e.ip))).collect()),
        ServiceName::Host(host) => {
            let matching = endpoints.iter().filter(|e| e.label.eq_ignore_ascii_case(host));
            some_or_nothing(matching.map(|e| RData::A(A(e.ip))).collect())
        }
        ServiceName::Port(port, protocol) => {
            let mut targets = Vec::new();
            for endpoint in endpoints {
                let matching = endpoint.ports.iter().filter(|(name, transport, _)| {
                    !name.is_empty() && name.eq_ignore_ascii_case(port) && transport == protocol
                });
                let target = format!("{}.{base}", endpoint.label);
                targets.extend(matching.filter_map(|(_, _, number)| srv(&target, domain, *number)));
            }
            some_or_nothing(targets)
        }
    }
}

fn some_or_nothing(data: Vec<RData>) -> Found {
    if data.is_empty() { Found::Nothing } else { Found::Records(data) }
}

fn srv(target: &str, domain: &Name, port: u16) -> Option<RData> {
    let target = Name::from_ascii(target).ok()?.append_domain(domain).ok()?;
    Some(RData::SRV(SRV::new(0, 100, port, target)))
}

/// `10-42-0-7.<namespace>.pod`: the address itself, unverified, as kubeadm's CoreDNS answers (`pods insecure`).
fn pod(label: &str) -> Found {
    match label.replace('-', ".").parse::<Ipv4Addr>() {
        Ok(ip) => Found::Records(vec![RData::A(A(ip))]),
        Err(_not_an_address) => Found::Nothing,
    }
}

fn reverse(name: &Name, ip: Ipv4Addr, records: &Records, domain: &Name) -> Answer {
    let owners: Vec<_> = match records.service_at(ip) {
        Some(service) => vec![service],
        None => records.endpoints_at(ip),
    };
    let pointer = |owner: &String| {
        let (host, namespace) = owner.rsplit_once('.')?;
        let target = Name::from_ascii(format!("{host}.{namespace}.svc")).ok()?.append_domain(domain).ok()?;
        Some(Record::from_rdata(name.clone(), TTL_SECONDS, RData::PTR(PTR(target))))
    };
    let found: Vec<_> = owners.iter().filter_map(pointer).collect();
    if found.is_empty() {
        return Answer::Forward;
    }
    Answer::Own { code: ResponseCode::NoError, records: found, authority: None }
}

fn reverse_address(name: &Name) -> Option<Ipv4Addr> {
    let text = name.to_ascii().to_ascii_lowercase();
    let labels = text.trim_end_matches('.').strip_suffix(".in-addr.arpa")?;
    let octets: Vec<_> = labels.split('.').rev().collect();
    octets.join(".").parse().ok()
}

/// The labels of `name` below `domain`, lower case, first to last.
fn labels_below(name: &Name, domain: &Name) -> Vec<String> {
    let below = usize::from(name.num_labels()).saturating_sub(usize::from(domain.num_labels()));
    name.iter().take(below).map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}

fn soa(domain: &Name) -> SOA {
    let below = |label: &str| {
        Name::from_ascii(label)
            .and_then(|name| name.append_domain(domain))
            .unwrap_or_else(|_long| domain.clone())
    };
    SOA::new(below("ns.dns"), below("hostmaster"), 1, 7200, 1800, 86_400, TTL_SECONDS)
}
