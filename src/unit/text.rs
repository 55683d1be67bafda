//! The unit of systemd, as a text. Pure.

use std::path::Path;

/// What is on the first line of a unit that this program wrote, and only of those.
pub(super) const MARK: &str = "# Written by `mainstay install`; `mainstay uninstall` takes it away.";

/// What a unit depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// Its command.
    pub(super) command: &'a str,
    /// The file with its settings.
    pub(super) config: &'a Path,
    /// All that it writes.
    pub(super) data_dir: &'a Path,
    /// Whether the machine runs pods. What systemd takes from a service it takes from the containers that the service
    /// starts, so only one without pods can be confined.
    pub(super) runs_pods: bool,
}

/// The unit.
pub(super) fn unit(service: &Service<'_>) -> String {
    let Service { program, command, config, data_dir, runs_pods } = *service;
    let (program, config) = (quoted(program), quoted(config));
    let resources = if runs_pods {
        // Containers run on while the daemon is started again, in control groups of their own.
        "KillMode=process\nDelegate=yes\nTasksMax=infinity\n".to_owned()
    } else {
        confinement(data_dir)
    };
    format!(
        "{MARK}
[Unit]
Description=Mainstay, Kubernetes in one binary: {command}
Wants=network-online.target
After=network-online.target
# However often it fails, it is started again: what it waits for may be there by then.
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} {command} --config {config}
Restart=always
RestartSec=2
# A server waits for the other servers as long as it takes; it answers the watchdog once it serves.
TimeoutStartSec=infinity
TimeoutStopSec=60
WatchdogSec=30
LimitNOFILE=1048576
OOMScoreAdjust=-999
{resources}
[Install]
WantedBy=multi-user.target
"
    )
}

/// What a daemon without pods does not need: it serves, writes below its directory and sets routes.
fn confinement(data_dir: &Path) -> String {
    let data_dir = quoted(data_dir);
    format!(
        "ReadWritePaths={data_dir}
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectProc=invisible
NoNewPrivileges=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE
"
    )
}

/// A path as a word of a unit (systemd.service(5), systemd.syntax(7)).
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-%:@+=,".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(runs_pods: bool) -> String {
        unit(&Service {
            program: Path::new("/usr/local/bin/mainstay"),
            command: "server",
            config: Path::new("/etc/mainstay/config.yaml"),
            data_dir: Path::new("/srv/two words"),
            runs_pods,
        })
    }

    #[test]
    fn a_machine_with_pods_keeps_them_while_the_daemon_restarts() {
        let text = service(true);
        assert!(text.starts_with(MARK));
        assert!(
            text.contains("ExecStart=/usr/local/bin/mainstay server --config /etc/mainstay/config.yaml\n")
        );
        assert!(text.contains("\nType=notify\n") && text.contains("\nWatchdogSec=30\n"));
        assert!(text.contains("\nKillMode=process\n"));
        assert!(!text.contains("NoNewPrivileges"), "containers would inherit it");
    }

    #[test]
    fn a_machine_without_pods_is_confined_to_its_directory() {
        let text = service(false);
        assert!(text.contains("\nReadWritePaths=\"/srv/two words\"\n"), "{text}");
        assert!(text.contains("\nProtectSystem=strict\n") && !text.contains("KillMode"));
    }

    #[test]
    fn paths_are_words() {
        let cases = [("/a/b", "/a/b"), ("/a b", "\"/a b\""), ("/50%", "/50%%"), ("/a\"$b", "\"/a\\\"$$b\"")];
        for (path, expected) in cases {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
