//! `/exec` and `/attach`: a command's streams over WebSocket channels or SPDY streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::{CriResult, ExecSession, v1};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::channel::{In, Out};
use super::query::Query;
use super::respond::{self, Body};
use super::session::{self, Client};
use super::spdy::{Connection, SpdyStream};
use super::{exit_status, websocket};
use crate::agent::Agent;

/// WebSocket protocols, the preferred one first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// SPDY's stream protocols, likewise.
const STREAM_PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
const MESSAGES_MAX: usize = 32;
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How long a SPDY client may take to open its streams.
const STREAMS_DEADLINE: Duration = Duration::from_secs(30);

/// What the client wants to do.
#[allow(clippy::struct_excessive_bools, reason = "each is one query parameter of the protocol")]
#[derive(Debug, Clone)]
pub(super) struct ExecCall {
    pub container_id: String,
    /// Empty for an attach.
    pub command: Vec<String>,
    pub attach: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl ExecCall {
    /// Reads the options; at least one stream must be asked for.
    pub(super) fn new(container_id: String, attach: bool, query: &Query) -> Result<Self, String> {
        let call = Self {
            container_id,
            command: query.all("command").map(str::to_owned).collect(),
            attach,
            stdin: query.flag(&["input", "stdin"]),
            stdout: query.flag(&["output", "stdout"]),
            // A terminal has one output.
            stderr: query.flag(&["error", "stderr"]) && !query.flag(&["tty"]),
            tty: query.flag(&["tty"]),
        };
        if !call.stdin && !call.stdout && !call.stderr {
            return Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
        }
        if !attach && call.command.is_empty() {
            return Err("you must specify at least 1 command".to_owned());
        }
        Ok(call)
    }

    async fn start(&self, agent: &Agent) -> CriResult<ExecSession> {
        let (stdin, stdout, stderr, tty) = (self.stdin, self.stdout, self.stderr, self.tty);
        let container_id = self.container_id.clone();
        if self.attach {
            let request =
                v1::AttachRequest { container_id, stdin, tty, stdout, stderr, ..Default::default() };
            agent.streams.attach(request).await
        } else {
            let cmd = self.command.clone();
            let request =
                v1::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr, ..Default::default() };
            agent.streams.exec(request).await
        }
    }
}

/// Answers an exec or attach request with an upgrade; the session runs in a task of its own.
pub(super) fn serve(
    agent: &Arc<Agent>,
    tasks: &Tasks,
    mut request: Request<Incoming>,
    call: ExecCall,
) -> Response<Body> {
    let bad = |text: &str| respond::text(StatusCode::BAD_REQUEST, text.to_owned());
    let upgrade = hyper::upgrade::on(&mut request);
    let (agent, stop) = (Arc::clone(agent), tasks.token());
    if websocket::asked(request.headers()) {
        let Some(protocol) = websocket::choose(request.headers(), &PROTOCOLS) else {
            return bad("the client and this server have no WebSocket subprotocol in common");
        };
        let response = match websocket::switch(request.headers(), protocol) {
            Ok(response) => response,
            Err(error) => return bad(error),
        };
        tasks.spawn("exec", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = over_websocket(agent, upgrade, call, protocol) => {}
            }
        });
        return response;
    }
    match spdy_switch(&request, &STREAM_PROTOCOLS) {
        Some(Ok(response)) => {
            tasks.spawn("exec", async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = over_spdy(agent, upgrade, call) => {}
                }
            });
            response
        }
        Some(Err(text)) => respond::text(StatusCode::FORBIDDEN, text),
        None => bad("Upgrade request required"),
    }
}

/// The answer to a SPDY upgrade; `None` when the request is none.
pub(super) fn spdy_switch(
    request: &Request<Incoming>,
    ours: &[&'static str],
) -> Option<Result<Response<Body>, String>> {
    let headers = request.headers();
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok())?;
    if !upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        return None;
    }
    let offered: Vec<&str> = headers
        .get_all(STREAM_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let Some(chosen) = ours.iter().copied().find(|own| offered.contains(own)) else {
        return Some(Err(format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {ours:?}"
        )));
    };
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(chosen));
    Some(Ok(response))
}

async fn upgraded(upgrade: OnUpgrade) -> Option<TokioIo<Upgraded>> {
    match upgrade.await {
        Ok(io) => Some(TokioIo::new(io)),
        Err(error) => {
            debug!(%error, "a client did not finish its upgrade");
            None
        }
    }
}

/// Opens the upgraded connection as a WebSocket.
pub(super) async fn open_websocket(upgrade: OnUpgrade) -> Option<WebSocketStream<TokioIo<Upgraded>>> {
    let io = upgraded(upgrade).await?;
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(MESSAGE_BYTES_MAX);
    limits.max_frame_size = Some(MESSAGE_BYTES_MAX);
    Some(WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await)
}

async fn over_websocket(agent: Arc<Agent>, upgrade: OnUpgrade, call: ExecCall, protocol: &str) {
    let Some(socket) = open_websocket(upgrade).await else { return };
    let (mut sink, mut source) = socket.split();
    let (outgoing, queue) = mpsc::channel(MESSAGES_MAX);
    let out = |channel| Out::new(channel, outgoing.clone());
    let channel = |wanted: bool| {
        if wanted {
            let (s, r) = mpsc::channel(MESSAGES_MAX);
            (Some(s), Some(r))
        } else {
            (None, None)
        }
    };
    let (stdin_in, stdin) = channel(call.stdin);
    let (resize_in, resize) = channel(call.tty);
    let error = out(3);
    let first = if call.stdout {
        out(1)
    } else if call.stderr {
        out(2)
    } else {
        out(3)
    };
    let client =
        Client { stdin, stdout: call.stdout.then(|| out(1)), stderr: call.stderr.then(|| out(2)), resize };
    drop(outgoing);
    let work = async move {
        // An empty message tells the client that the connection stands.
        if first.send(Bytes::new()).await.is_err() {
            return;
        }
        drop(first);
        let status = match call.start(&agent).await {
            Ok(session) => session::run(session, client).await,
            Err(error) => Ok(exit_status::of_error(&error.to_string())),
        };
        if let Ok(status) = status {
            error.send(status.to_string().into()).await.ok();
        }
    };
    let receiving = websocket::receive(
        &mut source,
        vec![stdin_in, None, None, None, resize_in],
        protocol.starts_with("v5"),
    );
    let sending = websocket::send(&mut sink, queue);
    carry(work, receiving, sending).await;
}

/// The work ends the sending; a client that leaves ends everything.
pub(super) async fn carry<E>(
    work: impl Future<Output = ()>,
    receiving: impl Future<Output = ()>,
    sending: impl Future<Output = Result<(), E>>,
) {
    tokio::pin!(work, receiving, sending);
    let mut working = true;
    loop {
        tokio::select! {
            biased;
            _ = &mut sending => return,
            () = &mut work, if working => working = false,
            // Dropping the work hangs up the command.
            () = &mut receiving => return,
        }
    }
}

async fn over_spdy(agent: Arc<Agent>, upgrade: OnUpgrade, call: ExecCall) {
    let Some(io) = upgraded(upgrade).await else { return };
    let (mut connection, driver) = match Connection::new(io) {
        Ok(made) => made,
        Err(error) => {
            debug!(error, "a SPDY connection could not be set up");
            return;
        }
    };
    let work = async {
        let Ok(Some(opened)) =
            tokio::time::timeout(STREAMS_DEADLINE, open_streams(&mut connection, &call)).await
        else {
            return;
        };
        let client = Client {
            stdin: opened.stdin,
            stdout: opened.stdout.clone(),
            stderr: opened.stderr.clone(),
            resize: opened.resize,
        };
        let status = match call.start(&agent).await {
            Ok(session) => session::run(session, client).await,
            Err(error) => Ok(exit_status::of_error(&error.to_string())),
        };
        if let Ok(status) = status {
            opened.error.send(status.to_string().into()).await.ok();
        }
        for out in [Some(opened.error), opened.stdout, opened.stderr].into_iter().flatten() {
            out.end().await;
        }
        // The client closes; a connection cut by us could lose what is still on the way.
        while connection.streams.recv().await.is_some() {}
    };
    tokio::select! {
        ended = driver => if let Err(error) = ended { debug!(error, "a SPDY connection ended") },
        () = work => {}
    }
}

struct Opened {
    error: Out,
    stdin: Option<In>,
    stdout: Option<Out>,
    stderr: Option<Out>,
    resize: Option<In>,
}

/// Waits for every stream that the call needs; `None` when the client leaves.
async fn open_streams(connection: &mut Connection, call: &ExecCall) -> Option<Opened> {
    let (mut error, mut stdin, mut stdout, mut stderr, mut resize) = (None, None, None, None, None);
    let wanted = 1 + [call.stdin, call.stdout, call.stderr, call.tty].iter().filter(|w| **w).count();
    for _ in 0..wanted {
        let SpdyStream { headers, input, output, .. } = connection.streams.recv().await?;
        match headers.get("streamtype").map(String::as_str) {
            Some("error") => error = Some(output),
            Some("stdin") => stdin = Some(input),
            Some("stdout") => stdout = Some(output),
            Some("stderr") => stderr = Some(output),
            Some("resize") => resize = Some(input),
            _ => return None,
        }
    }
    Some(Opened { error: error?, stdin, stdout, stderr, resize })
}
