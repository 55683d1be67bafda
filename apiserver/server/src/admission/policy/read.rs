//! Policies and bindings, read once and kept until they change.

use mainstay_apiserver_cel::{Program, Type};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Gvk;
use smol_str::SmolStr;

use super::conditions::Conditions;
use super::names::environment;
use crate::admission::webhook::matching::Criteria;

/// A compiled expression, or why it does not compile.
pub(super) type Compiled = Result<Program, String>;

/// One of a policy's validations.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) text: SmolStr,
    pub(super) program: Compiled,
    pub(super) message: SmolStr,
    pub(super) message_program: Option<Compiled>,
    pub(super) reason: SmolStr,
}

/// What the audit log is told.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) key: SmolStr,
    pub(super) text: SmolStr,
    pub(super) program: Compiled,
}

/// One of a policy's mutations.
#[derive(Debug)]
pub(super) enum Mutation {
    /// Gives an object to lay over the request's.
    Apply(Compiled),
    /// Gives the operations of a JSON patch.
    Patch(Compiled),
}

/// A policy; validating ones have no mutations, mutating ones no validations.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: SmolStr,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<(SmolStr, Compiled)>,
    pub(super) validations: Vec<Validation>,
    pub(super) notes: Vec<Note>,
    pub(super) mutations: Vec<Mutation>,
    /// Whether it looks again when a later policy changed the object.
    pub(super) again: bool,
    pub(super) param_kind: Option<Gvk>,
    /// Whether the request goes on when the policy cannot be evaluated.
    pub(super) fails_open: bool,
}

/// Which objects are a binding's parameters.
#[derive(Debug, Clone)]
pub(super) struct ParamRef {
    pub(super) name: SmolStr,
    pub(super) namespace: SmolStr,
    pub(super) selector: Value,
    pub(super) denies_absence: bool,
}

/// A binding.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: SmolStr,
    pub(super) policy: SmolStr,
    pub(super) criteria: Option<Criteria>,
    pub(super) params: Option<ParamRef>,
    pub(super) denies: bool,
    pub(super) warns: bool,
    pub(super) audits: bool,
    /// `validationActions` as they are written.
    pub(super) actions: Vec<SmolStr>,
}

impl Policy {
    /// Reads a policy; expressions that do not compile are kept as such and fail when they are needed.
    ///
    /// # Errors
    /// Selectors that cannot be read.
    pub(super) fn read(object: &Value) -> Result<Self, String> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let mutates = Meta(object).kind() == "MutatingAdmissionPolicy";
        let environment = if mutates { environment().making_objects() } else { environment() };
        let compile = |text: &str, wanted: &Type| match environment.compile(text) {
            Ok(program) if matches!(program.result(), Type::Dyn) || same(program.result(), wanted) => {
                Ok(program)
            }
            Ok(program) => Err(format!("must evaluate to {wanted}, not {}", program.result())),
            Err(error) => Err(format!("compilation error: {error}")),
        };
        let validation = |one: &Value| {
            let text = |name: &str| SmolStr::new(one.path_str(&[name]).unwrap_or_default());
            let message = text("messageExpression");
            Validation {
                program: compile(&text("expression"), &Type::Bool),
                text: text("expression"),
                message: text("message"),
                message_program: (!message.is_empty()).then(|| compile(&message, &Type::Str)),
                reason: text("reason"),
            }
        };
        let variable = |one: &Value| {
            let text = |name: &str| one.path_str(&[name]).unwrap_or_default();
            let program = environment.compile(text("expression"));
            (SmolStr::new(text("name")), program.map_err(|error| format!("compilation error: {error}")))
        };
        let note = |one: &Value| {
            let text = |name: &str| SmolStr::new(one.path_str(&[name]).unwrap_or_default());
            let program = environment.compile(&text("valueExpression"));
            let program = program.map_err(|error| format!("compilation error: {error}"));
            Note { key: text("key"), text: text("valueExpression"), program }
        };
        let mutation = |one: &Value| {
            let text = |part: &str| one.path_str(&[part, "expression"]).unwrap_or_default();
            match one.path_str(&["patchType"]) {
                Some("JSONPatch") => {
                    let wanted = Type::list(Type::Made("JSONPatch".into()));
                    Mutation::Patch(compile(text("jsonPatch"), &wanted))
                }
                _ => Mutation::Apply(compile(text("applyConfiguration"), &Type::Made("Object".into()))),
            }
        };
        let param_kind = spec.get("paramKind").filter(|kind| !kind.is_null()).map(|kind| {
            let text = |name: &str| kind.path_str(&[name]).unwrap_or_default();
            Gvk::from_api_version(text("apiVersion"), text("kind"))
        });
        Ok(Self {
            name: Meta(object).name().into(),
            criteria: Criteria::read(spec.get("matchConstraints").unwrap_or(&Value::Null))?,
            conditions: Conditions::read(spec.path_list(&["matchConditions"])),
            variables: spec.path_list(&["variables"]).iter().map(variable).collect(),
            validations: spec.path_list(&["validations"]).iter().map(validation).collect(),
            notes: spec.path_list(&["auditAnnotations"]).iter().map(note).collect(),
            mutations: spec.path_list(&["mutations"]).iter().map(mutation).collect(),
            again: spec.path_str(&["reinvocationPolicy"]) == Some("IfNeeded"),
            param_kind,
            fails_open: spec.path_str(&["failurePolicy"]) == Some("Ignore"),
        })
    }
}

impl Binding {
    /// Reads a binding.
    ///
    /// # Errors
    /// Selectors that cannot be read.
    pub(super) fn read(object: &Value) -> Result<Self, String> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let actions = spec.path_list(&["validationActions"]);
        let has = |action: &str| actions.iter().any(|one| one == action);
        let criteria = spec.get("matchResources").filter(|value| !value.is_null());
        let params = spec.get("paramRef").filter(|value| !value.is_null()).map(|params| ParamRef {
            name: params.path_str(&["name"]).unwrap_or_default().into(),
            namespace: params.path_str(&["namespace"]).unwrap_or_default().into(),
            selector: params.get("selector").cloned().unwrap_or_default(),
            denies_absence: params.path_str(&["parameterNotFoundAction"]) != Some("Allow"),
        });
        Ok(Self {
            name: Meta(object).name().into(),
            policy: spec.path_str(&["policyName"]).unwrap_or_default().into(),
            criteria: criteria.map(Criteria::read).transpose()?,
            params,
            denies: has("Deny"),
            warns: has("Warn"),
            audits: has("Audit"),
            actions: actions.iter().filter_map(|one| one.as_str().map(SmolStr::from)).collect(),
        })
    }
}

fn same(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::List(one), Type::List(other)) => matches!(**one, Type::Dyn) || same(one, other),
        (Type::Made(one), Type::Made(other)) => one == other,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}
