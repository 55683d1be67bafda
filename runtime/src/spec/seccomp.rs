//! Seccomp profiles: the default one from our table, a profile file of the node otherwise.

use crate::failure::{Attempt, Failure, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TABLE: &str = include_str!("seccomp_default.txt");
/// Namespace flags of clone(2): forbidden without CAP_SYS_ADMIN.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
const MASKED: &str = "SCMP_CMP_MASKED_EQ";
const AF_VSOCK: u64 = 40;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// The RuntimeDefault profile for a container with `capabilities` (names without `CAP_`).
pub(crate) fn default_profile(capabilities: &BTreeSet<String>) -> Value {
    let machine = if std::env::consts::ARCH == "aarch64" { "arm" } else { "x86" };
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let who = words.next().unwrap_or_default();
        let granted = who == "always"
            || who == machine
            || who.strip_prefix("CAP_").is_some_and(|capability| capabilities.contains(capability));
        if granted {
            names.extend(words);
        }
    }
    let arg = |index: u32, value: u64, op: &str| json!({"index": index, "value": value, "op": op});
    let mut rules = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, AF_VSOCK, "SCMP_CMP_NE")]}),
    ];
    for persona in [0_u64, 8, 0x20000, 0x20008, 0xffff_ffff] {
        rules.push(json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [arg(0, persona, "SCMP_CMP_EQ")]}));
    }
    if !capabilities.contains("SYS_ADMIN") {
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": MASKED}]}));
        // clone3 hides its flags in memory: "not there" makes libraries fall back to clone.
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}));
    }
    let architectures: &[&str] = if machine == "arm" {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    };
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": rules,
    });
    swap_masks(&mut profile);
    profile
}

/// In OCI profiles the mask is `value` and what must remain is `valueTwo`; libcontainer 0.7 reads them the other way
/// round. A test runs a container that must be able to fork and unable to unshare, and so notices a change there.
fn swap_masks(profile: &mut Value) {
    let rules = profile.get_mut("syscalls").and_then(Value::as_array_mut).into_iter().flatten();
    let arguments = rules.filter_map(|rule| rule.get_mut("args").and_then(Value::as_array_mut)).flatten();
    for argument in arguments.filter(|argument| argument.get("op").and_then(Value::as_str) == Some(MASKED)) {
        let (mask, rest) = (argument.get("value").cloned(), argument.get("valueTwo").cloned());
        if let Some(object) = argument.as_object_mut() {
            object.insert("value".into(), rest.unwrap_or_else(|| json!(0)));
            object.insert("valueTwo".into(), mask.unwrap_or_else(|| json!(0)));
        }
    }
}

/// A profile file in the OCI form, as Kubernetes' Localhost profiles are.
pub(crate) fn parse_profile(bytes: &[u8]) -> Result<Value> {
    let mut profile: Value = serde_json::from_slice(bytes)
        .attempt("parsing the seccomp profile")
        .map_err(|failure| failure.with_code(mainstay_proto_wire::cri::Code::InvalidArgument))?;
    if profile.get("defaultAction").and_then(Value::as_str).is_none() {
        return Err(Failure::invalid("the seccomp profile has no defaultAction"));
    }
    let notifies = profile.to_string().contains("SCMP_ACT_NOTIFY");
    if notifies {
        return Err(Failure::invalid("seccomp profiles that notify a listener are not supported"));
    }
    swap_masks(&mut profile);
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: &Value) -> BTreeSet<String> {
        let names = profile["syscalls"][0]["names"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn capabilities_open_their_calls_and_nothing_else_does() {
        let plain = allowed(&default_profile(&BTreeSet::new()));
        assert!(plain.contains("openat") && plain.len() > 300);
        for closed in ["mount", "unshare", "clone", "bpf", "keyctl", "io_uring_setup", "chroot", "kexec_load"]
        {
            assert!(!plain.contains(closed), "{closed}");
        }
        let admin = allowed(&default_profile(&["SYS_ADMIN".to_owned()].into()));
        assert!(admin.contains("mount") && admin.contains("clone") && !admin.contains("chroot"));
    }

    #[test]
    fn profile_without_default_action_is_refused() {
        assert!(parse_profile(b"{}").is_err());
        assert!(parse_profile(b"nonsense").is_err());
        assert!(parse_profile(br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).is_ok());
    }
}
