//! Formats, rotation, tampering, and what a wrong configuration is told.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_apiserver_kinds::{CONFIG_MAP, SECRET};
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use tokio_util::sync::CancellationToken;

use super::{EncryptionConfig, Vault};
use crate::config::{Randomness, SystemRandomness};

const KEY: &[u8] = b"/registry/secrets/default/s";
const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TWO: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn config(providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: [{providers}]\n"
    )
}

async fn vault(providers: &str) -> Vault {
    let config = EncryptionConfig::parse(&config(providers)).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Randomness> = Arc::new(SystemRandomness);
    Vault::open(Some(&config), &clock, &random, &Tasks::new("test", CancellationToken::new())).await
}

fn keys(provider: &str, keys: &[(&str, &str)]) -> String {
    let list: Vec<String> =
        keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}")).collect();
    format!("{{{provider}: {{keys: [{}]}}}}", list.join(", "))
}

fn seal(vault: &Vault) -> Bytes {
    vault.seal(&SECRET, &Bytes::from_static(KEY), Bytes::from_static(b"hunter2")).unwrap()
}

fn open(vault: &Vault, key: &[u8], stored: &Bytes) -> Result<(Bytes, bool), String> {
    let plain = vault.unseal(&SECRET, key, stored).map_err(|error| error.to_string())?;
    Ok((plain.value, plain.is_stale))
}

#[tokio::test]
async fn values_bear_upstreams_prefixes_and_hold_no_plain_text() {
    for (provider, secret) in
        [("aesgcm", ONE), ("aescbc", ONE), ("secretbox", ONE), ("aesgcm", "MDEyMzQ1Njc4OWFiY2RlZg==")]
    {
        let vault = vault(&keys(provider, &[("key1", secret)])).await;
        let stored = seal(&vault);
        assert!(stored.starts_with(format!("k8s:enc:{provider}:v1:key1:").as_bytes()));
        assert!(!stored.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(open(&vault, KEY, &stored), Ok((Bytes::from_static(b"hunter2"), false)));
        let plain = vault.seal(&CONFIG_MAP, &Bytes::from_static(b"k"), Bytes::from_static(b"v")).unwrap();
        assert_eq!(plain, "v", "only what is named is sealed");
    }
}

#[tokio::test]
async fn a_flipped_bit_and_a_moved_value_are_refused() {
    for (provider, why) in [
        ("aesgcm", "cipher: message authentication failed"),
        ("secretbox", "output array was not large enough for encryption"),
    ] {
        let vault = vault(&keys(provider, &[("key1", ONE)])).await;
        let stored = seal(&vault);
        let prefix = format!("k8s:enc:{provider}:v1:key1:").len();
        for at in prefix..stored.len() {
            let mut changed = stored.to_vec();
            changed[at] ^= 1;
            let error = open(&vault, KEY, &changed.into()).unwrap_err();
            assert_eq!(error, format!("unable to transform key \"/registry/secrets/default/s\": {why}"));
        }
    }
    let vault = vault(&keys("aesgcm", &[("key1", ONE)])).await;
    assert!(
        open(&vault, b"/registry/secrets/default/other", &seal(&vault)).is_err(),
        "the key is authenticated"
    );
}

#[tokio::test]
async fn the_first_key_writes_and_all_read() {
    let old = vault(&keys("aesgcm", &[("key1", ONE)])).await;
    let stored = seal(&old);
    let rotated = vault(&keys("aesgcm", &[("key2", TWO), ("key1", ONE)])).await;
    assert_eq!(open(&rotated, KEY, &stored).unwrap(), (Bytes::from_static(b"hunter2"), true), "stale");
    let again = seal(&rotated);
    assert!(again.starts_with(b"k8s:enc:aesgcm:v1:key2:"));
    let gone = open(&old, KEY, &again).unwrap_err();
    assert!(gone.ends_with("no matching key was found for the provided AES transformer"), "{gone}");
    let same_name = vault(&keys("aesgcm", &[("key1", TWO)])).await;
    assert!(open(&same_name, KEY, &stored).unwrap_err().ends_with("cipher: message authentication failed"));
    // The same prefix twice: the second is tried too.
    let twice = format!("{}, {}", keys("aesgcm", &[("key1", TWO)]), keys("aesgcm", &[("key1", ONE)]));
    assert_eq!(open(&vault(&twice).await, KEY, &stored).unwrap(), (Bytes::from_static(b"hunter2"), true));
}

#[tokio::test]
async fn plain_values_are_read_only_where_identity_says_so() {
    let plain = Bytes::from_static(b"k8s\0object");
    let strict = vault(&keys("secretbox", &[("key1", ONE)])).await;
    assert!(open(&strict, KEY, &plain).unwrap_err().ends_with("no matching prefix found"));
    let lenient = vault(&format!("{}, {{identity: {{}}}}", keys("secretbox", &[("key1", ONE)]))).await;
    assert_eq!(open(&lenient, KEY, &plain).unwrap(), (plain.clone(), true));
    let decrypting = vault(&format!("{{identity: {{}}}}, {}", keys("secretbox", &[("key1", ONE)]))).await;
    let sealed = seal(&strict);
    assert_eq!(open(&decrypting, KEY, &sealed).unwrap(), (Bytes::from_static(b"hunter2"), true));
    assert_eq!(seal(&decrypting), "hunter2");
    let none = vault("{identity: {}}").await;
    assert!(open(&none, KEY, &sealed).is_err());
}

#[test]
fn what_is_wrong_is_said_and_no_key_shown() {
    let wrong = |text: &str| EncryptionConfig::parse(text).unwrap_err().to_string();
    assert_eq!(
        wrong(&config(&keys("secretbox", &[("a", "c2hvcnQ=")]))),
        r#"resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 5, expected one of [32]"#
    );
    assert!(wrong(&config("{}")).contains("provider does not contain any of the expected providers"));
    assert!(wrong(&config("{aesgcm: {}}")).contains("at least one keys is required"));
    let kms =
        |endpoint: &str| config(&format!("{{kms: {{apiVersion: v2, name: k, endpoint: '{endpoint}'}}}}"));
    assert!(
        wrong(&kms("http://x"))
            .contains(r#"unsupported scheme "http" for KMS provider, only unix is supported"#)
    );
    assert!(EncryptionConfig::parse(&kms("unix:///x.sock")).is_ok());
    let masked = config("{identity: {}}").replace("[secrets]", "['*.*']")
        + "- resources: [secrets]\n  providers: [{identity: {}}]\n";
    assert_eq!(wrong(&masked), r#"resource "secrets" is masked by earlier rule "*.*""#);
    assert!(
        wrong(&config("{identity: {}}").replace("[secrets]", "[secrets, '*.']"))
            .contains("overlapping resources")
    );
    assert!(wrong(&config("{identity: {}}").replace("[secrets]", "[Secrets]")).contains("capital letters"));
}
