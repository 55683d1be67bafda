//! The recorder and the task behind it that writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use mainstay_base::lifecycle::{Clock, Tasks};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::correlate::{Correlator, Decision};
use super::event_type::EventType;
use super::reference::reference;

/// Occurrences that may wait to be written; more are dropped, as events must never slow their source.
const WAITING_MAX: usize = 1024;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest message that the API accepts.
const MESSAGE_BYTES_MAX: usize = 1024;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The object it happened to.
    pub regarding: ObjectReference,
    /// Normal or Warning.
    pub event_type: EventType,
    /// The machine-readable reason in CamelCase.
    pub reason: String,
    /// The text for people.
    pub message: String,
}

/// Records events in the name of one component. A cheap handle.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Occurrence>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts a recorder for `component`, for example `kubelet`; `host` is the node it runs on, if any.
    pub fn start(
        tasks: &Tasks,
        client: kube::Client,
        clock: Arc<dyn Clock>,
        component: &str,
        host: Option<&str>,
    ) -> Self {
        let (recorder, receiver) = Self::channel(WAITING_MAX);
        let writer = Writer {
            client,
            clock,
            component: component.to_owned(),
            host: host.map(str::to_owned),
            correlator: Correlator::default(),
        };
        tasks.spawn(format!("events of {component}"), writer.run(receiver, tasks.token()));
        recorder
    }

    /// A recorder whose occurrences go to the receiver instead of the API.
    pub fn channel(bound: usize) -> (Self, mpsc::Receiver<Occurrence>) {
        let (sender, receiver) = mpsc::channel(bound);
        (Self { sender }, receiver)
    }

    /// Records that something happened to the object. Never blocks; what does not fit is dropped and logged.
    pub fn record(&self, regarding: ObjectReference, event_type: EventType, reason: &str, message: String) {
        let occurrence = Occurrence { regarding, event_type, reason: reason.to_owned(), message };
        if let Err(error) = self.sender.try_send(occurrence) {
            warn!(reason, %error, "an event was dropped");
        }
    }

    /// Records that something happened to `object`.
    pub fn event<K: kube::Resource<DynamicType = ()>>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &str,
        message: String,
    ) {
        self.record(reference(object), event_type, reason, message);
    }
}

struct Writer {
    client: kube::Client,
    clock: Arc<dyn Clock>,
    component: String,
    host: Option<String>,
    correlator: Correlator,
}

impl Writer {
    async fn run(mut self, mut occurrences: mpsc::Receiver<Occurrence>, stop: CancellationToken) {
        loop {
            let occurrence = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                occurrence = occurrences.recv() => occurrence,
            };
            let Some(occurrence) = occurrence else { return };
            let write = self.write(&occurrence);
            // A write cut off by the stop loses one event, which is what events are allowed to do.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                written = tokio::time::timeout(WRITE_DEADLINE, write) => match written {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(reason = occurrence.reason, %error, "an event was not written"),
                    Err(_elapsed) => warn!(reason = occurrence.reason, "an event was not written in time"),
                }
            }
        }
    }

    async fn write(&mut self, occurrence: &Occurrence) -> Result<(), kube::Error> {
        let now = crate::time::now(self.clock.as_ref());
        // Events about cluster-scoped objects live in `default`.
        let namespace = occurrence.regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api = Api::<Event>::namespaced(self.client.clone(), &namespace);
        match self.correlator.decide(occurrence, now) {
            Decision::Drop => {
                debug!(reason = occurrence.reason, "an event was dropped: too many about this object");
                Ok(())
            }
            Decision::Create { name, message } => {
                let event = self.event_of(occurrence, &namespace, name, message, now);
                api.create(&PostParams::default(), &event).await.map(drop)
            }
            Decision::Raise { name, message, count, first } => {
                let patch = json!({
                    "count": count,
                    "message": bounded(message.clone()),
                    "lastTimestamp": crate::time::time(now),
                });
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {
                        self.correlator.forget(&name);
                        let mut event = self.event_of(occurrence, &namespace, name, message, now);
                        event.count = Some(count);
                        event.first_timestamp = Some(crate::time::time(first));
                        api.create(&PostParams::default(), &event).await.map(drop)
                    }
                    other => other.map(drop),
                }
            }
        }
    }

    fn event_of(
        &self,
        occurrence: &Occurrence,
        namespace: &str,
        name: String,
        message: String,
        now: Timestamp,
    ) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: occurrence.regarding.clone(),
            type_: Some(occurrence.event_type.as_str().to_owned()),
            reason: Some(occurrence.reason.clone()),
            message: Some(bounded(message)),
            count: Some(1),
            first_timestamp: Some(crate::time::time(now)),
            last_timestamp: Some(crate::time::time(now)),
            source: Some(EventSource { component: Some(self.component.clone()), host: self.host.clone() }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone().unwrap_or_default()),
            ..Event::default()
        }
    }
}

/// Cuts a message at the API's bound, between characters.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}
