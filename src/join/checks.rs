//! What keeps a machine from joining, found out before anything is changed. Pure.

use std::time::Duration;

use super::wire::Facts;
use crate::versions::fit;

/// Certificates are dated back five minutes, and leases compare no clocks; beyond this people are misled by timestamps.
const CLOCK_MAX: Duration = Duration::from_secs(60);

/// What is wrong with the facts for a machine of this version, time and name.
pub(super) fn problem(facts: &Facts, own_version: &str, now_millis: i64, name: &str) -> Option<String> {
    if let Some(problem) = version_problem(own_version, &facts.version) {
        return Some(problem);
    }
    let off = Duration::from_millis(facts.unix_millis.abs_diff(now_millis));
    if off > CLOCK_MAX {
        let which = if now_millis < facts.unix_millis { "behind" } else { "ahead of" };
        return Some(format!(
            "this machine's clock is {} s {which} the server's: set it, for example with `timedatectl set-ntp true`",
            off.as_secs()
        ));
    }
    if facts.node_is_alive {
        return Some(format!("the name {name} is taken by a live node: choose another --node-name"));
    }
    None
}

/// Versions may be one minor apart.
pub(super) fn version_problem(own: &str, server: &str) -> Option<String> {
    (!fit(own, server)).then(|| {
        format!("mainstay {own} cannot join servers of {server}: they may be one minor version apart at most")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: "1.4.2".to_owned(),
            unix_millis: 1_000_000,
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            servers: vec![],
            node_is_alive: false,
            closed_to_servers: None,
            authorities: String::new(),
        }
    }

    #[test]
    fn each_obstacle_is_named() {
        let found =
            |facts: &Facts, version: &str, now: i64| problem(facts, version, now, "n").unwrap_or_default();
        assert_eq!(problem(&facts(), "1.5.0", 1_030_000, "n"), None);
        assert!(found(&facts(), "1.6.0", 1_000_000).contains("one minor version apart"));
        assert!(found(&facts(), "2.4.0", 1_000_000).contains("one minor version apart"));
        assert!(found(&facts(), "what", 1_000_000).contains("one minor version apart"));
        assert!(found(&facts(), "1.4.0", 900_000).contains("100 s behind"));
        assert!(found(&facts(), "1.4.0", 1_100_000).contains("100 s ahead of"));
        assert!(
            found(&Facts { node_is_alive: true, ..facts() }, "1.4.0", 1_000_000)
                .contains("taken by a live node")
        );
    }
}
