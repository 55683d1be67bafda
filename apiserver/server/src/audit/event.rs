//! One event as it is written: the JSON of upstream's `audit.k8s.io/v1` `Event`. Pure.

use std::collections::BTreeMap;

use mainstay_proto_api::{Status, StatusDetails};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::types::UserInfo;

/// Upstream's `MicroTime`.
const MICRO_TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference {
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) resource: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) namespace: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) name: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) uid: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) api_group: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) api_version: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) resource_version: SmolStr,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) subresource: SmolStr,
}

/// The bounded part of the answer's Status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ResponseStatus {
    pub(super) metadata: Empty,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) status: SmolStr,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub(super) reason: SmolStr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<Box<StatusDetails>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) code: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Empty {}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

impl ResponseStatus {
    /// Of an answer that is no Status.
    pub(super) fn code(code: u16) -> Self {
        Self { code, ..Self::default() }
    }

    /// Of a refusal.
    pub(super) fn of(status: &Status) -> Self {
        Self {
            metadata: Empty {},
            status: status.status.clone(),
            message: status.message.clone(),
            reason: status.reason.clone(),
            details: status.details.clone(),
            code: status.code,
        }
    }
}

/// The event; fields in upstream's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: &'static str,
    #[serde(rename = "auditID")]
    pub(super) audit_id: &'a str,
    pub(super) stage: &'static str,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: &'a str,
    pub(super) verb: &'a str,
    pub(super) user: &'a UserInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<&'a UserInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[_]>::is_empty")]
    pub(super) source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<&'a ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<&'a ResponseStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<&'a RawValue>,
    #[serde(serialize_with = "micro_time")]
    pub(super) request_received_timestamp: OffsetDateTime,
    #[serde(serialize_with = "micro_time")]
    pub(super) stage_timestamp: OffsetDateTime,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: &'a BTreeMap<SmolStr, String>,
}

/// How it is known who asks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthenticationMetadata {
    impersonation_constraint: &'static str,
}

impl AuthenticationMetadata {
    /// None where no constrained impersonation took place.
    pub(super) fn of(constraint: &'static str) -> Option<Self> {
        (!constraint.is_empty()).then_some(Self { impersonation_constraint: constraint })
    }
}

fn micro_time<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.to_offset(time::UtcOffset::UTC).format(MICRO_TIME).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
