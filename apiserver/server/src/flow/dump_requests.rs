//! What upstream shows under `/debug/api_priority_and_fairness/dump_queues` and `dump_requests`: a row for each queue, and
//! one for each request that waits or runs. A request that runs is in no queue here, so its row has the queue -1, as upstream
//! has it for levels without queues.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::control::FlowControl;
use super::dump::table;
use super::roster::About;

/// Upstream's columns.
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
/// Upstream's columns, with its spelling.
const REQUESTS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
/// Those that `includeRequestDetails` adds.
const DETAILS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
/// Go's zero time: a request that waits has not started.
const NOT_STARTED: &str = "0001-01-01T00:00:00Z";

/// A queue at one moment.
#[derive(Debug)]
pub(super) struct QueueView {
    /// The virtual time at which its next request is served.
    pub(super) next: u64,
    /// The seats that those who wait need.
    pub(super) seats: u64,
    /// Who waits, in order.
    pub(super) waiting: Vec<Arc<About>>,
}

impl FlowControl {
    /// The queues of all levels as upstream's table of text.
    pub(crate) fn dump_queues(&self) -> String {
        let mut rows = vec![QUEUES.map(str::to_owned)];
        for (name, standing) in &self.plan.load().levels {
            for (at, queue) in standing.level.queue_views().into_iter().enumerate() {
                rows.push([
                    name.to_string(),
                    at.to_string(),
                    queue.waiting.len().to_string(),
                    "0".to_owned(),
                    "0".to_owned(),
                    seat_seconds(queue.next),
                    queue.seats.to_string(),
                    queue.seats.to_string(),
                    seat_seconds(queue.seats),
                ]);
            }
        }
        table(&rows)
    }

    /// The requests that wait and run as upstream's table of text.
    pub(crate) fn dump_requests(&self, with_details: bool) -> String {
        let mut head = REQUESTS.map(str::to_owned).to_vec();
        if with_details {
            head.extend(DETAILS.map(str::to_owned));
        }
        let mut rows = vec![head];
        for (name, standing) in &self.plan.load().levels {
            for (at, queue) in standing.level.queue_views().into_iter().enumerate() {
                for (place, about) in queue.waiting.iter().enumerate() {
                    let place = (at.to_string(), place.to_string());
                    rows.push(row(name, about, place, NOT_STARTED.to_owned(), with_details));
                }
            }
            for (about, since) in standing.level.roster.running() {
                let place = ("-1".to_owned(), "-1".to_owned());
                rows.push(row(name, &about, place, instant(since), with_details));
            }
        }
        table(&rows)
    }
}

fn row(
    level: &str,
    about: &About,
    (queue, place): (String, String),
    started: String,
    with_details: bool,
) -> Vec<String> {
    let mut cells = vec![
        level.to_owned(),
        about.schema.to_string(),
        queue,
        place,
        about.distinguisher.to_string(),
        instant(about.arrived),
        about.seats.to_string(),
        "0".to_owned(),
        "0s".to_owned(),
        started,
    ];
    if with_details {
        let asked = &about.asked;
        let version = match asked.api_group.as_str() {
            "" => asked.api_version.to_string(),
            group => format!("{group}/{}", asked.api_version),
        };
        let texts = [&about.user, &asked.verb, &asked.path, &asked.namespace, &asked.name];
        cells.extend(texts.map(ToString::to_string));
        cells.push(version);
        cells.extend([&asked.resource, &asked.subresource].map(ToString::to_string));
    }
    cells
}

fn instant(time: OffsetDateTime) -> String {
    // No clock shows a year that the format cannot write.
    time.format(&Rfc3339).unwrap_or_default()
}

/// As upstream writes seat-seconds; a request counts for one second here.
fn seat_seconds(seats: u64) -> String {
    format!("{seats}.00000000ss")
}
