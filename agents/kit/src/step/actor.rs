//! Carries out steps.

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use http::Request;
use serde::Deserialize;
use tracing::debug;

use super::error::ActError;
use super::request::call_of;
use super::step_kind::Step;
use super::target::{Kind, Target};
use crate::events::Recorder;

/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// The size of a batch's largest round, which bounds the calls in flight.
const BATCH_MAX: usize = 64;

/// A write that the API server confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The kind that was written.
    pub kind: Kind,
    /// The resourceVersion of the write; a cache of this kind that has come this far shows it. 0 when unknown.
    pub revision: u64,
}

/// Carries out steps through one client.
#[derive(Clone)]
pub struct Actor {
    client: kube::Client,
    recorder: Recorder,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").finish_non_exhaustive()
    }
}

/// What every answer may carry.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: AnswerMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMeta {
    #[serde(default)]
    resource_version: String,
}

impl Actor {
    /// An actor that calls through `client` and records through `recorder`.
    pub fn new(client: kube::Client, recorder: Recorder) -> Self {
        Self { client, recorder }
    }

    /// The recorder for events outside of plans.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The client.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Carries out `steps` in order and stops at the first that fails. `written` gets what was confirmed until then.
    pub async fn act(&self, steps: &[Step], written: &mut Vec<Written>) -> Result<(), ActError> {
        for step in steps {
            match step {
                Step::Batch(steps) => self.batch(steps, written).await?,
                Step::Sequence(steps) => self.sequence(steps, written).await?,
                Step::Event { regarding, event_type, reason, message } => {
                    self.recorder.record((**regarding).clone(), *event_type, reason, message.clone());
                }
                call => written.extend(self.call(call).await?),
            }
        }
        Ok(())
    }

    fn sequence<'a>(
        &'a self,
        steps: &'a [Step],
        written: &'a mut Vec<Written>,
    ) -> BoxFuture<'a, Result<(), ActError>> {
        self.act(steps, written).boxed()
    }

    fn batch<'a>(
        &'a self,
        steps: &'a [Step],
        written: &'a mut Vec<Written>,
    ) -> BoxFuture<'a, Result<(), ActError>> {
        async move {
            let mut rest = steps;
            let mut size = 1;
            while !rest.is_empty() {
                let (round, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                size = (size * 2).min(BATCH_MAX);
                let results = join_all(round.iter().map(|step| async move {
                    let mut written = Vec::new();
                    let result = self.act(std::slice::from_ref(step), &mut written).await;
                    (result, written)
                }))
                .await;
                let mut failure = None;
                for (result, confirmed) in results {
                    written.extend(confirmed);
                    failure = failure.or_else(|| result.err());
                }
                if let Some(error) = failure {
                    return Err(error);
                }
            }
            Ok(())
        }
        .boxed()
    }

    async fn call(&self, step: &Step) -> Result<Option<Written>, ActError> {
        let Some(call) = call_of(step) else { return Ok(None) };
        let verb = call.verb;
        let target = Box::new(call.target);
        let request = match call.request {
            Ok(request) => request,
            Err(reason) => return Err(ActError::Build { verb, target, reason }),
        };
        debug!(verb, target = %target, "calling");
        match self.send(request, verb, &target).await {
            Ok(revision) => Ok(Some(Written { kind: target.kind, revision })),
            Err(error) => match (call.tolerated, error.status()) {
                (Some(404), Some((404, _))) | (Some(409), Some((409, "AlreadyExists"))) => Ok(None),
                _ => Err(error),
            },
        }
    }

    async fn send(
        &self,
        request: Request<Vec<u8>>,
        verb: &'static str,
        target: &Target,
    ) -> Result<u64, ActError> {
        let answer = tokio::time::timeout(CALL_DEADLINE, self.client.request::<Answer>(request)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer.metadata.resource_version.parse().unwrap_or(0)),
            Ok(Err(source)) => Err(ActError::Call { verb, target: Box::new(target.clone()), source }),
            Err(_elapsed) => Err(ActError::Deadline {
                verb,
                target: Box::new(target.clone()),
                seconds: CALL_DEADLINE.as_secs(),
            }),
        }
    }
}
