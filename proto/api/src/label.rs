//! Label selectors: the text form of queries, the object form of specs, and matching.

use crate::selector_text::{label_value_faults, qualified_name_faults};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Longest selector text accepted, in bytes.
pub const SELECTOR_BYTES_MAX: usize = 64 * 1024;

/// Where a selector looks labels up.
pub trait Labels {
    /// The value of label `key`.
    fn label(&self, key: &str) -> Option<&str>;
}

impl<K: std::borrow::Borrow<str> + Ord, V: AsRef<str>> Labels for BTreeMap<K, V> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(AsRef::as_ref)
    }
}

impl<K: std::borrow::Borrow<str> + Eq + std::hash::Hash, V: AsRef<str>, S: std::hash::BuildHasher> Labels
    for HashMap<K, V, S>
{
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(AsRef::as_ref)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Labels for [(K, V)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| k.as_ref() == key).map(|(_, v)| v.as_ref())
    }
}

impl<L: Labels> Labels for Option<L> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref()?.label(key)
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label is there with this value.
    Equals,
    /// The same, written `==`.
    DoubleEquals,
    /// The label is there with one of these values.
    In,
    /// The label is absent or has another value.
    NotEquals,
    /// The label is absent or has none of these values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is there as a whole number above this one.
    GreaterThan,
    /// The label is there as a whole number below this one.
    LessThan,
}

/// One condition of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: SmolStr,
    operator: Operator,
    /// Sorted, each once.
    values: Vec<SmolStr>,
}

/// Why a selector cannot be read; upstream's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl Requirement {
    /// A checked requirement.
    pub fn new(
        key: impl Into<SmolStr>,
        operator: Operator,
        mut values: Vec<SmolStr>,
    ) -> Result<Self, SelectorError> {
        let key = key.into();
        check_key(&key)?;
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return refuse(format!(
                    "values: Invalid value: {values:?}: for 'in', 'notin' operators, values set can't be empty"
                ));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                return refuse(format!(
                    "values: Invalid value: {values:?}: exact-match compatibility requires one single value"
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return refuse(format!(
                    "values: Invalid value: {values:?}: values set must be empty for exists and does not exist"
                ));
            }
            Operator::GreaterThan | Operator::LessThan => match values.as_slice() {
                [one] if one.parse::<i64>().is_ok() => {}
                [one] => {
                    return refuse(format!(
                        "values[0]: Invalid value: \"{one}\": for 'Gt', 'Lt' operators, the value must be an integer"
                    ));
                }
                _ => {
                    return refuse(format!(
                        "values: Invalid value: {values:?}: for 'Gt', 'Lt' operators, exactly one value is required"
                    ));
                }
            },
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let faults = label_value_faults(value);
            if !faults.is_empty() {
                return refuse(format!(
                    "values[{at}][{key}]: Invalid value: \"{value}\": {}",
                    faults.join("; ")
                ));
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key, operator, values })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub const fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, sorted.
    pub fn values(&self) -> &[SmolStr] {
        &self.values
    }

    /// Whether these labels meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = || Some((value?.parse::<i64>().ok()?, self.values.first()?.parse::<i64>().ok()?));
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number().is_some_and(|(have, limit)| have > limit),
            Operator::LessThan => number().is_some_and(|(have, limit)| have < limit),
        }
    }
}

fn refuse<T>(message: String) -> Result<T, SelectorError> {
    Err(SelectorError(message))
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let faults = qualified_name_faults(key);
    if faults.is_empty() {
        return Ok(());
    }
    refuse(format!("key: Invalid value: \"{key}\": {}", faults.join("; ")))
}

/// All of these requirements, or nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key; `None` matches nothing.
    requirements: Option<Vec<Requirement>>,
}

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

/// `metav1.LabelSelector`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<SmolStr, SmolStr>>,
    /// Further conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// `metav1.LabelSelectorRequirement`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelSelectorRequirement {
    /// The label's key.
    pub key: SmolStr,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: SmolStr,
    /// What the operator compares with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<SmolStr>>,
}

impl Selector {
    /// Matches every object.
    pub const fn everything() -> Self {
        Self { requirements: Some(Vec::new()) }
    }

    /// Matches no object.
    pub const fn nothing() -> Self {
        Self { requirements: None }
    }

    /// All of `requirements`.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements: Some(requirements) }
    }

    /// From the text of a `labelSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return refuse(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
        }
        parser::parse(text).map(Self::new)
    }

    /// From the object form in a spec: absent matches nothing, empty matches everything.
    pub fn from_spec(spec: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(spec) = spec else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in spec.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value.clone()])?);
        }
        for expression in spec.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return refuse(format!("\"{other}\" is not a valid label selector operator")),
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(expression.key.clone(), operator, values)?);
        }
        Ok(Self::new(requirements))
    }

    /// From a plain map of labels, as Services and ReplicationControllers have. Empty matches everything.
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement = |(key, value): (&str, &str)| Requirement {
            key: key.into(),
            operator: Operator::Equals,
            values: vec![value.into()],
        };
        Self::new(labels.into_iter().map(requirement).collect())
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it matches no object.
    pub const fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The single conditions, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// Whether these labels meet all conditions.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let first = values.first().map_or("", SmolStr::as_str);
        let all = || values.join(",");
        match operator {
            Operator::Equals => write!(f, "{key}={first}"),
            Operator::DoubleEquals => write!(f, "{key}=={first}"),
            Operator::NotEquals => write!(f, "{key}!={first}"),
            Operator::In => write!(f, "{key} in ({})", all()),
            Operator::NotIn => write!(f, "{key} notin ({})", all()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{first}"),
            Operator::LessThan => write!(f, "{key}<{first}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements().iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

mod parser {
    //! The grammar of selector texts: a lexer with one token of look-ahead and one function per rule.

    use super::{Operator, Requirement, SelectorError, check_key, refuse};
    use smol_str::SmolStr;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Token<'a> {
        End,
        Word(&'a str),
        Symbol(&'a str),
    }

    impl<'a> Token<'a> {
        const fn text(self) -> &'a str {
            match self {
                Self::End => "",
                Self::Word(text) | Self::Symbol(text) => text,
            }
        }
    }

    struct Parser<'a> {
        rest: &'a str,
    }

    const SYMBOLS: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];
    const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

    impl<'a> Parser<'a> {
        fn peek(&self) -> Token<'a> {
            self.lex().0
        }

        fn next(&mut self) -> Token<'a> {
            let (token, rest) = self.lex();
            self.rest = rest;
            token
        }

        fn lex(&self) -> (Token<'a>, &'a str) {
            let text = self.rest.trim_start_matches(SPACES);
            let Some(first) = text.chars().next() else { return (Token::End, "") };
            if SYMBOLS.contains(&first) {
                let len = if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 };
                let (symbol, rest) = text.split_at(len);
                return (Token::Symbol(symbol), rest);
            }
            let end = text.find(|c| SYMBOLS.contains(&c) || SPACES.contains(&c)).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            (Token::Word(word), rest)
        }

        fn requirement(&mut self) -> Result<Requirement, SelectorError> {
            let mut token = self.next();
            let absent = token == Token::Symbol("!");
            if absent {
                token = self.next();
            }
            let Token::Word(key) = token else {
                return refuse(format!("found '{}', expected: identifier", token.text()));
            };
            check_key(key)?;
            if absent {
                return Requirement::new(key, Operator::DoesNotExist, Vec::new());
            }
            if matches!(self.peek(), Token::End | Token::Symbol(",")) {
                return Requirement::new(key, Operator::Exists, Vec::new());
            }
            let operator = self.operator()?;
            let values = match operator {
                Operator::In | Operator::NotIn => self.values()?,
                _ => vec![self.exact_value()?],
            };
            Requirement::new(key, operator, values)
        }

        fn operator(&mut self) -> Result<Operator, SelectorError> {
            Ok(match self.next() {
                Token::Word("in") => Operator::In,
                Token::Word("notin") => Operator::NotIn,
                Token::Symbol("=") => Operator::Equals,
                Token::Symbol("==") => Operator::DoubleEquals,
                Token::Symbol("!=") => Operator::NotEquals,
                Token::Symbol(">") => Operator::GreaterThan,
                Token::Symbol("<") => Operator::LessThan,
                other => {
                    return refuse(format!(
                        "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                        other.text()
                    ));
                }
            })
        }

        fn exact_value(&mut self) -> Result<SmolStr, SelectorError> {
            if matches!(self.peek(), Token::End | Token::Symbol(",")) {
                return Ok(SmolStr::default());
            }
            match self.next() {
                Token::Word(value) => Ok(value.into()),
                other => refuse(format!("found '{}', expected: identifier", other.text())),
            }
        }

        fn values(&mut self) -> Result<Vec<SmolStr>, SelectorError> {
            let open = self.next();
            if open != Token::Symbol("(") {
                return refuse(format!("found '{}' expected: '('", open.text()));
            }
            let mut values = Vec::new();
            if self.peek() == Token::Symbol(")") {
                self.next();
                return Ok(values);
            }
            loop {
                match self.peek() {
                    Token::Word(value) => {
                        self.next();
                        values.push(value.into());
                    }
                    // Two commas in a row, or one at an end, stand for the empty value.
                    Token::Symbol("," | ")") => values.push(SmolStr::default()),
                    other => {
                        return refuse(format!("found '{}', expected: ',', ')' or identifier", other.text()));
                    }
                }
                match self.next() {
                    Token::Symbol(",") => {}
                    Token::Symbol(")") => return Ok(values),
                    other => return refuse(format!("found '{}', expected: ',' or ')'", other.text())),
                }
            }
        }
    }

    pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) | Token::Symbol("!") => {
                    let requirement = parser
                        .requirement()
                        .map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?;
                    requirements.push(requirement);
                }
                other @ Token::Symbol(_) => {
                    return refuse(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            match parser.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {
                    if !matches!(parser.peek(), Token::Word(_) | Token::Symbol("!")) {
                        let found = parser.peek().text();
                        return refuse(format!("found '{found}', expected: identifier after ','"));
                    }
                }
                other => {
                    return refuse(format!("found '{}', expected: ',' or 'end of string'", other.text()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_match_as_upstream_says() {
        let have = labels(&[("app", "web"), ("tier", "front"), ("n", "5"), ("empty", "")]);
        for (text, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app=db", false),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("app in (db, web)", true),
            ("app notin (db,web)", false),
            ("none notin (a)", true),
            ("n>4,n<6", true),
            ("n>5", false),
            ("empty=", true),
            ("empty in (,x)", true),
            ("in in (in)", false),
            ("none!=x", true),
            ("app = web , tier", true),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(&have), want, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector, "{text}");
        }
    }

    #[test]
    fn bad_selectors_are_refused_with_upstreams_text() {
        for (text, want) in [
            ("a in", "unable to parse requirement: found '' expected: '('"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), want, "{text}");
        }
        assert!(Selector::parse("a=b!").is_err() && Selector::parse("-a=b").is_err());
        assert!(Selector::parse("a in ()").is_err() && Selector::parse("x>y").is_err());
    }

    #[test]
    fn an_absent_spec_selects_nothing_and_an_empty_one_everything() {
        assert!(Selector::from_spec(None).unwrap().is_nothing());
        assert!(!Selector::nothing().matches(&labels(&[])));
        assert!(Selector::from_spec(Some(&LabelSelector::default())).unwrap().is_everything());
        let spec: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"a":"1"},"matchExpressions":[{"key":"b","operator":"NotIn","values":["2"]}]}"#,
        )
        .unwrap();
        let selector = Selector::from_spec(Some(&spec)).unwrap();
        assert_eq!(selector.to_string(), "a=1,b notin (2)");
        assert!(selector.matches(&labels(&[("a", "1")])));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c=!(),<> in]{0,40}|.{0,40}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
            }
        }
    }
}
