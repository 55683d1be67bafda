//! From words to a tree. Depth and size are bounded, so that whatever walks the tree later ends without a check of its own.

use crate::ast::{Binary, Comprehension, Expr, Literal, Made, Node, OptionalMap, Walk};
use crate::lexer::{Placed, Token, lex};
use smol_str::{SmolStr, format_smolstr};

/// Bytes of an expression.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Parts within each other.
const DEPTH_MAX: usize = 96;

/// Words that are no names.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether a word of the language names nothing: no variable may be called so.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Functions that stand in a namespace.
const QUALIFIED: [&str; 25] = [
    "jsonpatch.escapeKey",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "optional.of",
    "optional.ofNonZeroValue",
    "optional.none",
    "ip.isCanonical",
    "strings.quote",
    "format.named",
    "format.dns1123Label",
    "format.dns1123Subdomain",
    "format.dns1035Label",
    "format.qualifiedName",
    "format.dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix",
    "format.labelValue",
    "format.uri",
    "format.uuid",
    "format.byte",
    "format.date",
    "format.datetime",
    "math.greatest",
    "math.least",
];

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

type Parsed = Result<Expr, SyntaxError>;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Parsed {
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!("expression size exceeds limit: size: {}, limit {TEXT_BYTES_MAX}", text.len());
        return Err(SyntaxError { at: 0, reason });
    }
    let tokens = lex(text).map_err(|error| SyntaxError { at: error.at, reason: error.reason })?;
    let mut parser = Parser { tokens, next: 0, depth: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => parser.unexpected(),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or_else(|| self.tokens.last()).map_or(0, |(at, _)| *at)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn eat(&mut self, sign: &'static str) -> bool {
        let found = *self.peek() == Token::Sign(sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), SyntaxError> {
        if self.eat(sign) { Ok(()) } else { self.unexpected() }
    }

    fn wrong<T>(at: usize, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at, reason: reason.into() })
    }

    fn unexpected<T>(&self) -> Result<T, SyntaxError> {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Ident(name) | Token::Quoted(name) => name.to_string(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Int(number) | Token::Uint(number) => number.to_string(),
            Token::Double(number) => number.to_string(),
            Token::Str(_) | Token::Bytes(_) => "a string".to_owned(),
        };
        Self::wrong(self.at(), format!("Syntax error: mismatched input '{shown}'"))
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Self::wrong(self.at(), format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        Ok(())
    }

    fn expression(&mut self) -> Parsed {
        self.enter()?;
        let at = self.at();
        let condition = self.disjunction()?;
        let out = if self.eat("?") {
            let yes = self.disjunction()?;
            self.expect(":")?;
            let no = self.expression()?;
            Expr::new(at, Node::Conditional(Box::new([condition, yes, no])))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(out)
    }

    fn disjunction(&mut self) -> Parsed {
        let at = self.at();
        let mut terms = vec![self.conjunction()?];
        while self.eat("||") {
            terms.push(self.conjunction()?);
        }
        Ok(joined(at, terms, Node::Or))
    }

    fn conjunction(&mut self) -> Parsed {
        let at = self.at();
        let mut terms = vec![self.relation()?];
        while self.eat("&&") {
            terms.push(self.relation()?);
        }
        Ok(joined(at, terms, Node::And))
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        let mut length = 0;
        loop {
            let operator = match self.peek() {
                Token::Sign("==") => Binary::Equal,
                Token::Sign("!=") => Binary::NotEqual,
                Token::Sign("<") => Binary::Less,
                Token::Sign("<=") => Binary::LessOrEqual,
                Token::Sign(">") => Binary::Greater,
                Token::Sign(">=") => Binary::GreaterOrEqual,
                Token::Ident(word) if word == "in" => Binary::In,
                _ => return Ok(left),
            };
            left = self.binary(operator, left, Self::sum, &mut length)?;
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        let mut length = 0;
        loop {
            let operator = match self.peek() {
                Token::Sign("+") => Binary::Add,
                Token::Sign("-") => Binary::Subtract,
                _ => return Ok(left),
            };
            left = self.binary(operator, left, Self::product, &mut length)?;
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        let mut length = 0;
        loop {
            let operator = match self.peek() {
                Token::Sign("*") => Binary::Multiply,
                Token::Sign("/") => Binary::Divide,
                Token::Sign("%") => Binary::Remainder,
                _ => return Ok(left),
            };
            left = self.binary(operator, left, Self::unary, &mut length)?;
        }
    }

    /// A chain nests to the left, so its length counts as depth.
    fn binary(
        &mut self,
        operator: Binary,
        left: Expr,
        right: fn(&mut Self) -> Parsed,
        length: &mut usize,
    ) -> Parsed {
        let at = self.at();
        *length += 1;
        if self.depth + *length > DEPTH_MAX {
            return Self::wrong(at, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        self.next += 1;
        let right = right(self)?;
        Ok(Expr::new(at, Node::Binary(operator, Box::new([left, right]))))
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        if self.eat("!") {
            self.enter()?;
            let operand = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::new(at, Node::Not(Box::new(operand))));
        }
        if self.eat("-") {
            // The smallest whole number has no positive counterpart.
            match self.peek() {
                Token::Int(number) if *number <= 1 << 63 => {
                    let number = (*number as i64).wrapping_neg();
                    self.next += 1;
                    return self.postfix(Expr::new(at, Node::Literal(Literal::Int(number))));
                }
                Token::Double(number) => {
                    let number = -*number;
                    self.next += 1;
                    return self.postfix(Expr::new(at, Node::Literal(Literal::Double(number))));
                }
                _ => {}
            }
            self.enter()?;
            let operand = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::new(at, Node::Negate(Box::new(operand))));
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn postfix(&mut self, mut operand: Expr) -> Parsed {
        let mut length = 0;
        loop {
            let at = self.at();
            let next = match self.peek() {
                Token::Sign(sign @ ("." | ".?" | "[" | "[?")) => *sign,
                Token::Sign("{" | "{?") => match type_name(&operand) {
                    Some(name) => {
                        operand = self.made(name, operand.at)?;
                        continue;
                    }
                    None => return Ok(operand),
                },
                _ => return Ok(operand),
            };
            length += 1;
            if self.depth + length > DEPTH_MAX {
                return Self::wrong(at, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
            }
            self.next += 1;
            operand = match next {
                "[" | "[?" => {
                    let index = self.expression()?;
                    self.expect("]")?;
                    let is_optional = next == "[?";
                    Expr::new(
                        at,
                        Node::Index { operand: Box::new(operand), index: Box::new(index), is_optional },
                    )
                }
                _ => self.member(operand, next == ".?", at)?,
            };
        }
    }

    fn member(&mut self, operand: Expr, is_optional: bool, at: usize) -> Parsed {
        let (Token::Ident(field) | Token::Quoted(field)) = self.take() else {
            self.next -= 1;
            return self.unexpected();
        };
        if is_optional || !self.eat("(") {
            return Ok(Expr::new(at, Node::Select { operand: Box::new(operand), field, is_optional }));
        }
        let args = self.arguments(")")?;
        if let Node::Ident(space) = &operand.node {
            let full = format_smolstr!("{space}.{field}");
            if QUALIFIED.contains(&full.as_str()) {
                return Ok(Expr::new(at, Node::Call { function: full, target: None, args }));
            }
        }
        member_call(operand, field, args, at)
    }

    fn arguments(&mut self, closing: &'static str) -> Result<Vec<Expr>, SyntaxError> {
        let mut args = Vec::new();
        while !self.eat(closing) {
            args.push(self.expression()?);
            if !self.eat(",") {
                self.expect(closing)?;
                break;
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let literal = |literal| Ok(Expr::new(at, Node::Literal(literal)));
        match self.take() {
            Token::Int(number) => match i64::try_from(number) {
                Ok(number) => literal(Literal::Int(number)),
                Err(_) => Self::wrong(at, "invalid int literal"),
            },
            Token::Uint(number) => literal(Literal::Uint(number)),
            Token::Double(number) => literal(Literal::Double(number)),
            Token::Str(text) => literal(Literal::Str(text)),
            Token::Bytes(bytes) => literal(Literal::Bytes(bytes)),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => self.list(at),
            Token::Sign("{") => self.map(at),
            Token::Sign("[?") => {
                // `[?a]` is a list whose first item is an optional.
                let mut items = vec![(self.expression()?, true)];
                self.list_rest(&mut items)?;
                Ok(Expr::new(at, Node::List(items)))
            }
            Token::Sign("{?") => self.map_from(at, true),
            Token::Sign(".") => match self.take() {
                Token::Ident(name) => Ok(Expr::new(at, Node::Ident(name))),
                _ => self.unexpected(),
            },
            Token::Ident(name) => self.named(name, at),
            _ => {
                self.next -= 1;
                self.unexpected()
            }
        }
    }

    fn list(&mut self, at: usize) -> Parsed {
        let mut items = Vec::new();
        if !self.eat("]") {
            let is_optional = self.eat("?");
            items.push((self.expression()?, is_optional));
            self.list_rest(&mut items)?;
        }
        Ok(Expr::new(at, Node::List(items)))
    }

    fn list_rest(&mut self, items: &mut Vec<(Expr, bool)>) -> Result<(), SyntaxError> {
        while self.eat(",") {
            if *self.peek() == Token::Sign("]") {
                break;
            }
            let is_optional = self.eat("?");
            items.push((self.expression()?, is_optional));
        }
        self.expect("]")
    }

    fn map(&mut self, at: usize) -> Parsed {
        if self.eat("}") {
            return Ok(Expr::new(at, Node::Map(Vec::new())));
        }
        let is_optional = self.eat("?");
        self.map_from(at, is_optional)
    }

    fn map_from(&mut self, at: usize, first_optional: bool) -> Parsed {
        let mut pairs = Vec::new();
        let mut is_optional = first_optional;
        loop {
            let key = self.expression()?;
            self.expect(":")?;
            pairs.push((key, self.expression()?, is_optional));
            if !self.eat(",") || *self.peek() == Token::Sign("}") {
                break;
            }
            is_optional = self.eat("?");
        }
        self.expect("}")?;
        Ok(Expr::new(at, Node::Map(pairs)))
    }

    /// The members of an object of a named type.
    fn made(&mut self, name: SmolStr, at: usize) -> Parsed {
        let mut is_optional = *self.peek() == Token::Sign("{?");
        self.next += 1;
        let mut fields = Vec::new();
        while is_optional || !self.eat("}") {
            is_optional = is_optional || self.eat("?");
            let (Token::Ident(field) | Token::Quoted(field)) = self.take() else {
                self.next -= 1;
                return self.unexpected();
            };
            self.expect(":")?;
            fields.push((field, self.expression()?, is_optional));
            is_optional = false;
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr::new(at, Node::Made(Box::new(Made { name, fields }))))
    }

    fn named(&mut self, name: SmolStr, at: usize) -> Parsed {
        let literal = match name.as_str() {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            _ => None,
        };
        if let Some(literal) = literal {
            return Ok(Expr::new(at, Node::Literal(literal)));
        }
        if is_reserved(&name) {
            return Self::wrong(at, format!("reserved identifier: {name}"));
        }
        if !self.eat("(") {
            return Ok(Expr::new(at, Node::Ident(name)));
        }
        let mut args = self.arguments(")")?;
        if name == "has" {
            return match (args.len(), args.pop().map(|arg| arg.node)) {
                (1, Some(Node::Select { operand, field, is_optional: false })) => {
                    Ok(Expr::new(at, Node::Has { operand, field }))
                }
                _ => Self::wrong(at, "invalid argument to has() macro"),
            };
        }
        Ok(Expr::new(at, Node::Call { function: name, target: None, args }))
    }
}

/// The name of a type that a chain of members spells.
fn type_name(expr: &Expr) -> Option<SmolStr> {
    match &expr.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select { operand, field, is_optional: false } => {
            Some(format_smolstr!("{}.{field}", type_name(operand)?))
        }
        _ => None,
    }
}

fn joined(at: usize, mut terms: Vec<Expr>, node: fn(Vec<Expr>) -> Node) -> Expr {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            Expr::new(at, node(terms))
        }
        None => Expr::new(at, node(terms)),
    }
}

/// A call of a method, or one of the macros.
fn member_call(target: Expr, function: SmolStr, args: Vec<Expr>, at: usize) -> Parsed {
    let walk = match (function.as_str(), args.len()) {
        ("all", 2 | 3) => Some((Walk::All, args.len() - 1)),
        ("exists", 2 | 3) => Some((Walk::Exists, args.len() - 1)),
        ("exists_one" | "existsOne", 2 | 3) => Some((Walk::ExistsOne, args.len() - 1)),
        ("filter", 2) => Some((Walk::Filter, 1)),
        ("map", 2 | 3) => Some((Walk::Map, 1)),
        ("transformList", 3 | 4) => Some((Walk::TransformList, 2)),
        ("transformMap", 3 | 4) => Some((Walk::TransformMap, 2)),
        ("optMap" | "optFlatMap", 2) => return optional_map(target, &function, args, at),
        _ => None,
    };
    let Some((walk, count)) = walk else {
        return Ok(Expr::new(at, Node::Call { function, target: Some(Box::new(target)), args }));
    };
    let mut args = args.into_iter();
    let mut variables = Vec::with_capacity(count);
    for arg in args.by_ref().take(count) {
        variables.push(variable(arg)?);
    }
    let first = args.next();
    let second = args.next();
    let (filter, body) = match (first, second) {
        (Some(filter), Some(body)) => (Some(filter), body),
        (Some(body), None) => (None, body),
        _ => return Parser::wrong(at, "a macro has too few arguments"),
    };
    let comprehension = Comprehension { walk, range: target, variables, filter, body };
    Ok(Expr::new(at, Node::Comprehension(Box::new(comprehension))))
}

fn optional_map(target: Expr, function: &str, args: Vec<Expr>, at: usize) -> Parsed {
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (Some(name), Some(body)) => {
            let map =
                OptionalMap { target, variable: variable(name)?, body, is_flat: function == "optFlatMap" };
            Ok(Expr::new(at, Node::OptionalMap(Box::new(map))))
        }
        _ => Parser::wrong(at, "a macro has too few arguments"),
    }
}

fn variable(arg: Expr) -> Result<SmolStr, SyntaxError> {
    match arg.node {
        Node::Ident(name) => Ok(name),
        _ => Parser::wrong(arg.at, "argument must be a simple name"),
    }
}
