//! A server follows the exchange of the authority: what the store says goes to its directory, and when all of its parts have
//! taken that, its standing says so to the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use mainstay_base::lifecycle::Tasks;
use mainstay_base::pki::pins;
use mainstay_store::{Store, WatchError, WatchRequest};
use tokio::sync::watch;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::decide::Rotation;
use super::held::{Held, stage_name};
use super::record::{RECORD, Record, load, note};
use super::standing::Standing;

/// The ConfigMap in kube-system that tells workers of an exchange, with its only key.
pub(crate) const STAGE: &str = "mainstay-authority";
pub(crate) const STAGE_KEY: &str = "stage";
/// After an attempt that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What a server follows with.
pub(crate) struct Followed {
    /// Its member of the store.
    pub(crate) store: Store,
    /// Its data directory.
    pub(crate) data_dir: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// What its parts trust and show, now and from now on.
    pub(crate) standing: watch::Receiver<Standing>,
    /// An administrator, who tells the workers.
    pub(crate) client: kube::Client,
    /// Told when there is something new in the directory.
    pub(crate) news: watch::Sender<()>,
    /// The stage that is in the directory, for the workers; empty if there never was one.
    pub(crate) stage: String,
}

/// Follows until `tasks` ends.
pub(crate) fn follow(followed: Followed, tasks: &Tasks) {
    let stop = tasks.token();
    tasks.spawn("authority", async move { followed.run(stop).await });
}

impl Followed {
    async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let (record, _, at) = load(&self.store, false).await?;
            self.take_in(record);
            let request = WatchRequest::key(Bytes::from_static(RECORD.as_bytes())).starting_at(at.next());
            let mut changes = self.store.watch(request).await;
            let mut is_noted = false;
            loop {
                if !is_noted {
                    is_noted = self.note(&stop).await;
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    Ok(()) = self.standing.changed() => is_noted = false,
                    next = changes.next() => match next {
                        // The others are told when this server's parts have taken it, which changes its standing.
                        Ok(_batch) => self.take_in(load(&self.store, false).await?.0),
                        Err(WatchError::Compacted { .. }) => break,
                        Err(_closed) if stop.is_cancelled() => return Ok(()),
                        Err(error) => return Err(error).context("following the exchange of the authority"),
                    },
                    () = tokio::time::sleep(AGAIN), if !is_noted => {}
                }
            }
        }
    }

    /// What cannot be taken in is told, and everything stays as it is.
    fn take_in(&mut self, record: Option<Record>) {
        let Some(record) = record else { return };
        self.stage = stage_name(&record.rotation.new, record.rotation.stage);
        match take(&self.data_dir.join("pki"), &record) {
            Ok(false) => {}
            Ok(true) => {
                info!(stage = ?record.rotation.stage, "the exchange of the authority has come to another stage");
                self.news.send_replace(());
            }
            Err(error) => warn!(
                error = format!("{error:#}"),
                "the exchange of the authority cannot be followed; this server stays as it is"
            ),
        }
    }

    async fn tell(&self, standing: &Standing) -> anyhow::Result<()> {
        note(&self.store, &self.name, standing).await?;
        if self.stage.is_empty() {
            return Ok(());
        }
        let stage = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": STAGE}, "data": {STAGE_KEY: self.stage}
        });
        let maps = kube::Api::<ConfigMap>::namespaced(self.client.clone(), "kube-system");
        let patched = maps.patch(STAGE, &PatchParams::apply("mainstay").force(), &Patch::Apply(stage)).await;
        patched.map(drop).context("telling the workers of the exchange of the authority")
    }

    /// Whether the others can see what this server has done.
    async fn note(&mut self, stop: &CancellationToken) -> bool {
        let standing = self.standing.borrow_and_update().clone();
        let noted = tokio::select! {
            biased;
            () = stop.cancelled() => return true,
            noted = self.tell(&standing) => noted,
        };
        if let Err(error) = &noted {
            warn!(
                error = format!("{error:#}"),
                "the other servers are not told what this one trusts; it is tried again"
            );
        }
        noted.is_ok()
    }
}

/// Takes a record into the folder of keys; whether that has something new then.
fn take(folder: &Path, record: &Record) -> anyhow::Result<bool> {
    let read = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    };
    let Rotation { stage, old, new, .. } = &record.rotation;
    let own = pins(&read("ca.crt")?)?;
    if own.contains(new) {
        return Ok(false); // it has ended here
    }
    anyhow::ensure!(
        own.contains(old),
        "it is from an authority that this server does not have: is its data directory a copy of an old one?"
    );
    let held = if let Some((authority, others)) = record.authorities(&read("peer-ca.key")?)? {
        Held::new(*stage, authority, others)
    } else {
        let is_it = |held: &Held| pins(&held.certificate_pem).is_ok_and(|pins| pins.contains(new));
        let held = Held::read(folder)?.filter(is_it).context(
            "it has come to its end, and this server does not have the new authority: is its data directory a copy of an old one?",
        )?;
        held.at(*stage)
    };
    held.write(folder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_base::pki::Ca;
    use time::OffsetDateTime;

    use super::*;
    use crate::authority::held::Authorities;
    use crate::authority::lines::{self, Pair};
    use crate::authority::standing::Stage;

    #[test]
    fn the_last_stage_needs_no_key_of_the_old_authorities() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let make =
            |name: &str| Ca::generate(name, OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let (old, old_peers, new) = (make("old"), make("old peers"), make("new"));
        for (name, ca) in [("ca", &old), ("peer-ca", &old_peers)] {
            write(&format!("{name}.crt"), ca.certificate_pem());
            write(&format!("{name}.key"), ca.key_pem());
        }
        let pin = |ca: &Ca| pins(ca.certificate_pem()).unwrap().concat();
        let (others, pairs) = lines::make(|name| Ok(make(name))).unwrap();
        let rotation = Rotation { stage: Stage::Trusted, old: pin(&old), new: pin(&new), others };
        let record = Record::new(rotation, &Pair::of(&new), &pairs, old_peers.key_pem()).unwrap();
        let ended = record.clone().at(Stage::Dropped);
        let error = take(folder, &ended).unwrap_err().to_string();
        assert!(error.contains("does not have the new authority"), "{error}");
        for stage in [Stage::Trusted, Stage::Issued, Stage::Served] {
            assert!(take(folder, &record.clone().at(stage)).unwrap());
            assert!(!take(folder, &record.clone().at(stage)).unwrap(), "it is there already");
        }
        write("peer-ca.key", "no key at all");
        assert!(take(folder, &ended).unwrap());
        let own = || {
            Ok(Ca::from_pem(
                fs::read_to_string(folder.join("ca.crt"))?,
                fs::read_to_string(folder.join("ca.key"))?,
            )?)
        };
        let all = Authorities::ensure(folder, own).unwrap();
        assert_eq!(pins(&all.trusted_pem).unwrap(), [pin(&new)]);
        assert_eq!(fs::read_to_string(folder.join("peer-ca.key")).unwrap(), pairs["peer-ca"].key_pem);
        assert!(!take(folder, &ended).unwrap(), "it has ended here");
    }
}
