//! flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.

use super::{bootstrap, rules};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a hash from which a hand of queues is dealt.
const DEALT_BITS_MAX: f64 = 60.0;

/// flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.
pub static PRIORITY_LEVEL_CONFIGURATION: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    type_name: "flowcontrol.apiserver.k8s.io/v1.PriorityLevelConfiguration",
    list_kind: "PriorityLevelConfigurationList",
    subresources: &[Body {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "PriorityLevelConfiguration",
        type_name: "flowcontrol.apiserver.k8s.io/v1.PriorityLevelConfiguration",
    }
    .status()],
    rules: &PriorityLevelConfiguration,
    storage: Some(Storage::new("prioritylevelconfigurations")),
    ..STORED
};

struct PriorityLevelConfiguration;

impl Rules for PriorityLevelConfiguration {
    fn default(&self, object: &mut Value) {
        // Levels of this type always have their settings, given or not.
        if object.path_str(&["spec", "type"]) == Some("Exempt") {
            let exempt = object.make_map().get_or_insert_map("spec").get_or_insert_map("exempt");
            for field in ["nominalConcurrencyShares", "lendablePercent"] {
                exempt.get_or_insert(field, || 0.into());
            }
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let name = Meta(object).name();
        validate_spec(&spec, name, errors);
        validate_fixed(&spec, name, errors);
        rules::validate_conditions(object, errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        rules::validate_conditions(new, errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        rules::prepare_status(new, old);
    }

    fn reset_fields(&self, target: Target<'_>) -> &'static [&'static [&'static str]] {
        rules::reset_fields(target)
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Type", "Whether the level is limited."),
            Column::new("NominalConcurrencyShares", "The level's share of the server's concurrency."),
            Column::new("Queues", "How many queues the level has."),
            Column::new("HandSize", "How many queues a flow may use."),
            Column::new("QueueLengthLimit", "How many requests wait in a queue."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let number = |path: &[&str]| match object.path_i64(path) {
            Some(number) => Value::from(number.to_string()),
            None => "<none>".into(),
        };
        let queuing = |field: &str| number(&["spec", "limited", "limitResponse", "queuing", field]);
        let kind = object.path_str(&["spec", "type"]).unwrap_or_default();
        let part = if kind == "Exempt" { "exempt" } else { "limited" };
        vec![
            table::name(object),
            kind.into(),
            number(&["spec", part, "nominalConcurrencyShares"]),
            queuing("queues"),
            queuing("handSize"),
            queuing("queueLengthLimit"),
            table::age(object, now),
        ]
    }
}

fn validate_spec(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let kind = spec.get("type");
    if (name == "exempt") != (kind.text() == "Exempt") {
        let text = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.invalid(&kind.path, kind.text(), text);
    }
    let (limited, exempt) = (spec.get("limited"), spec.get("exempt"));
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                errors.forbidden(&limited.path, "must be nil if the type is not Limited");
            }
            validate_shares(&exempt.get("nominalConcurrencyShares"), errors);
            validate_percent(&exempt.get("lendablePercent"), errors);
        }
        "Limited" => {
            if exempt.is_set() {
                errors.forbidden(&exempt.path, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                validate_limited(&limited, errors);
            } else {
                errors.required(&limited.path, "must not be empty when type is Limited");
            }
        }
        other => errors.not_supported(&kind.path, other, &["Exempt", "Limited"]),
    }
}

/// The specs of the mandatory levels are fixed, but for how the exempt one lends.
fn validate_fixed(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let Some(mut fixed) = bootstrap::mandatory_spec("PriorityLevelConfiguration", name) else { return };
    let mut given = spec.value.clone();
    if name == "exempt" {
        fixed.remove_path(&["exempt"]);
        given.remove_path(&["exempt"]);
    }
    if given != fixed {
        let what = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
        spec.invalid(errors, &format!("spec of '{name}'{what} must equal the fixed value"));
    }
}

fn validate_percent(percent: &At<'_>, errors: &mut ErrorList) {
    if percent.int().is_some_and(|value| !(0..=100).contains(&value)) {
        percent.invalid(errors, "must be between 0 and 100, inclusive");
    }
}

fn validate_shares(shares: &At<'_>, errors: &mut ErrorList) {
    if shares.int().is_some_and(|shares| shares < 0) {
        shares.invalid(errors, "must be a non-negative integer");
    }
}

fn validate_limited(limited: &At<'_>, errors: &mut ErrorList) {
    validate_shares(&limited.get("nominalConcurrencyShares"), errors);
    validate_percent(&limited.get("lendablePercent"), errors);
    let borrow = limited.get("borrowingLimitPercent");
    if borrow.int().is_some_and(|percent| percent < 0) {
        borrow.invalid(errors, "if specified, must be a non-negative integer");
    }
    let response = limited.get("limitResponse");
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            errors.forbidden(&queuing.path, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            errors.required(&queuing.path, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => validate_queuing(&queuing, errors),
        other => errors.not_supported(&kind.path, other, &["Queue", "Reject"]),
    }
}

fn validate_queuing(queuing: &At<'_>, errors: &mut ErrorList) {
    let [length, queues, hand] = ["queueLengthLimit", "queues", "handSize"].map(|field| queuing.get(field));
    let [most, count, cards] = [&length, &queues, &hand].map(|field| field.int().unwrap_or_default());
    if most <= 0 {
        errors.invalid(&length.path, most, "must be positive");
    }
    if count <= 0 {
        errors.invalid(&queues.path, count, "must be positive");
    } else if count > QUEUES_MAX {
        queues.invalid(errors, &format!("must not be greater than {QUEUES_MAX}"));
    }
    if cards <= 0 {
        errors.invalid(&hand.path, cards, "must be positive");
    } else if cards > count {
        hand.invalid(errors, &format!("should not be greater than queues ({count})"));
    } else {
        let bits = dealt_bits(count, cards);
        if bits > DEALT_BITS_MAX {
            hand.invalid(
                errors,
                &format!("required entropy bits of deckSize {count} and handSize {cards} should not be greater than 60"),
            );
        }
    }
}

/// How many bits it takes to deal `cards` of `queues`.
#[allow(clippy::cast_precision_loss, reason = "the counts are far below 2^52")]
fn dealt_bits(queues: i64, cards: i64) -> f64 {
    // A hand that is too large for any hash ends the sum early.
    (0..cards).map(|dealt| ((queues - dealt) as f64).log2()).take(64).sum::<f64>().ceil()
}
