//! `/portForward`: pairs of data and error streams to ports of a pod, over SPDY (plain, or tunnelled in a WebSocket)
//! or over the older WebSocket channels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::Duplex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tracing::debug;

use super::channel::{In, Out};
use super::exec::{carry, open_websocket, spdy_switch};
use super::query::Query;
use super::respond::{self, Body};
use super::spdy::{Connection, SpdyStream};
use super::websocket;
use crate::agent::Agent;

/// SPDY inside a WebSocket, as kubectl asks for it first.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const STREAM_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
const PORTS_MAX: usize = 64;
const PAIRS_MAX: usize = 512;
const MESSAGES_MAX: usize = 32;
const CHUNK_BYTES: usize = 32 << 10;
const TUNNEL_BYTES: usize = 256 << 10;
/// How long a lone data or error stream waits for its partner.
const PAIR_DEADLINE: Duration = Duration::from_secs(30);

/// The pod whose ports are forwarded.
#[derive(Clone)]
pub(super) struct Forward {
    pub agent: Arc<Agent>,
    pub sandbox_id: String,
    pub pod_name: String,
    pub uid: String,
}

/// Answers a port-forward request with an upgrade.
pub(super) fn serve(
    forward: Forward,
    tasks: &Tasks,
    mut request: Request<Incoming>,
    query: &Query,
) -> Response<Body> {
    let bad = |text: &str| respond::text(StatusCode::BAD_REQUEST, text.to_owned());
    let upgrade = hyper::upgrade::on(&mut request);
    let stop = tasks.token();
    if websocket::asked(request.headers()) {
        let chosen = websocket::choose(request.headers(), &[TUNNEL, CHANNELS]).unwrap_or_default();
        let ports = match ports(query) {
            Ok(ports) => ports,
            Err(error) => return bad(&error),
        };
        if chosen != TUNNEL && ports.is_empty() {
            return bad("at least one port must be specified");
        }
        let response = match websocket::switch(request.headers(), chosen) {
            Ok(response) => response,
            Err(error) => return bad(error),
        };
        tasks.spawn("port-forward", async move {
            let work = async {
                if chosen == TUNNEL {
                    tunnel(forward, upgrade).await;
                } else {
                    channels(forward, upgrade, ports).await;
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
        return response;
    }
    match spdy_switch(&request, &STREAM_PROTOCOLS) {
        Some(Ok(response)) => {
            tasks.spawn("port-forward", async move {
                let work = async {
                    if let Ok(io) = upgrade.await {
                        spdy(forward, TokioIo::new(io)).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = work => {}
                }
            });
            response
        }
        Some(Err(text)) => respond::text(StatusCode::FORBIDDEN, text),
        None => bad("Upgrade request required"),
    }
}

/// `port=80&port=81` or `ports=80,81`.
fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let texts =
        query.all("port").chain(query.all("ports")).flat_map(|p| p.split(',')).filter(|p| !p.is_empty());
    let ports: Vec<u16> = texts
        .map(|text| match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("port {text:?} is not a number between 1 and 65535")),
        })
        .collect::<Result<_, _>>()?;
    if ports.len() > PORTS_MAX { Err(format!("more than {PORTS_MAX} ports")) } else { Ok(ports) }
}

impl Forward {
    async fn connect(&self, port: u16) -> Result<Box<dyn Duplex>, String> {
        let connected = self.agent.streams.port_forward(self.sandbox_id.clone(), port).await;
        connected.map_err(|error| self.words(port, &error.to_string()))
    }

    fn words(&self, port: u16, error: &str) -> String {
        format!(
            "an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod {}, uid {}: {error}",
            self.pod_name, self.uid
        )
    }

    /// Carries one connection; what goes wrong is told on `error`.
    async fn carry(&self, port: u16, input: In, output: Out, error: Out) {
        match self.connect(port).await {
            Ok(connection) => {
                let (read, write) = tokio::io::split(connection);
                tokio::join!(inward(input, write), outward(read, &output));
            }
            Err(text) => {
                error.send(text.into()).await.ok();
            }
        }
        output.end().await;
        error.end().await;
    }
}

async fn inward(mut from: In, mut to: impl AsyncWrite + Unpin) {
    while let Some(bytes) = from.recv().await {
        // The pod closed its side: what the client still sends has no reader.
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

async fn outward(mut from: impl AsyncRead + Unpin, to: &Out) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let bytes = Bytes::copy_from_slice(chunk.get(..count).unwrap_or_default());
                if to.send(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
    to.end().await;
}

/// SPDY bytes inside binary WebSocket messages.
async fn tunnel(forward: Forward, upgrade: OnUpgrade) {
    let Some(socket) = open_websocket(upgrade).await else { return };
    let (mut sink, mut source) = socket.split();
    let (near, far) = tokio::io::duplex(TUNNEL_BYTES);
    let (mut from_spdy, mut to_spdy) = tokio::io::split(far);
    let receiving = async {
        while let Some(Ok(message)) = source.next().await {
            let done = match message {
                Message::Binary(bytes) => to_spdy.write_all(&bytes).await.is_err(),
                other => other.is_close(),
            };
            if done {
                return;
            }
        }
    };
    let sending = async {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        loop {
            match from_spdy.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => sink.send(Message::Binary(buffer.split().freeze())).await?,
            }
            buffer.reserve(CHUNK_BYTES);
        }
        sink.send(Message::Close(None)).await
    };
    carry(spdy(forward, near), receiving, sending).await;
}

/// A stream waiting for its partner.
#[derive(Default)]
struct Half {
    data: Option<(In, Out)>,
    error: Option<Out>,
}

/// Serves the stream pairs of one SPDY connection until it ends.
async fn spdy(forward: Forward, io: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut connection, driver) = match Connection::new(io) {
        Ok(made) => made,
        Err(error) => {
            debug!(error, "a SPDY connection could not be set up");
            return;
        }
    };
    let work = async {
        let mut running = FuturesUnordered::new();
        let mut waiting: BTreeMap<String, Half> = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = running.next(), if !running.is_empty() => {}
                opened = tokio::time::timeout(PAIR_DEADLINE, connection.streams.recv()) => match opened {
                    Ok(Some(stream)) if running.len() < PAIRS_MAX => {
                        if let Some((port, (input, output), error)) = pair(stream, &mut waiting).await {
                            let forward = forward.clone();
                            running.push(async move { forward.carry(port, input, output, error).await });
                        }
                    }
                    Ok(Some(_refused)) => {}
                    Ok(None) => return,
                    // Streams that never met their partner are given up.
                    Err(_elapsed) => waiting.clear(),
                }
            }
        }
    };
    tokio::select! {
        ended = driver => if let Err(error) = ended { debug!(error, "a SPDY connection ended") },
        () = work => {}
    }
}

/// Takes a new stream; gives the pair that it completes.
async fn pair(stream: SpdyStream, waiting: &mut BTreeMap<String, Half>) -> Option<(u16, (In, Out), Out)> {
    let SpdyStream { id, headers, input, output } = stream;
    let kind = headers.get("streamtype").map(String::as_str).unwrap_or_default();
    let port = headers.get("port").and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
    let (Some(port), "data" | "error") = (port, kind) else {
        output
            .send(format!("stream {id} must state a streamtype (data or error) and a port").into())
            .await
            .ok();
        output.end().await;
        return None;
    };
    // Clients that send no id open the error stream right before its data stream.
    let key = headers.get("requestid").cloned().unwrap_or_else(|| match kind {
        "error" => format!("stream {id}"),
        _ => format!("stream {}", id.saturating_sub(2)),
    });
    let half = waiting.entry(key.clone()).or_default();
    if kind == "data" {
        half.data = Some((input, output));
    } else {
        half.error = Some(output);
    }
    if half.data.is_none() || half.error.is_none() {
        return None;
    }
    let Half { data, error } = waiting.remove(&key)?;
    Some((port, data?, error?))
}

/// The older protocol: channels 2n (data) and 2n+1 (error) for the n-th port, each beginning with the port's number.
async fn channels(forward: Forward, upgrade: OnUpgrade, ports: Vec<u16>) {
    let Some(socket) = open_websocket(upgrade).await else { return };
    let (mut sink, mut source) = socket.split();
    let (outgoing, queue) = mpsc::channel(MESSAGES_MAX);
    let (mut inputs, mut running) = (Vec::new(), FuturesUnordered::new());
    for (index, port) in ports.into_iter().enumerate() {
        let (sender, input) = mpsc::channel(MESSAGES_MAX);
        inputs.extend([Some(sender), None]);
        let number = u32::try_from(index * 2).unwrap_or(u32::MAX);
        let (output, error) =
            (Out::new(number, outgoing.clone()), Out::new(number.saturating_add(1), outgoing.clone()));
        let forward = &forward;
        running.push(async move {
            let head = Bytes::copy_from_slice(&port.to_le_bytes());
            if output.send(head.clone()).await.is_ok() && error.send(head).await.is_ok() {
                forward.carry(port, input, output, error).await;
            }
        });
    }
    drop(outgoing);
    let work = async { while running.next().await.is_some() {} };
    let receiving = websocket::receive(&mut source, inputs, false);
    carry(work, receiving, websocket::send(&mut sink, queue)).await;
}
