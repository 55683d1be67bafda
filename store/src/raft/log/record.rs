//! The format of a log file, version 1: a header, then records, each checked by a CRC that also covers where it stands. So what an earlier
//! use of the file left behind never looks like a record of the present one.
use super::super::entry;
use super::super::types::{Entry, LogId, Vote, log_id, term};
use crate::mvcc::{DecodeError, Reader};

/// The first bytes of each file.
pub(super) const MAGIC: [u8; 8] = *b"MSTRLOG\x01";
/// Where the records begin.
pub(super) const FILE_HEADER_BYTES: u64 = 64;
/// What stands before each record's payload.
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

const RECORD_VERSION: u8 = 1;

/// One thing that the log tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Entry(Entry),
    Vote(Vote),
    /// Entries after this index (or all) are void.
    TruncateAfter(Option<u64>),
    /// Entries through this one are not needed any more.
    Purge(LogId),
    /// The log goes on in the next file.
    NextFile,
    /// The first record of each file: what the files before it would tell.
    State {
        vote: Option<Vote>,
        purged: Option<LogId>,
    },
    /// Everything before was synced, and the store was closed.
    Closed,
}

/// Where a record stands, and what was known to be on disk when it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) file: u64,
    pub(super) offset: u64,
    pub(super) durable: u64,
}

/// The size of a record with this payload.
pub(super) fn record_bytes(payload: usize) -> usize {
    (RECORD_HEADER_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// Appends a record to `out`.
pub(super) fn encode(record: &Record, place: Place, out: &mut Vec<u8>) {
    match record {
        Record::Entry(entry) => encode_entry(entry, place, out),
        Record::Vote(vote) => framed(2, place, out, |out| put_vote(vote, out)),
        Record::TruncateAfter(index) => framed(3, place, out, |out| {
            out.push(u8::from(index.is_some()));
            out.extend_from_slice(&index.unwrap_or(0).to_le_bytes());
        }),
        Record::Purge(id) => framed(4, place, out, |out| put_log_id(id, out)),
        Record::NextFile => framed(5, place, out, |_| {}),
        Record::State { vote, purged } => framed(6, place, out, |out| {
            out.push(u8::from(vote.is_some()));
            if let Some(vote) = vote {
                put_vote(vote, out);
            }
            out.push(u8::from(purged.is_some()));
            if let Some(purged) = purged {
                put_log_id(purged, out);
            }
        }),
        Record::Closed => framed(7, place, out, |_| {}),
    }
}

/// Appends an entry's record to `out`.
pub(super) fn encode_entry(entry: &Entry, place: Place, out: &mut Vec<u8>) {
    framed(1, place, out, |out| entry::encode_entry(entry, out));
}

fn framed(kind: u8, place: Place, out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    payload(out);
    let length = out.len() - start - RECORD_HEADER_BYTES;
    let header = header(kind, length as u32, place);
    let crc = match out.get(start + RECORD_HEADER_BYTES..) {
        Some(payload) => checksum(place, &header, payload),
        None => 0,
    };
    out.resize(start + record_bytes(length), 0);
    let whole = crc.to_le_bytes().into_iter().chain(header);
    for (to, from) in out.iter_mut().skip(start).zip(whole) {
        *to = from;
    }
}

/// The header without the record's checksum: length, what was durable, kind, version, and a check of these alone. That makes looking for
/// records among arbitrary bytes cheap: values that look like headers are not taken for some.
fn header(kind: u8, length: u32, place: Place) -> [u8; 12] {
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [d0, d1, d2, d3] = (place.durable as u32).to_le_bytes();
    let [c0, c1] = header_check(place, &[l0, l1, l2, l3, d0, d1, d2, d3, kind, RECORD_VERSION]);
    [l0, l1, l2, l3, d0, d1, d2, d3, kind, RECORD_VERSION, c0, c1]
}

fn header_check(place: Place, fields: &[u8; 10]) -> [u8; 2] {
    let crc = crc32c::crc32c(&place.file.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.offset.to_le_bytes());
    let [c0, c1, ..] = crc32c::crc32c_append(crc, fields).to_le_bytes();
    [c0, c1]
}

fn checksum(place: Place, header: &[u8; 12], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&place.file.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &place.offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, header);
    crc32c::crc32c_append(crc, payload)
}

fn put_vote(vote: &Vote, out: &mut Vec<u8>) {
    let leader = vote.leader_id();
    out.extend_from_slice(&leader.term.to_le_bytes());
    out.extend_from_slice(&openraft::vote::RaftLeaderId::node_id(leader).to_le_bytes());
    out.push(u8::from(vote.is_committed()));
}

fn put_log_id(id: &LogId, out: &mut Vec<u8>) {
    out.extend_from_slice(&term(id).to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

/// What stands at a place in a file.
#[derive(Debug)]
pub(super) struct Found<'f> {
    pub(super) kind: u8,
    pub(super) durable: u64,
    pub(super) payload: &'f [u8],
    /// Where the next record begins.
    pub(super) next: u64,
}

/// The record at `offset` of `content` (a whole file), if its checksum holds.
pub(super) fn find(content: &[u8], file: u64, offset: u64) -> Option<Found<'_>> {
    find_in(content.get(usize::try_from(offset).ok()?..)?, file, offset)
}

/// The record that `rest` begins with, which was read from `offset` of a file, if its checksum holds.
pub(super) fn find_in(rest: &[u8], file: u64, offset: u64) -> Option<Found<'_>> {
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (header, rest) = rest.split_first_chunk::<12>()?;
    let [l0, l1, l2, l3, d0, d1, d2, d3, kind, version, c0, c1] = *header;
    let place = Place { file, offset, durable: u64::from(u32::from_le_bytes([d0, d1, d2, d3])) };
    if kind == 0 || header_check(place, &[l0, l1, l2, l3, d0, d1, d2, d3, kind, version]) != [c0, c1] {
        return None;
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let payload = rest.get(..length)?;
    if checksum(place, header, payload) != u32::from_le_bytes(*crc) {
        return None;
    }
    // If the version is not ours, the checksum holds all the same: a later version wrote this. `decode` says so.
    let kind = if version == RECORD_VERSION { kind } else { 0 };
    Some(Found { kind, durable: place.durable, payload, next: offset + record_bytes(length) as u64 })
}

/// Disks write whole sectors of at least so many bytes.
const SECTOR_BYTES: usize = 512;

/// Whether `rest`, which was read from `offset` of a file and begins with no whole record, would begin with one if one of its bits were
/// another: damage, not a torn write.
pub(super) fn is_one_bit_off(rest: &[u8], file: u64, offset: u64) -> bool {
    let Some((head, _)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else { return false };
    // The header is short: every bit is tried. What it says of its length is checked by its own sum.
    for bit in 0..RECORD_HEADER_BYTES * 8 {
        let mut head = *head;
        if let Some(byte) = head.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let Some(length) = whole_header(&head, file, offset) else { continue };
        let Some(payload) = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length) else { continue };
        let mut record = head.to_vec();
        record.extend_from_slice(payload);
        if find_in(&record, file, offset).is_some() {
            return true;
        }
    }
    let Some(length) = whole_header(head, file, offset) else { return false };
    let Some(payload) = rest.get(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length) else { return false };
    let [c0, c1, c2, c3, header @ ..] = *head;
    let place = Place { file, offset, durable: 0 };
    let off_by = checksum(place, &header, payload) ^ u32::from_le_bytes([c0, c1, c2, c3]);
    let Some(from_end) = one_bit(off_by, length * 8) else { return false };
    let start = offset as usize + RECORD_HEADER_BYTES;
    let sector = (start + length - 1 - from_end / 8) / SECTOR_BYTES * SECTOR_BYTES;
    let lost = sector.max(start) - start..(sector + SECTOR_BYTES).min(start + length) - start;
    // A sector that was never written reads as zeros: if all that it lacks is one bit, the write was torn there.
    payload.get(lost).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
}

/// The payload's length that a record's header tells, if the header's own sum holds.
fn whole_header(head: &[u8; RECORD_HEADER_BYTES], file: u64, offset: u64) -> Option<usize> {
    let [_, _, _, _, l0, l1, l2, l3, d0, d1, d2, d3, kind, version, c0, c1] = *head;
    let place = Place { file, offset, durable: 0 };
    let whole =
        kind != 0 && header_check(place, &[l0, l1, l2, l3, d0, d1, d2, d3, kind, version]) == [c0, c1];
    whole.then(|| u32::from_le_bytes([l0, l1, l2, l3]) as usize)
}

/// Which of the last `bits` bits under a CRC32C changes it by `off_by` when it is flipped, counted from the end. A CRC is linear: a bit's
/// effect is that of the bit after it, moved on by one step of the division.
fn one_bit(off_by: u32, bits: usize) -> Option<usize> {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut effect = POLYNOMIAL; // of the very last bit
    for bit in 0..bits {
        if effect == off_by {
            return Some(bit);
        }
        effect = if effect & 1 == 1 { effect >> 1 ^ POLYNOMIAL } else { effect >> 1 };
    }
    None
}

/// The record that a found one holds.
pub(super) fn decode(found: &Found<'_>) -> Result<Record, DecodeError> {
    let mut reader = Reader::new(found.payload);
    let record = match found.kind {
        1 => return entry::decode_entry(found.payload).map(Record::Entry),
        2 => Record::Vote(read_vote(&mut reader)?),
        3 => {
            let some = reader.bool()?;
            let index = reader.u64()?;
            Record::TruncateAfter(some.then_some(index))
        }
        4 => Record::Purge(read_log_id(&mut reader)?),
        5 => Record::NextFile,
        6 => {
            let vote = if reader.bool()? { Some(read_vote(&mut reader)?) } else { None };
            let purged = if reader.bool()? { Some(read_log_id(&mut reader)?) } else { None };
            Record::State { vote, purged }
        }
        7 => Record::Closed,
        found => return Err(DecodeError::Unknown { what: "record version or kind", found: found.into() }),
    };
    reader.finish()?;
    Ok(record)
}

fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    let (term, node) = (reader.u64()?, reader.u64()?);
    Ok(if reader.bool()? { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

fn read_log_id(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    Ok(log_id(reader.u64()?, reader.u64()?))
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) file: u64,
    pub(super) cluster_id: u64,
    pub(super) bytes: u64,
}

impl FileHeader {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for value in [self.file, self.cluster_id, self.bytes] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(FILE_HEADER_BYTES as usize, 0);
        out
    }

    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        let whole = content.get(..32)?;
        if reader.take(8).ok()? != MAGIC {
            return None;
        }
        let header =
            Self { file: reader.u64().ok()?, cluster_id: reader.u64().ok()?, bytes: reader.u64().ok()? };
        (reader.u32().ok()? == crc32c::crc32c(whole)).then_some(header)
    }
}

/// Reads the records of a file as far as they go, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) fn check_file(content: &[u8]) {
    let number = FileHeader::decode(content).map_or(1, |header| header.file);
    let mut at = FILE_HEADER_BYTES.min(content.len() as u64);
    while let Some(found) = find(content, number, at) {
        let _record = decode(&found);
        at = found.next;
    }
    if let Some(rest) = content.get(at as usize..) {
        let _damage = is_one_bit_off(rest, number, at);
    }
    for kind in 0..9 {
        let _record = decode(&Found { kind, durable: 0, payload: content, next: 0 });
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::Command;
    use crate::raft::types::Proposal;

    fn sample() -> Vec<Record> {
        let command = Command::Put(crate::PutRequest::new("key", "value"));
        let payload = EntryPayload::Normal(Proposal::new(command));
        vec![
            Record::State { vote: Some(Vote::new(3, 7)), purged: None },
            Record::Entry(Entry { log_id: log_id(3, 12), payload }),
            Record::Entry(Entry { log_id: log_id(3, 13), payload: EntryPayload::Blank }),
            Record::Vote(Vote::new_committed(4, 7)),
            Record::TruncateAfter(Some(12)),
            Record::TruncateAfter(None),
            Record::Purge(log_id(3, 11)),
            Record::NextFile,
            Record::Closed,
        ]
    }

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        for record in sample() {
            let offset = out.len() as u64;
            encode(&record, Place { file: 5, offset, durable: offset / 2 }, &mut out);
        }
        out
    }

    #[test]
    fn records_come_back_as_they_were() {
        let content = encoded();
        let mut at = 0;
        for record in sample() {
            let found = find(&content, 5, at).unwrap();
            assert_eq!(decode(&found), Ok(record));
            assert_eq!(found.durable, at / 2);
            at = found.next;
        }
        assert_eq!(at, content.len() as u64);
    }

    #[test]
    fn a_record_of_another_file_or_place_is_none() {
        let mut content = encoded();
        assert!(find(&content, 6, 0).is_none(), "another use of the file");
        content.splice(0..0, [0; ALIGNMENT]);
        assert!(find(&content, 5, ALIGNMENT as u64).is_none(), "another place");
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let mut content = FileHeader { file: 5, cluster_id: 9, bytes: 1 << 20 }.encode();
        content.extend(encoded());
        crate::golden::check("log-v1.hex", &crate::golden::hex(&content));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_found(bit in 0_usize..8 * 400) {
            let mut content = encoded();
            let byte = bit / 8 % content.len();
            content[byte] ^= 1 << (bit % 8);
            let mut at = 0;
            let mut seen = Vec::new();
            while let Some(found) = find(&content, 5, at) {
                seen.push(decode(&found).unwrap());
                at = found.next;
            }
            // What is read before the damage is right; only padding may be damaged unseen.
            prop_assert_eq!(&seen[..], &sample()[..seen.len()]);
        }

        #[test]
        fn a_flipped_bit_is_told_from_a_tear(bit in 0_usize..8 * 400, cut in 1_usize..400) {
            let mut out = Vec::new();
            let put = Command::Put(crate::PutRequest::new("key", vec![b'v'; 300]));
            let entry = Entry { log_id: log_id(3, 12), payload: EntryPayload::Normal(Proposal::new(put)) };
            encode_entry(&entry, Place { file: 5, offset: 64, durable: 64 }, &mut out);
            let whole = out.clone();
            let used = RECORD_HEADER_BYTES + find_in(&whole, 5, 64).unwrap().payload.len();
            let bit = bit % (used * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(find_in(&out, 5, 64).is_none());
            prop_assert!(is_one_bit_off(&out, 5, 64));
            let mut torn = whole.clone();
            let from = used.saturating_sub(cut);
            torn[from..].fill(0);
            if torn[from..used].iter().zip(&whole[from..used]).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() > 1 {
                prop_assert!(!is_one_bit_off(&torn, 5, 64), "a write that was torn at {}", from);
            }
        }

        #[test]
        fn a_lost_sector_that_held_one_bit_is_a_tear(value in proptest::collection::vec(0_u8..3, 400), at in 1_u64..63) {
            let place = Place { file: 5, offset: at * 8, durable: 8 };
            let mut out = Vec::new();
            let put = Command::Put(crate::PutRequest::new("key", value));
            encode_entry(&Entry { log_id: log_id(3, 12), payload: EntryPayload::Normal(Proposal::new(put)) }, place, &mut out);
            let sector = SECTOR_BYTES - place.offset as usize;
            prop_assume!(sector > RECORD_HEADER_BYTES && sector < out.len());
            // All that the lost sector held is its first bit that was set.
            let used = RECORD_HEADER_BYTES + find_in(&out, 5, place.offset).unwrap().payload.len();
            let Some(only) = (sector..used).find(|byte| out[*byte] == 1) else { return Ok(()) };
            let mut torn = out[..used].to_vec();
            torn[sector..].fill(0);
            let mut whole = torn.clone();
            whole[only] = 1;
            let [_, _, _, _, header @ ..] = *whole.first_chunk::<RECORD_HEADER_BYTES>().unwrap();
            let sum = checksum(Place { durable: 0, ..place }, &header, &whole[RECORD_HEADER_BYTES..]).to_le_bytes();
            whole[..4].copy_from_slice(&sum);
            torn[..4].copy_from_slice(&sum);
            prop_assert!(find_in(&whole, 5, place.offset).is_some());
            prop_assert!(!is_one_bit_off(&torn, 5, place.offset));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..9) {
            let _record = decode(&Found { kind, durable: 0, payload: &bytes, next: 0 });
            let _header = FileHeader::decode(&bytes);
            let _found = find(&bytes, 1, 0);
        }
    }
}
