//! Asking the authorizer (Kubernetes' library `authz`): a question is built up step by step, `check` asks it.

use super::dispatch::Called;
use crate::eval::failed;
use crate::signatures::{AUTHORIZER, DECISION, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK};
use crate::value::Val;
use smol_str::SmolStr;
use std::fmt;
use std::sync::Arc;

/// What an expression asks the authorizer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AccessQuestion {
    /// Namespace and name of the service account that it is about; none for the user of the request.
    pub account: Option<(SmolStr, SmolStr)>,
    /// The path, for questions about no resource.
    pub path: Option<SmolStr>,
    /// API group.
    pub group: SmolStr,
    /// Plural resource.
    pub resource: SmolStr,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Name, or empty.
    pub name: SmolStr,
    /// Field selector, or empty.
    pub field_selector: SmolStr,
    /// Label selector, or empty.
    pub label_selector: SmolStr,
    /// The verb.
    pub verb: SmolStr,
}

/// What the authorizer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, or empty.
    pub reason: String,
    /// What failed.
    pub error: Option<String>,
}

/// Whom expressions ask.
pub trait Access: Send + Sync {
    /// The answer; none where it is not known yet. The run then fails, and is repeated when it is known.
    fn ask(&self, question: &AccessQuestion) -> Option<AccessAnswer>;
}

/// How far a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// A question under construction, or its answer.
#[derive(Clone)]
pub enum AccessVal<'a> {
    /// A question.
    Asking(Box<Asking<'a>>),
    /// An answer.
    Answered(AccessAnswer),
}

/// A question under construction.
#[derive(Clone)]
pub struct Asking<'a> {
    access: &'a dyn Access,
    question: AccessQuestion,
    stage: Stage,
    /// What `requestResource` stands for.
    of_request: Option<Arc<AccessQuestion>>,
}

impl fmt::Debug for AccessVal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking(asking) => f.debug_tuple("Asking").field(&asking.question).finish(),
            Self::Answered(answer) => f.debug_tuple("Answered").field(answer).finish(),
        }
    }
}

impl AccessVal<'_> {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Answered(_) => DECISION,
            Self::Asking(asking) => match asking.stage {
                Stage::Authorizer => AUTHORIZER,
                Stage::Path => PATH_CHECK,
                Stage::Group => GROUP_CHECK,
                Stage::Resource => RESOURCE_CHECK,
            },
        }
    }
}

impl<'a> Val<'a> {
    /// The authorizer, for the user of a request that is about `of_request`.
    pub fn authorizer(access: &'a dyn Access, of_request: AccessQuestion) -> Self {
        let (question, of_request) = (AccessQuestion::default(), Some(Arc::new(of_request)));
        let asking = Asking { access, question, stage: Stage::Authorizer, of_request };
        Self::Access(Arc::new(AccessVal::Asking(Box::new(asking))))
    }

    /// `authorizer.requestResource`.
    pub(crate) fn request_resource(&self) -> Option<Self> {
        let Self::Access(access) = self else { return None };
        let AccessVal::Asking(asking) = &**access else { return None };
        let question = AccessQuestion::clone(asking.of_request.as_deref()?);
        Some(Asking { question, stage: Stage::Resource, ..Asking::clone(asking) }.into_val())
    }
}

impl<'a> Asking<'a> {
    fn into_val(self) -> Val<'a> {
        Val::Access(Arc::new(AccessVal::Asking(Box::new(self))))
    }

    /// The question after one more step.
    fn with(&self, stage: Stage, set: impl FnOnce(&mut AccessQuestion)) -> Val<'a> {
        let mut next = Self { stage, of_request: None, ..self.clone() };
        set(&mut next.question);
        next.into_val()
    }

    fn check(&self, verb: &SmolStr) -> Called<'a> {
        let question = AccessQuestion { verb: verb.clone(), ..self.question.clone() };
        match self.access.ask(&question) {
            Some(answer) => Ok(Val::Access(Arc::new(AccessVal::Answered(answer)))),
            None => failed("the authorizer's answer is not known yet"),
        }
    }
}

pub(super) fn call<'a>(function: &str, is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    let [Val::Access(access), rest @ ..] = args else { return None };
    if !is_member {
        return None;
    }
    match &**access {
        AccessVal::Answered(answer) => answered(function, answer, rest),
        AccessVal::Asking(asking) => asked(function, asking, rest),
    }
}

fn answered<'a>(function: &str, answer: &AccessAnswer, rest: &[Val<'a>]) -> Option<Called<'a>> {
    Some(Ok(match (function, rest) {
        ("allowed", []) => Val::Bool(answer.allowed),
        ("reason", []) => Val::Str(answer.reason.as_str().into()),
        ("errored", []) => Val::Bool(answer.error.is_some()),
        ("error", []) => Val::Str(answer.error.as_deref().unwrap_or_default().into()),
        _ => return None,
    }))
}

fn asked<'a>(function: &str, asking: &Asking<'a>, rest: &[Val<'a>]) -> Option<Called<'a>> {
    let is_blank = |text: &SmolStr| text.trim().is_empty();
    Some(match (asking.stage, function, rest) {
        (Stage::Authorizer, "path", [Val::Str(path)]) if is_blank(path) => failed("path must not be empty"),
        (Stage::Authorizer, "path", [Val::Str(path)]) => {
            Ok(asking.with(Stage::Path, |question| question.path = Some(path.clone())))
        }
        (Stage::Authorizer, "group", [Val::Str(group)]) => {
            Ok(asking.with(Stage::Group, |question| question.group = group.clone()))
        }
        (Stage::Authorizer, "serviceAccount", [Val::Str(namespace), Val::Str(name)]) => {
            if !is_subdomain(name) {
                return Some(failed("Invalid service account name"));
            }
            if !is_label(namespace) || namespace.len() > 63 {
                return Some(failed("Invalid service account namespace"));
            }
            let account = Some((namespace.clone(), name.clone()));
            Ok(asking.with(Stage::Authorizer, |question| question.account = account))
        }
        (Stage::Group, "resource", [Val::Str(resource)]) if is_blank(resource) => {
            failed("resource must not be empty")
        }
        (Stage::Group, "resource", [Val::Str(resource)]) => {
            Ok(asking.with(Stage::Resource, |question| question.resource = resource.clone()))
        }
        (Stage::Resource, _, [Val::Str(text)]) if function != "check" => {
            let text = text.clone();
            match function {
                "subresource" => Ok(asking.with(Stage::Resource, |question| question.subresource = text)),
                "namespace" => Ok(asking.with(Stage::Resource, |question| question.namespace = text)),
                "name" => Ok(asking.with(Stage::Resource, |question| question.name = text)),
                "fieldSelector" => {
                    Ok(asking.with(Stage::Resource, |question| question.field_selector = text))
                }
                "labelSelector" => {
                    Ok(asking.with(Stage::Resource, |question| question.label_selector = text))
                }
                _ => return None,
            }
        }
        (Stage::Path | Stage::Resource, "check", [Val::Str(verb)]) => asking.check(verb),
        _ => return None,
    })
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}
