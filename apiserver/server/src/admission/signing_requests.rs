//! Who asks for a certificate, and when a request was decided: what upstream's storage of requests for certificates
//! stamps on them, since it alone knows the caller and the time. Certificates of pods begin now.

use std::sync::Arc;

use mainstay_apiserver_kinds::{CERTIFICATE_SIGNING_REQUEST, POD_CERTIFICATE_REQUEST};
use mainstay_apiserver_machinery::pipeline::{parse_timestamp, timestamp};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::{Map, Value};
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use time::{Duration, OffsetDateTime};

use super::step::{Step, Work, at_once};
use crate::types::{AdmissionRequest, Operation, UserInfo};

/// How far from now a certificate of a pod may begin.
const SKEW: Duration = Duration::minutes(5);

/// The step.
pub struct SigningRequests {
    clock: Arc<dyn Clock>,
}

impl SigningRequests {
    /// The step with the time of `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Step for SigningRequests {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let is_update = request.operation == Operation::Update;
        if *request.kind == POD_CERTIFICATE_REQUEST && is_update && request.subresource == "status" {
            let now = timestamp(self.clock.wall());
            stamp_times(&mut request.object, request.old.as_ref(), &now, &[]);
        } else if *request.kind == CERTIFICATE_SIGNING_REQUEST {
            match (request.operation, request.subresource.as_str()) {
                (Operation::Create, "") => stamp_requester(&mut request.object, &request.user),
                (Operation::Update, "approval" | "status") => {
                    let now = timestamp(self.clock.wall());
                    stamp_times(&mut request.object, request.old.as_ref(), &now, &["lastUpdateTime"]);
                }
                _ => {}
            }
        }
        None
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let is_issue = *request.kind == POD_CERTIFICATE_REQUEST && request.subresource == "status";
        if is_issue { at_once(check_begin(request, self.clock.wall())) } else { None }
    }
}

/// Whether a certificate of a pod that is issued by this update begins now, as upstream's storage has it.
fn check_begin(request: &AdmissionRequest, now: OffsetDateTime) -> Result<(), Status> {
    let begin: &[&str] = &["status", "notBefore"];
    let (Some(stated), Some(old)) = (request.object.path_str(begin), &request.old) else { return Ok(()) };
    let is_near = parse_timestamp(stated).is_some_and(|time| (time - now).abs() < SKEW);
    if is_near || old.path_str(begin) == Some(stated) {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    let text = "must be set to within 5 minutes of kube-apiserver's current time";
    errors.invalid(&Path::new("status").child("notBefore"), stated, text);
    errors.into_result(request.kind.group, request.kind.kind, &request.name)
}

/// Says who asks, whatever the client says.
fn stamp_requester(object: &mut Value, user: &UserInfo) {
    let spec = object.make_map().get_or_insert_map("spec");
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    for (field, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            spec.insert(field, text.clone());
        }
    }
    if !user.groups.is_empty() {
        spec.insert("groups", user.groups.clone());
    }
    if !user.extra.is_empty() {
        let extra: Map = user.extra.iter().map(|(key, values)| (key.clone(), values.clone())).collect();
        spec.insert("extra", extra);
    }
}

/// Fills in when conditions came, and the `updated` times, where they lack; a condition that was there keeps when it came.
fn stamp_times(object: &mut Value, old: Option<&Value>, now: &str, updated: &[&str]) {
    let before = old.map(|old| old.path_list(&["status", "conditions"])).unwrap_or_default();
    let conditions = object.path_mut(&["status", "conditions"]).and_then(Value::as_list_mut);
    for condition in conditions.into_iter().flatten().filter(|condition| condition.as_map().is_some()) {
        let same =
            |was: &&Value| ["type", "status"].iter().all(|field| was.get(field) == condition.get(field));
        let since = before.iter().find(same).and_then(|was| was.path_str(&["lastTransitionTime"]));
        let since = since.filter(|since| !since.is_empty()).unwrap_or(now).to_owned();
        let updated = updated.iter().map(|field| (*field, now));
        for (field, time) in updated.chain([("lastTransitionTime", since.as_str())]) {
            if condition.path_str(&[field]).unwrap_or_default().is_empty() {
                condition.set_path(&[field], time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn the_requester_is_the_caller_and_nobody_else() {
        let mut object =
            value!({"spec": {"username": "admin", "groups": ["system:masters"], "request": "x"}});
        stamp_requester(&mut object, &UserInfo::new("jane", ["dev"]));
        assert_eq!(object, value!({"spec": {"username": "jane", "groups": ["dev"], "request": "x"}}));
    }

    #[test]
    fn conditions_get_the_time_they_came() {
        let old = value!({"status": {"conditions": [
            {"type": "Approved", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]}});
        let mut new = value!({"status": {"conditions": [
            {"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"},
        ]}});
        stamp_times(&mut new, Some(&old), "2026-03-01T00:00:00Z", &["lastUpdateTime"]);
        let times: Vec<&str> = new
            .path_list(&["status", "conditions"])
            .iter()
            .filter_map(|condition| condition.path_str(&["lastTransitionTime"]))
            .collect();
        assert_eq!(times, ["2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"]);
    }
}
