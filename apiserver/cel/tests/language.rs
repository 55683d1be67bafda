//! What expressions give, which are refused, and that nothing else can happen.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use mainstay_apiserver_cel::{Environment, EvalError, Meter, Shape, Val, Variable};
use mainstay_apiserver_machinery::structural::parse;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use proptest::prelude::*;

fn schema() -> Value {
    value!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 20},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "when": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": true},
        "items": {"type": "array", "maxItems": 10, "items": {"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 10}, "n": {"type": "integer"}}}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 10, "items": {"type": "string", "maxLength": 10}},
        "labels": {"type": "object", "maxProperties": 10, "additionalProperties": {"type": "string", "maxLength": 10}},
        "free": {"type": "object", "additionalProperties": {"type": "string"}},
        "odd-name": {"type": "string"}, "in": {"type": "string"},
    }})
}

fn object() -> Value {
    value!({"name": "web", "count": 3, "ratio": 2, "when": "2026-01-02T03:04:05Z", "wait": "90s", "port": "http",
        "items": [{"name": "a", "n": 1}, {"name": "b", "n": 2}], "set": ["x", "y"],
        "labels": {"app": "web", "tier": "front"}, "odd-name": "odd", "in": "kw"})
}

fn environment() -> Environment {
    let shape = Arc::new(Shape::of_schema(&parse(&schema()).unwrap(), false));
    let old = Variable { is_optional: true, ..Variable::new("oldSelf", Arc::clone(&shape)) };
    Environment::of(vec![Variable::new("self", shape), old])
}

/// What an expression gives: its value as text, or the error.
fn run(text: &str) -> String {
    let shape = Shape::of_schema(&parse(&schema()).unwrap(), false);
    let object = object();
    let program = match environment().compile(text) {
        Ok(program) => program,
        Err(error) => return format!("refused: {}", error.to_string().lines().next().unwrap_or_default()),
    };
    let names = vec![
        ("self", Val::new(&object, Some(&shape)).unwrap()),
        ("oldSelf", Val::new(&object, Some(&shape)).map(|_| Val::Optional(None)).unwrap()),
    ];
    match program.run(names, &mut Meter::new(1_000_000)) {
        Ok(Val::Bool(flag)) => flag.to_string(),
        Ok(Val::Str(text)) => text.to_string(),
        Ok(Val::Int(number)) => number.to_string(),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn expressions_give_what_the_language_says() {
    for text in [
        "self.count == 3 && self.count > 2.5 && self.ratio == 2.0",
        "1 + 2 * 3 - -4 == 11 && 7 / 2 == 3 && 7 % 4 == 3 && 0x1f == 31",
        "-9223372036854775808 < 0",
        "'a' + \"b\" == 'ab' && r'\\d' == '\\\\d' && 'é'.size() == 1 && '\\u00e9' == 'é'",
        "size(self.items) == 2 && self.items[1].name == 'b'",
        "self.items.all(i, i.n > 0) && self.items.exists(i, i.name == 'b') && self.items.exists_one(i, i.n == 1)",
        "self.items.map(i, i.n * 2) == [2, 4] && self.items.map(i, i.n > 1, i.name) == ['b']",
        "self.items.filter(i, i.n > 1).size() == 1 && self.items.all(at, i, i.n == at + 1)",
        "self.labels.all(k, k.startsWith('a') || self.labels[k] == 'front')",
        "self.labels.exists(k, v, k == 'app' && v == 'web') && 'app' in self.labels && !('z' in self.labels)",
        "has(self.name) && !has(self.free) && has(self.labels.app) && !has(self.labels.zzz)",
        "self.set == ['y', 'x'] && self.set + ['x', 'z'] == self.set + ['z']",
        "self.__in__ == 'kw' && self.odd__dash__name == 'odd' && self.`odd-name` == 'odd'",
        "self.when.getFullYear() == 2026 && self.when < timestamp('2027-01-01T00:00:00Z')",
        "self.wait == duration('1m30s') && self.wait.getMinutes() == 1 && string(self.wait) == '90s'",
        "self.port == 'http' && type(self.port) == string && type(1) == int",
        "false && self.items[9].n == 1 || true",
        "self.items[9].n == 1 || true",
        "(self.count > 1 ? 'many' : 'one') == 'many'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && ['a', 'b'].join('-') == 'a-b' && 'abc'.replace('b', 'x') == 'axc'",
        "'hello'.substring(1, 3) == 'el' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3",
        "'Ab'.lowerAscii() == 'ab' && ' a '.trim() == 'a' && 'abc'.charAt(1) == 'b'",
        "'%s has %d and %.2f'.format(['a', 2, 1.5]) == 'a has 2 and 1.50'",
        "'abc123'.matches('^[a-z]+[0-9]+$') && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'x'.find('y') == ''",
        "[1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [1, 2].isSorted() && [1, 2, 1].lastIndexOf(1) == 2",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "quantity('1Gi').isGreaterThan(quantity('500M')) && quantity('50m').add(quantity('50m')) == quantity('100m')",
        "isQuantity('20Mi') && !isQuantity('20Mo') && quantity('2').asInteger() == 2",
        "url('https://user@h.example:8080/p?q=1&q=2').getHost() == 'h.example:8080' && isURL('https://a.b')",
        "url('https://h:80/a/b?x=1').getEscapedPath() == '/a/b' && url('https://h:80/').getPort() == '80'",
        "ip('10.0.0.1').family() == 4 && isIP('::1') && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && !isCIDR('10.0.0.0/40') && ip('127.0.0.1').isLoopback()",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
        "!format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('NOT').hasValue()",
        "self.?free[?'a'].orValue('none') == 'none' && self.?name.orValue('x') == 'web'",
        "optional.of(1).value() == 1 && !optional.none().hasValue() && oldSelf.orValue(self).name == 'web'",
        "optional.of(self).optMap(v, v.name).orValue('x') == 'web' && [1, ?optional.none(), ?optional.of(2)] == [1, 2]",
        "{'a': 1, 'b': 2}['b'] == 2 && {'a': 1} == {'a': 1} && {'a': 1}.all(k, k == 'a')",
        "int('42') == 42 && string(1.5) == '1.5' && double(2) == 2.0 && bool('true') && uint(3) == 3u",
        "dyn(1) == 1.0 && [dyn(1), dyn('a')].size() == 2 && b'ab' == bytes('ab')",
        "self.items.transformList(i, v, v.n + i) == [1, 3] && self.labels.transformMap(k, v, k + v)['app'] == 'appweb'",
        "string(timestamp('2026-01-02T03:04:05Z') + duration('1h')) == '2026-01-02T04:04:05Z' // a comment",
    ] {
        assert_eq!(run(text), "true", "{text}");
    }
}

#[test]
fn failures_have_upstreams_words() {
    for (text, want) in [
        ("self.items[5].n == 1", "error: index out of bounds: 5"),
        ("1 / (self.count - 3) == 0", "error: division by zero"),
        ("self.free.x == 'a'", "error: no such key: free"),
        ("9223372036854775807 + self.count == 0", "error: integer overflow"),
        ("self.nope == 1", "refused: ERROR: <input>:1:5: undefined field 'nope'"),
        (
            "self.name == 1",
            "refused: ERROR: <input>:1:11: found no matching overload for '_==_' applied to '(string, int)'",
        ),
        (
            "self.name.startsWith(1)",
            "refused: ERROR: <input>:1:10: found no matching overload for 'startsWith' applied to 'string.(int)'",
        ),
        ("nope(1)", "refused: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')"),
        ("other", "refused: ERROR: <input>:1:1: undeclared reference to 'other' (in container '')"),
        ("[1, 'a'].size() == 2", "refused: ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        (
            "self.count && true",
            "refused: ERROR: <input>:1:5: found no matching overload for '_&&_' applied to '(int)'",
        ),
        ("1 +", "refused: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>'"),
    ] {
        assert_eq!(run(text), want, "{text}");
    }
}

#[test]
fn costs_are_bounded_before_and_while_running() {
    let cost = |text: &str| environment().compile(text).unwrap().cost_max();
    assert!(cost("self.name == 'web'") < 10);
    assert!(cost("self.items.all(i, i.name.startsWith('a'))") < 200);
    let nested = cost("self.free.all(a, self.free.all(b, a == b))");
    assert!(nested > 1_000_000_000, "{nested}");
    assert!(cost("self.free.all(a, self.free[a].contains('x'))") > 10_000_000);
    let program = environment().compile("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, a + b + c > 0)))").unwrap();
    assert_eq!(program.run(Vec::new(), &mut Meter::new(1000)).err(), Some(EvalError::Budget));
    assert!(program.run(Vec::new(), &mut Meter::new(100_000)).is_ok());
}

#[test]
fn deep_and_long_texts_are_refused() {
    for text in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}true", "!".repeat(10_000)),
        format!("1{}", " + 1".repeat(10_000)),
        format!("self{}", ".name".repeat(10_000)),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("'{}'", "a".repeat(100_000)),
        format!("{}1", "true ? ".repeat(5000)),
    ] {
        assert!(environment().compile(&text).is_err(), "{}", &text[..20]);
    }
    assert!(environment().compile(&format!("true{}", " && true".repeat(500))).is_ok());
    for pattern in ["'a'.matches('(a{1000}){1000}')", "'a'.matches('(')"] {
        assert_eq!(run(pattern).split(':').next(), Some("refused"), "{pattern}");
        assert_eq!(run(&pattern.replace("')", "' + '')")).split(':').next(), Some("error"), "{pattern}");
    }
}

fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "self",
        ".name",
        ".items",
        ".count",
        "[0]",
        "[?1]",
        ".?free",
        "'a'",
        "1",
        "2u",
        "1.5",
        "true",
        "null",
        "==",
        "<",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "in",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        ".all(x, ",
        ".map(x, x)",
        ".exists(x, x == 1)",
        "size(",
        "has(self.name)",
        ".matches('a')",
        ".split(',')",
        "dyn(",
        "x",
        "quantity('1')",
        "duration('1s')",
        "timestamp(0)",
        ".orValue(1)",
        "optional.of(",
        "b'x'",
        "r\"y\"",
        "//",
        "\n",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14)
        .prop_map(|words| words.join(" ").replace(" .", "."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_text_gives_a_value_an_error_or_the_end_of_its_budget(text in prop_oneof![fragment(), ".{0,40}"]) {
        let result = run(&text);
        prop_assert!(!result.is_empty() || text.contains("''"));
    }
}
