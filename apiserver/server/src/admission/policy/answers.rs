//! [`Answers`]: what the authorizer says to the expressions of one request. Expressions run without waiting; where another
//! server has to be asked, the run is repeated when its answer is here.

use std::collections::HashMap;

use mainstay_apiserver_cel::{Access, AccessAnswer, AccessQuestion};
use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::types::{AdmissionRequest, Attributes, Authorize, Decision, UserInfo, Verdict};

/// Runs of one decision at most; the budget of a policy's expressions allows fewer questions.
const RUNS_MAX: usize = 64;

/// The answers so far.
pub(in crate::admission) struct Answers<'r> {
    authorizer: &'r dyn Authorize,
    user: &'r UserInfo,
    known: Mutex<HashMap<AccessQuestion, AccessAnswer>>,
    /// Questions whose answers have to be waited for.
    open: Mutex<Vec<AccessQuestion>>,
}

impl<'r> Answers<'r> {
    /// Answers about the user of `request`.
    pub(in crate::admission) fn new(authorizer: &'r dyn Authorize, request: &'r AdmissionRequest) -> Self {
        Self { authorizer, user: &request.user, known: Mutex::default(), open: Mutex::default() }
    }

    /// What `decide` gives once no answer is missing; it runs again after each that was.
    pub(in crate::admission) async fn settled<T>(&self, decide: impl Fn() -> T) -> T {
        for _run in 1..RUNS_MAX {
            let decided = decide();
            let open = std::mem::take(&mut *self.open.lock());
            if open.is_empty() {
                return decided;
            }
            for question in open {
                let (user, asked) = self.put(&question);
                let decision = self.authorizer.authorize(&user, &asked).await;
                self.known.lock().insert(question, answer(decision));
            }
        }
        decide()
    }

    /// Whom a question is about, and what the authorizer is asked.
    fn put(&self, question: &AccessQuestion) -> (UserInfo, Attributes) {
        let user = match &question.account {
            Some((namespace, name)) => UserInfo::service_account(namespace, name, ""),
            None => self.user.clone(),
        };
        let verb = question.verb.clone();
        let Some(path) = &question.path else {
            return (
                user,
                Attributes {
                    verb,
                    api_group: question.group.clone(),
                    api_version: SmolStr::new_static("*"),
                    resource: question.resource.clone(),
                    subresource: question.subresource.clone(),
                    namespace: question.namespace.clone(),
                    name: question.name.clone(),
                    field_selector: question.field_selector.clone(),
                    label_selector: question.label_selector.clone(),
                    resource_request: true,
                    ..Attributes::default()
                },
            );
        };
        (user, Attributes { verb, path: path.clone(), ..Attributes::default() })
    }
}

impl Access for Answers<'_> {
    fn ask(&self, question: &AccessQuestion) -> Option<AccessAnswer> {
        if let Some(known) = self.known.lock().get(question) {
            return Some(known.clone());
        }
        let (user, asked) = self.put(question);
        let found = match self.authorizer.ask(&user, &asked) {
            Verdict::Now(decision) => Some(answer(decision)),
            Verdict::Later(_) => None,
        };
        if let Some(answer) = &found {
            self.known.lock().insert(question.clone(), answer.clone());
        } else {
            self.open.lock().push(question.clone());
        }
        found
    }
}

fn answer(decision: Decision) -> AccessAnswer {
    match decision {
        Decision::Allow(reason) => AccessAnswer { allowed: true, reason, error: None },
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            AccessAnswer { allowed: false, reason, error: None }
        }
        Decision::Failed { error, .. } => {
            AccessAnswer { allowed: false, reason: String::new(), error: Some(error) }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Allows reading, at once or after a wait.
    pub(in crate::admission::policy) struct Reads {
        pub(in crate::admission::policy) waits: bool,
    }

    impl Authorize for Reads {
        fn ask<'a>(&'a self, _user: &'a UserInfo, asked: &'a Attributes) -> Verdict<'a> {
            let decision = if asked.verb == "get" {
                Decision::Allow("it reads".to_owned())
            } else {
                Decision::NoOpinion(String::new())
            };
            if self.waits { Verdict::Later(Box::pin(async { decision })) } else { Verdict::Now(decision) }
        }
    }
}
