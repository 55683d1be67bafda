//! Joins the channels of a client with the streams of a command.

use std::time::Duration;

use bytes::Bytes;
use mainstay_proto_wire::cri::{CriResult, ExecSession, Input, Output, TerminalSize};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::channel::{Gone, In, Out};
use super::exit_status;

const CHUNK_BYTES: usize = 32 << 10;
/// After the command's end its output may still be on the way, but a child that keeps it open does not hold us.
const DRAIN: Duration = Duration::from_secs(2);

/// The client's channels.
pub(super) struct Client {
    pub stdin: Option<In>,
    pub stdout: Option<Out>,
    pub stderr: Option<Out>,
    pub resize: Option<In>,
}

/// A terminal size as clients send it.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

/// Carries bytes until the command ends; its status is for the error channel. `Err`: the client left first.
pub(super) async fn run(session: ExecSession, client: Client) -> Result<Value, Gone> {
    let ExecSession { stdin, stdout, stderr, resize, exit } = session;
    let inward = async {
        tokio::join!(feed(client.stdin, stdin), resizes(client.resize, resize));
        // The command goes on without input.
        std::future::pending::<()>().await;
    };
    let outward =
        async { tokio::try_join!(pour(stdout, client.stdout), pour(stderr, client.stderr)).map(drop) };
    tokio::pin!(inward, outward, exit);
    let mut poured = None;
    let ended = loop {
        tokio::select! {
            done = &mut outward, if poured.is_none() => {
                done?;
                poured = Some(());
            }
            ended = &mut exit => break ended,
            () = &mut inward => {}
        }
    };
    if poured.is_none() {
        match tokio::time::timeout(DRAIN, &mut outward).await {
            Ok(done) => done?,
            Err(_elapsed) => {}
        }
    }
    Ok(status(
        ended.unwrap_or_else(|_| Err(mainstay_proto_wire::cri::CriError::internal("the command was lost"))),
    ))
}

fn status(ended: CriResult<i32>) -> Value {
    match ended {
        Ok(code) => exit_status::of_exit(code),
        Err(error) => exit_status::of_error(&error.to_string()),
    }
}

async fn feed(from: Option<In>, to: Option<Input>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        // A command that closed its input wants no more; the client need not know.
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

async fn resizes(from: Option<In>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some(bytes) = from.recv().await {
        for size in serde_json::Deserializer::from_slice(&bytes).into_iter::<Size>().map_while(Result::ok) {
            if to.send(TerminalSize { width: size.width, height: size.height }).await.is_err() {
                return;
            }
        }
    }
}

async fn pour(from: Option<Output>, to: Option<Out>) -> Result<(), Gone> {
    let (Some(mut from), Some(to)) = (from, to) else { return Ok(()) };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await {
            // A broken pipe or a closed terminal is the end of output.
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => {
                to.send(Bytes::copy_from_slice(chunk.get(..count).unwrap_or_default())).await?;
            }
        }
    }
}
