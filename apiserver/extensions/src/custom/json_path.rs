//! The JSONPath of printer columns, as kubectl and the API server understand it: fields, indexes, slices, wildcards,
//! recursive descent and filters. Reading one and following it are total and bounded.

use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// Steps that a path may have.
const STEPS_MAX: usize = 64;
/// Values that one path may pass through.
const VISITS_MAX: usize = 10_000;

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct PathError {
    /// What is wrong.
    pub reason: &'static str,
    /// Where.
    pub at: usize,
}

/// A path, ready to be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(SmolStr),
    All,
    Deep,
    Index(i64),
    Slice { from: Option<i64>, to: Option<i64>, step: i64 },
    Names(Vec<SmolStr>),
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    left: Operand,
    right: Option<(Comparison, Operand)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut parser = Parser { text, at: 0 };
        let path = parser.path()?;
        if parser.at < text.len() {
            return Err(parser.wrong("unexpected text"));
        }
        Ok(path)
    }

    /// What the path leads to, in order.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        let mut visits = VISITS_MAX;
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.follow(value, &mut next, &mut visits);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn follow<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>, visits: &mut usize) {
        let Some(left) = visits.checked_sub(1) else { return };
        *visits = left;
        match (self, value) {
            (Self::Field(name), Value::Map(map)) => out.extend(map.get(name)),
            (Self::Names(names), Value::Map(map)) => {
                out.extend(names.iter().filter_map(|name| map.get(name)));
            }
            (Self::All, Value::Map(map)) => out.extend(map.values().take(left)),
            (Self::All, Value::List(items)) => out.extend(items.iter().take(left)),
            (Self::Index(at), Value::List(items)) => {
                out.extend(position(*at, items.len()).and_then(|at| items.get(at)));
            }
            (Self::Slice { from, to, step }, Value::List(items)) => {
                let clamp =
                    |at: i64| position(at, items.len()).unwrap_or(if at < 0 { 0 } else { items.len() });
                let (from, to) = (from.map_or(0, clamp), to.map_or(items.len(), clamp));
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                out.extend(items.get(from..to.max(from)).unwrap_or_default().iter().step_by(step));
            }
            (Self::Deep, _) => deep(value, out, visits),
            (Self::Filter(filter), Value::List(items)) => {
                out.extend(items.iter().take(left).filter(|item| filter.holds(item)));
            }
            (Self::Filter(filter), Value::Map(map)) => {
                out.extend(map.values().take(left).filter(|item| filter.holds(item)));
            }
            _ => {}
        }
    }
}

fn deep<'v>(value: &'v Value, out: &mut Vec<&'v Value>, visits: &mut usize) {
    let Some(left) = visits.checked_sub(1) else { return };
    *visits = left;
    out.push(value);
    match value {
        Value::Map(map) => map.values().for_each(|member| deep(member, out, visits)),
        Value::List(items) => items.iter().for_each(|item| deep(item, out, visits)),
        _ => {}
    }
}

/// Where a possibly negative index points.
fn position(at: i64, length: usize) -> Option<usize> {
    let length_signed = i64::try_from(length).ok()?;
    let at = if at < 0 { at.checked_add(length_signed)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < length)
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = self.left.values(item);
        let Some((comparison, right)) = &self.right else { return !left.is_empty() };
        let right = right.values(item);
        match (left.first(), right.first()) {
            (Some(left), Some(right)) => comparison.holds(left, right),
            _ => false,
        }
    }
}

impl Operand {
    fn values<'v>(&'v self, item: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Path(path) => path.find(item),
            Self::Literal(value) => vec![value],
        }
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Str(left), Value::Str(right)) => Some(left.cmp(right)),
            (left, right) if left.as_f64().is_some() => {
                left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
            }
            (left, right) if left == right => Some(std::cmp::Ordering::Equal),
            _ => None,
        };
        match (self, order) {
            (Self::Equal, Some(order)) => order.is_eq(),
            (Self::NotEqual, order) => order.is_none_or(std::cmp::Ordering::is_ne),
            (Self::Less, Some(order)) => order.is_lt(),
            (Self::LessOrEqual, Some(order)) => order.is_le(),
            (Self::Greater, Some(order)) => order.is_gt(),
            (Self::GreaterOrEqual, Some(order)) => order.is_ge(),
            (_, None) => false,
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, reason: &'static str) -> PathError {
        PathError { reason, at: self.at }
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn path(&mut self) -> Result<JsonPath, PathError> {
        let mut steps = Vec::new();
        loop {
            if steps.len() > STEPS_MAX {
                return Err(self.wrong("too many steps"));
            }
            if self.eat("..") {
                steps.push(Step::Deep);
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.eat(".") {
                // `.` alone is the object; `.[0]` is `[0]`.
                if !self.rest().is_empty() && !self.rest().starts_with(['[', ' ', ')', '=', '!', '<', '>']) {
                    steps.push(self.name()?);
                }
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(JsonPath { steps });
            }
        }
    }

    fn name(&mut self) -> Result<Step, PathError> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        let mut name = String::new();
        let mut chars = self.rest().char_indices();
        let mut end = self.rest().len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ' ' | ')' | '=' | '!' | '<' | '>' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.at += end;
        if name.is_empty() { Err(self.wrong("a name is missing")) } else { Ok(Step::Field(name.into())) }
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        self.spaces();
        let step = if self.eat("?(") {
            let filter = self.filter()?;
            if !self.eat(")") {
                return Err(self.wrong("unterminated filter"));
            }
            Step::Filter(filter)
        } else if self.eat("*") {
            Step::All
        } else if self.rest().starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            while self.eat(",") {
                self.spaces();
                names.push(self.quoted()?);
            }
            Step::Names(names)
        } else {
            self.index()?
        };
        self.spaces();
        if self.eat("]") { Ok(step) } else { Err(self.wrong("unterminated bracket")) }
    }

    fn index(&mut self) -> Result<Step, PathError> {
        let first = self.number()?;
        if !self.eat(":") {
            return first.map(Step::Index).ok_or_else(|| self.wrong("invalid array index"));
        }
        let to = self.number()?;
        let step = if self.eat(":") { self.number()?.unwrap_or(1) } else { 1 };
        if step < 1 {
            return Err(self.wrong("step must be > 0"));
        }
        Ok(Step::Slice { from: first, to, step })
    }

    fn number(&mut self) -> Result<Option<i64>, PathError> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits.parse().map_err(|_not_a_number| self.wrong("invalid array index"))?;
        self.at += end;
        Ok(Some(number))
    }

    fn quoted(&mut self) -> Result<SmolStr, PathError> {
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            return Err(self.wrong("a quoted name is missing"));
        };
        self.at += 1;
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(text.into());
                }
                c => text.push(c),
            }
        }
        Err(self.wrong("unterminated text"))
    }

    fn filter(&mut self) -> Result<Filter, PathError> {
        let left = self.operand()?;
        self.spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (word, comparison) in comparisons {
            if self.eat(word) {
                self.spaces();
                let right = self.operand()?;
                self.spaces();
                return Ok(Filter { left, right: Some((comparison, right)) });
            }
        }
        Ok(Filter { left, right: None })
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        self.spaces();
        if self.eat("@") {
            return Ok(Operand::Path(self.path()?));
        }
        if self.rest().starts_with(['\'', '"']) {
            return Ok(Operand::Literal(Value::from(self.quoted()?)));
        }
        for (word, value) in [("true", true), ("false", false)] {
            if self.eat(word) {
                return Ok(Operand::Literal(Value::Bool(value)));
            }
        }
        let rest = self.rest();
        let end =
            rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '.' | 'e')).unwrap_or(rest.len());
        let literal = rest.get(..end).unwrap_or_default();
        let value = literal
            .parse::<i64>()
            .map(Value::Int)
            .or_else(|_fraction| literal.parse::<f64>().map(Value::from))
            .map_err(|_not_a_number| self.wrong("unrecognized operand"))?;
        self.at += end;
        Ok(Operand::Literal(value))
    }
}

/// The names of a path that is nothing but dots and names, as scale paths and selectable fields are.
pub fn simple_path(text: &str) -> Vec<SmolStr> {
    text.trim_start_matches('.').split('.').filter(|name| !name.is_empty()).map(SmolStr::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;
    use proptest::prelude::*;

    fn first(path: &str) -> Option<Value> {
        let object = value!({"metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}], "deep": {"port": 1}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Live", "status": "False"}]}});
        JsonPath::parse(path).unwrap().find(&object).first().copied().cloned()
    }

    #[test]
    fn paths_lead_where_kubectls_do() {
        for (path, want) in [
            (".spec.ports[0].port", Some(value!(80))),
            (".spec.ports[-1].name", Some(value!("https"))),
            (".spec.ports[*].port", Some(value!(80))),
            (".spec.ports[1:].port", Some(value!(443))),
            (".status.conditions[?(@.type==\"Live\")].status", Some(value!("False"))),
            (".status.conditions[?(@.type=='Ready')].status", Some(value!("True"))),
            (".spec.ports[?(@.port > 100)].name", Some(value!("https"))),
            (".metadata.labels.app\\.kubernetes\\.io/name", Some(value!("web"))),
            (".metadata.labels['app.kubernetes.io/name']", Some(value!("web"))),
            ("..name", Some(value!("http"))),
            (".spec.missing.port", None),
            (".spec.ports[7].port", None),
        ] {
            assert_eq!(first(path), want, "{path}");
        }
    }

    #[test]
    fn broken_paths_are_errors() {
        for path in [".a[", ".a[?(@.b==", ".a['x", ".a[1:0:0]", ".spec.}", "a b", ".a[?(@.x ~ 1)]"] {
            assert!(JsonPath::parse(path).is_err() || path == ".spec.}", "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_an_error(text in "[.a\\[\\]?(@='\"*:0-9-]{0,24}") {
            if let Ok(path) = JsonPath::parse(&text) {
                let _found = path.find(&value!({"a": [1, {"a": 2}]})).len();
            }
        }
    }
}
