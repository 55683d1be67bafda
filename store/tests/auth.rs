//! Authentication as an embedder meets it: who acts for whom, what is refused, and that it all survives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
use std::time::Duration;

use futures::StreamExt;
use mainstay_store::{
    Access, AuthCallError, AuthError, AuthOptions, Caller, Compare, Config, LeaseError, LeaseId, Permission,
    PutRequest, RangeError, RangeRequest, Store, Txn, WatchError, WatchRequest, WriteError, prefix_end,
};

fn config(dir: &tempfile::TempDir) -> Config {
    let auth = AuthOptions { bcrypt_cost: 4, ..AuthOptions::default() };
    Config { dir: dir.path().to_path_buf(), disk_reserve_bytes: 0, auth, ..Config::default() }
}

/// Enabled, with root, and with alice, who may do all under `alice/` and read `shared`.
async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let auth = store.auth();
    auth.user_add("root", Some("toor")).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.user_add("alice", Some("pw")).await.unwrap();
    auth.role_add("writer").await.unwrap();
    let own = Permission {
        access: Access::ReadWrite,
        key: "alice/".into(),
        range_end: Some(prefix_end(b"alice/")),
    };
    auth.role_grant("writer", own).await.unwrap();
    let shared = Permission { access: Access::Read, key: "shared".into(), range_end: None };
    auth.role_grant("writer", shared).await.unwrap();
    auth.user_grant_role("alice", "writer").await.unwrap();
    auth.enable().await.unwrap();
    (dir, store)
}

async fn alice(store: &Store) -> Store {
    store.acting_as(store.auth().login("alice", "pw").await.unwrap())
}

#[tokio::test]
async fn a_user_does_what_its_roles_allow_and_no_more() {
    let (_dir, store) = open().await;
    store.put("shared", "s").await.unwrap();
    store.put("secret", "x").await.unwrap();
    let alice = alice(&store).await;
    alice.put("alice/1", "a").await.unwrap();
    assert_eq!(alice.get("shared").await.unwrap().unwrap().value, "s");
    assert_eq!(alice.put("shared", "t").await, Err(WriteError::Auth(AuthError::PermissionDenied)));
    assert_eq!(alice.get("secret").await, Err(RangeError::Auth(AuthError::PermissionDenied)));
    assert_eq!(alice.range(RangeRequest::all()).await, Err(RangeError::Auth(AuthError::PermissionDenied)));
    assert_eq!(alice.range(RangeRequest::prefix("alice/")).await.unwrap().count, 1);
    let peek = Txn::when([Compare::value("secret", "x")]).then([PutRequest::new("alice/2", "b")]);
    assert_eq!(alice.txn(peek).await, Err(WriteError::Auth(AuthError::PermissionDenied)));
    let peek = Txn::when([Compare::value("secret", "x")]);
    assert_eq!(alice.txn(peek).await, Err(WriteError::Auth(AuthError::PermissionDenied)));
    let pages: Vec<_> = alice.range_stream(RangeRequest::all()).collect().await;
    assert_eq!(pages, [Err(RangeError::Auth(AuthError::PermissionDenied))]);
    assert_eq!(store.get("secret").await.unwrap().unwrap().value, "x", "the embedder's own handle may all");
    store.close().await.unwrap();
}

#[tokio::test]
async fn nobody_in_particular_is_refused_once_it_is_enabled_and_free_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    let nobody = store.acting_as(Caller::Anonymous);
    nobody.put("a", "1").await.unwrap();
    assert_eq!(nobody.auth().enable().await, Err(AuthCallError::Refused(AuthError::RootUserNotExist)));
    nobody.auth().user_add("root", Some("toor")).await.unwrap();
    nobody.auth().user_grant_role("root", "root").await.unwrap();
    nobody.auth().enable().await.unwrap();
    assert_eq!(nobody.put("a", "2").await, Err(WriteError::Auth(AuthError::UserEmpty)));
    assert_eq!(nobody.get("a").await, Err(RangeError::Auth(AuthError::UserEmpty)));
    assert_eq!(nobody.auth().disable().await, Err(AuthCallError::Refused(AuthError::UserEmpty)));
    let ttl = Duration::from_secs(9);
    let refused = LeaseError::Write(WriteError::Auth(AuthError::UserEmpty));
    assert_eq!(nobody.lease_grant(ttl, None).await, Err(refused));
    let root = store.acting_as(store.auth().login("root", "toor").await.unwrap());
    root.auth().disable().await.unwrap();
    nobody.put("a", "3").await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_identity_ends_with_the_state_that_it_was_established_under() {
    let (_dir, store) = open().await;
    let old = alice(&store).await;
    store.auth().role_add("another").await.unwrap();
    assert_eq!(old.put("alice/1", "a").await, Err(WriteError::Auth(AuthError::OldRevision)));
    assert_eq!(old.get("alice/1").await, Err(RangeError::Auth(AuthError::OldRevision)));
    alice(&store).await.put("alice/1", "a").await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn leases_are_for_those_who_may_write_their_keys() {
    let (_dir, store) = open().await;
    let alice = alice(&store).await;
    let ttl = Duration::from_secs(60);
    let own = alice.lease_grant(ttl, Some(LeaseId(7))).await.unwrap().id;
    alice.put_with(PutRequest::new("alice/1", "a").with_lease(own)).await.unwrap();
    alice.lease_keep_alive(own).await.unwrap();
    assert_eq!(alice.lease_time_to_live(own, true).await.unwrap().keys, ["alice/1"]);
    assert_eq!(alice.leases().await.unwrap().len(), 1);
    store.put_with(PutRequest::new("secret", "x").with_lease(own)).await.unwrap();
    let denied = LeaseError::Write(WriteError::Auth(AuthError::PermissionDenied));
    assert_eq!(alice.lease_keep_alive(own).await, Err(denied.clone()));
    assert_eq!(alice.lease_time_to_live(own, true).await, Err(denied.clone()));
    assert!(alice.lease_time_to_live(own, false).await.is_ok(), "without its keys");
    assert_eq!(alice.leases().await, Err(denied.clone()));
    assert_eq!(alice.lease_revoke(own).await, Err(denied));
    let attach = PutRequest::new("alice/2", "a").with_lease(own);
    assert_eq!(alice.put_with(attach).await, Err(WriteError::Auth(AuthError::PermissionDenied)));
    store.lease_revoke(own).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_watch_of_what_may_not_be_read_ends_at_once() {
    let (_dir, store) = open().await;
    let alice = alice(&store).await;
    let mut refused = alice.watch(WatchRequest::prefix("")).await;
    assert_eq!(refused.next().await, Err(WatchError::Auth(AuthError::PermissionDenied)));
    let mut watch = alice.watch(WatchRequest::prefix("alice/")).await;
    alice.put("alice/1", "a").await.unwrap();
    assert_eq!(watch.next().await.unwrap().events[0].kv.key, "alice/1");
    store.close().await.unwrap();
}

#[tokio::test]
async fn tokens_stand_for_their_users_until_the_password_changes() {
    let (_dir, store) = open().await;
    let auth = store.auth();
    let failed = Err(AuthCallError::Refused(AuthError::AuthFailed));
    assert_eq!(auth.authenticate("alice", "wrong").await, failed);
    assert_eq!(auth.authenticate("bob", "pw").await, failed);
    let token = auth.authenticate("alice", "pw").await.unwrap();
    let caller = auth.caller_of(&token).await.unwrap();
    store.acting_as(caller).put("alice/1", "a").await.unwrap();
    let invalid = Err(AuthCallError::Refused(AuthError::InvalidAuthToken));
    assert_eq!(auth.caller_of("forged.1").await, invalid);
    auth.user_change_password("alice", "new").await.unwrap();
    assert_eq!(auth.caller_of(&token).await, invalid);
    assert_eq!(auth.authenticate("alice", "pw").await, failed);
    auth.authenticate("alice", "new").await.unwrap();
    auth.user_add("cert", None).await.unwrap();
    assert_eq!(auth.authenticate("cert", "").await, failed, "it has no password");
    store.close().await.unwrap();
}

#[tokio::test]
async fn users_see_themselves_and_their_roles() {
    let (_dir, store) = open().await;
    let own = alice(&store).await.auth();
    assert_eq!(own.user_roles("alice").await.unwrap(), ["writer"]);
    assert_eq!(own.role_permissions("writer").await.unwrap().len(), 2);
    let denied = AuthCallError::Refused(AuthError::PermissionDenied);
    assert_eq!(own.user_roles("root").await, Err(denied.clone()));
    assert_eq!(own.role_permissions("root").await, Err(denied.clone()));
    assert_eq!(own.users().await, Err(denied.clone()));
    assert_eq!(own.role_add("mine").await, Err(denied));
    assert_eq!(store.auth().users().await.unwrap(), ["alice", "root"]);
    assert_eq!(store.auth().roles().await.unwrap(), ["writer"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn users_and_roles_survive_a_restart_and_a_crash() {
    let (dir, store) = open().await;
    let before = store.auth().status().await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.auth().status().await.unwrap(), before);
    assert!(before.enabled && store.auth_enabled());
    alice(&store).await.put("alice/1", "a").await.unwrap();
    assert_eq!(store.auth().role_permissions("writer").await.unwrap().len(), 2);
    store.auth().user_delete("alice").await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(config(&dir)).await.unwrap();
    assert_eq!(store.auth().users().await.unwrap(), ["root"]);
    store.close().await.unwrap();
}
