//! The service Auth: users, roles, permissions, and logging in.
use std::sync::Arc;

use base64::Engine as _;
use mainstay_proto_wire::etcd::{authpb, etcdserverpb as pb};
use tonic::{Request, Response, Status};

use super::access::{self, Need};
use super::convert::{owned, range_end};
use super::face::Face;
use super::refusal;
use crate::api::{Access, AuthCallError, Permission};

/// Answers Auth requests from the store.
#[derive(Debug)]
pub(super) struct AuthService {
    pub(super) face: Arc<Face>,
}

type Answer<T> = Result<Response<T>, Status>;

/// A call that answers with a header alone.
macro_rules! plain {
    ($self:ident, $request:ident, $response:ident, |$auth:ident, $message:ident| $call:expr) => {{
        let $auth = $self.face.admit(&$request).await?.auth();
        let $message = $request.into_inner();
        $call.await.map_err(|error| refusal::of_auth_call(&error))?;
        Ok(Response::new(pb::$response { header: $self.face.current_header() }))
    }};
}

#[tonic::async_trait]
impl pb::auth_server::Auth for AuthService {
    async fn auth_enable(&self, request: Request<pb::AuthEnableRequest>) -> Answer<pb::AuthEnableResponse> {
        plain!(self, request, AuthEnableResponse, |auth, _message| auth.enable())
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Answer<pb::AuthDisableResponse> {
        plain!(self, request, AuthDisableResponse, |auth, _message| auth.disable())
    }

    async fn auth_status(&self, request: Request<pb::AuthStatusRequest>) -> Answer<pb::AuthStatusResponse> {
        let auth = self.face.admit_for(&request, Need::Admin).await?.auth();
        let status = auth.status().await.map_err(|error| refusal::of_auth_call(&error))?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.face.current_header(),
            enabled: status.enabled,
            auth_revision: status.revision,
        }))
    }

    /// Needs no identity: it gives one. A token that is no longer good does not stand in the way.
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Answer<pb::AuthenticateResponse> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let token =
            access::authenticate(&self.face.store, &self.face.config.auth_tokens, &name, &password).await?;
        Ok(Response::new(pb::AuthenticateResponse { header: self.face.current_header(), token }))
    }

    async fn user_add(&self, request: Request<pb::AuthUserAddRequest>) -> Answer<pb::AuthUserAddResponse> {
        plain!(self, request, AuthUserAddResponse, |auth, message| async {
            if message.options.is_some_and(|options| options.no_password) {
                return auth.user_add(&message.name, None).await;
            }
            match hash(&message.password, &message.hashed_password)? {
                Some(hash) => auth.user_add_hashed(&message.name, hash).await,
                None => auth.user_add(&message.name, Some(&message.password)).await,
            }
        })
    }

    async fn user_get(&self, request: Request<pb::AuthUserGetRequest>) -> Answer<pb::AuthUserGetResponse> {
        let auth = self.face.admit(&request).await?.auth();
        let roles = auth.user_roles(&request.get_ref().name).await;
        let roles = roles.map_err(|error| refusal::of_auth_call(&error))?;
        Ok(Response::new(pb::AuthUserGetResponse { header: self.face.current_header(), roles }))
    }

    async fn user_list(&self, request: Request<pb::AuthUserListRequest>) -> Answer<pb::AuthUserListResponse> {
        let auth = self.face.admit(&request).await?.auth();
        let users = auth.users().await.map_err(|error| refusal::of_auth_call(&error))?;
        Ok(Response::new(pb::AuthUserListResponse { header: self.face.current_header(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Answer<pb::AuthUserDeleteResponse> {
        plain!(self, request, AuthUserDeleteResponse, |auth, message| auth.user_delete(&message.name))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        plain!(self, request, AuthUserChangePasswordResponse, |auth, message| async {
            match hash(&message.password, &message.hashed_password)? {
                Some(hash) => auth.user_change_password_hashed(&message.name, hash).await,
                None => auth.user_change_password(&message.name, &message.password).await,
            }
        })
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Answer<pb::AuthUserGrantRoleResponse> {
        plain!(self, request, AuthUserGrantRoleResponse, |auth, message| auth
            .user_grant_role(&message.user, &message.role))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        plain!(self, request, AuthUserRevokeRoleResponse, |auth, message| auth
            .user_revoke_role(&message.name, &message.role))
    }

    async fn role_add(&self, request: Request<pb::AuthRoleAddRequest>) -> Answer<pb::AuthRoleAddResponse> {
        plain!(self, request, AuthRoleAddResponse, |auth, message| auth.role_add(&message.name))
    }

    async fn role_get(&self, request: Request<pb::AuthRoleGetRequest>) -> Answer<pb::AuthRoleGetResponse> {
        let auth = self.face.admit(&request).await?.auth();
        let permissions = auth.role_permissions(&request.get_ref().role).await;
        let permissions = permissions.map_err(|error| refusal::of_auth_call(&error))?;
        let perm = permissions.into_iter().map(permission_out).collect();
        Ok(Response::new(pb::AuthRoleGetResponse { header: self.face.current_header(), perm }))
    }

    async fn role_list(&self, request: Request<pb::AuthRoleListRequest>) -> Answer<pb::AuthRoleListResponse> {
        let auth = self.face.admit(&request).await?.auth();
        let roles = auth.roles().await.map_err(|error| refusal::of_auth_call(&error))?;
        Ok(Response::new(pb::AuthRoleListResponse { header: self.face.current_header(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Answer<pb::AuthRoleDeleteResponse> {
        plain!(self, request, AuthRoleDeleteResponse, |auth, message| auth.role_delete(&message.role))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        plain!(self, request, AuthRoleGrantPermissionResponse, |auth, message| async {
            let permission = permission_in(message.perm.as_ref())?;
            auth.role_grant(&message.name, permission).await
        })
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        plain!(self, request, AuthRoleRevokePermissionResponse, |auth, message| auth.role_revoke(
            &message.role,
            owned(&message.key),
            range_end(&message.range_end)
        ))
    }
}

/// A password may come hashed, which counts only without one in plain text.
fn hash(password: &str, hashed: &str) -> Result<Option<Vec<u8>>, AuthCallError> {
    if hashed.is_empty() || !password.is_empty() {
        return Ok(None);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(hashed);
    decoded.map(Some).map_err(|error| AuthCallError::Hash(error.to_string()))
}

fn permission_in(permission: Option<&authpb::Permission>) -> Result<Permission, AuthCallError> {
    use authpb::permission::Type;
    let permission = permission.ok_or(crate::api::AuthError::PermissionNotGiven)?;
    let access = match Type::try_from(permission.perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(crate::api::AuthError::InvalidAuthMgmt.into()),
    };
    Ok(Permission { access, key: owned(&permission.key), range_end: range_end(&permission.range_end) })
}

fn permission_out(permission: Permission) -> authpb::Permission {
    use authpb::permission::Type;
    let access = match permission.access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    authpb::Permission {
        perm_type: access.into(),
        key: permission.key,
        range_end: permission.range_end.unwrap_or_default(),
    }
}
