//! What the store holds of an exchange: the record of its stage with the new authority, and the standing of each machine.

use std::collections::BTreeMap;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_base::pki::pins;
use mainstay_store::{Compare, PutRequest, RangeRequest, Revision, Store, Txn};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::bytes::Bytes;

use super::decide::Rotation;
use super::lines::Pair;
use super::standing::{Stage, Standing};
use crate::join::{open, seal};
use crate::versions::{AUTHORITY_EXCHANGE, Feature};

/// Where the record is.
pub(super) const RECORD: &str = "/mainstay/authority/rotation";
/// Where the standings are, each under the name of its machine.
const STANDINGS: &str = "/mainstay/authority/standings/";
/// The form of the record. One of another form was written by a newer version. The first form had the new authority to the end.
const FORMAT_VERSION: u32 = 2;
/// What the files of the cluster's own authority are called.
const CLUSTERS: &str = "ca";

/// A certificate and its key (PEM), and the pairs of other lines by their names.
pub(super) type NewAuthorities = ((String, String), BTreeMap<String, Pair>);

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    format_version: u32,
    /// How far it is.
    #[serde(flatten)]
    pub(super) rotation: Rotation,
    /// The new authority, sealed; none once all servers have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Record {
    /// A record of a new authority, and of those of other lines by their names. `secret` is one that every server has, and nobody else.
    pub(super) fn new(
        rotation: Rotation,
        authority: &Pair,
        others: &BTreeMap<String, Pair>,
        secret: &str,
    ) -> anyhow::Result<Self> {
        let named = others.iter().map(|(name, pair)| (name.as_str(), pair)).chain([(CLUSTERS, authority)]);
        let files = named.flat_map(|(name, pair)| {
            [
                (format!("{name}.crt"), pair.certificate_pem.clone()),
                (format!("{name}.key"), pair.key_pem.clone()),
            ]
        });
        let files: BTreeMap<String, String> = files.collect();
        let sealed = Some(seal(&files, &own_secret(secret))?);
        Ok(Self { format_version: FORMAT_VERSION, rotation, sealed })
    }

    /// The record at its next stage. For the last one no server needs the new authority from here: each has said that it serves with a
    /// certificate of it. What opens it is the key of the members' old authority, which counts for nothing from then on.
    pub(super) fn at(mut self, stage: Stage) -> Self {
        self.rotation.stage = stage;
        if stage == Stage::Dropped {
            self.sealed = None;
            self.format_version = FORMAT_VERSION;
        }
        self
    }

    /// The new authority, its certificate and its key (PEM), and those of the other lines that the exchange is about, by their names; none
    /// where all servers have them.
    ///
    /// # Errors
    /// They were sealed with another secret, or are not those of the record.
    pub(super) fn authorities(&self, secret: &str) -> anyhow::Result<Option<NewAuthorities>> {
        let Some(sealed) = &self.sealed else { return Ok(None) };
        let mut files = open(sealed, &own_secret(secret)).context("opening the new authority")?;
        let mut take = |name: &str, pin: &str| {
            let pair = files.remove(&format!("{name}.crt")).zip(files.remove(&format!("{name}.key")));
            let pair = pair.with_context(|| format!("the record lacks the new authority {name}"))?;
            anyhow::ensure!(pins(&pair.0)? == [pin], "the record is damaged: {name} is another authority");
            anyhow::Ok(pair)
        };
        let authority = take(CLUSTERS, &self.rotation.new)?;
        let mut others = BTreeMap::new();
        for (name, pin) in &self.rotation.others {
            let (certificate_pem, key_pem) = take(name, pin)?;
            others.insert(name.clone(), Pair { certificate_pem, key_pem });
        }
        Ok(Some((authority, others)))
    }

    fn parse(value: &[u8]) -> anyhow::Result<Self> {
        let record: Self = serde_json::from_slice(value).context("reading the exchange of the authority")?;
        anyhow::ensure!(
            (1..=FORMAT_VERSION).contains(&record.format_version),
            "the exchange of the authority was begun by a newer mainstay (form {}, this one knows {FORMAT_VERSION}): use that on this server too",
            record.format_version
        );
        Ok(record)
    }
}

/// A key for this purpose alone.
fn own_secret(secret: &str) -> String {
    let hash =
        Sha256::new().chain_update(b"mainstay authority rotation v1\0").chain_update(secret).finalize();
    STANDARD.encode(hash)
}

/// The record, if there is one, with the revision that it was written at (0 for none) and the one of this reading. `fresh` asks
/// the other servers; otherwise it is as this one has it.
pub(super) async fn load(store: &Store, fresh: bool) -> anyhow::Result<(Option<Record>, Revision, Revision)> {
    let request =
        RangeRequest { serializable: !fresh, ..RangeRequest::key(Bytes::from_static(RECORD.as_bytes())) };
    let found = store.range(request).await.context("reading how far the exchange of the authority is")?;
    match found.kvs.first() {
        None => Ok((None, Revision(0), found.revision)),
        Some(kv) => Ok((Some(Record::parse(&kv.value)?), kv.mod_revision, found.revision)),
    }
}

/// Writes the record where it is still what was read; false where it is not.
pub(super) async fn store_if(store: &Store, record: &Record, read_at: Revision) -> anyhow::Result<bool> {
    let key = Bytes::from_static(RECORD.as_bytes());
    let value = serde_json::to_vec(record).context("writing the exchange of the authority")?;
    let txn = Txn::when([Compare::unchanged(key.clone(), read_at)]).then([PutRequest::new(key, value)]);
    Ok(store.txn(txn).await.context("writing the exchange of the authority")?.succeeded)
}

/// Notes what a machine has done.
///
/// # Errors
/// The store's.
pub(super) async fn note(store: &Store, name: &str, standing: &Standing) -> anyhow::Result<()> {
    let (key, value) = (Bytes::from(format!("{STANDINGS}{name}")), serde_json::to_vec(standing));
    let value = Bytes::from(value.context("writing what this machine trusts")?);
    // Machines say the same again at every start: that writes nothing.
    let present = RangeRequest { serializable: true, ..RangeRequest::key(key.clone()) };
    let present = store.range(present).await.context("reading what this machine trusts")?;
    if present.kvs.first().is_some_and(|kv| kv.value == value) {
        return Ok(());
    }
    let put = PutRequest::new(key, value);
    store.put_with(put).await.context("writing what this machine trusts")?;
    Ok(())
}

/// What all machines have done, by their names. `fresh` as in [`load`].
///
/// # Errors
/// The store's. A standing that cannot be read counts as none.
pub(super) async fn standings(store: &Store, fresh: bool) -> anyhow::Result<BTreeMap<String, Standing>> {
    let all = RangeRequest::prefix(Bytes::from_static(STANDINGS.as_bytes()));
    let request = RangeRequest { serializable: !fresh, ..all };
    let found = store.range(request).await.context("reading what the machines trust")?;
    let standing = |key: &[u8], value: &[u8]| {
        let name = std::str::from_utf8(key.get(STANDINGS.len()..)?).ok()?.to_owned();
        Some((name, serde_json::from_slice(value).ok()?))
    };
    Ok(found.kvs.iter().filter_map(|kv| standing(&kv.key, &kv.value)).collect())
}

/// The versions that machines said they are of, by their names, as this server has it.
///
/// # Errors
/// The store's.
pub(crate) async fn versions_said(store: &Store) -> anyhow::Result<BTreeMap<String, String>> {
    let said = standings(store, false).await?;
    Ok(said.into_iter().map(|(name, standing)| (name, standing.version)).collect())
}

/// What all machines must know for as long as it is under way, as this server has it.
///
/// # Errors
/// The store's, or a record that cannot be read.
pub(crate) async fn under_way(store: &Store) -> anyhow::Result<Option<Feature>> {
    let (record, _, _) = load(store, false).await?;
    let is_under_way = record.is_some_and(|record| record.rotation.stage != Stage::Dropped);
    Ok(is_under_way.then_some(AUTHORITY_EXCHANGE))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_base::pki::Ca;
    use time::OffsetDateTime;

    use super::*;
    use crate::authority::lines;

    fn record() -> Record {
        let ca =
            |name: &str| Ca::generate(name, OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let (authority, (new, others)) = (ca("ca"), lines::make(|name| Ok(ca(name))).unwrap());
        let pin = pins(authority.certificate_pem()).unwrap().concat();
        let rotation = Rotation { stage: Stage::Trusted, old: "a".to_owned(), new: pin, others: new };
        Record::new(rotation, &Pair::of(&authority), &others, "the peers' key").unwrap()
    }

    #[test]
    fn the_new_authority_is_for_servers_only() {
        let text = serde_json::to_vec(&record()).unwrap();
        let read = Record::parse(&text).unwrap();
        let (authority, others) = read.authorities("the peers' key").unwrap().unwrap();
        assert_eq!(pins(&authority.0).unwrap(), [read.rotation.new.as_str()]);
        for (name, pin) in &read.rotation.others {
            assert_eq!(pins(&others[name].certificate_pem).unwrap(), [pin.as_str()]);
        }
        assert_eq!(others.len(), 2);
        assert!(read.authorities("another").is_err());
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            !text.contains("PRIVATE") && !text.contains(others["peer-ca"].key_pem.lines().nth(1).unwrap())
        );
        let mut other = read;
        other.rotation.others.insert("peer-ca".to_owned(), "of another".to_owned());
        let error = other.authorities("the peers' key").unwrap_err().to_string();
        assert!(error.contains("peer-ca is another authority"), "{error}");
    }

    #[test]
    fn at_the_end_nothing_is_left_that_the_old_key_opens() {
        let served = record().at(Stage::Issued).at(Stage::Served);
        assert!(served.authorities("the peers' key").unwrap().is_some());
        let text = serde_json::to_vec(&served.at(Stage::Dropped)).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("sealed"));
        assert!(Record::parse(&text).unwrap().authorities("the peers' key").unwrap().is_none());
    }

    #[test]
    fn a_record_of_a_newer_form_is_refused() {
        let mut value = serde_json::to_value(record()).unwrap();
        value["formatVersion"] = 3.into();
        let error = Record::parse(value.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains("newer mainstay"), "{error}");
        assert!(Record::parse(b"{").is_err());
    }
}
