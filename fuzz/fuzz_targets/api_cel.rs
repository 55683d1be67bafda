//! Expressions: any text gives a program or an error, any run a value, an error or the end of its budget.
#![no_main]

use std::sync::Arc;

use mainstay_apiserver_cel::{Access, AccessAnswer, AccessQuestion, Environment, Meter, Shape, Val, Variable};
use mainstay_apiserver_machinery::schema::lookup;
use mainstay_apiserver_machinery::value;

struct Nobody;

impl Access for Nobody {
    fn ask(&self, _question: &AccessQuestion) -> Option<AccessAnswer> {
        Some(AccessAnswer::default())
    }
}

/// What one run may cost.
const BUDGET: u64 = 100_000;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Some(pod) = lookup("core/v1.Pod") else { return };
    let shape = Arc::new(Shape::of_built_in(pod));
    let variables = vec![
        Variable::new("object", Arc::clone(&shape)),
        Variable::new("any", Arc::new(Shape::any())),
        Variable::new("authorizer", Arc::new(Shape::authorizer())),
    ];
    let Ok(program) = Environment::of(variables).making_objects().compile(text) else { return };
    let object = value!({"metadata": {"name": "p", "labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}]}});
    let names = vec![
        ("object", Val::new(&object, Some(&shape)).expect("it fits")),
        ("any", Val::new(&object, None).expect("anything fits")),
        ("authorizer", Val::authorizer(&Nobody, AccessQuestion::default())),
    ];
    let mut meter = Meter::new(BUDGET);
    drop(program.run(names, &mut meter));
});
