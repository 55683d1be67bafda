//! Hostile HTTP/2: floods of frames that cost the sender little. Frames are written by hand, since no client library sends them.
//! Each flood must end or stall its own connection only, and must not grow the server.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, DEADLINE};
use crate::server::TestServer;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// A flood that was taken for so long without an end is over.
const FLOOD_TIME: Duration = Duration::from_secs(3);
const FLOOD_BYTES_MAX: usize = 64 << 20;
const GROWTH_MAX_KIB: u64 = 32 << 10;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A string literal of HPACK without Huffman coding, shorter than 16 KiB.
fn literal(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if text.len() < 127 {
        out.push(u8::try_from(text.len()).unwrap());
    } else {
        let rest = text.len() - 127;
        out.extend_from_slice(&[
            127,
            u8::try_from(rest % 128).unwrap() | 128,
            u8::try_from(rest / 128).unwrap(),
        ]);
    }
    out.extend_from_slice(text);
    out
}

/// The header block of `GET path`.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x01];
    block.extend(literal(b"test"));
    block.push(0x04);
    block.extend(literal(path.as_bytes()));
    block
}

/// A connection that has spoken the preface.
async fn open(client: &Client, settings: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = client.connect_http2().await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    stream
}

/// Whether this process is the test's own, as its memory is measured. If other tests share it, the test runs in another
/// one instead, and there is nothing left to do here.
async fn is_alone(test: &str) -> bool {
    // As nextest says it.
    const MODE: &str = "NEXTEST_EXECUTION_MODE";
    const ALONE: &str = "process-per-test";
    if std::env::var_os(MODE).is_some_and(|mode| mode == ALONE) {
        return true;
    }
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    let name = format!("http2_floods::{test}");
    command.args([name.as_str(), "--exact", "--nocapture"]).env(MODE, ALONE).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Writes `burst` again and again, never reading, until the server closes, stops taking bytes, or `FLOOD_TIME` is over.
async fn flood(stream: &mut TlsStream<TcpStream>, mut burst: impl FnMut() -> Vec<u8>) {
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < FLOOD_TIME && sent < FLOOD_BYTES_MAX {
        let bytes = burst();
        match tokio::time::timeout(Duration::from_millis(500), stream.write_all(&bytes)).await {
            Ok(Ok(())) => sent += bytes.len(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// Whether the server ends the connection, by GOAWAY or by closing it.
async fn is_ended(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
            Err(_silent) => return false,
        }
    }
}

/// The server answers others at once, and has not grown.
async fn unharmed(id: &str, server: &TestServer, before_kib: u64) {
    let began = Instant::now();
    assert_eq!(server.admin().get("/readyz/ping").await.code, 200, "{id}");
    assert!(began.elapsed() < Duration::from_secs(2), "{id}: others waited {:?}", began.elapsed());
    let grown = resident_kib().saturating_sub(before_kib);
    assert!(grown < GROWTH_MAX_KIB, "{id}: grown by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_continuations_ends_its_connection() {
    if !is_alone("a_flood_of_continuations_ends_its_connection").await {
        return;
    }
    let server = TestServer::start().await;
    let mut stream = open(&server.anonymous(), &[]).await;
    let before = resident_kib();
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &get("/version"))).await.unwrap();
    let mut header = vec![0x00];
    header.extend(literal(b"x-a"));
    header.extend(literal(&[b'y'; 1000]));
    let burst = frame(CONTINUATION, 0, 1, &header).repeat(16);
    flood(&mut stream, || burst.clone()).await;
    assert!(is_ended(&mut stream).await, "B056 CONTINUATION");
    unharmed("B056 CONTINUATION", &server, before).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unpack_to_too_much_are_refused() {
    if !is_alone("headers_that_unpack_to_too_much_are_refused").await {
        return;
    }
    let server = TestServer::start().await;
    let mut stream = open(&server.anonymous(), &[]).await;
    let before = resident_kib();
    // One entry of nearly the whole table, then a reference to it in every byte: 16 KB on the wire, 64 MB unpacked.
    let mut block = get("/version");
    block.push(0x40);
    block.extend(literal(b"x-a"));
    block.extend(literal(&[b'y'; 4000]));
    block.resize(16_000, 0xbe);
    let mut id = 1;
    flood(&mut stream, || {
        id += 2;
        frame(HEADERS, END_STREAM | END_HEADERS, id, &block)
    })
    .await;
    unharmed("B056 HPACK", &server, before).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_that_want_an_answer_do_not_grow_the_server() {
    if !is_alone("floods_of_frames_that_want_an_answer_do_not_grow_the_server").await {
        return;
    }
    let server = TestServer::start().await;
    for (id, one) in
        [("PING", frame(PING, 0, 0, &[7; 8])), ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]))]
    {
        let mut stream = open(&server.anonymous(), &[]).await;
        let before = resident_kib();
        let burst = one.repeat(1000);
        flood(&mut stream, || burst.clone()).await;
        unharmed(&format!("B056 {id}"), &server, before).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_not_gathered() {
    if !is_alone("answers_that_nobody_takes_are_not_gathered").await {
        return;
    }
    let server = TestServer::start().await;
    // The document is made once, when it is first asked for.
    assert_eq!(server.admin().get("/openapi/v2").await.code, 200);
    // INITIAL_WINDOW_SIZE is 0: the server may send no byte of a body.
    let mut stream = open(&server.admin(), &[0, 4, 0, 0, 0, 0]).await;
    let before = resident_kib();
    for at in 0..200_u32 {
        let request = frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &get("/openapi/v2"));
        stream.write_all(&request).await.unwrap();
    }
    unharmed("B056 zero window", &server, before).await;
    drop(stream);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_on_ten_connections_delay_nobody() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let usual = slowest(&admin).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(open(&server.anonymous(), &[]).await);
    }
    let floods = streams.into_iter().map(|mut stream| async move {
        let mut id = 1;
        flood(&mut stream, || {
            let mut burst = Vec::new();
            for _ in 0..500 {
                burst.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, &get("/version")));
                burst.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
                id += 2;
            }
            burst
        })
        .await;
        is_ended(&mut stream).await
    });
    let (ended, during) = tokio::join!(futures::future::join_all(floods), slowest(&admin));
    assert!(ended.iter().all(|ended| *ended), "B055: every connection is ended: {ended:?}");
    // Twice the usual time, and what a loaded test machine adds to anything.
    assert!(during < 2 * usual + Duration::from_millis(500), "B055: {during:?} instead of {usual:?}");
    server.stop().await;
}

/// The slowest of a few requests in a row.
async fn slowest(client: &Client) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        let answer = tokio::time::timeout(DEADLINE, client.get("/readyz/ping")).await.expect("an answer");
        assert_eq!(answer.code, 200);
        slowest = slowest.max(began.elapsed());
    }
    slowest
}
