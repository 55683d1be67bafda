//! etcd's flags that are not built: each is refused by name, whether it was given as a flag or by its ETCD_ variable, rather than passed over. A value
//! that asks for what happens anyway is taken.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::go_values::switch;
use crate::refusal::refuse;

/// One of etcd's flags.
struct Flag {
    name: &'static str,
    /// Its name in etcd 3.5 and before begins with `experimental-`.
    was_experimental: bool,
    /// The values that ask for nothing, etcd's default first. Flags of `true` and `false` need no value.
    taken: &'static [&'static str],
    why: &'static str,
}

const OWN_ENGINE: &str = "it tunes etcd's own engine, which this is not: leave it out";
const OWN_LOG: &str = "the log is in the data directory, whose files are recycled: leave it out";
const OF_GO: &str = "it is about Go's own libraries: leave it out";
const DISCOVERY: &str = "members do not discover each other here: name them with --initial-cluster";
const GENERATED: &str =
    "certificates are not generated here: make some, and name them with --cert-file, --key-file and so on";
const REVOKED: &str =
    "revocation lists are not read: use certificates that live shortly, or another authority";
const ALLOWED: &str = "every certificate of the authority is good: use an authority of the store's own";
const ONE_CERTIFICATE: &str =
    "a member shows the same certificate at both ends of a connection: leave it out";
const TLS: &str = "TLS 1.2 and 1.3 with their safe suites are spoken, and this cannot be narrowed";
const CHECKS: &str =
    "members' data is not compared by itself: compare it with `etcdctl endpoint hashkv --cluster`";
const LOGGED: &str = "the log goes to standard error: let whatever runs this rotate it";
const SLOW: &str = "slow requests are not logged: see etcd_disk_wal_fsync_duration_seconds and, with --metrics=extensive, grpc_server_handling_seconds of /metrics, or traces";

const fn flag(name: &'static str, taken: &'static [&'static str], why: &'static str) -> Flag {
    Flag { name, was_experimental: false, taken, why }
}

const fn once_experimental(name: &'static str, taken: &'static [&'static str], why: &'static str) -> Flag {
    Flag { name, was_experimental: true, taken, why }
}

const FLAGS: &[Flag] = &[
    flag("config-file", &[""], "settings are flags and ETCD_ variables, not a file"),
    flag("wal-dir", &[""], OWN_LOG),
    flag("max-wals", &["5"], OWN_LOG),
    flag("max-snapshots", &["5"], OWN_LOG),
    once_experimental(
        "snapshot-catchup-entries",
        &["5000"],
        "--snapshot-count says how many entries are kept",
    ),
    flag("unsafe-no-fsync", &["false"], "what is acknowledged is on the disk, always"),
    flag("force-new-cluster", &["false"], "make a new cluster of a snapshot: `mainstay snapshot restore`"),
    flag("backend-batch-interval", &["0", "0s", ""], OWN_ENGINE),
    flag("backend-batch-limit", &["0"], OWN_ENGINE),
    flag("backend-bbolt-freelist-type", &["map"], OWN_ENGINE),
    once_experimental("memory-mlock", &["false"], OWN_ENGINE),
    once_experimental(
        "bootstrap-defrag-threshold-megabytes",
        &["0"],
        "space comes back by itself: leave it out",
    ),
    once_experimental("compaction-batch-limit", &["1000"], OWN_ENGINE),
    once_experimental("compaction-sleep-interval", &["10ms", "0"], OWN_ENGINE),
    once_experimental("txn-mode-write-with-shared-buffer", &["true"], OWN_ENGINE),
    once_experimental("stop-grpc-service-on-defrag", &["false"], OWN_ENGINE),
    once_experimental("enable-lease-checkpoint", &["false", "true"], ""),
    once_experimental("enable-lease-checkpoint-persist", &["false", "true"], ""),
    flag(
        "feature-gates",
        &["", "LeaseCheckpoint=true", "LeaseCheckpointPersist=true"],
        "features are not switched by gates here",
    ),
    flag("initial-election-tick-advance", &["true"], "it cannot be switched off"),
    flag("pre-vote", &["true"], "it cannot be switched off: members ask before they stand for election"),
    flag("raft-read-timeout", &["5s"], OF_GO),
    flag("raft-write-timeout", &["5s"], OF_GO),
    flag("grpc-keepalive-min-time", &["5s"], "clients may ping as often as they like"),
    flag("grpc-keepalive-interval", &["2h", "2h0m0s"], OF_GO),
    flag("grpc-keepalive-timeout", &["20s"], OF_GO),
    flag("socket-reuse-port", &["false"], "a port that is taken is refused"),
    flag("socket-reuse-address", &["false", "true"], ""),
    flag("listen-client-http-urls", &[""], "--listen-client-urls serve gRPC and HTTP alike"),
    flag("enable-grpc-gateway", &["true"], "it cannot be switched off"),
    flag("enable-pprof", &["false"], OF_GO),
    flag("discovery", &[""], DISCOVERY),
    flag("discovery-token", &[""], DISCOVERY),
    flag("discovery-endpoints", &[""], DISCOVERY),
    flag("discovery-srv", &[""], DISCOVERY),
    flag("discovery-srv-name", &[""], DISCOVERY),
    flag("auto-tls", &["false"], GENERATED),
    flag("peer-auto-tls", &["false"], GENERATED),
    flag("self-signed-cert-validity", &["1"], GENERATED),
    flag("client-crl-file", &[""], REVOKED),
    flag("peer-crl-file", &[""], REVOKED),
    flag("client-cert-allowed-hostname", &[""], ALLOWED),
    flag("peer-cert-allowed-cn", &[""], ALLOWED),
    flag("peer-cert-allowed-hostname", &[""], ALLOWED),
    once_experimental(
        "peer-skip-client-san-verification",
        &["false"],
        "certificates of members are always checked",
    ),
    flag("client-cert-file", &[""], ONE_CERTIFICATE),
    flag("client-key-file", &[""], ONE_CERTIFICATE),
    flag("peer-client-cert-file", &[""], ONE_CERTIFICATE),
    flag("peer-client-key-file", &[""], ONE_CERTIFICATE),
    flag("cipher-suites", &[""], TLS),
    flag("tls-min-version", &["TLS1.2"], TLS),
    flag("tls-max-version", &["", "TLS1.3"], TLS),
    flag("cors", &["", "*"], "pages of other origins may not read answers: no such header is sent"),
    flag("host-whitelist", &["*", ""], "every name is answered: listen where only those who may can reach"),
    once_experimental("initial-corrupt-check", &["false"], CHECKS),
    once_experimental("corrupt-check-time", &["0s", "0"], CHECKS),
    once_experimental("compact-hash-check-enabled", &["false"], CHECKS),
    once_experimental("compact-hash-check-time", &["1m", "1m0s"], CHECKS),
    flag("logger", &["zap"], "there is one way to log: see --log-format"),
    flag("log-outputs", &["default", "stderr"], LOGGED),
    flag("enable-log-rotation", &["false"], LOGGED),
    flag("log-rotation-config-json", &[""], LOGGED),
    once_experimental("warning-apply-duration", &["100ms"], SLOW),
    once_experimental("warning-unary-request-duration", &["300ms"], SLOW),
    flag("v2-deprecation", &["write-only", "write-only-skip-check"], "there is no v2 store here"),
];

impl Flag {
    fn is_switch(&self) -> bool {
        self.taken.iter().all(|value| matches!(*value, "true" | "false"))
    }

    fn argument(&self) -> Arg {
        let variable = format!("ETCD_{}", self.name.replace('-', "_").to_ascii_uppercase());
        let argument = Arg::new(self.name).long(self.name).env(variable).hide(true).action(ArgAction::Set);
        let argument = if self.was_experimental {
            argument.alias(format!("experimental-{}", self.name))
        } else {
            argument
        };
        if self.is_switch() {
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            argument
        }
    }

    /// The value, if it is given and asks for something.
    fn asked(&self, matches: &ArgMatches) -> Option<String> {
        let value = matches.get_one::<String>(self.name)?;
        let value = match switch(value) {
            Ok(value) if self.is_switch() => value.to_string(),
            _ => value.clone(),
        };
        (!self.taken.contains(&value.as_str())).then_some(value)
    }
}

/// What was asked for and is not built.
#[derive(Debug, Default)]
pub(crate) struct NotBuilt(Vec<String>);

impl NotBuilt {
    /// Does nothing if nothing was.
    ///
    /// # Errors
    /// The first such flag, and what to do instead.
    pub(crate) fn refuse(&self) -> anyhow::Result<()> {
        self.0.first().map_or(Ok(()), |text| Err(refuse(text.clone())))
    }
}

impl Args for NotBuilt {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(Flag::argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NotBuilt {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let refused = |flag: &Flag| {
            let value = flag.asked(matches)?;
            Some(format!("--{}={value} is not built: {}", flag.name, flag.why))
        };
        Ok(Self(FLAGS.iter().filter_map(refused).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command as Chosen};

    fn refused(words: &[&str]) -> Option<String> {
        let words = ["mainstay", "store"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().command {
            Chosen::Store(flags) => flags.serve.not_built.refuse().err().map(|error| error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_that_is_not_built_is_refused_by_name_and_its_defaults_are_taken() {
        let told = refused(&["--wal-dir", "/wal"]).unwrap();
        assert_eq!(told, format!("--wal-dir=/wal is not built: {OWN_LOG}"));
        let told = refused(&["--experimental-initial-corrupt-check"]).unwrap();
        assert_eq!(told, format!("--initial-corrupt-check=true is not built: {CHECKS}"));
        assert_eq!(refused(&["--auto-tls=0", "--logger=zap", "--pre-vote", "--wal-dir="]), None);
        assert!(refused(&["--pre-vote=false"]).is_some() && refused(&["--auto-tls"]).is_some());
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts_as_with_etcd() {
        let words = [
            "mainstay",
            "store",
            "--name=a",
            "--name=b",
            "--listen-client-urls=http://x:1",
            "--listen-client-urls=http://y:2",
        ];
        let Chosen::Store(flags) = Arguments::try_parse_from(words).unwrap().command else { panic!() };
        assert_eq!(
            (flags.serve.name, flags.serve.listen_client_urls),
            ("b".into(), vec!["http://y:2".into()])
        );
    }

    #[test]
    fn whatever_is_refused_says_what_to_do() {
        for flag in FLAGS {
            let all = flag.is_switch() && flag.taken.len() == 2;
            assert_eq!(flag.why.is_empty(), all, "{}", flag.name);
        }
    }
}
