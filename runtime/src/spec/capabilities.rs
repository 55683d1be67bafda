//! Which capabilities a container's processes get.

use crate::failure::{Failure, Result};
use mainstay_proto_wire::cri::v1::Capability;
use std::collections::BTreeSet;

/// Every capability in the kernel's order.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What containers get unless they say otherwise: the set that Docker and containerd give.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The default set, without `drop`, with `add`; "ALL" in either means every capability. Names without `CAP_`.
/// Adding wins over dropping ALL, as upstream has it; a capability dropped by name stays dropped.
pub(crate) fn capability_set(wish: Option<&Capability>, privileged: bool) -> Result<BTreeSet<String>> {
    if privileged {
        return Ok(ALL.iter().map(|name| (*name).to_owned()).collect());
    }
    let mut set: BTreeSet<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    let Some(wish) = wish else { return Ok(set) };
    let add = names(&wish.add_capabilities)?;
    let drop = names(&wish.drop_capabilities)?;
    if add.contains("ALL") {
        set = ALL.iter().map(|name| (*name).to_owned()).collect();
    }
    if drop.contains("ALL") {
        set.clear();
    }
    set.extend(add.into_iter().filter(|name| name != "ALL"));
    set.retain(|name| !drop.contains(name));
    Ok(set)
}

fn names(list: &[String]) -> Result<BTreeSet<String>> {
    let check = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" || ALL.contains(&bare) {
            Ok(bare.to_owned())
        } else {
            Err(Failure::invalid(format!("unknown capability {name:?}")))
        }
    };
    list.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Vec<String> {
        let wish = Capability {
            add_capabilities: add.iter().map(|name| (*name).into()).collect(),
            drop_capabilities: drop.iter().map(|name| (*name).into()).collect(),
            ..Capability::default()
        };
        capability_set(Some(&wish), false).unwrap().into_iter().collect()
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_one() {
        assert_eq!(set(&["NET_ADMIN"], &["ALL"]), ["NET_ADMIN"]);
        assert_eq!(set(&[], &["all"]), Vec::<String>::new());
        assert!(!set(&["ALL"], &["SYS_ADMIN"]).contains(&"SYS_ADMIN".to_owned()));
        assert_eq!(set(&[], &["CAP_KILL"]).len(), 13);
    }

    #[test]
    fn unknown_capability_is_an_error() {
        let wish = Capability { add_capabilities: vec!["ROOT".into()], ..Capability::default() };
        assert!(capability_set(Some(&wish), false).is_err());
    }
}
