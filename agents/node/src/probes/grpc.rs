//! The gRPC health check (`grpc.health.v1.Health/Check`) over plain HTTP/2.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::check::Outcome;
use super::http::go_error;

const ANSWER_BYTES_MAX: usize = 4096;
/// `SERVING` of the health protocol.
const SERVING: u64 = 1;

/// Asks for the health of `service`.
pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, ask(host, port, service)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("service unhealthy (responded with {:?})", name(status))),
        Ok(Err(error)) => Outcome::Failure(error),
        Err(_elapsed) => Outcome::Failure(format!(
            "timeout: failed to connect service \"{host}:{port}\" within {timeout:?}"
        )),
    }
}

fn name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        1 => "SERVING",
        2 => "NOT_SERVING",
        _ => "SERVICE_UNKNOWN",
    }
}

async fn ask(host: &str, port: u16, service: &str) -> Result<u64, String> {
    let tcp = TcpStream::connect((host, port))
        .await
        .map_err(|e| format!("error: failed to connect service \"{host}:{port}\": {}", go_error(&e)))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp))
            .await
            .map_err(|e| e.to_string())?;
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(encode(service)))
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let early = grpc_status(response.headers());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        let code = body.trailers().and_then(grpc_status).or(early).unwrap_or(0);
        if code != 0 {
            return Err(format!("error: health rpc failed: code {code}"));
        }
        decode(&body.to_bytes()).ok_or_else(|| "error: health rpc gave no readable answer".to_owned())
    };
    tokio::pin!(connection);
    // The connection is polled for as long as the exchange runs and ends with it.
    tokio::select! {
        biased;
        answer = exchange => answer,
        ended = &mut connection => Err(ended.err().map_or_else(|| "connection closed".to_owned(), |e| e.to_string())),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A `HealthCheckRequest` with `service` (field 1), in a gRPC frame.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a]);
        let mut length = service.len();
        while length >= 0x80 {
            message.extend_from_slice(&[u8::try_from(length & 0x7f).unwrap_or(0) | 0x80]);
            length >>= 7;
        }
        message.extend_from_slice(&[u8::try_from(length).unwrap_or(0)]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::from(&[0_u8][..]);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// `status` (field 1) of a `HealthCheckResponse`; absent means 0.
fn decode(frame: &[u8]) -> Option<u64> {
    let message = frame.get(5..)?;
    let Some((tag, rest)) = message.split_first() else { return Some(0) };
    if *tag != 0x08 {
        return None;
    }
    rest.first().filter(|b| **b < 0x80).map(|b| u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_carries_the_service_name() {
        assert_eq!(encode("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(encode("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 2]), Some(2));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(decode(&[0, 0]), None);
    }
}
