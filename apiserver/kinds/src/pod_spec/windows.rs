//! Checks of what only pods on Windows have, and of what they do not have. No node of this system runs Windows; an
//! object that says so is stored all the same, as upstream stores it.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

const SPEC_KIB_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;
const USER_BYTES_MAX: usize = 104;
const ON_WINDOWS: &str = "cannot be set for a windows pod";
const ON_LINUX: &str = "windows options cannot be set for a linux pod";

/// Fields that only pods on Linux have, below the spec.
const POD_FIELDS: &[&[&str]] = &[
    &["securityContext", "appArmorProfile"],
    &["securityContext", "seLinuxOptions"],
    &["hostUsers"],
    &["hostPID"],
    &["hostIPC"],
    &["securityContext", "seccompProfile"],
    &["securityContext", "fsGroup"],
    &["securityContext", "fsGroupChangePolicy"],
    &["securityContext", "sysctls"],
    &["shareProcessNamespace"],
    &["securityContext", "runAsUser"],
    &["securityContext", "runAsGroup"],
    &["securityContext", "supplementalGroups"],
    &["securityContext", "supplementalGroupsPolicy"],
    &["securityContext", "seLinuxChangePolicy"],
];
/// Fields that only containers on Linux have, below their security context.
const CONTAINER_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn security_contexts<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.get(list));
    let containers = lists.into_iter().flat_map(|list| list.items().collect::<Vec<_>>());
    containers.map(|container| container.get("securityContext"))
}

/// Checks the system that a pod says it is for, and what it may not have there.
pub(super) fn validate_os(spec: &At<'_>, errors: &mut ErrorList) {
    let os = spec.get("os");
    if !os.is_set() {
        return;
    }
    let name = os.get("name");
    match name.text() {
        "" => errors.required(&name.path, "cannot be empty"),
        "linux" => {
            let pod = spec.get("securityContext");
            for context in std::iter::once(pod).chain(security_contexts(spec)) {
                let options = context.get("windowsOptions");
                if options.is_set() {
                    errors.forbidden(&options.path, ON_LINUX);
                }
            }
        }
        "windows" => validate_no_linux(spec, errors),
        // Upstream shows this at the system, not at its name.
        other => errors.not_supported(&os.path, other, &["linux", "windows"]),
    }
}

fn validate_no_linux(spec: &At<'_>, errors: &mut ErrorList) {
    for path in POD_FIELDS {
        let field = spec.dig(path);
        // To share no process or network with the host is no statement of its own.
        let states = match path {
            ["hostPID" | "hostIPC"] => field.flag(),
            [_, "sysctls"] => !field.is_empty(),
            _ => field.is_set(),
        };
        if states {
            errors.forbidden(&field.path, ON_WINDOWS);
        }
    }
    for context in security_contexts(spec) {
        for field in CONTAINER_FIELDS {
            let field = context.get(field);
            if field.is_set() {
                errors.forbidden(&field.path, ON_WINDOWS);
            }
        }
    }
}

/// Checks whether containers that are processes of the host stand where they may.
pub(super) fn validate_host_process(spec: &At<'_>, errors: &mut ErrorList) {
    const HOST_PROCESS: &[&str] = &["windowsOptions", "hostProcess"];
    let pod = spec.get("securityContext").dig(HOST_PROCESS).value.as_bool();
    let (mut all, mut of_host) = (0, 0);
    for context in security_contexts(spec) {
        all += 1;
        let field = context.dig(HOST_PROCESS);
        let own = field.value.as_bool();
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let text = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errors.invalid(&field.path, own, &text);
        }
        of_host += i32::from(own.or(pod).unwrap_or_default());
    }
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let text =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(&spec.path, "", text);
    }
    if !spec.get("hostNetwork").flag() {
        let text = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&spec.path.child("hostNetwork"), false, text);
    }
}

/// Checks the options of a pod or container on Windows.
pub(super) fn validate_options(options: &At<'_>, errors: &mut ErrorList) {
    let name = options.get("gmsaCredentialSpecName");
    if name.is_set() {
        name.invalid_each(errors, names::dns_subdomain(name.text()));
    }
    let spec = options.get("gmsaCredentialSpec");
    if spec.is_set() && spec.is_empty() {
        spec.invalid(errors, "gmsaCredentialSpec cannot be an empty string");
    } else if spec.text().len() > SPEC_KIB_MAX * 1024 {
        spec.invalid(errors, &format!("gmsaCredentialSpec size must be under {SPEC_KIB_MAX} KiB"));
    }
    let user = options.get("runAsUserName");
    if user.is_set() {
        for fault in user_faults(user.text()) {
            user.invalid(errors, &format!("runAsUserName{fault}"));
        }
    }
}

/// What is wrong with `DOMAIN\user`; each text continues the field's name.
fn user_faults(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![" cannot be an empty string".into()];
    }
    if text.contains(|c: char| c.is_ascii_control()) {
        return vec![" cannot contain control characters".into()];
    }
    let (domain, user) = match text.split_once('\\') {
        Some((_, rest)) if rest.contains('\\') => {
            return vec![" cannot contain more than one backslash".into()];
        }
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    let mut faults = Vec::new();
    if domain.is_some_and(|domain| domain.len() > DOMAIN_BYTES_MAX) {
        faults.push(format!("'s Domain length must be under {} characters", DOMAIN_BYTES_MAX + 1));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        faults.push("'s Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        faults.push("'s User cannot be empty".into());
    } else if user.len() > USER_BYTES_MAX {
        faults.push(format!("'s User length must not be longer than {USER_BYTES_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        faults.push("'s User cannot contain only periods or spaces".into());
    }
    if user.contains(|c: char| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        faults.push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".into());
    }
    faults
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|c: char| "\\/:*?\"<>|".contains(c))
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}
