//! Where logs go: standard error, coloured on a terminal only.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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
/// `filter` takes `tracing_subscriber`'s directives, as `info` or `info,mainstay_store=debug`.
///
/// # Errors
/// A filter that cannot be parsed, or a second call in one process.
pub fn init_tracing(filter: &str, format: LogFormat) -> Result<(), LogSetupError> {
    let parsed = EnvFilter::try_new(filter)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused_by_name() {
        let error = init_tracing("info,=====", LogFormat::Text).unwrap_err();
        assert!(error.to_string().contains("info,====="), "{error}");
    }
}
