//! What a node agent answered to a request for a log: passed on, or told as the API's own error.

use http_body_util::BodyExt as _;
use mainstay_proto_api::{Status, StatusDetails};

use crate::types::Response;

/// So much of an error's text is read.
const TEXT_BYTES_MAX: usize = 50_000;

/// The answer if it is a good one.
///
/// # Errors
/// What upstream's `GenericHttpResponseChecker` makes of any other: the agent's text as 400 or 500, else what the code stands for.
pub(super) async fn checked(response: Response, pod: &str) -> Result<Response, Status> {
    let code = response.status().as_u16();
    if (200..=206).contains(&code) {
        return Ok(response);
    }
    let mut body = response.into_body();
    let mut text = Vec::new();
    while text.len() < TEXT_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| Status::internal(crate::failure::with_causes(&error)))?;
        text.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
    }
    text.truncate(TEXT_BYTES_MAX);
    Err(refusal(code, pod, &String::from_utf8_lossy(&text)))
}

/// Upstream's words for an agent's error. Pure.
fn refusal(code: u16, pod: &str, text: &str) -> Status {
    let (reason, message) = match code {
        400 => return Status::bad_request(text),
        500 => return Status::internal(text),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text.to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => {
            ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned())
        }
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => {
            ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned())
        }
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned(),
        ),
        501.. => (
            "InternalError",
            format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        ),
        _ => (
            "",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    // Upstream's words have a place for the verb, which is not known here.
    Status::failure(code, reason, format!("{message} ( pods {pod})")).with_details(StatusDetails {
        kind: "pods".into(),
        name: pod.into(),
        ..StatusDetails::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_errors_are_told_in_upstreams_words() {
        let told = |code| {
            let status = refusal(code, "p", "why");
            format!("{} {}: {}", status.code, status.reason, status.message)
        };
        assert_eq!(
            [400, 403, 404, 418, 500, 502, 503].map(told),
            [
                "400 BadRequest: why",
                "403 Forbidden: why ( pods p)",
                "404 NotFound: the server could not find the requested resource ( pods p)",
                "418 : the server responded with the status code 418 but did not return more information ( pods p)",
                "500 InternalError: Internal error occurred: why",
                "502 InternalError: an error on the server (\"why\") has prevented the request from succeeding ( pods p)",
                "503 ServiceUnavailable: the server is currently unable to handle the request ( pods p)",
            ]
        );
    }
}
