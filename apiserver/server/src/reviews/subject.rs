//! `SelfSubjectReview`: who the caller is, for `kubectl auth whoami`.

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::SELF_SUBJECT_REVIEW;
use mainstay_apiserver_machinery::pipeline::timestamp;
use mainstay_apiserver_machinery::value::to_value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;

use super::request::{created, read};
use crate::request::RequestContext;
use crate::types::{Endpoint, Request, Response};

/// Answers the reviews.
pub struct SelfSubjectReview {
    /// The time, for the answer's creation timestamp.
    pub clock: std::sync::Arc<dyn Clock>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl SelfSubjectReview {
    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let mut review = read(&context, request, &SELF_SUBJECT_REVIEW, self.body_bytes_max).await?;
        let user = to_value(context.user()).map_err(|error| Status::internal(&error))?;
        review.set_path(&["status", "userInfo"], user);
        review.set_path(&["metadata", "creationTimestamp"], timestamp(self.clock.wall()));
        created(&context, &SELF_SUBJECT_REVIEW, &review)
    }
}

impl Endpoint for SelfSubjectReview {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}
