//! A connection whose bulk is written in large pieces.
//!
//! The HTTP/2 library writes and flushes one frame of at most 16 KiB at a time. To thousands of watchers that is a system call, and most likely a
//! wake-up of the other side, for a few dozen events; the kernel then costs more than everything that we do. So frames that follow each other at
//! once are put together here. What is small, such as the answer to a put, is written when it is flushed, as ever.
//!
//! It must never keep bytes longer than until the connection's task has nothing more to write.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Once there are so many bytes they are written.
const PIECE_BYTES: usize = 64 << 10;
/// What is flushed with fewer bytes than this before it is no bulk.
const BULK_BYTES: usize = 8 << 10;

/// A stream that is written through a buffer.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    stream: S,
    buffer: Vec<u8>,
    /// So many bytes of it are written.
    written: usize,
    /// Something was added since the last flush, done or not.
    grown: bool,
    /// So many bytes were added since the last flush that was done.
    added: usize,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), written: 0, grown: false, added: 0 }
    }

    fn add(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(PIECE_BYTES);
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        self.grown |= taken > 0;
        self.added += taken;
        taken
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes all that waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
        }
        self.written = 0;
        let was_bulk = self.buffer.len() > BULK_BYTES;
        self.buffer.clear();
        if !was_bulk {
            // A connection without bulk keeps no room for it.
            self.buffer.shrink_to(BULK_BYTES);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.buffer.len() >= PIECE_BYTES {
            ready!(this.poll_drain(context))?;
        }
        let mut taken = 0;
        for part in parts {
            let of_part = this.add(part);
            taken += of_part;
            if of_part < part.len() || this.buffer.len() >= PIECE_BYTES {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A flush of bulk that has just grown says that more may follow: it is done by the next one, which comes once the task has written all
    /// it has, and at the latest when the task runs again.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.grown) && this.added >= BULK_BYTES {
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_drain(context))?;
        this.added = 0;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Counts what it is asked to write at once, and takes at most so many bytes of it.
    struct Pieces {
        at_once_max: usize,
        sizes: Vec<usize>,
        bytes: Vec<u8>,
    }

    impl Pieces {
        fn new(at_once_max: usize) -> Gathered<Self> {
            Gathered::new(Self { at_once_max, sizes: Vec::new(), bytes: Vec::new() })
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.at_once_max);
            self.sizes.push(taken);
            self.bytes.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn flush(stream: &mut Gathered<Pieces>) {
        poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_small_is_written_when_it_is_flushed() {
        let mut stream = Pieces::new(usize::MAX);
        stream.write_all(b"an answer").await.unwrap();
        assert!(stream.stream.bytes.is_empty());
        flush(&mut stream).await;
        assert_eq!(stream.stream.bytes, b"an answer");
    }

    #[tokio::test]
    async fn frames_of_bulk_are_written_together() {
        let frame: Vec<u8> = (0..16_000).map(|i| i as u8).collect();
        for at_once_max in [usize::MAX, 1000] {
            let mut stream = Pieces::new(at_once_max);
            for _ in 0..20 {
                stream.write_all(&frame).await.unwrap();
                flush(&mut stream).await;
            }
            // The library flushes once more when there are no frames left.
            flush(&mut stream).await;
            assert_eq!(stream.stream.bytes, frame.repeat(20));
            if at_once_max == usize::MAX {
                assert_eq!(stream.stream.sizes, [5 * 16_000; 4]);
            }
        }
    }

    /// A task that writes bulk, flushes once, and sleeps is woken to flush again.
    #[tokio::test]
    async fn bulk_is_not_kept_by_a_task_that_has_no_more() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut stream = Gathered::new(near);
        let mut written = false;
        let task = poll_fn(move |context| {
            if !written {
                written = true;
                let polled = Pin::new(&mut stream).poll_write(context, &vec![7; 20_000]);
                assert!(matches!(polled, Poll::Ready(Ok(20_000))));
            }
            assert!(Pin::new(&mut stream).poll_flush(context).is_ready());
            Poll::<()>::Pending
        });
        let mut received = vec![0; 20_000];
        tokio::select! {
            () = task => unreachable!("it never ends"),
            read = far.read_exact(&mut received) => assert_eq!(read.unwrap(), 20_000),
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_keeps_nothing_back() {
        let mut stream = Pieces::new(usize::MAX);
        stream.write_all(&vec![1; 30_000]).await.unwrap();
        flush(&mut stream).await;
        stream.shutdown().await.unwrap();
        assert_eq!(stream.stream.bytes.len(), 30_000);
    }
}
