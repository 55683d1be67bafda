//! How the scheduler is started.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use mainstay_agents_kit::events::Recorder;
use mainstay_agents_kit::informer::Informers;
use mainstay_agents_kit::step::Actor;
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};

use crate::scheduler::Scheduler;

/// Settings of the scheduler; the default is upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods that name this scheduler in `spec.schedulerName` are placed.
    pub scheduler_name: String,
    /// Bindings and status writes that may be on their way at the same time.
    pub writes_in_flight_max: usize,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            writes_in_flight_max: 64,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Starts the scheduler; it ends with `tasks`. `client` carries the identity `system:kube-scheduler`.
pub fn run(config: Config, client: kube::Client, tasks: &Tasks) {
    let informers = Informers::new(client.clone(), tasks.clone(), Arc::clone(&config.clock));
    let recorder =
        Recorder::start(tasks, client.clone(), Arc::clone(&config.clock), &config.scheduler_name, None);
    let actor = Actor::new(client, recorder);
    let scheduler = Scheduler::new(config, actor, informers.reader::<Pod>(), informers.reader::<Node>());
    tasks.spawn("scheduler", scheduler.run(tasks.token()));
}
