//! [`AuthenticationConfig`]: the configuration file, read, checked and with its expressions compiled.

use std::sync::Arc;

use mainstay_apiserver_cel::{Environment, Program, Shape, Variable};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};

use super::config_file::{ClaimOrExpression, ClaimRuleText, File, JwtText, UserRuleText};
use crate::authn::anonymous::Anonymous;

/// Issuers that one configuration may name.
const ISSUERS_MAX: usize = 64;

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationConfigError {
    /// Not YAML of the right shape.
    #[error("{0}")]
    Decode(String),
    /// Another kind of object.
    #[error("got unexpected config type: {0}")]
    Kind(String),
    /// Fields that are wrong.
    #[error("{0}")]
    Invalid(String),
}

/// Who may issue tokens, and which requests need none.
#[derive(Debug, Clone, Default)]
pub struct AuthenticationConfig {
    pub(super) issuers: Vec<Arc<IssuerConfig>>,
    /// What the configuration says of requests without credentials; none where it says nothing.
    pub anonymous: Option<Anonymous>,
}

/// One issuer.
#[derive(Debug)]
pub(super) struct IssuerConfig {
    pub(super) url: String,
    /// Where its document is, if not where OIDC has it.
    pub(super) discovery_url: Option<String>,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) audiences: Vec<String>,
    pub(super) claim_rules: Vec<ClaimRule>,
    pub(super) username: Source,
    pub(super) groups: Option<Source>,
    pub(super) uid: Option<Source>,
    pub(super) extra: Vec<(String, Program)>,
    pub(super) user_rules: Vec<Rule>,
}

/// Where a part of the user comes from.
#[derive(Debug)]
pub(super) enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

/// What claims must be.
#[derive(Debug)]
pub(super) enum ClaimRule {
    Value { claim: String, required: String },
    Rule(Rule),
}

/// An expression that must be true.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) program: Program,
    pub(super) text: String,
    pub(super) message: String,
}

impl AuthenticationConfig {
    /// Reads the file's text. `own_issuers` are those of the cluster's own tokens, which no other may be.
    ///
    /// # Errors
    /// [`AuthenticationConfigError`], with the fields that are wrong.
    pub fn parse(text: &str, own_issuers: &[String]) -> Result<Self, AuthenticationConfigError> {
        let file: File = serde_yaml_ng::from_str(text)
            .map_err(|error| AuthenticationConfigError::Decode(error.to_string()))?;
        let known = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
        if !known.contains(&file.api_version.as_str()) || file.kind != "AuthenticationConfiguration" {
            return Err(AuthenticationConfigError::Kind(format!("{}, Kind={}", file.api_version, file.kind)));
        }
        let mut errors = ErrorList::new();
        let root = Path::new("jwt");
        if file.jwt.len() > ISSUERS_MAX {
            errors.too_many(&root, file.jwt.len(), ISSUERS_MAX);
        }
        let mut issuers: Vec<Arc<IssuerConfig>> = Vec::new();
        for (at, text) in file.jwt.iter().enumerate() {
            let path = root.index(at);
            let url = path.child("issuer").child("url");
            if own_issuers.contains(&text.issuer.url) {
                let why = format!("URL must not overlap with disallowed issuers: {own_issuers:?}");
                errors.invalid(&url, text.issuer.url.as_str(), &why);
            }
            if issuers.iter().any(|known| known.url == text.issuer.url) {
                errors.duplicate(&url, text.issuer.url.as_str());
            }
            issuers.extend(issuer(text, &path, &mut errors).map(Arc::new));
        }
        let anonymous = file.anonymous.map(|text| match (text.enabled, text.conditions.as_slice()) {
            (false, []) => Anonymous::Disabled,
            (true, []) => Anonymous::Enabled,
            (enabled, conditions) => {
                if !enabled {
                    let why = "enabled should be set to true when conditions are defined";
                    errors.invalid_unshown(&Path::new("anonymous").child("conditions"), why);
                }
                Anonymous::Paths(conditions.iter().map(|condition| condition.path.clone()).collect())
            }
        });
        if errors.is_empty() {
            return Ok(Self { issuers, anonymous });
        }
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Err(AuthenticationConfigError::Invalid(match all.as_slice() {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        }))
    }
}

fn issuer(text: &JwtText, path: &Path, errors: &mut ErrorList) -> Option<IssuerConfig> {
    let before = errors.len();
    check_issuer(text, &path.child("issuer"), errors);
    let claims = environment("claims");
    let mappings = path.child("claimMappings");
    let username = source(&text.claim_mappings.username, &mappings.child("username"), true, &claims, errors);
    if username.is_none()
        && text.claim_mappings.username.claim.is_empty()
        && text.claim_mappings.username.expression.is_empty()
    {
        errors.required(&mappings.child("username"), "claim or expression is required");
    }
    check_email(text, &mappings.child("username").child("expression"), errors);
    let groups = source(&text.claim_mappings.groups, &mappings.child("groups"), true, &claims, errors);
    let uid = source(&text.claim_mappings.uid, &mappings.child("uid"), false, &claims, errors);
    let mut extra = Vec::new();
    for (at, one) in text.claim_mappings.extra.iter().enumerate() {
        let at = mappings.child("extra").index(at);
        check_extra_key(&one.key, &at.child("key"), errors);
        let program = compile(&one.value_expression, &at.child("valueExpression"), &claims, errors);
        extra.extend(program.map(|program| (one.key.clone(), program)));
    }
    let claim_rules = text.claim_validation_rules.iter().enumerate();
    let rules_path = path.child("claimValidationRules");
    let claim_rules =
        claim_rules.filter_map(|(at, rule)| claim_rule(rule, &rules_path.index(at), &claims, errors));
    let claim_rules: Vec<ClaimRule> = claim_rules.collect();
    let user = environment("user");
    let user_path = path.child("userValidationRules");
    let user_rules = text.user_validation_rules.iter().enumerate();
    let user_rules = user_rules.filter_map(|(at, rule)| user_rule(rule, &user_path.index(at), &user, errors));
    let user_rules: Vec<Rule> = user_rules.collect();
    if errors.len() > before {
        return None;
    }
    let issuer = &text.issuer;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(IssuerConfig {
        url: issuer.url.clone(),
        discovery_url: given(&issuer.discovery_url),
        ca_pem: given(&issuer.certificate_authority).map(String::into_bytes),
        audiences: issuer.audiences.clone(),
        claim_rules,
        username: username?,
        groups,
        uid,
        extra,
        user_rules,
    })
}

fn check_issuer(text: &JwtText, path: &Path, errors: &mut ErrorList) {
    let issuer = &text.issuer;
    let url = path.child("url");
    if issuer.url.is_empty() {
        errors.required(&url, "URL is required");
    } else {
        check_url(&issuer.url, &url, errors);
    }
    if !issuer.discovery_url.is_empty() {
        let discovery = path.child("discoveryURL");
        check_url(&issuer.discovery_url, &discovery, errors);
        if issuer.discovery_url.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
            errors.invalid(
                &discovery,
                issuer.discovery_url.as_str(),
                "discoveryURL must be different from URL",
            );
        }
    }
    let audiences = path.child("audiences");
    if issuer.audiences.is_empty() {
        errors.required(&audiences, &format!("at least one {audiences} is required"));
    }
    for (at, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.required(&audiences.index(at), "audience can't be empty");
        }
    }
    let policy = path.child("audienceMatchPolicy");
    match issuer.audience_match_policy.as_str() {
        "" if issuer.audiences.len() > 1 => {
            errors.invalid(
                &policy,
                "",
                "audienceMatchPolicy must be set to MatchAny when multiple audiences are specified",
            );
        }
        "" | "MatchAny" => {}
        other => errors.not_supported(&policy, other, &["", "MatchAny"]),
    }
}

fn check_url(text: &str, path: &Path, errors: &mut ErrorList) {
    let Ok(url) = text.parse::<http::Uri>() else {
        errors.invalid(path, text, "it is not a URL");
        return;
    };
    if url.scheme_str() != Some("https") || url.host().is_none() {
        errors.invalid(path, text, "URL scheme must be https");
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        errors.invalid(path, text, "URL must not contain a username or password");
    }
    if text.contains('?') {
        errors.invalid(path, text, "URL must not contain a query");
    }
    if text.contains('#') {
        errors.invalid(path, text, "URL must not contain a fragment");
    }
}

fn check_extra_key(key: &str, path: &Path, errors: &mut ErrorList) {
    if key.is_empty() {
        errors.required(path, "");
    } else if key != key.to_lowercase() {
        errors.invalid(path, key, "extra key must be lowercase");
    } else if !key.contains('/') {
        errors.invalid(path, key, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    } else if key.split('/').next().is_some_and(|domain| {
        ["k8s.io", "kubernetes.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
    }) {
        errors.invalid(
            path,
            key,
            "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        );
    }
}

/// A name made of an e-mail address must look whether that was verified.
fn check_email(text: &JwtText, path: &Path, errors: &mut ErrorList) {
    let uses = |expression: &str, name: &str| {
        expression.match_indices(name).any(|(at, _)| {
            let next = expression.get(at + name.len()..).and_then(|rest| rest.chars().next());
            !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    let expression = &text.claim_mappings.username.expression;
    if !uses(expression, "claims.email") {
        return;
    }
    let mut others = vec![expression.as_str()];
    others.extend(text.claim_mappings.extra.iter().map(|one| one.value_expression.as_str()));
    others.extend(text.claim_validation_rules.iter().map(|one| one.expression.as_str()));
    if !others.iter().any(|one| uses(one, "claims.email_verified") || one.contains("email_verified")) {
        let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        errors.invalid(path, expression.as_str(), why);
    }
}

fn environment(name: &str) -> Environment {
    Environment::of(vec![Variable::new(name, Arc::new(Shape::any()))])
}

fn compile(text: &str, path: &Path, names: &Environment, errors: &mut ErrorList) -> Option<Program> {
    if text.is_empty() {
        errors.required(path, "expression is required");
        return None;
    }
    match names.compile(text) {
        Ok(program) => Some(program),
        Err(error) => {
            errors.invalid(path, text, &format!("compilation failed: {error}"));
            None
        }
    }
}

fn source(
    text: &ClaimOrExpression,
    path: &Path,
    has_prefix: bool,
    names: &Environment,
    errors: &mut ErrorList,
) -> Option<Source> {
    match (text.claim.as_str(), text.expression.as_str()) {
        ("", "") => {
            if text.prefix.is_some() {
                errors.invalid_unshown(path, "prefix requires claim to be set");
            }
            None
        }
        ("", expression) => {
            if text.prefix.is_some() {
                errors.invalid_unshown(path, "prefix can't be set when expression is set");
            }
            compile(expression, &path.child("expression"), names, errors).map(Source::Expression)
        }
        (claim, "") => {
            if has_prefix && text.prefix.is_none() {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.required(&path.child("prefix"), why);
            }
            Some(Source::Claim { name: claim.to_owned(), prefix: text.prefix.clone().unwrap_or_default() })
        }
        _ => {
            errors.invalid_unshown(path, "expression and claim can't both be set");
            None
        }
    }
}

fn claim_rule(
    text: &ClaimRuleText,
    path: &Path,
    names: &Environment,
    errors: &mut ErrorList,
) -> Option<ClaimRule> {
    match (text.claim.as_str(), text.expression.as_str()) {
        ("", "") => {
            errors.required(path, "claim or expression is required");
            None
        }
        (claim, "") => {
            if !text.message.is_empty() {
                errors.invalid(
                    &path.child("message"),
                    text.message.as_str(),
                    "message can't be set when claim is set",
                );
            }
            Some(ClaimRule::Value { claim: claim.to_owned(), required: text.required_value.clone() })
        }
        ("", expression) => {
            if !text.required_value.is_empty() {
                let why = "requiredValue can't be set when expression is set";
                errors.invalid(&path.child("requiredValue"), text.required_value.as_str(), why);
            }
            let program = compile(expression, &path.child("expression"), names, errors)?;
            Some(ClaimRule::Rule(Rule {
                program,
                text: expression.to_owned(),
                message: text.message.clone(),
            }))
        }
        _ => {
            errors.invalid_unshown(path, "expression and claim can't both be set");
            None
        }
    }
}

fn user_rule(text: &UserRuleText, path: &Path, names: &Environment, errors: &mut ErrorList) -> Option<Rule> {
    let program = compile(&text.expression, &path.child("expression"), names, errors)?;
    Some(Rule { program, text: text.expression.clone(), message: text.message.clone() })
}
