//! From claims to a user. Pure; upstream's rules and texts.

use std::collections::BTreeMap;

use mainstay_apiserver_cel::{Meter, Program, Val};
use mainstay_apiserver_machinery::value::{Value, to_value};
use smol_str::{SmolStr, format_smolstr};

use super::config::{ClaimRule, IssuerConfig, Rule, Source};
use crate::types::UserInfo;

/// What one expression may cost.
const COST_MAX: u64 = 1_000_000;

/// The user that the claims of a verified token name, or why there is none.
pub(super) fn user(issuer: &IssuerConfig, claims: &Value) -> Result<UserInfo, String> {
    for rule in &issuer.claim_rules {
        match rule {
            ClaimRule::Value { claim, required } => match claims.get(claim).and_then(Value::as_str) {
                Some(held) if held == required => {}
                Some(_) => return Err(format!("oidc: required claim {claim} value does not match")),
                None => return Err(format!("oidc: required claim {claim} not present in ID token")),
            },
            ClaimRule::Rule(rule) => check(rule, "claims", claims)?,
        }
    }
    let mut user = UserInfo { name: name(&issuer.username, claims)?, ..UserInfo::default() };
    if let Some(source) = &issuer.groups {
        user.groups = groups(source, claims)?;
    }
    if let Some(source) = &issuer.uid {
        user.uid = text(source, claims, "uid")?;
    }
    user.extra = extra(&issuer.extra, claims)?;
    if !issuer.user_rules.is_empty() {
        let tree = to_value(&user).map_err(|error| error.to_string())?;
        for rule in &issuer.user_rules {
            check(rule, "user", &tree)?;
        }
    }
    Ok(user)
}

fn run<'a>(program: &'a Program, name: &'a str, value: &'a Value) -> Result<Val<'a>, String> {
    let value = Val::new(value, None).map_err(|error| error.to_string())?;
    program.run(vec![(name, value)], &mut Meter::new(COST_MAX)).map_err(|error| error.to_string())
}

fn check(rule: &Rule, name: &str, value: &Value) -> Result<(), String> {
    match run(&rule.program, name, value) {
        Ok(Val::Bool(true)) => Ok(()),
        Ok(Val::Bool(false)) if rule.message.is_empty() => {
            Err(format!("validation expression '{}' failed", rule.text))
        }
        Ok(Val::Bool(false)) => {
            Err(format!("validation expression '{}' failed: {}", rule.text, rule.message))
        }
        Ok(other) => Err(format!("validation expression '{}' gives a {}", rule.text, other.type_name())),
        Err(why) => Err(format!("validation expression '{}' resulted in error: {why}", rule.text)),
    }
}

fn name(source: &Source, claims: &Value) -> Result<SmolStr, String> {
    if let Source::Claim { name, .. } = source
        && name == "email"
        && let Some(verified) = claims.get("email_verified")
        && *verified != Value::Bool(true)
    {
        return Err("oidc: email not verified".to_owned());
    }
    let name = text(source, claims, "username")?;
    if name.is_empty() {
        return Err("oidc: username claim is empty".to_owned());
    }
    Ok(name)
}

fn text(source: &Source, claims: &Value, what: &str) -> Result<SmolStr, String> {
    match source {
        Source::Claim { name, prefix } => match claims.get(name) {
            Some(Value::Str(value)) => Ok(format_smolstr!("{prefix}{value}")),
            Some(_) => Err(format!("oidc: parse {what} claim {name:?}: it is no string")),
            None => Err(format!("oidc: parse {what} claims {name:?}: claim not present")),
        },
        Source::Expression(program) => match run(program, "claims", claims)? {
            Val::Str(value) => Ok(value),
            Val::Tree(Value::Str(value), _) => Ok(value.clone()),
            other => Err(format!(
                "oidc: error evaluating {what} claim expression: it gives a {}",
                other.type_name()
            )),
        },
    }
}

fn groups(source: &Source, claims: &Value) -> Result<Vec<SmolStr>, String> {
    match source {
        Source::Claim { name, prefix } => match claims.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Str(one)) => Ok(vec![format_smolstr!("{prefix}{one}")]),
            Some(Value::List(all)) => {
                let texts = all.iter().map(|one| Some(format_smolstr!("{prefix}{}", one.as_str()?)));
                texts
                    .collect::<Option<_>>()
                    .ok_or_else(|| format!("oidc: parse groups claim {name:?}: not all are strings"))
            }
            Some(_) => Err(format!(
                "oidc: parse groups claim {name:?}: it is neither a string nor a list of strings"
            )),
        },
        Source::Expression(program) => {
            let value = run(program, "claims", claims)?;
            strings(&value).ok_or_else(|| {
                format!("oidc: error evaluating group claim expression: it gives a {}", value.type_name())
            })
        }
    }
}

fn extra(list: &[(String, Program)], claims: &Value) -> Result<BTreeMap<SmolStr, Vec<SmolStr>>, String> {
    let mut extra = BTreeMap::new();
    for (key, program) in list {
        let value = run(program, "claims", claims)?;
        let values = strings(&value).ok_or_else(|| {
            format!(
                "oidc: error evaluating extra claim expression of {key:?}: it gives a {}",
                value.type_name()
            )
        })?;
        if !values.is_empty() {
            extra.insert(key.into(), values);
        }
    }
    Ok(extra)
}

/// A string, a list of strings or nothing; empty strings are nothing too.
fn strings(value: &Val<'_>) -> Option<Vec<SmolStr>> {
    let one = |value: &Val<'_>| match value {
        Val::Str(text) | Val::Tree(Value::Str(text), _) => Some(text.clone()),
        _ => None,
    };
    let all = match value {
        Val::Null | Val::Tree(Value::Null, _) => Vec::new(),
        Val::List(list) => list.iter().map(one).collect::<Option<_>>()?,
        Val::Tree(Value::List(list), _) => {
            list.iter().map(|item| item.as_str().map(SmolStr::from)).collect::<Option<_>>()?
        }
        other => vec![one(other)?],
    };
    Some(all.into_iter().filter(|text: &SmolStr| !text.is_empty()).collect())
}
