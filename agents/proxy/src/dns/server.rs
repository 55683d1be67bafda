//! The sockets: UDP and TCP on one address, with bounds on what is in flight.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::Name;
use mainstay_agents_kit::informer::Informers;
use mainstay_base::lifecycle::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::answer::{Answer, answer};
use super::forward::{Transport, forward};
use super::records::Records;
use crate::Config;

/// Questions answered at once; more wait in the kernel's queue and are dropped there, as UDP is.
const IN_FLIGHT_MAX: usize = 512;
/// Time a TCP client may stay silent (RFC 7766 §6.2.3).
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Longest UDP answer to a client that announces no larger size (RFC 1035 §4.2.1).
const UDP_ANSWER_MIN: u16 = 512;
/// Longest UDP answer to anyone (DNS flag day 2020).
const UDP_ANSWER_MAX: u16 = 1232;

/// Both listening sockets, bound before anything is started so that a taken port is reported at once.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds UDP and TCP; port 0 takes one free port for both.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let tcp = std::net::TcpListener::bind(address)?;
        let udp = std::net::UdpSocket::bind(tcp.local_addr()?)?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        Ok(Self { udp: UdpSocket::from_std(udp)?, tcp: TcpListener::from_std(tcp)? })
    }

    /// Where they listen.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// What every question needs.
#[derive(Debug)]
struct Resolver {
    records: Records,
    domain: Name,
    upstreams: Vec<SocketAddr>,
    slots: Semaphore,
}

/// Starts the server under `tasks`.
pub fn spawn(config: &Config, sockets: Sockets, informers: &Informers, tasks: &Tasks) {
    let domain = match Name::from_ascii(format!("{}.", config.dns_domain.trim_end_matches('.'))) {
        Ok(domain) => domain,
        Err(problem) => {
            return error!(domain = config.dns_domain, %problem, "no DNS: the cluster's domain is not a name");
        }
    };
    let resolver = Arc::new(Resolver {
        records: Records::new(informers),
        domain,
        upstreams: config.dns_upstreams.clone(),
        slots: Semaphore::new(IN_FLIGHT_MAX),
    });
    let (udp, tcp) = (Arc::new(sockets.udp), sockets.tcp);
    tasks.spawn("dns udp", serve_udp(udp, Arc::clone(&resolver), tasks.clone()));
    tasks.spawn("dns tcp", serve_tcp(tcp, resolver, tasks.clone()));
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Arc<Resolver>, tasks: Tasks) {
    let stop = tasks.token();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "UDP receive failed"); // an ICMP error to an earlier answer ends up here
                continue;
            }
        };
        let Some(question) = buffer.get(..length).map(<[u8]>::to_vec) else { continue };
        let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&resolver));
        tasks.spawn("dns question", async move {
            if let Some(answer) = resolver.resolve(&question, Transport::Udp).await
                && let Err(error) = socket.send_to(&answer, client).await
            {
                debug!(%client, %error, "answer not sent");
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>, tasks: Tasks) {
    let stop = tasks.token();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _client)) => {
                tasks.spawn("dns connection", serve_connection(stream, Arc::clone(&resolver), stop.clone()));
            }
            Err(error) => {
                warn!(%error, "DNS connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn serve_connection(mut stream: TcpStream, resolver: Arc<Resolver>, stop: CancellationToken) {
    loop {
        let question = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            question = tokio::time::timeout(TCP_IDLE, read_message(&mut stream)) => question,
        };
        let Ok(Ok(question)) = question else { return };
        let Some(answer) = resolver.resolve(&question, Transport::Tcp).await else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&answer);
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

impl Resolver {
    /// The bytes to answer with; `None` for what deserves no answer.
    async fn resolve(&self, raw: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = Message::from_vec(raw).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None; // answering answers would make loops
        }
        let _slot = self.slots.acquire().await.ok()?;
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(query.queries.iter().cloned());
        match (query.metadata.op_code, query.queries.as_slice()) {
            (OpCode::Query, [question]) if self.records.is_synced() => {
                match answer(question, &self.records, &self.domain) {
                    Answer::Forward => return Some(forward(&query, raw, &self.upstreams, transport).await),
                    Answer::Own { code, records, authority } => {
                        response.metadata.authoritative = true;
                        response.metadata.response_code = code;
                        response.add_answers(records);
                        response.add_authorities(authority.map(|record| *record));
                    }
                }
            }
            (OpCode::Query, [_]) => {
                response.metadata.response_code = ResponseCode::ServFail; // no cache yet: better late than wrong
            }
            (OpCode::Query, _) => {
                response.metadata.response_code = ResponseCode::FormErr;
            }
            _ => {
                response.metadata.response_code = ResponseCode::NotImp;
            }
        }
        encode(&response, &query, transport)
    }
}

/// The wire form; an answer too long for UDP is cut and marked so that the client asks again over TCP.
fn encode(response: &Message, query: &Message, transport: Transport) -> Option<Vec<u8>> {
    let bytes = response.to_vec().ok()?;
    let limit = query.max_payload().clamp(UDP_ANSWER_MIN, UDP_ANSWER_MAX);
    if transport == Transport::Tcp || bytes.len() <= usize::from(limit) {
        return Some(bytes);
    }
    response.truncate().to_vec().ok()
}
