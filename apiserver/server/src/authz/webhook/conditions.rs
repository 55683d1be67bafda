//! [`Conditions`]: expressions over a SubjectAccessReview that say whether a webhook is asked about it. Pure.

use std::sync::Arc;

use mainstay_apiserver_cel::{Environment, Meter, Program, Shape, Type, Val, Variable};
use mainstay_apiserver_machinery::value::Value;

/// What one condition may cost.
const COST_MAX: u64 = 1_000_000;

/// Conditions that all have to hold, compiled.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Arc<[Program]>);

/// Whether the conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// All hold.
    All,
    /// One does not.
    No,
    /// None is false, and one cannot be evaluated.
    Failed(String),
}

impl Conditions {
    /// Compiles expressions.
    ///
    /// # Errors
    /// The position of the first that does not give a boolean, and why.
    pub fn compile(expressions: &[String]) -> Result<Self, (usize, String)> {
        let environment = Environment::of(vec![Variable::new("request", Arc::new(request_shape()))]);
        let compile = |(at, text): (usize, &String)| {
            let program =
                environment.compile(text).map_err(|error| (at, format!("compilation failed: {error}")))?;
            match program.result() {
                Type::Bool => Ok(program),
                other => Err((at, format!("must evaluate to bool but got {other}"))),
            }
        };
        expressions.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether they hold for the spec of a review.
    pub(super) fn met(&self, spec: &Value) -> Met {
        let mut failed = None;
        for program in self.0.iter() {
            let mut meter = Meter::new(COST_MAX);
            let result =
                Val::new(spec, None).and_then(|spec| program.run(vec![("request", spec)], &mut meter));
            match result {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Met::No,
                Ok(other) => failed = Some(format!("cel evaluation gives a {}", other.type_name())),
                Err(error) => failed = Some(format!("cel evaluation error: {error}")),
            }
        }
        failed.map_or(Met::All, Met::Failed)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Upstream's type of the spec of a SubjectAccessReview.
fn request_shape() -> Shape {
    let text = |name: &str| Shape::field(name, Shape::text(None), false);
    let texts = || Shape::list(Shape::text(None), None);
    let requirement = || {
        Shape::object(
            "kubernetes.SelectorRequirement",
            vec![text("key"), text("operator"), Shape::field("values", texts(), false)],
        )
    };
    let selector = |name: &str| {
        let requirements = Shape::field("requirements", Shape::list(requirement(), None), false);
        Shape::object(name, vec![text("rawSelector"), requirements])
    };
    let mut resource: Vec<_> =
        ["namespace", "verb", "group", "version", "resource", "subresource", "name"].map(text).into();
    resource.push(Shape::field("fieldSelector", selector("kubernetes.FieldSelectorAttributes"), false));
    resource.push(Shape::field("labelSelector", selector("kubernetes.LabelSelectorAttributes"), false));
    let other = vec![text("path"), text("verb")];
    Shape::object(
        "kubernetes.SubjectAccessReviewSpec",
        vec![
            Shape::field(
                "resourceAttributes",
                Shape::object("kubernetes.ResourceAttributes", resource),
                false,
            ),
            Shape::field(
                "nonResourceAttributes",
                Shape::object("kubernetes.NonResourceAttributes", other),
                false,
            ),
            text("user"),
            Shape::field("groups", texts(), false),
            Shape::field("extra", Shape::map(texts(), None), false),
            text("uid"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_machinery::value;

    use super::*;

    #[test]
    fn a_false_condition_wins_over_one_that_fails() {
        let compile = |texts: &[&str]| {
            Conditions::compile(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let spec =
            value!({"user": "jane", "groups": ["dev"], "resourceAttributes": {"namespace": "default"}});
        let met = |texts: &[&str]| compile(texts).unwrap().met(&spec);
        assert_eq!(met(&[]), Met::All);
        assert_eq!(met(&["has(request.resourceAttributes)", "'dev' in request.groups"]), Met::All);
        let fails = "request.nonResourceAttributes.path == '/x'";
        assert!(matches!(met(&[fails, "request.user == 'jane'"]), Met::Failed(_)));
        assert_eq!(met(&[fails, "request.user == 'joe'"]), Met::No);
        assert_eq!(
            compile(&["true", "request.user"]).unwrap_err(),
            (1, "must evaluate to bool but got string".into())
        );
        assert!(compile(&["request.nope == 1"]).unwrap_err().1.contains("undefined field 'nope'"));
    }
}
