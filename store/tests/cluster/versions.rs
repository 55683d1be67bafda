//! A member of before among new ones, as in the middle of an upgrade: it speaks version 1 of the protocol between members, and no other.
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use mainstay_store::{
    ForwardedWrites, Link, LinkReceiver, LinkSender, MemoryTransport, Store, Transport, WriteTimes,
};

use crate::members::{Members, in_time, until, url};

/// The version in a greeting: two bytes after the magic.
const VERSION: std::ops::Range<usize> = 4..6;
/// The kinds of requests that version 1 has.
const KINDS: std::ops::RangeInclusive<u8> = 1..=14;
/// A refusal because of the version, in the first bytes of the answer to a greeting.
const REFUSED: [u8; 2] = [3, 1];

/// What the old member met.
#[derive(Debug, Default)]
struct Met {
    /// Greetings in a version that it does not speak.
    refused: AtomicUsize,
    /// Requests that it does not know. They end the link.
    unknown: AtomicUsize,
}

/// Makes a member old: what it hears and says passes here.
#[derive(Debug)]
struct Old {
    transport: MemoryTransport,
    met: Arc<Met>,
}

impl Transport for Old {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>> {
        Box::pin(async move {
            let Link { sender, receiver, peer } = self.transport.dial(url).await?;
            let sender = Box::new(Saying { sender, first: Some(Says::Greeting) });
            Ok(Link { sender, receiver, peer })
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Link>> {
        Box::pin(async move {
            let Link { sender, receiver, peer } = self.transport.accept().await?;
            let sender = Box::new(Saying { sender, first: Some(Says::Answer) });
            let receiver = Box::new(Hearing { receiver, greeted: false, met: Arc::clone(&self.met) });
            Ok(Link { sender, receiver, peer })
        })
    }

    fn close(&self) {
        self.transport.close();
    }
}

#[derive(Debug)]
enum Says {
    Greeting,
    Answer,
}

#[derive(Debug)]
struct Saying {
    sender: Box<dyn LinkSender>,
    /// What its first frame is.
    first: Option<Says>,
}

impl LinkSender for Saying {
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        if let Some(first) = frames.first_mut() {
            let mut bytes = first.to_vec();
            match self.first.take() {
                Some(Says::Greeting) => bytes[VERSION].copy_from_slice(&1_u16.to_le_bytes()),
                Some(Says::Answer) if bytes.starts_with(&REFUSED) => bytes[2] = 1,
                Some(Says::Answer) | None => {}
            }
            *first = bytes.into();
        }
        self.sender.send(frames)
    }
}

#[derive(Debug)]
struct Hearing {
    receiver: Box<dyn LinkReceiver>,
    greeted: bool,
    met: Arc<Met>,
}

impl LinkReceiver for Hearing {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            let Some(frame) = self.receiver.receive().await? else { return Ok(None) };
            if std::mem::replace(&mut self.greeted, true) {
                if KINDS.contains(&frame[0]) {
                    return Ok(Some(frame));
                }
                self.met.unknown.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::other("a request that it does not know"));
            }
            if frame[VERSION] == 1_u16.to_le_bytes() {
                return Ok(Some(frame));
            }
            // One that nobody speaks takes the place of the one that this member does not speak.
            self.met.refused.fetch_add(1, Ordering::Relaxed);
            let mut bytes = frame.to_vec();
            bytes[VERSION].copy_from_slice(&u16::MAX.to_le_bytes());
            Ok(Some(bytes.into()))
        })
    }
}

/// Has `to` lead.
async fn lead(members: &Members, to: usize) {
    until("it leads", async || {
        let leader = members.leader().await;
        if leader != to {
            // Whoever asks too early, or of one that leads no more, asks again.
            drop(members.store(leader).move_leader(members.store(to).member_id()).await);
        }
        members.store(to).leadership().borrow().is_leader
    })
    .await;
}

#[tokio::test]
async fn a_leader_of_the_version_before_is_sent_no_notes_and_a_new_one_is() {
    let mut members = Members::start(3).await;
    let (met, told) = (Arc::new(Met::default()), Arc::new(Mutex::new(Vec::new())));
    for member in 0..3 {
        in_time(members.stores[member].take().unwrap().close()).await.unwrap();
    }
    for member in 0..3 {
        let transport = members.network.transport(format!("m{member}"), [url(member)]);
        let mut config = if member == 0 {
            members.config_at(member, Old { transport, met: Arc::clone(&met) })
        } else {
            members.config_at(member, transport)
        };
        let told = Arc::clone(&told);
        let hear = move |note: &[u8], _: &WriteTimes| told.lock().unwrap().push(note.to_vec());
        config.cluster.as_mut().unwrap().forwarded_writes = Some(ForwardedWrites::new(hear));
        members.stores[member] = Some(Store::open(config).await.unwrap());
    }
    for store in members.all() {
        in_time(store.ready()).await.unwrap();
    }
    let write = async |store: &Store, note: &str| {
        let times = Arc::new(WriteTimes::with_note(note.to_owned()));
        in_time(store.timed(&times).put("k", note.to_owned())).await.unwrap();
    };

    lead(&members, 0).await;
    for round in 0..20 {
        write(members.store(1 + round % 2), &format!("to the old one {round}")).await;
    }
    assert!(met.refused.load(Ordering::Relaxed) > 0, "the others knew nothing of its version at first");
    assert_eq!(met.unknown.load(Ordering::Relaxed), 0, "no link of the old member ended");

    until("a new leader is told of a new member's write", async || {
        lead(&members, 2).await;
        write(members.store(1), "to the new one").await;
        in_time(members.store(0).put("k", "of the old one")).await.unwrap();
        told.lock().unwrap().contains(&b"to the new one".to_vec())
    })
    .await;
    assert_eq!(met.unknown.load(Ordering::Relaxed), 0, "no link of the old member ended");
    members.close().await;
}
