//! Asks other resolvers for names outside the cluster.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tracing::debug;

const TIMEOUT: Duration = Duration::from_secs(2);
const UDP_BYTES_MAX: usize = 4096;

/// How a client asked, which is how its question is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The answer of the first of `upstreams` that gives one, byte for byte; `SERVFAIL` where none does.
pub(crate) async fn forward(
    query: &Message,
    raw: &[u8],
    upstreams: &[SocketAddr],
    transport: Transport,
) -> Vec<u8> {
    for upstream in upstreams {
        let asked = async {
            match transport {
                Transport::Udp => ask_udp(raw, *upstream).await,
                Transport::Tcp => ask_tcp(raw, *upstream).await,
            }
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => debug!(%upstream, %error, "upstream resolver failed"),
            Err(_elapsed) => debug!(%upstream, "upstream resolver did not answer in time"),
        }
    }
    failure(query)
}

/// `SERVFAIL` to `query`.
fn failure(query: &Message) -> Vec<u8> {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.response_code = ResponseCode::ServFail;
    answer.add_queries(query.queries.iter().cloned());
    answer.to_vec().unwrap_or_default()
}

async fn ask_udp(raw: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let local = if upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await?; // a fresh port for each question makes answers hard to forge
    socket.connect(upstream).await?;
    socket.send(raw).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 2 && raw.get(..2) == buffer.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(raw: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(raw.len()).map_err(|_long| io::Error::from(io::ErrorKind::InvalidInput))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(raw).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
