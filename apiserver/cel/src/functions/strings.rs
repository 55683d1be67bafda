//! Texts: searching, cutting, joining, formatting, regular expressions. Positions count characters.

use super::convert::shown;
use super::dispatch::{Called, Patterns, regex, text};
use crate::eval::failed;
use crate::value::Val;
use mainstay_apiserver_machinery::validation::quote;

/// Bytes that a replacement, a join or a format may make.
const MADE_BYTES_MAX: usize = 1 << 20;

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    let (Some(Val::Str(one)), rest) = (args.first(), args.get(1..).unwrap_or_default()) else {
        return lists_of_text(function, args);
    };
    Some(match (function, rest) {
        ("contains", [Val::Str(part)]) => Ok(Val::Bool(one.contains(part.as_str()))),
        ("startsWith", [Val::Str(part)]) => Ok(Val::Bool(one.starts_with(part.as_str()))),
        ("endsWith", [Val::Str(part)]) => Ok(Val::Bool(one.ends_with(part.as_str()))),
        ("lowerAscii", []) => Ok(text(one.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(text(one.to_ascii_uppercase())),
        ("trim", []) => Ok(text(one.trim())),
        ("reverse", []) => Ok(text(one.chars().rev().collect::<String>())),
        ("strings.quote", []) => Ok(text(quote(one))),
        ("jsonpatch.escapeKey", []) => Ok(text(one.replace('~', "~0").replace('/', "~1"))),
        ("charAt", [Val::Int(at)]) => char_at(one, *at),
        ("indexOf", [Val::Str(part)]) => index_of(one, part, 0),
        ("indexOf", [Val::Str(part), Val::Int(from)]) => index_of(one, part, *from),
        ("lastIndexOf", [Val::Str(part)]) => last_index_of(one, part, None),
        ("lastIndexOf", [Val::Str(part), Val::Int(to)]) => last_index_of(one, part, Some(*to)),
        ("substring", [Val::Int(from)]) => substring(one, *from, None),
        ("substring", [Val::Int(from), Val::Int(to)]) => substring(one, *from, Some(*to)),
        ("replace", [Val::Str(from), Val::Str(to)]) => replace(one, from, to, -1),
        ("replace", [Val::Str(from), Val::Str(to), Val::Int(limit)]) => replace(one, from, to, *limit),
        ("split", [Val::Str(separator)]) => Ok(split(one, separator, -1)),
        ("split", [Val::Str(separator), Val::Int(limit)]) => Ok(split(one, separator, *limit)),
        ("format", [items]) => match items.items() {
            Some(Ok(items)) => format(one, &items),
            _ => failed("no such overload"),
        },
        _ => return None,
    })
}

fn lists_of_text<'a>(function: &str, args: &[Val<'a>]) -> Option<Called<'a>> {
    let separator = match args {
        [_] => "",
        [_, Val::Str(separator)] => separator.as_str(),
        _ => return None,
    };
    if function != "join" {
        return None;
    }
    let items = args.first()?.items()?;
    let mut out = String::new();
    for (at, item) in items.unwrap_or_default().iter().enumerate() {
        let Val::Str(item) = item else { return Some(failed("no such overload")) };
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(item);
        if out.len() > MADE_BYTES_MAX {
            return Some(failed("the text is too long"));
        }
    }
    Some(Ok(text(out)))
}

/// The functions that take a regular expression.
pub(super) fn search<'a>(function: &str, args: &[Val<'a>], patterns: &Patterns) -> Option<Called<'a>> {
    if !matches!(function, "matches" | "find" | "findAll") {
        return None;
    }
    let (one, pattern, limit) = match args {
        [Val::Str(one), Val::Str(pattern)] => (one, pattern, usize::MAX),
        [Val::Str(one), Val::Str(pattern), Val::Int(limit)] => {
            (one, pattern, usize::try_from(*limit).unwrap_or(usize::MAX))
        }
        _ => return None,
    };
    let made;
    let regex = match patterns.get(pattern) {
        Some(known) => known,
        None => match regex(pattern) {
            Ok(regex) => {
                made = regex;
                &made
            }
            Err(error) => return Some(Err(error)),
        },
    };
    Some(Ok(match function {
        "matches" => Val::Bool(regex.is_match(one)),
        "find" => text(regex.find(one).map_or("", |found| found.as_str())),
        _ => Val::list(regex.find_iter(one).take(limit).map(|found| text(found.as_str())).collect()),
    }))
}

fn char_at<'a>(one: &str, at: i64) -> Called<'a> {
    let length = one.chars().count();
    match usize::try_from(at) {
        Ok(at) if at == length => Ok(text("")),
        Ok(at) if at < length => Ok(text(one.chars().skip(at).take(1).collect::<String>())),
        _ => failed(format!("index out of range: {at}")),
    }
}

/// The byte where the character `at` starts, or the end.
fn byte_of(one: &str, at: usize) -> Option<usize> {
    one.char_indices().map(|(byte, _)| byte).chain([one.len()]).nth(at)
}

fn chars_before(one: &str, byte: usize) -> i64 {
    one.get(..byte).map_or(-1, |before| before.chars().count() as i64)
}

fn index_of<'a>(one: &str, part: &str, from: i64) -> Called<'a> {
    let Some(start) = usize::try_from(from).ok().and_then(|from| byte_of(one, from)) else {
        return if part.is_empty() {
            Ok(Val::Int(from))
        } else {
            failed(format!("index out of range: {from}"))
        };
    };
    let found = one.get(start..).and_then(|rest| rest.find(part)).map(|at| start + at);
    Ok(Val::Int(found.map_or(-1, |at| chars_before(one, at))))
}

fn last_index_of<'a>(one: &str, part: &str, to: Option<i64>) -> Called<'a> {
    let end = match to {
        None => Some(one.len()),
        Some(to) => usize::try_from(to).ok().and_then(|to| byte_of(one, to)).map(|byte| byte + part.len()),
    };
    let Some(end) = end else { return failed(format!("index out of range: {}", to.unwrap_or_default())) };
    let mut end = end.min(one.len());
    while !one.is_char_boundary(end) {
        end -= 1;
    }
    let found = one.get(..end).and_then(|before| before.rfind(part));
    Ok(Val::Int(found.map_or(-1, |at| chars_before(one, at))))
}

fn substring<'a>(one: &str, from: i64, to: Option<i64>) -> Called<'a> {
    let position = |at: i64| usize::try_from(at).ok().and_then(|at| byte_of(one, at));
    let end = to.map_or(Some(one.len()), position);
    match (position(from), end) {
        (Some(from), Some(to)) if from <= to => Ok(text(one.get(from..to).unwrap_or_default())),
        (Some(_), Some(_)) => {
            failed(format!("invalid substring range. start: {from}, end: {}", to.unwrap_or_default()))
        }
        _ => failed(format!("index out of range: {from}")),
    }
}

fn replace<'a>(one: &str, from: &str, to: &str, limit: i64) -> Called<'a> {
    let count = if from.is_empty() { one.chars().count() + 1 } else { one.matches(from).count() };
    if count.saturating_mul(to.len()) > MADE_BYTES_MAX {
        return failed("the text is too long");
    }
    Ok(text(
        usize::try_from(limit)
            .map_or_else(|_all| one.replace(from, to), |limit| one.replacen(from, to, limit)),
    ))
}

fn split<'a>(one: &str, separator: &str, limit: i64) -> Val<'a> {
    let parts: Vec<&str> = match (limit, separator.is_empty()) {
        (0, _) => Vec::new(),
        (_, true) => one.split("").filter(|part| !part.is_empty()).collect(),
        (limit, false) if limit > 0 => {
            one.splitn(usize::try_from(limit).unwrap_or(usize::MAX), separator).collect()
        }
        _ => one.split(separator).collect(),
    };
    Val::list(parts.into_iter().map(text).collect())
}

/// `%s`, `%d`, `%f`, `%e`, `%x`, `%X`, `%o`, `%b` and `%%`.
fn format<'a>(pattern: &str, items: &[Val<'a>]) -> Called<'a> {
    let mut out = String::new();
    let mut items = items.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        let mut precision = 6;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            precision = after.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(6).min(30);
            rest = after.get(end..).unwrap_or_default();
        }
        let Some(verb) = rest.chars().next() else { return failed("unexpected end of format string") };
        rest = rest.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(item) = items.next() else {
            return failed("index out of bounds: too few arguments to format");
        };
        match formatted(verb, precision, item) {
            Some(part) => out.push_str(&part),
            None => {
                return failed(format!(
                    "error during formatting: %{verb} cannot show a {}",
                    item.type_name()
                ));
            }
        }
        if out.len() > MADE_BYTES_MAX {
            return failed("the text is too long");
        }
    }
    out.push_str(rest);
    Ok(text(out))
}

fn formatted(verb: char, precision: usize, item: &Val<'_>) -> Option<String> {
    Some(match (verb, item) {
        ('s', item) => shown(item),
        ('d', Val::Int(number)) => number.to_string(),
        ('d', Val::Uint(number)) => number.to_string(),
        ('f', Val::Double(number)) => format!("{number:.precision$}"),
        ('f', Val::Int(number)) => format!("{:.precision$}", *number as f64),
        ('e', Val::Double(number)) => format!("{number:.precision$e}"),
        ('x', Val::Int(number)) => format!("{number:x}"),
        ('X', Val::Int(number)) => format!("{number:X}"),
        ('o', Val::Int(number)) => format!("{number:o}"),
        ('b', Val::Int(number)) => format!("{number:b}"),
        ('b', Val::Bool(flag)) => u8::from(*flag).to_string(),
        ('x', Val::Str(value)) => {
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
            value.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
        }
        _ => return None,
    })
}
