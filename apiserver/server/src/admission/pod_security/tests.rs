//! Each check with a pod that fails it, and upstream's words for it.

use super::super::policy::Version;
use super::*;
use mainstay_apiserver_machinery::json::decode_free;

fn told(level: Level, minor: Option<u32>, pod: &str) -> String {
    let pod = decode_free(pod.as_bytes()).unwrap();
    let standard = Standard { level, version: minor.map_or(Version::Latest, Version::Minor) };
    let subject = Subject { metadata: pod.get("metadata"), spec: pod.get("spec").unwrap() };
    details(&evaluate(standard, subject))
}

/// A pod with that container and those further members of its spec.
fn baseline(container: &str, spec: &str) -> String {
    told(Level::Baseline, None, &format!(r#"{{"spec":{{"containers":[{{"name":"a"{container}}}]{spec}}}}}"#))
}

#[test]
fn the_baseline_refuses_what_leaves_the_container() {
    for (container, spec, want) in [
        (
            r#","securityContext":{"privileged":true}"#,
            "",
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            r#","ports":[{"containerPort":1,"hostPort":81},{"containerPort":2,"hostPort":9}]"#,
            "",
            r#"hostPort (container "a" uses hostPorts 81, 9)"#,
        ),
        (
            r#","securityContext":{"capabilities":{"add":["SYS_ADMIN","CHOWN","NET_RAW"]}}"#,
            "",
            r#"non-default capabilities (container "a" must not include "NET_RAW", "SYS_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (
            r#","securityContext":{"procMount":"Unmasked"}"#,
            "",
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            r#","livenessProbe":{"httpGet":{"host":"10.0.0.1"}}"#,
            "",
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")"#,
        ),
        (
            "",
            r#","volumes":[{"name":"v","hostPath":{"path":"/"}},{"name":"w","hostPath":{"path":"/x"}}]"#,
            r#"hostPath volumes (volumes "v", "w")"#,
        ),
        ("", r#","hostNetwork":true,"hostIPC":true"#, "host namespaces (hostNetwork=true, hostIPC=true)"),
        (
            "",
            r#","securityContext":{"sysctls":[{"name":"kernel.core_pattern","value":"x"},{"name":"net.ipv4.tcp_rmem","value":"1"}]}"#,
            "forbidden sysctls (kernel.core_pattern)",
        ),
        (
            "",
            r#","securityContext":{"seLinuxOptions":{"type":"x_t","user":"u"}}"#,
            r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x_t"; user may not be set)"#,
        ),
        (
            r#","securityContext":{"seccompProfile":{"type":"Unconfined"}}"#,
            r#","securityContext":{"seccompProfile":{"type":"Unconfined"}}"#,
            r#"seccompProfile (pod and container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            r#","securityContext":{"windowsOptions":{"hostProcess":true}}"#,
            "",
            r#"hostProcess (container "a" must not set securityContext.windowsOptions.hostProcess=true)"#,
        ),
        (
            r#","securityContext":{"appArmorProfile":{"type":"Unconfined"}}"#,
            "",
            r#"forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")"#,
        ),
        (
            "",
            r#","initContainers":[{"name":"i","securityContext":{"privileged":true}}],"ephemeralContainers":[{"name":"e","securityContext":{"privileged":true}}]"#,
            r#"privileged (containers "i", "e" must not set securityContext.privileged=true)"#,
        ),
        ("", "", ""),
    ] {
        assert_eq!(baseline(container, spec), want);
    }
}

#[test]
fn the_restricted_level_wants_everything_stated() {
    let bare = r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}],"volumes":[{"name":"v","nfs":{}}]}}"#;
    assert_eq!(
        told(Level::Restricted, None, bare),
        r#"allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), restricted volume types (volume "v" uses restricted volume type "nfs"), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
    );
    let hardened = r#"{"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},
        "containers":[{"name":"a","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}}}]}}"#;
    assert_eq!(told(Level::Restricted, None, hardened), "");
    let root = r#"{"spec":{"securityContext":{"runAsNonRoot":true,"runAsUser":0,"seccompProfile":{"type":"RuntimeDefault"}},
        "containers":[{"name":"a","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"],"add":["CHOWN"]}}}]}}"#;
    assert_eq!(
        told(Level::Restricted, None, root),
        r#"unrestricted capabilities (container "a" must not include "CHOWN" in securityContext.capabilities.add), runAsUser=0 (pod must not set runAsUser=0)"#
    );
}

#[test]
fn versions_choose_the_checks_of_their_time() {
    let pod = r#"{"metadata":{"annotations":{"seccomp.security.alpha.kubernetes.io/pod":"unconfined"}},"spec":{"hostUsers":false,"containers":[{"name":"a","securityContext":{"procMount":"Unmasked"}}],"securityContext":{"sysctls":[{"name":"net.ipv4.tcp_rmem"}]}}}"#;
    let at = |minor| told(Level::Baseline, Some(minor), pod);
    let proc = r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#;
    assert_eq!(
        at(18),
        format!(
            r#"{proc}, seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined"), forbidden sysctls (net.ipv4.tcp_rmem)"#
        )
    );
    assert_eq!(at(31), format!("{proc}, forbidden sysctls (net.ipv4.tcp_rmem)"));
    assert_eq!(at(34), proc);
    assert_eq!(at(35), "");
    assert_eq!(at(99), "", "later versions are the latest");
}

#[test]
fn labels_give_the_policy() {
    let of = |labels: &[(&str, &str)]| {
        let labels: BTreeMap<String, &str> =
            labels.iter().map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), *v)).collect();
        let (policy, errors) = Policy::of_labels(|label| labels.get(label).copied());
        let text = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
        (text, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(of(&[]).0, "privileged:latest privileged:latest privileged:latest");
    assert_eq!(
        of(&[("enforce", "baseline"), ("enforce-version", "v1.30")]).0,
        "baseline:v1.30 privileged:latest baseline:v1.30"
    );
    assert_eq!(
        of(&[("enforce", "restricted"), ("warn", "baseline")]).0,
        "restricted:latest privileged:latest baseline:latest"
    );
    let (policy, errors) = of(&[("enforce", "strict"), ("audit-version", "v1.01")]);
    assert_eq!(policy, "restricted:latest privileged:latest privileged:latest");
    assert_eq!(
        errors,
        r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted; metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "v1.01": must be "latest" or "v1.x""#
    );
}
