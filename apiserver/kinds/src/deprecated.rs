//! What upstream warns of in objects of several kinds: old names of node labels, old annotations, and addresses that are not
//! spelt as they should be. Only objects that are valid are looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::At;
use mainstay_apiserver_machinery::value::Value;

const NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What is said of the annotation that named a storage class before a field did.
pub(crate) const STORAGE_CLASS_FIELD: &str =
    "deprecated since v1.8; use \"storageClassName\" attribute instead";

/// What is said of an old label of nodes.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, what)| *what)
}

/// Old labels in the expressions of a selector.
pub(crate) fn expressions(expressions: &At<'_>, out: &mut Vec<String>) {
    for one in expressions.items() {
        let key = one.text_of("key");
        out.extend(node_label(key).map(|what| format!("{}: {key} is {what}", one.path.child("key"))));
    }
}

/// Old labels in a selector of nodes.
pub(crate) fn node_selector(selector: &At<'_>, out: &mut Vec<String>) {
    expressions(&selector.get("matchExpressions"), out);
    let labels = selector.get("matchLabels");
    for (label, _) in labels.entries() {
        out.extend(node_label(label).map(|what| format!("{}: {what}", labels.path.child(label))));
    }
}

/// An annotation that became a field.
pub(crate) fn annotation(object: &Value, name: &str, what: &str, out: &mut Vec<String>) {
    if Meta(object).annotation(name).is_some() {
        out.push(format!("metadata.annotations[{name}]: {what}"));
    }
}

/// An address that is not spelt as it should be.
pub(crate) fn address(at: &At<'_>, out: &mut Vec<String>) {
    let text = at.text();
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => out.push(format!(
                "{}: non-standard IP address {text:?} is invalid: use {:?}",
                at.path,
                v4.to_string()
            )),
            None if v6.to_string() != text => out.push(format!(
                "{}: IPv6 address {text:?} should be in RFC 5952 canonical format ({:?})",
                at.path,
                v6.to_string()
            )),
            None => {}
        },
        Ok(IpAddr::V4(_)) | Err(_) => {}
    }
}

/// A network that is not spelt as it should be.
pub(crate) fn network(at: &At<'_>, out: &mut Vec<String>) {
    let text = at.text();
    let Some((address, length)) = text.split_once('/') else { return };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u32>()) else { return };
    let (network, whole) = match address {
        IpAddr::V4(v4) => (IpAddr::V4(masked_v4(v4, length)), 32),
        IpAddr::V6(v6) => (IpAddr::V6(masked_v6(v6, length)), 128),
    };
    let canonical = format!("{network}/{length}");
    if network != address {
        let single = format!("{address}/{whole}");
        out.push(format!(
            "{}: CIDR value {text:?} is ambiguous in this context (should be {canonical:?} or {single:?}?)",
            at.path
        ));
    } else if address.is_ipv6() && canonical != text {
        out.push(format!(
            "{}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})",
            at.path
        ));
    }
}

fn masked_v4(address: Ipv4Addr, length: u32) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or_default();
    Ipv4Addr::from(u32::from(address) & mask)
}

fn masked_v6(address: Ipv6Addr, length: u32) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or_default();
    Ipv6Addr::from(u128::from(address) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::validation::Path;

    fn told(of: fn(&At<'_>, &mut Vec<String>), text: &str) -> Vec<String> {
        let (value, mut out) = (Value::from(text), Vec::new());
        of(&At::new(&value, Path::new("x")), &mut out);
        out
    }

    #[test]
    fn spellings_are_told_with_the_right_one() {
        assert_eq!(told(address, "10.0.0.1"), Vec::<String>::new());
        assert_eq!(told(address, "fd00::1"), Vec::<String>::new());
        assert_eq!(
            told(address, "FD00:0::1"),
            [r#"x: IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")"#]
        );
        assert_eq!(
            told(address, "::ffff:1.2.3.4"),
            [r#"x: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4""#]
        );
        assert_eq!(told(network, "10.0.0.0/8"), Vec::<String>::new());
        assert_eq!(told(network, "0.0.0.0/0"), Vec::<String>::new());
        assert_eq!(
            told(network, "10.1.0.0/8"),
            [
                r#"x: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)"#
            ]
        );
        assert_eq!(
            told(network, "FD00::/64"),
            [r#"x: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")"#]
        );
    }
}
