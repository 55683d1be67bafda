//! Exit codes: 2 when nothing was changed, 1 when work failed.

use std::process::ExitCode;

/// A wrong flag, a taken port, a missing kernel feature: nothing was changed, and the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

/// A refusal as an `anyhow` error.
pub(crate) fn refuse(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Refusal(text.into()))
}

/// Whether nothing was changed, and trying again is of no use.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.is::<Refusal>()
}

/// Prints the error as one line and gives the process's exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("mainstay: {}", one_line(error));
    if is_refusal(error) { ExitCode::from(2) } else { ExitCode::FAILURE }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let error = Err::<(), _>(anyhow::anyhow!("no such\nfile")).context("reading x").unwrap_err();
        assert_eq!(one_line(&error), "reading x: no such file");
    }
}
