//! Expressions: any text gives a program or an error, any run a value, an error or the end of its budget.
#![no_main]

use std::sync::Arc;

use mainstay_apiserver_cel::{
    Access, AccessAnswer, AccessQuestion, Environment, Meter, Shape, Val, Variable,
};
use mainstay_apiserver_machinery::schema::lookup;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

struct Nobody;

impl Access for Nobody {
    fn ask(&self, _question: &AccessQuestion) -> Option<AccessAnswer> {
        Some(AccessAnswer::default())
    }
}

/// What one run may cost.
const BUDGET: u64 = 100_000;

/// What expressions see: a pod, something of no known shape, and the authorizer.
struct Sight {
    environment: Environment,
    pod: Arc<Shape>,
    object: Value,
}

thread_local! {
    static SIGHT: Option<Sight> = sight();
}

fn sight() -> Option<Sight> {
    let pod = Arc::new(Shape::of_built_in(lookup("core/v1.Pod")?));
    let variables = vec![
        Variable::new("object", Arc::clone(&pod)),
        Variable::new("any", Arc::new(Shape::any())),
        Variable::new("authorizer", Arc::new(Shape::authorizer())),
    ];
    let object =
        value!({"metadata": {"name": "p", "labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}]}});
    Some(Sight { environment: Environment::of(variables).making_objects(), pod, object })
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    SIGHT.with(|sight| {
        let Some(Sight { environment, pod, object }) = sight else { return };
        let Ok(program) = environment.compile(text) else { return };
        let names = vec![
            ("object", Val::new(object, Some(pod)).expect("it fits")),
            ("any", Val::new(object, None).expect("anything fits")),
            ("authorizer", Val::authorizer(&Nobody, AccessQuestion::default())),
        ];
        let mut meter = Meter::new(BUDGET);
        drop(program.run(names, &mut meter));
    });
});
