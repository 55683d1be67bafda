//! One gateway request: in as JSON, through the same services as gRPC, out as JSON.
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tonic::body::Body;
use tonic::{Code, Status};

use super::super::router::{Request, Response, Router};
use super::frames::FrameReader;
use super::routes::method_of;
use super::transcode::{Methods, Transcoder};

/// Translates requests.
#[derive(Debug)]
pub(in crate::etcd) struct Gateway {
    methods: Methods,
    body_max: usize,
}

/// A response whose headers have been looked at.
struct Answer {
    body: Body,
    frames: FrameReader,
    transcoder: Transcoder,
    ended: bool,
}

impl Gateway {
    /// Bodies have at most `body_max` bytes.
    pub(in crate::etcd) fn new(body_max: usize) -> Self {
        // Base64 makes keys and values a third longer.
        Self { methods: Methods::load(), body_max: body_max * 3 / 2 }
    }

    /// Answers a request for a path of the gateway; none if it is no such path.
    pub(in crate::etcd) async fn answer(
        &self,
        router: &Router,
        request: Request,
    ) -> Result<Response, Request> {
        let found = method_of(request.uri().path());
        let Some((method, transcoder)) = found.and_then(|method| Some((method, self.methods.get(method)?)))
        else {
            return Err(request);
        };
        if request.method() != Method::POST {
            return Ok(error(StatusCode::METHOD_NOT_ALLOWED, &Status::unimplemented("Method Not Allowed")));
        }
        Ok(match self.call(router, method, transcoder, request).await {
            Ok(response) => response,
            Err(status) => error(http_status(status.code()), &status),
        })
    }

    /// Turns JSON into the request of any method, as far as that goes.
    #[cfg(any(test, fuzzing))]
    pub(in crate::etcd) fn take_in(&self, method: usize, json: &[u8]) {
        let all = super::routes::paths();
        let path = all.get(method % all.len().max(1)).copied().unwrap_or_default();
        if let Some(transcoder) = self.methods.get(path) {
            drop(transcoder.request(json));
        }
    }

    async fn call(
        &self,
        router: &Router,
        method: &'static str,
        transcoder: Transcoder,
        request: Request,
    ) -> Result<Response, Status> {
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let body = Limited::new(request.into_body(), self.body_max).collect().await;
        let body = body.map_err(|error| Status::invalid_argument(error.to_string()))?.to_bytes();
        let message =
            transcoder.request(&body).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // The certificate of the connection is left behind: etcd, too, takes users of the gateway by token only.
        let mut call = http::Request::new(Body::new(Full::new(message)));
        *call.method_mut() = Method::POST;
        *call.uri_mut() = http::Uri::from_static(method);
        call.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        call.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        if let Some(authorization) = authorization {
            call.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let response = router.grpc(call).await;
        check(response.headers())?;
        let streams = transcoder.streams_responses;
        let mut answer =
            Answer { body: response.into_body(), frames: FrameReader::default(), transcoder, ended: false };
        if streams {
            return Ok(answer.stream());
        }
        let json = answer.next().await?.ok_or_else(|| Status::internal("an answer without a message"))?;
        // What comes after the message decides whether it counts.
        while answer.next().await?.is_some() {}
        Ok(page(StatusCode::OK, Body::new(Full::new(json))))
    }
}

/// A status in headers or trailers that is not "ok".
fn check(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

impl Answer {
    /// The next message as JSON; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.frames.next() {
                let json = self.transcoder.response(message).map_err(Status::internal)?;
                return Ok(Some(json.into()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(&data),
                    Err(frame) => frame.trailers_ref().map_or(Ok(()), check)?,
                },
            }
        }
    }

    /// A line of JSON for each message, as they come.
    fn stream(self) -> Response {
        let lines = stream::unfold(self, |mut answer| async move {
            if answer.ended {
                return None;
            }
            let line = match answer.next().await {
                Ok(Some(json)) => wrap(b"{\"result\":", &json),
                Ok(None) => return None,
                Err(status) => {
                    answer.ended = true;
                    wrap(b"{\"error\":", error_json(&status).as_bytes())
                }
            };
            Some((Ok::<_, Status>(Frame::data(line)), answer))
        });
        page(StatusCode::OK, Body::new(StreamBody::new(lines)))
    }
}

fn wrap(before: &[u8], json: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(before.len() + json.len() + 2);
    line.put_slice(before);
    line.put_slice(json);
    line.put_slice(b"}\n");
    line.freeze()
}

fn error_json(status: &Status) -> String {
    json!({ "code": i32::from(status.code()), "message": status.message() }).to_string()
}

fn error(http: StatusCode, status: &Status) -> Response {
    page(http, Body::new(Full::new(Bytes::from(error_json(status)))))
}

fn page(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The HTTP status that grpc-gateway gives a code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
