//! The expressions of policies and match conditions: the names that they may use, and the check that they compile to what
//! is wanted, in upstream's words. Whoever runs them uses the same names.

use mainstay_apiserver_cel::{Environment, Field, Shape, Type, Variable};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use smol_str::SmolStr;
use std::sync::{Arc, LazyLock};

/// What expressions of admission may name. What `object`, `oldObject` and `params` are is known when an expression runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionNames {
    /// Whether there are parameters.
    pub params: bool,
    /// Whether the authorizer may be asked.
    pub authorizer: bool,
    /// Whether there are a policy's variables.
    pub variables: bool,
}

/// The type of `request`.
pub static REQUEST_SHAPE: LazyLock<Arc<Shape>> = LazyLock::new(|| Arc::new(request()));
/// The type of `namespaceObject`.
pub static NAMESPACE_SHAPE: LazyLock<Arc<Shape>> = LazyLock::new(|| Arc::new(namespace()));

impl AdmissionNames {
    /// The names, with their types.
    pub fn environment(self) -> Environment {
        let any = Arc::new(Shape::any());
        self.environment_of(&any, &any)
    }

    /// The names where the objects and the parameters are of these types.
    pub(super) fn environment_of(self, object: &Arc<Shape>, params: &Arc<Shape>) -> Environment {
        let any = Arc::new(Shape::any());
        let variable = |name: &str, shape: &Arc<Shape>| Variable::new(name, Arc::clone(shape));
        let mut names = vec![
            variable("object", object),
            variable("oldObject", object),
            variable("request", &REQUEST_SHAPE),
            variable("namespaceObject", &NAMESPACE_SHAPE),
        ];
        names.extend(self.params.then(|| variable("params", params)));
        names.extend(self.variables.then(|| variable("variables", &any)));
        names.extend(self.authorizer.then(|| Variable::new("authorizer", Arc::new(Shape::authorizer()))));
        Environment::of(names)
    }
}

fn text(name: &str, is_required: bool) -> Field {
    Shape::field(name, Shape::text(None), is_required)
}

fn texts() -> Shape {
    Shape::list(Shape::text(None), None)
}

/// Upstream's type of a request.
fn request() -> Shape {
    let of =
        |name: &str, fields: [&str; 3]| Shape::object(name, fields.map(|field| text(field, true)).into());
    let kind = || of("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = || of("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = Shape::object(
        "kubernetes.UserInfo",
        vec![
            text("username", false),
            text("uid", false),
            Shape::field("groups", texts(), false),
            Shape::field("extra", Shape::map(texts(), None), false),
        ],
    );
    Shape::object(
        "kubernetes.AdmissionRequest",
        vec![
            Shape::field("kind", kind(), true),
            Shape::field("resource", resource(), true),
            text("subResource", false),
            Shape::field("requestKind", kind(), true),
            Shape::field("requestResource", resource(), true),
            text("requestSubResource", false),
            text("name", true),
            text("namespace", false),
            text("operation", true),
            Shape::field("userInfo", user, true),
            Shape::field("dryRun", Shape::flag(), false),
            Shape::field("options", Shape::any(), false),
        ],
    )
}

/// Upstream's type of a namespace.
fn namespace() -> Shape {
    let time = |name: &str| Shape::field(name, Shape::timestamp(), true);
    let number = |name: &str| Shape::field(name, Shape::number(), true);
    let pairs = |name: &str| Shape::field(name, Shape::map(Shape::text(None), None), true);
    let finalizers = || Shape::field("finalizers", texts(), true);
    let mut metadata: Vec<Field> =
        ["name", "generateName", "namespace", "UID", "resourceVersion"].map(|name| text(name, true)).into();
    metadata.extend([pairs("labels"), pairs("annotations"), finalizers()]);
    metadata.extend([time("creationTimestamp"), time("deletionTimestamp")]);
    metadata.extend([number("deletionGracePeriodSeconds"), number("generation")]);
    let mut condition: Vec<Field> =
        ["status", "type", "message", "reason"].map(|name| text(name, true)).into();
    condition.push(time("lastTransitionTime"));
    let conditions = Shape::list(Shape::object("kubernetes.NamespaceCondition", condition), None);
    let status = vec![Shape::field("conditions", conditions, true), text("phase", true)];
    let object = |name: &str, kind: &str, fields| Shape::field(name, Shape::object(kind, fields), true);
    Shape::object(
        "kubernetes.Namespace",
        vec![
            object("metadata", "kubernetes.NamespaceMetadata", metadata),
            object("spec", "kubernetes.NamespaceSpec", vec![finalizers()]),
            object("status", "kubernetes.NamespaceStatus", status),
        ],
    )
}

/// Compiles expressions of one object.
pub(super) struct Expressions {
    environment: Environment,
}

impl Expressions {
    /// Expressions that may use these names.
    pub(super) fn new(names: AdmissionNames) -> Self {
        Self { environment: names.environment() }
    }

    /// The same, for expressions that make objects.
    pub(super) fn making_objects(self) -> Self {
        Self { environment: self.environment.making_objects() }
    }

    /// The same, with variables of these types.
    pub(super) fn with_variables(&self, variables: Vec<(SmolStr, Type)>) -> Self {
        Self { environment: self.environment.clone().with_fields(variables) }
    }

    /// The type of what an expression gives; anything where it does not compile.
    pub(super) fn type_of(&self, expression: &At<'_>) -> Type {
        self.environment.compile(expression.text()).map_or(Type::Dyn, |program| program.result().clone())
    }

    /// Checks that there is an expression and that it gives one of `wanted`, or anything where none is stated.
    pub(super) fn check(&self, expression: &At<'_>, wanted: &[Type], errors: &mut ErrorList) {
        if expression.text().trim().is_empty() {
            errors.required(&expression.path, "");
            return;
        }
        match self.environment.compile(expression.text()) {
            Err(error) => expression.invalid(errors, &format!("compilation failed: {error}")),
            Ok(program) => {
                let fits = |wanted: &Type| gives(program.result(), wanted);
                if wanted.is_empty() || wanted.iter().any(fits) {
                    return;
                }
                // As Go prints them: `null` is the name of the value there.
                let name = |one: &Type| match one {
                    Type::Null => "null_type".into(),
                    other => other.to_string(),
                };
                let names: Vec<String> = wanted.iter().map(name).collect();
                let names = match names.as_slice() {
                    [one] => one.clone(),
                    several => format!("one of [{}]", several.join(" ")),
                };
                let text = format!("must evaluate to {names} but got {}", program.result());
                expression.invalid(errors, &text);
            }
        }
    }
}

/// Whether a result is of a type. What is only known at run time is, as upstream, no boolean and no string.
fn gives(found: &Type, wanted: &Type) -> bool {
    match (found, wanted) {
        (Type::Dyn, wanted) => !matches!(wanted, Type::Bool | Type::Str),
        (Type::List(found), Type::List(wanted)) => gives(found, wanted),
        (Type::Made(found), Type::Made(wanted)) => found == wanted,
        _ => std::mem::discriminant(found) == std::mem::discriminant(wanted),
    }
}
