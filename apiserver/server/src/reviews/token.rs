//! `TokenReview`: whose is this token?

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::TOKEN_REVIEW;
use mainstay_apiserver_machinery::value::{Map, Value, to_value};
use mainstay_proto_api::Status;

use super::request::{created, read};
use crate::authn::{Authenticator, CredentialError};
use crate::request::RequestContext;
use crate::types::{Endpoint, Identity, Request, Response};

/// Answers the reviews.
pub struct TokenReview {
    /// Verifies the tokens.
    pub authenticator: Arc<Authenticator>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl TokenReview {
    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let mut review = read(&context, request, &TOKEN_REVIEW, self.body_bytes_max).await?;
        let token = review.path_str(&["spec", "token"]).unwrap_or_default();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let audiences = review.path_list(&["spec", "audiences"]).iter();
        let audiences: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
        let status = status(self.authenticator.by_token(token, &audiences).await)?;
        review.set_path(&["status"], status);
        created(&context, &TOKEN_REVIEW, &review)
    }
}

impl Endpoint for TokenReview {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}

fn status(found: Result<Identity, CredentialError>) -> Result<Value, Status> {
    let mut status = Map::default();
    match found {
        Ok(identity) => {
            status.insert("authenticated", true);
            let user = to_value(&identity.user).map_err(|error| Status::internal(&error))?;
            status.insert("user", user);
            let audiences = identity.audiences.into_iter().map(Value::Str).collect();
            status.insert("audiences", Value::List(audiences));
        }
        Err(error) => {
            // As upstream: the answer says why, and names nobody.
            status.insert("user", Value::Map(Map::default()));
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            status.insert("error", format!("{error}{cause}"));
        }
    }
    Ok(Value::Map(status))
}
