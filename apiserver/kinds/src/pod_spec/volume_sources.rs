//! Checks of volumes that a system outside of the cluster serves, one row each. Pods and persistent volumes name
//! them in the same words; what differs is asked of the [`Owner`]. Whether a node can mount one is not known here.

use super::mounts::validate_descending;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};

/// What names a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// A volume of a pod, by the volume's name.
    Pod(&'a str),
    /// A persistent volume, by its name.
    Volume(&'a str),
}

type Check = fn(&At<'_>, Owner<'_>, &mut ErrorList);

struct Source {
    kind: &'static str,
    /// Fields that must not be empty.
    required: &'static [&'static str],
    /// What else there is to check, after these.
    more: Check,
}

const fn source(kind: &'static str, required: &'static [&'static str], more: Check) -> Source {
    Source { kind, required, more }
}

const SOURCES: &[Source] = &[
    source("gitRepo", &["repository"], git_repo),
    source("gcePersistentDisk", &["pdName"], partition),
    source("awsElasticBlockStore", &["volumeID"], partition),
    source("iscsi", &["targetPortal"], iscsi),
    source("glusterfs", &["endpoints", "path"], glusterfs),
    source("flocker", &[], flocker),
    source("rbd", &["monitors", "image"], nothing),
    source("cinder", &["volumeID"], secret),
    source("cephfs", &["monitors"], nothing),
    source("quobyte", &[], quobyte),
    source("fc", &[], fibre_channel),
    source("flexVolume", &["driver"], flex_volume),
    source("azureFile", &["secretName", "shareName"], azure_file),
    source("vsphereVolume", &["volumePath"], nothing),
    source("photonPersistentDisk", &["pdID"], nothing),
    source("portworxVolume", &["volumeID"], nothing),
    source("azureDisk", &["diskName", "diskURI"], azure_disk),
    source("storageos", &["volumeName"], storage_os),
    source("scaleIO", &["gateway", "system", "volumeName"], nothing),
];

/// Checks the source `kind` that `holder` names, if it is one of those that other systems serve.
pub(crate) fn validate_served(holder: &At<'_>, kind: &str, owner: Owner<'_>, errors: &mut ErrorList) {
    let Some(known) = SOURCES.iter().find(|known| known.kind == kind) else { return };
    // Upstream shows the errors of this one at another name.
    let shown = if kind == "gcePersistentDisk" { "persistentDisk" } else { kind };
    let source = At::new(holder.get(kind).value, holder.path.child(shown));
    for field in known.required {
        source.get(field).require(errors, "");
    }
    (known.more)(&source, owner, errors);
    if let ("iscsi", Owner::Pod(name)) = (kind, owner)
        && source.has("initiatorName")
        && is_long(name, &source)
    {
        errors.invalid(&holder.path.child("name"), name, LONG_ISCSI);
    }
}

/// Where upstream says that a volume names a second source.
pub(crate) fn second_source_path(holder: &At<'_>, kind: &str) -> Path {
    holder.path.child(match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    })
}

fn nothing(_: &At<'_>, _: Owner<'_>, _: &mut ErrorList) {}

fn git_repo(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    let directory = source.get("directory");
    validate_descending(&directory, &directory.path, errors);
}

fn partition(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    let number = source.get("partition");
    if number.int().is_some_and(|number| !(0..=255).contains(&number)) {
        number.invalid(errors, "must be between 1 and 255, inclusive");
    }
}

const ISCSI_CHARACTERS_MAX: usize = 64;
const LONG_ISCSI: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                          iscsi.initiatorName is specified.";

fn is_long(name: &str, iscsi: &At<'_>) -> bool {
    name.len() + 1 + iscsi.text_of("targetPortal").len() > ISCSI_CHARACTERS_MAX
}

fn iscsi(iscsi: &At<'_>, owner: Owner<'_>, errors: &mut ErrorList) {
    let initiator = iscsi.get("initiatorName");
    let unknown = match owner {
        Owner::Pod(_) => "must be valid format starting with iqn, eui, or naa",
        Owner::Volume(name) => {
            if initiator.is_set() && is_long(name, iscsi) {
                let portal = iscsi.text_of("targetPortal");
                errors.invalid(&iscsi.path.child("targetportal"), portal, LONG_ISCSI);
            }
            "must be valid format"
        }
    };
    let qualified = iscsi.get("iqn");
    if qualified.require(errors, "") {
        validate_initiator(&qualified, unknown, errors);
    }
    iscsi.get("lun").in_range(errors, 0, 255);
    let secret = iscsi.get("secretRef");
    if !secret.is_set() && (iscsi.get("chapAuthDiscovery").flag() || iscsi.get("chapAuthSession").flag()) {
        errors.required(&secret.path, "");
    }
    if secret.is_set() && matches!(owner, Owner::Volume(_)) {
        secret.get("name").require(errors, "");
    }
    if initiator.is_set() {
        let at = At::new(initiator.value, iscsi.path.child("initiatorname"));
        validate_initiator(&at, unknown, errors);
    }
}

/// Checks a name as RFC 3720 has them; `unknown` says so when it is of none of the three forms.
fn validate_initiator(name: &At<'_>, unknown: &str, errors: &mut ErrorList) {
    let text = name.text();
    let sound = match text.get(..3) {
        Some("iqn") => text.match_indices("iqn.").any(|(at, found)| is_iqn(&text[at + found.len()..])),
        Some(form @ ("eui" | "naa")) => {
            let digits = if form == "eui" { 16 } else { 32 };
            let rest: Vec<char> = text.chars().skip(4).collect();
            rest.len() == digits && rest.iter().all(char::is_ascii_alphanumeric)
        }
        _ => {
            name.invalid(errors, unknown);
            return;
        }
    };
    if !sound {
        name.invalid(errors, "must be valid format");
    }
}

/// `2001-04.com.example:target`: a month, a domain, and whatever the domain's owner says.
fn is_iqn(text: &str) -> bool {
    let (date, rest) = text.split_once('.').unwrap_or_default();
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let month = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let (domain, target) = rest.split_once(':').unwrap_or_default();
    let in_domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let in_target = |c: char| !",;*&$|".contains(c) && !matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ');
    month
        && !domain.is_empty()
        && domain.bytes().all(in_domain)
        && !target.is_empty()
        && target.chars().all(in_target)
}

fn glusterfs(source: &At<'_>, owner: Owner<'_>, errors: &mut ErrorList) {
    let namespace = source.get("endpointsNamespace");
    if matches!(owner, Owner::Pod(_)) || !namespace.is_set() {
        return;
    }
    if namespace.is_empty() {
        namespace.invalid(errors, "if the endpointnamespace is set, it must be a valid namespace name");
    } else {
        namespace.invalid_each(errors, names::dns_label(namespace.text()));
    }
}

fn flocker(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    let (name, id) = (source.get("datasetName"), source.get("datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => errors.required(&source.path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let text = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(&source.path, "resource", text);
        }
        _ => {}
    }
    if name.text().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

/// Checks the secret of a source; that of a persistent volume stands in a namespace.
fn secret(source: &At<'_>, owner: Owner<'_>, errors: &mut ErrorList) {
    let secret = source.get("secretRef");
    if !secret.is_set() {
        return;
    }
    secret.get("name").require(errors, "");
    if matches!(owner, Owner::Volume(_)) {
        secret.get("namespace").require(errors, "");
    }
}

fn quobyte(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (source.get("registry"), source.get("tenant"));
    if registry.is_empty() {
        errors.required(&registry.path, PAIRS);
    } else if tenant.text().len() > 64 {
        errors.required(&tenant.path, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _pair in registry.text().split(',').filter(|pair| !is_host_and_port(pair)) {
            registry.invalid(errors, PAIRS);
        }
    }
    source.get("volume").require(errors, "");
}

/// `host:port`, or `[address]:port`; neither is looked into.
fn is_host_and_port(text: &str) -> bool {
    let bare = |text: &str| !text.contains(['[', ']']);
    match text.strip_prefix('[') {
        Some(rest) => {
            rest.split_once("]:").is_some_and(|(host, port)| bare(host) && bare(port) && !port.contains(':'))
        }
        None => {
            text.split_once(':').is_some_and(|(host, port)| bare(host) && bare(port) && !port.contains(':'))
        }
    }
}

fn fibre_channel(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    let (targets, ids, lun) = (source.get("targetWWNs"), source.get("wwids"), source.get("lun"));
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => {
            errors.required(&targets.path, "must specify either targetWWNs or wwids, but not both");
        }
        (false, false) => targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously"),
        _ => {}
    }
    if !targets.is_empty() {
        if lun.is_set() {
            lun.in_range(errors, 0, 255);
        } else {
            errors.required(&lun.path, "lun is required if targetWWNs is specified");
        }
    }
}

fn flex_volume(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    for (key, option) in source.get("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace).to_lowercase();
        let dotted = format!(".{namespace}");
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            errors.invalid(&option.path, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_file(source: &At<'_>, owner: Owner<'_>, errors: &mut ErrorList) {
    let namespace = source.get("secretNamespace");
    if matches!(owner, Owner::Volume(_)) && namespace.is_set() {
        namespace.require(errors, "");
    }
}

fn azure_disk(source: &At<'_>, _: Owner<'_>, errors: &mut ErrorList) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let (caching, kind, uri) = (source.get("cachingMode"), source.get("kind"), source.get("diskURI"));
    if caching.is_set() {
        caching.one_of(errors, &["None", "ReadOnly", "ReadWrite"]);
    }
    if !kind.is_set() {
        return;
    }
    kind.one_of(errors, &["Dedicated", "Managed", "Shared"]);
    let (start, supported) =
        if kind.text() == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !uri.text().starts_with(start) {
        errors.not_supported(&uri.path, uri.text(), &[supported]);
    }
}

fn storage_os(source: &At<'_>, owner: Owner<'_>, errors: &mut ErrorList) {
    for field in ["volumeName", "volumeNamespace"] {
        let name = source.get(field);
        if !name.is_empty() {
            name.invalid_each(errors, names::dns_label(name.text()));
        }
    }
    secret(source, owner, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initiators_have_one_of_three_forms() {
        assert!(is_iqn("2001-04.com.example:storage:disk2.sys1.xyz"));
        for bad in
            ["2001-4.com.example:a", "2001-04.com.example", "2001-04.:a", "2001-04.a_b:c", "2001-04.a:b c"]
        {
            assert!(!is_iqn(bad), "{bad}");
        }
    }

    #[test]
    fn a_registry_is_hosts_with_ports() {
        for good in ["a:1", "[::1]:80", ":1", "a:"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["a", "::1", "[::1]", "[::1]80", "a:1:2", "[a:1"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
