//! `serviceaccounts/token`: a bound token for a service account (KEP-1205).

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT, TOKEN_REQUEST};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::timestamp;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use time::OffsetDateTime;

use crate::authn::TokenIssuer;
use crate::authn::token::{Claims, KubernetesClaims, ObjectRef};
use crate::config::Randomness;
use crate::registry::Registry;
use crate::request::RequestContext;
use crate::reviews::request::{create_options, created, dry_run, read};
use crate::types::{
    AdmissionRequest, Admit, Endpoint, Marks, Operation, Reinvocation, Request, Response, Warnings,
};

/// Answers token requests.
pub struct TokenRequests {
    /// Where service accounts and bound objects are.
    pub registry: Registry,
    /// Signs the tokens.
    pub tokens: Arc<TokenIssuer>,
    /// Admission of the request.
    pub admission: Arc<dyn Admit>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids of tokens.
    pub randomness: Arc<dyn Randomness>,
    /// The longest lifetime in seconds.
    pub expiration_seconds_max: i64,
    /// The longest body.
    pub body_bytes_max: usize,
}

/// What a token is bound to besides its account.
#[derive(Debug, Default)]
struct Bound {
    pod: Option<ObjectRef>,
    secret: Option<ObjectRef>,
    node: Option<ObjectRef>,
}

impl TokenRequests {
    async fn issue(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let mut object = read(&context, request, &TOKEN_REQUEST, self.body_bytes_max).await?;
        let (namespace, name) = (context.info.namespace.clone(), context.info.name.clone());
        let stated = Meta(&object).name();
        if !stated.is_empty() && stated != name {
            return Err(Status::bad_request("the name of the object does not match the name on the URL"));
        }
        let account = self.find(&SERVICE_ACCOUNT, &namespace, &name).await?;
        object = self.admit(&context, object).await?;
        self.settle_spec(&mut object);
        let bound = self.bind(&object, &namespace, &name).await?;
        let now = self.clock.wall();
        let claims = self.claims(&object, &account, bound, now);
        let token = self
            .tokens
            .keys
            .sign(&claims)
            .map_err(|error| Status::internal(format!("failed to generate token: {error}")))?;
        let expires = OffsetDateTime::from_unix_timestamp(claims.exp).unwrap_or(now);
        object.set_path(&["metadata", "name"], name.as_str());
        object.set_path(&["metadata", "namespace"], namespace.as_str());
        object.set_path(&["metadata", "creationTimestamp"], timestamp(now));
        object.set_path(&["status", "expirationTimestamp"], timestamp(expires));
        // A dry run answers everything but a usable token.
        if !dry_run(&context)? {
            object.set_path(&["status", "token"], token);
        }
        created(&context, &TOKEN_REQUEST, &object)
    }

    /// The request as admission makes it.
    async fn admit(&self, context: &RequestContext, object: Value) -> Result<Value, Status> {
        let (dry_run, options) = create_options(context)?;
        let mut request = AdmissionRequest {
            kind: &SERVICE_ACCOUNT,
            subresource: "token".into(),
            operation: Operation::Create,
            namespace: context.info.namespace.clone(),
            name: context.info.name.clone(),
            object,
            old: None,
            user: context.user().clone(),
            dry_run,
            options,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        self.admission.mutate(&mut request).await?;
        self.admission.validate(&request).await?;
        Ok(request.object)
    }

    fn settle_spec(&self, object: &mut Value) {
        if object.path_list(&["spec", "audiences"]).is_empty() {
            let audiences: Value = self.tokens.audiences.iter().map(String::as_str).collect();
            object.set_path(&["spec", "audiences"], audiences);
        }
        let seconds = object.path_i64(&["spec", "expirationSeconds"]).unwrap_or(3600);
        object.set_path(&["spec", "expirationSeconds"], seconds.min(self.expiration_seconds_max));
    }

    async fn find(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value, Status> {
        match self.registry.get_fresh(kind, namespace, name).await? {
            Some(cached) => self.registry.decode_served(kind, &cached),
            None => Err(Status::not_found(kind.group, kind.plural, name)),
        }
    }

    async fn bind(&self, object: &Value, namespace: &str, account: &str) -> Result<Bound, Status> {
        let Some(reference) = object.path(&["spec", "boundObjectRef"]).filter(|value| !value.is_empty())
        else {
            return Ok(Bound::default());
        };
        let field = |name| reference.path_str(&[name]).unwrap_or_default();
        let (version, kind, name, uid) = (field("apiVersion"), field("kind"), field("name"), field("uid"));
        let mut bound = Bound::default();
        match (version, kind) {
            ("v1", "Pod") => {
                let pod = self.find(&POD, namespace, name).await?;
                if pod.path_str(&["spec", "serviceAccountName"]).unwrap_or_default() != account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                bound.node = self.node_of(&pod);
                bound.pod = Some(checked(&pod, "Pod", uid)?);
            }
            ("v1", "Node") => bound.node = Some(checked(&self.find(&NODE, "", name).await?, "Node", uid)?),
            ("v1", "Secret") => {
                bound.secret = Some(checked(&self.find(&SECRET, namespace, name).await?, "Secret", uid)?);
            }
            _ => {
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type /{version}, Kind={kind}"
                )));
            }
        }
        Ok(bound)
    }

    fn node_of(&self, pod: &Value) -> Option<ObjectRef> {
        let name = pod.path_str(&["spec", "nodeName"]).filter(|name| !name.is_empty())?;
        let uid =
            self.registry.get(&NODE, "", name).map(|node| node.header.uid.to_string()).unwrap_or_default();
        Some(ObjectRef { name: name.to_owned(), uid })
    }

    fn claims(&self, object: &Value, account: &Value, bound: Bound, now: OffsetDateTime) -> Claims {
        let meta = Meta(account);
        let seconds = object.path_i64(&["spec", "expirationSeconds"]).unwrap_or(3600);
        let audiences = object.path_list(&["spec", "audiences"]).iter();
        let now = now.unix_timestamp();
        let mut id = [0; 16];
        self.randomness.fill(&mut id);
        Claims {
            aud: audiences.filter_map(Value::as_str).map(str::to_owned).collect(),
            exp: now + seconds,
            iat: now,
            iss: self.tokens.issuer().to_owned(),
            jti: uuid::Builder::from_random_bytes(id).into_uuid().to_string(),
            kubernetes: KubernetesClaims {
                namespace: meta.namespace().to_owned(),
                node: bound.node,
                pod: bound.pod,
                secret: bound.secret,
                serviceaccount: ObjectRef { name: meta.name().to_owned(), uid: meta.uid().to_owned() },
            },
            nbf: now,
            sub: crate::authn::user::service_account_name(meta.namespace(), meta.name()),
        }
    }
}

/// The reference to a live object, if it is the one that the request means.
fn checked(object: &Value, kind: &str, uid: &str) -> Result<ObjectRef, Status> {
    let meta = Meta(object);
    if !uid.is_empty() && uid != meta.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, meta.name(), why));
    }
    Ok(ObjectRef { name: meta.name().to_owned(), uid: meta.uid().to_owned() })
}

impl Endpoint for TokenRequests {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.issue(context, request))
    }
}
