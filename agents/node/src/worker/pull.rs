//! The image of a container: present, pulled, or refused, with upstream's reasons and events.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::elapsed;
use mainstay_proto_wire::cri::{CriError, v1};

use super::backoff::{self, Delay};
use super::outcome::StartStage;
use super::view::Failure;
use crate::agent::Agent;
use crate::spec::image::{credentials, normalize, pull_policy};
use crate::spec::security::ImageUser;

/// An image on the node.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub id: String,
    pub user: ImageUser,
}

/// What a pull needs beside the container.
pub(crate) struct PullRequest<'a> {
    pub agent: &'a Agent,
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub sandbox: v1::PodSandboxConfig,
    pub secrets: &'a BTreeMap<String, std::sync::Arc<Secret>>,
    /// The last failed pull of this container and its delay.
    pub last: Option<(Delay, Timestamp, String)>,
}

/// Makes sure that the image is there.
pub(crate) async fn ensure(request: PullRequest<'_>) -> Result<Image, (Failure, StartStage)> {
    let stated = request.container.image.as_deref().unwrap_or_default();
    let reference = normalize(stated).map_err(|error| {
        let message = format!("Failed to apply default image tag \"{stated}\": {error}");
        request.warn("InspectFailed", &message);
        fail("InvalidImageName", message, StartStage::Prepare)
    })?;
    let present = request.look(&reference).await.map_err(|error| {
        let message = format!("Failed to inspect image \"{stated}\": {error}");
        request.warn("InspectFailed", &message);
        fail("ImageInspectError", message, StartStage::Prepare)
    })?;
    match (present, pull_policy(request.container)) {
        (None, "Never") => {
            let message = format!("Container image \"{stated}\" is not present with pull policy of Never");
            request.warn("ErrImageNeverPull", &message);
            Err(fail("ErrImageNeverPull", message, StartStage::Prepare))
        }
        (Some(image), "Never" | "IfNotPresent") => {
            let message = format!(
                "Container image \"{stated}\" already present on machine and can be accessed by the pod"
            );
            request.agent.events.container_normal(request.pod, &request.container.name, "Pulled", message);
            Ok(image)
        }
        _ => request.pull(stated, &reference).await,
    }
}

fn fail(reason: &str, message: String, stage: StartStage) -> (Failure, StartStage) {
    (Failure { reason: reason.to_owned(), message }, stage)
}

impl PullRequest<'_> {
    fn warn(&self, reason: &str, message: &str) {
        self.agent.events.container_warning(self.pod, &self.container.name, reason, message);
    }

    async fn look(&self, reference: &str) -> Result<Option<Image>, CriError> {
        let image = Some(v1::ImageSpec { image: reference.to_owned(), ..Default::default() });
        let answer = self.agent.images.image_status(v1::ImageStatusRequest { image, verbose: false }).await?;
        Ok(answer.image.map(|image| Image {
            user: ImageUser { uid: image.uid.map(|u| u.value), username: image.username },
            id: image.id,
        }))
    }

    async fn pull(&self, stated: &str, reference: &str) -> Result<Image, (Failure, StartStage)> {
        let now = self.agent.now();
        if let Some((delay, failed_at, error)) = &self.last
            && backoff::wait_until(Some(delay), *failed_at, now).is_some()
        {
            self.agent.events.container_normal(
                self.pod,
                &self.container.name,
                "BackOff",
                format!("Back-off pulling image \"{stated}\""),
            );
            self.warn("Failed", "Error: ImagePullBackOff");
            let message = format!("Back-off pulling image \"{stated}\": ErrImagePull: {error}");
            return Err(fail("ImagePullBackOff", message, StartStage::PullBackOff));
        }
        let events = &self.agent.events;
        events.container_normal(
            self.pod,
            &self.container.name,
            "Pulling",
            format!("Pulling image \"{stated}\""),
        );
        match self.fetch(reference).await {
            Ok(image) => {
                let took = elapsed(now, self.agent.now());
                let text = format!(
                    "Successfully pulled image \"{stated}\" in {took:.3?} ({took:.3?} including waiting)."
                );
                events.container_normal(self.pod, &self.container.name, "Pulled", text);
                Ok(image)
            }
            Err(error) => {
                let message = error.to_string();
                self.warn("Failed", &format!("Failed to pull image \"{stated}\": {message}"));
                let reason = reason_of(&message);
                self.warn("Failed", &format!("Error: {reason}"));
                Err(fail(reason, message, StartStage::Pull))
            }
        }
    }

    /// Tries each matching credential, then none, until one works.
    async fn fetch(&self, reference: &str) -> Result<Image, CriError> {
        let mut tries: Vec<Option<v1::AuthConfig>> =
            credentials(self.pod, self.secrets, reference).into_iter().map(Some).collect();
        if tries.is_empty() {
            tries.push(None);
        }
        let mut last = CriError::internal("no attempt was made");
        for auth in tries {
            let image = Some(v1::ImageSpec { image: reference.to_owned(), ..Default::default() });
            let request = v1::PullImageRequest { image, auth, sandbox_config: Some(self.sandbox.clone()) };
            match self.agent.images.pull_image(request).await {
                Ok(answer) => {
                    let found = self.look(&answer.image_ref).await?;
                    let found = match found {
                        Some(image) => Some(image),
                        None => self.look(reference).await?,
                    };
                    return found.ok_or_else(|| {
                        CriError::not_found(format!("image {reference} is not there after its pull"))
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// CRI's own reasons come as a prefix of the message.
fn reason_of(message: &str) -> &'static str {
    if message.starts_with("RegistryUnavailable") {
        "RegistryUnavailable"
    } else if message.starts_with("SignatureValidationFailed") {
        "SignatureValidationFailed"
    } else {
        "ErrImagePull"
    }
}
