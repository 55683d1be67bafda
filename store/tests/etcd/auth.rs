//! Auth: all of its calls, and that every other service obeys it.
use futures::StreamExt;
use mainstay_proto_wire::etcd::authpb::{Permission, UserAddOptions, permission};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::etcd::{AuthTokens, FaceConfig};
use pb::auth_client::AuthClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::rig::{Rig, bytes, refusal, refused};

type Guest = InterceptedService<Channel, Token>;

/// Puts a token on every request.
#[derive(Clone)]
pub(crate) struct Token(String);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            request.metadata_mut().insert("token", self.0.parse().unwrap());
        }
        Ok(request)
    }
}

fn with(rig: &Rig, token: &str) -> Guest {
    InterceptedService::new(rig.channel.clone(), Token(token.to_owned()))
}

fn user(name: &str, password: &str) -> pb::AuthUserAddRequest {
    pb::AuthUserAddRequest { name: name.into(), password: password.into(), ..Default::default() }
}

fn grant(key: &str, end: &str, access: permission::Type) -> pb::AuthRoleGrantPermissionRequest {
    let perm = Permission { perm_type: access.into(), key: bytes(key), range_end: bytes(end) };
    pb::AuthRoleGrantPermissionRequest { name: "writer".into(), perm: Some(perm) }
}

/// root with its role; alice, who may do all under `a/`; enabled.
async fn enabled(rig: &Rig) {
    let mut auth = AuthClient::new(rig.channel.clone());
    auth.user_add(user("root", "toor")).await.unwrap();
    let role = |user: &str, role: &str| pb::AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
    auth.user_grant_role(role("root", "root")).await.unwrap();
    auth.user_add(user("alice", "pw")).await.unwrap();
    auth.role_add(pb::AuthRoleAddRequest { name: "writer".into() }).await.unwrap();
    auth.role_grant_permission(grant("a/", "a0", permission::Type::Readwrite)).await.unwrap();
    auth.user_grant_role(role("alice", "writer")).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

async fn token(rig: &Rig, name: &str, password: &str) -> String {
    let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
    AuthClient::new(rig.channel.clone()).authenticate(request).await.unwrap().into_inner().token
}

#[tokio::test]
async fn users_and_roles_come_and_go() {
    let rig = Rig::start().await;
    let mut auth = AuthClient::new(rig.channel.clone());
    let status = auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.auth_revision), (false, 1));
    auth.user_add(user("bob", "pw")).await.unwrap();
    let again = auth.user_add(user("bob", "pw")).await;
    assert_eq!(refused(again), refusal(Code::FailedPrecondition, "user name already exists"));
    let nameless = auth.user_add(user("", "pw")).await;
    assert_eq!(refused(nameless), refusal(Code::InvalidArgument, "user name is empty"));
    let mut no_password = user("cert", "");
    no_password.options = Some(UserAddOptions { no_password: true });
    auth.user_add(no_password).await.unwrap();
    auth.role_add(pb::AuthRoleAddRequest { name: "writer".into() }).await.unwrap();
    auth.role_grant_permission(grant("b", "d", permission::Type::Write)).await.unwrap();
    auth.role_grant_permission(grant("k", "", permission::Type::Read)).await.unwrap();
    auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: "bob".into(), role: "writer".into() })
        .await
        .unwrap();
    let users = auth.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner();
    assert_eq!(users.users, ["bob", "cert"]);
    assert!(users.header.unwrap().revision > 0);
    let bob = auth.user_get(pb::AuthUserGetRequest { name: "bob".into() }).await.unwrap().into_inner();
    assert_eq!(bob.roles, ["writer"]);
    let roles = auth.role_list(pb::AuthRoleListRequest {}).await.unwrap().into_inner();
    assert_eq!(roles.roles, ["writer"]);
    let role = auth.role_get(pb::AuthRoleGetRequest { role: "writer".into() }).await.unwrap().into_inner();
    assert_eq!(
        role.perm,
        [
            Permission { perm_type: permission::Type::Write.into(), key: bytes("b"), range_end: bytes("d") },
            Permission { perm_type: permission::Type::Read.into(), key: bytes("k"), range_end: bytes("") },
        ]
    );
    let revoke = |key: &str, end: &str| pb::AuthRoleRevokePermissionRequest {
        role: "writer".into(),
        key: bytes(key),
        range_end: bytes(end),
    };
    auth.role_revoke_permission(revoke("b", "d")).await.unwrap();
    let again = auth.role_revoke_permission(revoke("b", "d")).await;
    assert_eq!(refused(again), refusal(Code::FailedPrecondition, "permission is not granted to the role"));
    let none = pb::AuthRoleGrantPermissionRequest { name: "writer".into(), perm: None };
    let none = auth.role_grant_permission(none).await;
    assert_eq!(refused(none), refusal(Code::InvalidArgument, "permission not given"));
    let role = || pb::AuthUserRevokeRoleRequest { name: "bob".into(), role: "writer".into() };
    auth.user_revoke_role(role()).await.unwrap();
    let again = auth.user_revoke_role(role()).await;
    assert_eq!(refused(again), refusal(Code::FailedPrecondition, "role is not granted to the user"));
    let change = pb::AuthUserChangePasswordRequest {
        name: "bob".into(),
        password: "new".into(),
        ..Default::default()
    };
    auth.user_change_password(change).await.unwrap();
    auth.user_delete(pb::AuthUserDeleteRequest { name: "bob".into() }).await.unwrap();
    let gone = auth.user_get(pb::AuthUserGetRequest { name: "bob".into() }).await;
    assert_eq!(refused(gone), refusal(Code::FailedPrecondition, "user name not found"));
    auth.role_delete(pb::AuthRoleDeleteRequest { role: "writer".into() }).await.unwrap();
    let gone = auth.role_get(pb::AuthRoleGetRequest { role: "writer".into() }).await;
    assert_eq!(refused(gone), refusal(Code::FailedPrecondition, "role name not found"));
    rig.stop().await;
}

#[tokio::test]
async fn it_is_enabled_with_a_root_and_disabled_by_it() {
    let rig = Rig::start().await;
    let mut auth = AuthClient::new(rig.channel.clone());
    let early = auth.auth_enable(pb::AuthEnableRequest {}).await;
    assert_eq!(refused(early), refusal(Code::FailedPrecondition, "root user does not exist"));
    let login = pb::AuthenticateRequest { name: "root".into(), password: "toor".into() };
    let early = auth.authenticate(login).await;
    assert_eq!(refused(early), refusal(Code::FailedPrecondition, "authentication is not enabled"));
    auth.user_add(user("root", "toor")).await.unwrap();
    let early = auth.auth_enable(pb::AuthEnableRequest {}).await;
    assert_eq!(refused(early), refusal(Code::FailedPrecondition, "root user does not have root role"));
    let root = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    auth.user_grant_role(root).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let nobody = auth.auth_disable(pb::AuthDisableRequest {}).await;
    assert_eq!(refused(nobody), refusal(Code::InvalidArgument, "user name is empty"));
    let wrong = pb::AuthenticateRequest { name: "root".into(), password: "wrong".into() };
    assert_eq!(
        refused(auth.authenticate(wrong).await),
        refusal(Code::InvalidArgument, "authentication failed, invalid user ID or password")
    );
    let root = token(&rig, "root", "toor").await;
    let mut auth = AuthClient::new(with(&rig, &root));
    let suicide = auth.user_delete(pb::AuthUserDeleteRequest { name: "root".into() }).await;
    assert_eq!(refused(suicide), refusal(Code::InvalidArgument, "invalid auth management"));
    auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    rig.put("a", "1").await;
    rig.stop().await;
}

#[tokio::test]
async fn keys_are_for_those_who_have_them_in_their_roles() {
    let rig = Rig::start().await;
    rig.put("secret", "x").await;
    enabled(&rig).await;
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let nobody = || refusal(Code::InvalidArgument, "user name is empty");
    let put = |key: &str| pb::PutRequest { key: bytes(key), value: bytes("1"), ..Default::default() };
    let get = |key: &str| pb::RangeRequest { key: bytes(key), ..Default::default() };
    let delete = |key: &str| pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
    let mut kv = rig.kv();
    assert_eq!(refused(kv.put(put("a/1")).await), nobody());
    assert_eq!(refused(kv.range(get("a/1")).await), nobody());
    let mut forged = pb::kv_client::KvClient::new(with(&rig, "forged.1"));
    assert_eq!(refused(forged.put(put("a/1")).await), refusal(Code::Unauthenticated, "invalid auth token"));
    let mut alice = pb::kv_client::KvClient::new(with(&rig, &token(&rig, "alice", "pw").await));
    alice.put(put("a/1")).await.unwrap();
    assert_eq!(alice.range(get("a/1")).await.unwrap().into_inner().count, 1);
    assert_eq!(refused(alice.put(put("secret")).await), denied());
    assert_eq!(refused(alice.range(get("secret")).await), denied());
    assert_eq!(refused(alice.delete_range(delete("secret")).await), denied());
    let range_op = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(get("secret"))) };
    let txn = pb::TxnRequest { failure: vec![range_op], ..Default::default() };
    assert_eq!(refused(alice.txn(txn).await), denied());
    let mut pages = alice.range_stream(get("secret")).await.unwrap().into_inner();
    assert_eq!(refused(pages.next().await.unwrap()), denied());
    let mut root = pb::kv_client::KvClient::new(with(&rig, &token(&rig, "root", "toor").await));
    assert_eq!(root.range(get("secret")).await.unwrap().into_inner().count, 1);
    rig.stop().await;
}

#[tokio::test]
async fn every_service_asks_who_it_is() {
    let rig = Rig::start().await;
    enabled(&rig).await;
    let alice = with(&rig, &token(&rig, "alice", "pw").await);
    let nobody = || with(&rig, "");
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let empty = || refusal(Code::InvalidArgument, "user name is empty");
    let mut leases = pb::lease_client::LeaseClient::new(nobody());
    assert_eq!(refused(leases.lease_grant(pb::LeaseGrantRequest { ttl: 9, id: 7 }).await), empty());
    assert_eq!(refused(leases.lease_leases(pb::LeaseLeasesRequest {}).await), empty());
    let mut leases = pb::lease_client::LeaseClient::new(alice.clone());
    leases.lease_grant(pb::LeaseGrantRequest { ttl: 900, id: 7 }).await.unwrap();
    let lease = mainstay_store::LeaseId(7);
    rig.store.put_with(mainstay_store::PutRequest::new("secret", "x").with_lease(lease)).await.unwrap();
    assert_eq!(refused(leases.lease_revoke(pb::LeaseRevokeRequest { id: 7 }).await), denied());
    let with_keys = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    assert_eq!(refused(leases.lease_time_to_live(with_keys).await), denied());
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(nobody());
    assert_eq!(refused(maintenance.status(pb::StatusRequest {}).await), empty());
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(alice.clone());
    maintenance.status(pb::StatusRequest {}).await.unwrap();
    assert_eq!(refused(maintenance.hash_kv(pb::HashKvRequest::default()).await), denied());
    assert_eq!(refused(maintenance.snapshot(pb::SnapshotRequest {}).await), denied());
    assert_eq!(refused(maintenance.defragment(pb::DefragmentRequest {}).await), denied());
    let mut cluster = pb::cluster_client::ClusterClient::new(nobody());
    assert_eq!(refused(cluster.member_list(pb::MemberListRequest::default()).await), empty());
    let mut cluster = pb::cluster_client::ClusterClient::new(alice.clone());
    cluster.member_list(pb::MemberListRequest::default()).await.unwrap();
    assert_eq!(refused(cluster.member_add(pb::MemberAddRequest::default()).await), denied());
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    let mut kv = pb::kv_client::KvClient::new(nobody());
    assert_eq!(refused(kv.compact(compact(1)).await), empty());
    let mut kv = pb::kv_client::KvClient::new(alice.clone());
    assert_eq!(refused(kv.compact(compact(1)).await), denied());
    let status = pb::AuthStatusRequest {};
    assert_eq!(refused(AuthClient::new(nobody()).auth_status(status).await), empty());
    assert_eq!(refused(AuthClient::new(alice.clone()).auth_status(status).await), denied());
    let create = pb::WatchCreateRequest { key: bytes("secret"), ..Default::default() };
    let create =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut watch = pb::watch_client::WatchClient::new(alice);
    let mut answers = watch.watch(futures::stream::iter([create])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    assert!(answer.canceled && answer.created, "{answer:?}");
    assert!(answer.cancel_reason.contains("etcdserver: permission denied"), "{}", answer.cancel_reason);
    rig.stop().await;
}

#[tokio::test]
async fn a_signed_token_works_until_users_change() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key");
    std::fs::write(&key, "a shared secret").unwrap();
    let option = format!("jwt,sign-method=HS256,priv-key={}", key.display());
    let auth_tokens = AuthTokens::parse(&option).unwrap();
    let rig = Rig::with(FaceConfig { auth_tokens, ..FaceConfig::default() }).await;
    enabled(&rig).await;
    let signed = token(&rig, "alice", "pw").await;
    assert_eq!(signed.split('.').count(), 3, "{signed}");
    let mut alice = pb::kv_client::KvClient::new(with(&rig, &signed));
    let put = || pb::PutRequest { key: bytes("a/1"), value: bytes("1"), ..Default::default() };
    alice.put(put()).await.unwrap();
    rig.store.auth().role_add("another").await.unwrap();
    let old = refusal(Code::InvalidArgument, "revision of auth store is old");
    assert_eq!(refused(alice.put(put()).await), old);
    rig.stop().await;
}
