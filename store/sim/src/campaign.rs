//! Many runs, and what they add up to.
use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_store::SeededBug;

use crate::world::{Plan, Report, run};

/// What many runs add up to.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// The runs.
    pub runs: usize,
    /// The time by the clocks of the simulations.
    pub simulated: Duration,
    /// Calls of clients, and those answered.
    pub calls: (usize, usize),
    /// Watches that ended, and batches delivered.
    pub watches: (usize, usize),
    /// Groups of keys whose linearizability was not settled.
    pub unsettled: usize,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, usize>,
}

impl Total {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        self.calls = (self.calls.0 + report.calls.0, self.calls.1 + report.calls.1);
        self.watches = (self.watches.0 + report.watches.0, self.watches.1 + report.watches.1);
        self.unsettled += report.unsettled;
        for (name, count) in &report.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} runs, {:.2} simulated hours, {} calls ({} answered), {} watches with {} batches, {} groups of keys not settled, faults: {:?}",
            self.runs,
            self.simulated.as_secs_f64() / 3600.0,
            self.calls.0,
            self.calls.1,
            self.watches.0,
            self.watches.1,
            self.unsettled,
            self.faults
        )
    }
}

/// So many machines wait to become members where members change.
const SPARES: usize = 2;
/// How long things go wrong in a run.
const FAULTS_FOR: Duration = Duration::from_secs(15);

/// The plan of a seed.
pub fn plan(seed: u64, members: usize, bug: Option<SeededBug>) -> Plan {
    Plan { seed, members, spares: 0, faults_for: FAULTS_FOR, bug, script: None }
}

/// The plan of a seed whose members change.
pub fn plan_of_changes(seed: u64, members: usize) -> Plan {
    Plan { spares: SPARES, ..plan(seed, members, None) }
}

/// Runs plans until one finds something; that report is the error.
///
/// # Errors
/// The first report with problems.
pub fn campaign(plans: impl IntoIterator<Item = Plan>) -> Result<Total, Box<Report>> {
    let mut total = Total::default();
    for plan in plans {
        let report = run(plan);
        if !report.problems.is_empty() {
            return Err(Box::new(report));
        }
        total.add(&report);
    }
    Ok(total)
}
