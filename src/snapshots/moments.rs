//! Which revision the cluster had at which time of day, for restores to a moment.
//!
//! The leader writes the time and the revision of a moment to one key, at a fixed pace and only after something else was written. The
//! versions of that key are the record: they are kept as long as all history is, go with it, and are in every snapshot.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_store::{PutRequest, Revision, Store, snapshot_versions};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::bytes::Bytes;
use tracing::debug;

use super::shelf::shown;
use crate::refusal::refuse;

const KEY: &str = "/mainstay/moment";
/// How often a moment is noted: what is restored is at most so much older than what was asked for.
const PACE: Duration = Duration::from_secs(5);

/// A moment, and what was there at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    unix_millis: i64,
    /// All of it was written before the moment.
    revision: Revision,
}

impl Moment {
    fn encode(self) -> String {
        format!("{} {}", self.unix_millis, self.revision.0)
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (millis, revision) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        Some(Self { unix_millis: millis.parse().ok()?, revision: Revision(revision.parse().ok()?) })
    }
}

/// Notes moments until `tasks` ends, while this server's member leads the store.
pub(crate) fn note_moments(store: Store, clock: Arc<dyn Clock>, tasks: &Tasks) {
    let stop = tasks.token();
    tasks.spawn("moments", async move {
        let mut noted = Revision(0);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PACE) => {}
            }
            if !store.leadership().borrow().is_leader {
                continue;
            }
            let note = note(&store, clock.as_ref(), noted);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                done = note => match done {
                    Ok(revision) => noted = revision,
                    Err(error) => debug!(error = format!("{error:#}"), "a moment was not noted"),
                },
            }
        }
    });
}

/// Notes the present moment, if something was written since the note at `noted`; returns the revision of the newest note.
async fn note(store: &Store, clock: &dyn Clock, noted: Revision) -> anyhow::Result<Revision> {
    let revision = store.current_revision().await?;
    if revision == noted {
        return Ok(noted);
    }
    // After the revision: nothing in it is later than this.
    let moment = Moment { unix_millis: millis(clock.wall()), revision };
    let put = PutRequest::new(Bytes::from_static(KEY.as_bytes()), Bytes::from(moment.encode()));
    Ok(store.put_with(put).await?.revision)
}

fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The time that `--at` gives.
///
/// # Errors
/// It is none.
pub(crate) fn parse_moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("{error}: give a time as 2026-11-27T04:30:00Z or with +01:00"))
}

/// What a snapshot can be taken back to.
pub(super) struct Held<'a> {
    /// The file; it stands where the store's snapshot begins.
    pub(super) file: &'a mut File,
    pub(super) shown: &'a str,
    /// The oldest revision that can be restored.
    pub(super) oldest: Revision,
    /// When it was taken, Unix seconds.
    pub(super) taken_at: i64,
}

impl Held<'_> {
    /// The newest revision of which it is noted that nothing in it is later than `wanted`, and when that was noted (Unix seconds).
    ///
    /// # Errors
    /// No such moment is in the snapshot's history, with those that are.
    pub(super) fn revision_at(self, wanted: OffsetDateTime) -> anyhow::Result<(Revision, i64)> {
        let Self { file, shown: name, oldest, taken_at } = self;
        let versions = snapshot_versions(file, KEY.as_bytes());
        let versions =
            versions.map_err(|error| refuse(format!("{name}: {:#}", anyhow::Error::new(error))))?;
        let decode = |(_, value): &(Revision, Bytes)| Moment::decode(value);
        let moments: Vec<Moment> =
            versions.iter().filter_map(decode).filter(|moment| moment.revision >= oldest).collect();
        let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
            return Err(refuse(format!(
                "{name} has no moments noted in its history: give --revision instead of --at"
            )));
        };
        if wanted.unix_timestamp() > taken_at {
            return Err(refuse(format!(
                "{name} was taken {}, and has nothing later: leave --at out for all that it has",
                shown(taken_at)
            )));
        }
        let found = newest_before(&moments, millis(wanted)).with_context(|| {
            let (first, last) = (shown(first.unix_millis / 1000), shown(last.unix_millis / 1000));
            format!("{name} goes back to moments from {first} to {last}")
        });
        let found = found.map_err(|error| refuse(format!("{error:#}")))?;
        Ok((found.revision, found.unix_millis / 1000))
    }
}

/// The newest of the moments, in the order in which they were noted, that is not after `wanted`.
fn newest_before(moments: &[Moment], wanted: i64) -> anyhow::Result<Moment> {
    let found = moments.iter().rev().find(|moment| moment.unix_millis <= wanted);
    found.copied().context("the moment wanted is before the history that the snapshot holds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_back_as_it_was_noted_and_nothing_else_is_one() {
        let moment = Moment { unix_millis: 1_764_000_000_123, revision: Revision(77) };
        assert_eq!(Moment::decode(moment.encode().as_bytes()), Some(moment));
        for other in ["", "1", "a 1", "1 b", "1 2 3", " 1 2"] {
            assert_eq!(Moment::decode(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn the_newest_moment_that_is_not_later_is_found_also_after_the_clock_was_set_back() {
        let moment = |millis, revision| Moment { unix_millis: millis, revision: Revision(revision) };
        let moments = [moment(5_000, 10), moment(10_000, 20), moment(900_000, 30), moment(15_000, 40)];
        let at = |wanted| newest_before(&moments, wanted).ok().map(|found| found.revision.0);
        assert_eq!(at(4_999), None);
        assert_eq!(at(5_000), Some(10));
        assert_eq!(at(14_999), Some(20));
        assert_eq!(at(15_000), Some(40));
        assert_eq!(at(800_000), Some(40), "the clock was wrong when it said more");
    }

    #[test]
    fn a_time_of_day_needs_its_offset() {
        assert!(parse_moment("2026-11-27T04:30:00Z").is_ok());
        assert!(parse_moment("2026-11-27T05:30:00.5+01:00").is_ok());
        for other in ["2026-11-27", "04:30", "2026-11-27T04:30:00", "now"] {
            assert!(parse_moment(other).unwrap_err().contains("give a time as"), "{other}");
        }
    }
}
