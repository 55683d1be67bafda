//! Where logs go: standard error, coloured on a terminal only.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The store's consensus says at level `info` of each heartbeat that it was told to send it: whoever asks for `info` of all does not mean that.
const CHATTY: &str = "openraft";
const LESS_OF_IT: &str = "openraft::core::raft_core=warn";

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    /// The filter has a wrong form; see `tracing_subscriber::EnvFilter`.
    #[error("log filter {filter:?} cannot be used")]
    Filter {
        /// The text that was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something in this process set up logging before.
    #[error("logging is set up already")]
    Already,
}

/// Sends this process's logs to standard error.
///
/// `filter` takes `tracing_subscriber`'s directives, as `info` or `info,mainstay_store=debug`. With `info` for all and no word of
/// `openraft`, its innermost part is heard from `warn` on.
///
/// # Errors
/// A filter that cannot be parsed, or a second call in one process.
pub fn init_tracing(filter: &str, format: LogFormat) -> Result<(), LogSetupError> {
    let parsed = EnvFilter::try_new(less_chatty(filter))
        .map_err(|source| LogSetupError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let outcome = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    outcome.map_err(|_already| LogSetupError::Already)
}

fn less_chatty(filter: &str) -> String {
    let is_info = filter.split(',').any(|part| part.trim().eq_ignore_ascii_case("info"));
    if is_info && !filter.contains(CHATTY) { format!("{filter},{LESS_OF_IT}") } else { filter.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_of_all_is_not_every_heartbeat_unless_that_is_asked_for() {
        assert_eq!(less_chatty("info"), format!("info,{LESS_OF_IT}"));
        assert_eq!(less_chatty("debug, INFO"), format!("debug, INFO,{LESS_OF_IT}"));
        for as_it_is in ["warn,mainstay=info", "error", "debug", "info,openraft=info"] {
            assert_eq!(less_chatty(as_it_is), as_it_is);
        }
    }

    #[test]
    fn a_wrong_filter_is_refused_by_name() {
        let error = init_tracing("info,=====", LogFormat::Text).unwrap_err();
        assert!(error.to_string().contains("info,====="), "{error}");
    }
}
