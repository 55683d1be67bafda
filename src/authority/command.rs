//! `mainstay certs rotate --authority`: has the cluster exchange its authority, stage by stage, and says what it waits for.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_base::lifecycle::{Clock as _, SystemClock};

use super::decide::Wish;
use super::desk::{Asked, ROTATION, State};
use super::standing::Stage;
use crate::clients::of_kubeconfig;
use crate::refusal::refuse;
use crate::up::{install_crypto, print_line, runtime};

/// Between two looks: the machines need about so long for a stage.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Servers change what they show meanwhile: a request that fails is sent again, for so long.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// What is wanted.
pub(crate) struct RotateAuthority<'a> {
    /// An administrator's kubeconfig.
    pub(crate) kubeconfig: &'a Path,
    /// Whether the old authority is to go now.
    pub(crate) finish: bool,
    /// How long machines are waited for.
    pub(crate) timeout: Duration,
}

/// Goes through the stages. Interrupted, it is run again and goes on.
///
/// # Errors
/// A refusal, or machines that lack something for too long.
pub(crate) fn rotate(wanted: &RotateAuthority<'_>) -> anyhow::Result<()> {
    install_crypto()?;
    let wish = if wanted.finish { Wish::Finish } else { Wish::Issue };
    let state = runtime()?.block_on(go_on(wanted, wish))?;
    let of = state.rotation.map(|rotation| short(&rotation.new)).unwrap_or_default();
    if wanted.finish {
        print_line(&format!(
            "done: {of} is the only authority; kubeconfigs and join tokens of before are void"
        ))?;
        return Ok(());
    }
    for line in after_issue(&of) {
        print_line(&line)?;
    }
    Ok(())
}

async fn go_on(wanted: &RotateAuthority<'_>, wish: Wish) -> anyhow::Result<State> {
    let clock = SystemClock;
    let began = clock.now();
    let (mut told, mut well_at) = (None, began);
    loop {
        let said = match ask(wanted.kubeconfig, wish).await {
            Ok(said) => said,
            Err(error) if crate::refusal::is_refusal(&error) || clock.now() - well_at > TROUBLE_MAX => {
                return Err(error);
            }
            Err(_passes) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
        };
        well_at = clock.now();
        let stage = said.rotation.as_ref().map(|rotation| rotation.stage);
        if told != stage {
            told = stage;
            print_line(&crate::authority::told(stage))?;
        }
        if said.is_done {
            return Ok(said);
        }
        if clock.now() - began > wanted.timeout {
            let waits = said.waits.join("\n  ");
            anyhow::bail!("it waits for machines; run this again when they are well:\n  {waits}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One request; the kubeconfig is read each time, for servers write theirs anew meanwhile.
async fn ask(kubeconfig: &Path, wish: Wish) -> anyhow::Result<State> {
    let client = of_kubeconfig(kubeconfig).await?;
    let body = serde_json::to_vec(&Asked { wish }).context("building the request")?;
    let request = http::Request::post(ROTATION).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(body).context("building the request")?;
    match client.request_text(request).await {
        Ok(text) => serde_json::from_str(&text).context("reading the answer"),
        Err(kube::Error::Api(status)) if status.code < 500 => Err(refuse(status.message)),
        Err(error) => Err(anyhow::Error::new(error).context("asking for a new authority")),
    }
}

/// A stage in words.
pub(crate) fn told(stage: Option<Stage>) -> String {
    match stage {
        None => "authority: no exchange is under way",
        Some(Stage::Trusted) => "authority, stage 1 of 4: a new one is there, and is being trusted beside the old one",
        Some(Stage::Issued) => {
            "authority, stage 2 of 4: both are trusted; certificates are being made of the new one, API servers' excepted"
        }
        Some(Stage::Served) => "authority, stage 3 of 4: API servers show certificates of the new one",
        Some(Stage::Dropped) => "authority, stage 4 of 4: the old one is trusted no more",
    }
    .to_owned()
}

/// The pin of an authority as people compare it.
fn short(pin: &str) -> String {
    pin.get(..16).unwrap_or(pin).to_owned()
}

fn after_issue(of: &str) -> Vec<String> {
    [
        format!("half done: everything of the cluster's own has certificates of the new authority {of}, and trusts both"),
        "kubeconfigs, join tokens and pods of before still work. Before the old authority goes:".to_owned(),
        "  - fetch kubeconfigs anew: each server has written its own, which trusts both".to_owned(),
        "  - restart pods that read kube-root-ca.crt only at their start (kubectl rollout restart)".to_owned(),
        "  - have client certificates made anew that were given by CertificateSigningRequest".to_owned(),
        "then: mainstay certs rotate --authority --finish".to_owned(),
    ]
    .into()
}
