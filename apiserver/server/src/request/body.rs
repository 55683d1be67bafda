//! Reading a request body within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use mainstay_proto_api::Status;

use crate::types::{Body, BodyError};

/// How long the rest of a body that is too long is read, and how long one part of it is waited for.
const DISCARD_TIME: Duration = Duration::from_secs(10);
const DISCARD_PAUSE: Duration = Duration::from_secs(1);

/// Reads a whole body of at most `limit_bytes`. Nothing is allocated for a length that is only claimed.
///
/// # Errors
/// 413 beyond the limit; 400 when the connection fails.
pub async fn read_body(
    headers: &http::HeaderMap,
    mut body: Body,
    limit_bytes: usize,
) -> Result<Bytes, Status> {
    let too_large = || Status::request_entity_too_large(limit_bytes);
    let claimed =
        headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|length| length > limit_bytes as u64) {
        discard(&mut body, limit_bytes).await;
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error {
            BodyError::TooLarge { .. } => too_large(),
            other => Status::bad_request(format!("unable to read the request body: {other}")),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > limit_bytes {
            drop((first, all, data));
            discard(&mut body, limit_bytes).await;
            return Err(too_large());
        }
        match first.take() {
            // Most bodies come in one piece and are never copied.
            None if all.is_empty() => first = Some(data),
            held => {
                all.extend_from_slice(&held.unwrap_or_default());
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads on for a while without keeping anything, so that a client that writes its whole body before it reads gets the
/// answer and not a broken connection.
async fn discard(body: &mut Body, bytes_max: usize) {
    let mut seen = 0;
    let drain = async {
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(DISCARD_PAUSE, body.frame()).await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > bytes_max {
                break;
            }
        }
    };
    // A slow client is answered all the same.
    drop(tokio::time::timeout(DISCARD_TIME, drain).await);
}
