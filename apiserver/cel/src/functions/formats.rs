//! Named formats: `format.dns1123Label().validate(text)` says what is wrong with a text, if anything.

use super::dispatch::{Called, text};
use crate::value::{Val, parse_timestamp};
use base64::Engine;
use mainstay_apiserver_machinery::validation::names;

/// The formats by name.
const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    Some(Ok(match (function, args) {
        ("format.named", [Val::Str(name)]) => {
            let found = NAMES.iter().find(|known| **known == name.as_str());
            Val::optional(found.map(|known| Val::Format(known)))
        }
        ("validate", [Val::Format(format), Val::Str(value)]) => {
            let faults = faults(format, value);
            let list = Val::list(faults.into_iter().map(text).collect());
            Val::optional((list.size() > 0).then_some(list))
        }
        (name, []) => {
            let name = name.strip_prefix("format.")?;
            Val::Format(NAMES.iter().find(|known| **known == name)?)
        }
        _ => return None,
    }))
}

fn faults(format: &str, value: &str) -> Vec<String> {
    // A prefix may end in a dash, which the generated rest makes whole.
    let prefix = || format!("{value}a");
    let unless = |fits: bool, fault: &str| if fits { Vec::new() } else { vec![fault.to_owned()] };
    match format {
        "dns1123Label" => names::dns_label(value),
        "dns1123Subdomain" => names::dns_subdomain(value),
        "dns1035Label" => names::dns_label_1035(value),
        "qualifiedName" => names::qualified_name(value),
        "dns1123LabelPrefix" => names::dns_label(&prefix()),
        "dns1123SubdomainPrefix" => names::dns_subdomain(&prefix()),
        "dns1035LabelPrefix" => names::dns_label_1035(&prefix()),
        "labelValue" => names::label_value(value),
        "uri" => unless(
            value.contains(':') && !value.contains(char::is_whitespace),
            "does not match the uri format",
        ),
        "uuid" => {
            let digits: Vec<u8> = value.bytes().filter(|byte| *byte != b'-').collect();
            let fits = digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit);
            unless(fits, "does not match the UUID format")
        }
        "byte" => unless(base64::engine::general_purpose::STANDARD.decode(value).is_ok(), "invalid base64"),
        "date" => unless(value.len() == 10 && parse_timestamp(value).is_some(), "invalid date"),
        _ => unless(value.len() > 10 && parse_timestamp(value).is_some(), "invalid datetime"),
    }
}
