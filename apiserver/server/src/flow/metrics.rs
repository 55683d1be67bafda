//! Upstream's `apiserver_flowcontrol_*` metrics.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Upstream's buckets of waits, in seconds.
const WAIT_BUCKETS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// The metrics.
#[derive(Clone)]
pub(crate) struct FlowMetrics {
    /// `apiserver_flowcontrol_rejected_requests_total`.
    pub(super) rejected: IntCounterVec,
    /// `apiserver_flowcontrol_dispatched_requests_total`.
    pub(super) dispatched: IntCounterVec,
    /// `apiserver_flowcontrol_current_inqueue_requests`.
    pub(super) waiting: IntGaugeVec,
    /// `apiserver_flowcontrol_current_executing_requests`.
    pub(super) executing: IntGaugeVec,
    /// `apiserver_flowcontrol_current_executing_seats`.
    pub(super) executing_seats: IntGaugeVec,
    /// `apiserver_flowcontrol_request_wait_duration_seconds`.
    pub(super) waited: HistogramVec,
    /// `apiserver_flowcontrol_nominal_limit_seats`.
    pub(super) nominal_limit: IntGaugeVec,
    /// `apiserver_flowcontrol_lower_limit_seats`.
    pub(super) lower_limit: IntGaugeVec,
    /// `apiserver_flowcontrol_upper_limit_seats`.
    pub(super) upper_limit: IntGaugeVec,
    /// `apiserver_flowcontrol_current_limit_seats`.
    pub(super) current_limit: IntGaugeVec,
    /// `apiserver_flowcontrol_demand_seats_high_watermark`.
    pub(super) peak: IntGaugeVec,
}

impl FlowMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// A name that is taken.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let flow = ["priority_level", "flow_schema"];
        let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let seats = |name: &str, help: &str| {
            gauge(&format!("apiserver_flowcontrol_{name}"), help, &["priority_level"])
        };
        let metrics = Self {
            rejected: IntCounterVec::new(
                Opts::new(
                    "apiserver_flowcontrol_rejected_requests_total",
                    "Number of requests rejected by API Priority and Fairness subsystem",
                ),
                &["priority_level", "flow_schema", "reason"],
            )?,
            dispatched: IntCounterVec::new(
                Opts::new(
                    "apiserver_flowcontrol_dispatched_requests_total",
                    "Number of requests executed by API Priority and Fairness subsystem",
                ),
                &flow,
            )?,
            waiting: gauge(
                "apiserver_flowcontrol_current_inqueue_requests",
                "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
                &flow,
            )?,
            executing: gauge(
                "apiserver_flowcontrol_current_executing_requests",
                "Number of requests in regular execution phase in the API Priority and Fairness subsystem",
                &flow,
            )?,
            executing_seats: gauge(
                "apiserver_flowcontrol_current_executing_seats",
                "Concurrency (number of seats) occupied by the currently executing requests",
                &flow,
            )?,
            waited: HistogramVec::new(
                HistogramOpts::new(
                    "apiserver_flowcontrol_request_wait_duration_seconds",
                    "Length of time a request spent waiting in its queue",
                )
                .buckets(WAIT_BUCKETS.to_vec()),
                &["priority_level", "flow_schema", "execute"],
            )?,
            nominal_limit: seats("nominal_limit_seats", "Nominal number of execution seats configured")?,
            lower_limit: seats("lower_limit_seats", "Configured lower bound on number of execution seats")?,
            upper_limit: seats("upper_limit_seats", "Configured upper bound on number of execution seats")?,
            current_limit: seats(
                "current_limit_seats",
                "Current derived number of execution seats available",
            )?,
            peak: seats(
                "demand_seats_high_watermark",
                "High watermark of demand for seats in the last period",
            )?,
        };
        metrics.add_to(registry)?;
        Ok(metrics)
    }

    fn add_to(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.rejected.clone()))?;
        registry.register(Box::new(self.dispatched.clone()))?;
        registry.register(Box::new(self.waited.clone()))?;
        let gauges = [
            &self.waiting,
            &self.executing,
            &self.executing_seats,
            &self.nominal_limit,
            &self.lower_limit,
            &self.upper_limit,
            &self.current_limit,
            &self.peak,
        ];
        gauges.into_iter().try_for_each(|gauge| registry.register(Box::new(gauge.clone())))
    }
}
