//! [`FlowControl`]: gives requests their seats by the present plan.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::lending::lend;
use super::level::{Hold, Offer, Ticket};
use super::metrics::FlowMetrics;
use super::plan::{Flow, Plan};
use super::roster::About;
use crate::types::{Attributes, UserInfo};

/// No request waits longer than this for its seats, as upstream.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The present plan. Clones share it.
#[derive(Clone)]
pub(crate) struct FlowControl {
    pub(super) plan: Arc<ArcSwap<Plan>>,
    pub(super) metrics: FlowMetrics,
    seats: u64,
    clock: Arc<dyn Clock>,
}

/// A request's seats, and its flow. Dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Seat {
    flow: Arc<Flow>,
    hold: Hold,
    /// Its number among those that run on its level.
    number: u64,
}

impl FlowControl {
    /// A control of `seats` in all that has only what is always there, until [`FlowControl::replan`].
    pub(crate) fn new(seats: u64, metrics: FlowMetrics, clock: Arc<dyn Clock>) -> Self {
        let plan = Plan::of(&[], &[], seats, &Plan::default(), &metrics);
        Self { plan: Arc::new(ArcSwap::from_pointee(plan)), metrics, seats, clock }
    }

    /// Follows these objects from now on. One task calls this.
    pub(super) fn replan(&self, schemas: &[Value], levels: &[Value]) {
        let before = self.plan.load_full();
        let plan = Plan::of(schemas, levels, self.seats, &before, &self.metrics);
        self.plan.store(Arc::new(plan));
    }

    /// Gives each level its seats by what was asked of it since the last call. The task that plans calls this.
    pub(super) fn lend(&self) {
        lend(&self.plan.load(), &self.metrics);
    }

    /// The flow that a request belongs to. There is one: the plan is never the empty one.
    pub(crate) fn classify(&self, user: &UserInfo, asked: &Attributes) -> Option<Arc<Flow>> {
        self.plan.load().classify(user, asked).map(Arc::clone)
    }

    /// Seats for a request of `flow`, at once or after a wait of at most `wait`; none where nothing has room for it.
    ///
    /// # Cancel safety
    /// A request that is dropped while it waits gives up its place.
    pub(crate) async fn seat(
        &self,
        flow: &Arc<Flow>,
        (user, asked): (&UserInfo, &Attributes),
        seats: u32,
        wait: Duration,
    ) -> Option<Seat> {
        let seats = seats.min(flow.seats_max);
        let about = Arc::new(About {
            schema: flow.schema.name.clone(),
            distinguisher: flow.schema.distinguisher(user, asked),
            user: user.name.clone(),
            asked: asked.clone(),
            arrived: self.clock.wall(),
            seats,
        });
        let ticket = || Ticket { flow: flow.schema.flow(user, asked), about: Arc::clone(&about) };
        let reason = match flow.level.ask(ticket, seats) {
            Offer::Seats(hold) => return Some(Seat::new(flow, hold, (about.arrived, &about))),
            Offer::Wait(turn) => {
                flow.waiting.inc();
                let began = Instant::now();
                let waited = tokio::time::timeout(wait.min(WAIT_MAX), turn).await;
                flow.waiting.dec();
                let executes = matches!(waited, Ok(Ok(_)));
                let labels = [
                    flow.level_name.as_str(),
                    flow.schema.name.as_str(),
                    if executes { "true" } else { "false" },
                ];
                self.metrics.waited.with_label_values(&labels).observe(began.elapsed().as_secs_f64());
                match waited {
                    Ok(Ok(hold)) => return Some(Seat::new(flow, hold, (self.clock.wall(), &about))),
                    Ok(Err(_level_ended)) => "cancelled",
                    Err(_elapsed) => "time-out",
                }
            }
            Offer::Full => "queue-full",
            Offer::Refused => "concurrency-limit",
        };
        let labels = [flow.level_name.as_str(), flow.schema.name.as_str(), reason];
        self.metrics.rejected.with_label_values(&labels).inc();
        None
    }
}

impl Seat {
    fn new(flow: &Arc<Flow>, hold: Hold, (now, about): (OffsetDateTime, &Arc<About>)) -> Self {
        flow.dispatched.inc();
        flow.executing.inc();
        flow.executing_seats.add(i64::from(hold.seats()));
        let number = flow.level.roster.begin(Arc::clone(about), now);
        Self { flow: Arc::clone(flow), hold, number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flow.level.roster.end(self.number);
        self.flow.executing.dec();
        self.flow.executing_seats.sub(i64::from(self.hold.seats()));
    }
}
