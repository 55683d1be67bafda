//! Kubernetes' channels over a WebSocket: the first byte of each message names the channel.

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::channel::Outgoing;
use super::respond::Body;

/// v5: closes the channel named by the next byte.
const CLOSE: u8 = 255;

/// Whether the request asks for a WebSocket.
pub(super) fn asked(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers.get_all(name).iter().any(|v| v.to_str().is_ok_and(|v| v.to_lowercase().contains(word)))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// The first of `ours` that the client offers.
pub(super) fn choose(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    ours.iter().copied().find(|own| offered.contains(own))
}

/// The answer that turns the connection into a WebSocket.
pub(super) fn switch(headers: &HeaderMap, protocol: &'static str) -> Result<Response<Body>, &'static str> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("Sec-WebSocket-Key is missing")?;
    let accept =
        HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_unreadable| "a bad key")?;
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

/// Hands each message to its channel until the client closes. A channel that is `None` ignores its bytes.
pub(super) async fn receive<S>(socket: &mut S, mut channels: Vec<Option<mpsc::Sender<Bytes>>>, v5: bool)
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let Some((first, rest)) = bytes.split_first() else { continue };
        if v5 && *first == CLOSE {
            if let Some(channel) = rest.first().and_then(|c| channels.get_mut(usize::from(*c))) {
                *channel = None;
            }
            continue;
        }
        let channel = channels.get_mut(usize::from(*first));
        if let Some(slot) = channel
            && let Some(sender) = slot
            && bytes.len() > 1
            && sender.send(bytes.slice(1..)).await.is_err()
        {
            *slot = None;
        }
    }
}

/// Writes what is queued until every sender is gone, then closes in order.
pub(super) async fn send<S>(socket: &mut S, mut queue: mpsc::Receiver<Outgoing>) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    while let Some(next) = queue.recv().await {
        // Channels have no end of their own before the socket's.
        let Some(bytes) = next.bytes else { continue };
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.extend_from_slice(&[u8::try_from(next.channel).unwrap_or(0)]);
        message.extend_from_slice(&bytes);
        socket.send(Message::Binary(message.freeze())).await?;
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    socket.send(Message::Close(Some(close))).await?;
    socket.close().await
}
