//! Packets with file descriptors over a SEQPACKET socket.

use super::protocol::{FDS_MAX, PACKET_BYTES_MAX};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A message with the descriptors beside it; nothing at the end of the connection.
pub(crate) type Received<T> = Option<(T, Vec<OwnedFd>)>;

/// Sends one packet. Does not block on a non-blocking socket.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the packet is too large"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket.as_fd(), &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one packet.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> std::io::Result<Received<T>> {
    let mut bytes = vec![0_u8; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let result = rustix::net::recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        match result {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let fds = drain(&mut control);
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((message, fds)))
}

/// Receives only descriptors, as from a console socket.
pub(crate) fn receive_fds(socket: impl AsFd) -> std::io::Result<Vec<OwnedFd>> {
    let mut bytes = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(drain(&mut control))
}

fn drain(control: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    fds
}

fn socket(kind: SocketType) -> std::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// An address below `dir` that fits the kernel's 108 bytes however long the path is. The returned directory must
/// live as long as the address is used.
fn short_address(dir: &Path, name: &str) -> std::io::Result<(File, SocketAddrUnix)> {
    let dir = File::open(dir)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?;
    Ok((dir, address))
}

/// Listens on the socket `name` in `dir`; an old socket there is replaced.
pub(crate) fn listen(dir: &Path, name: &str, kind: SocketType) -> std::io::Result<OwnedFd> {
    crate::durable::remove_file(&dir.join(name))?;
    let listener = socket(kind)?;
    let (_dir, address) = short_address(dir, name)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, 16)?;
    Ok(listener)
}

/// Connects to the socket `name` in `dir`.
pub(crate) fn connect(dir: &Path, name: &str) -> std::io::Result<OwnedFd> {
    let stream = socket(SocketType::SEQPACKET)?;
    let (_dir, address) = short_address(dir, name)?;
    rustix::net::connect(&stream, &address)?;
    Ok(stream)
}

/// Takes a waiting connection, if there is one.
pub(crate) fn accept(listener: impl AsFd) -> std::io::Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(stream) => Ok(Some(stream)),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
