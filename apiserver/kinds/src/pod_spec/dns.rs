//! Checks of a pod's DNS settings.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;

pub(super) fn validate_dns(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.get("dnsPolicy");
    if policy.require(errors, "") {
        policy.one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    }
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if policy.text() == "None" {
        if !config.is_set() {
            errors.required(&config.path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            errors
                .required(&servers.path, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        servers.invalid(errors, &format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    for server in servers.items() {
        server.invalid_each(errors, names::ip(server.text()));
    }
    validate_searches(&config.get("searches"), errors);
    for option in config.get("options").items() {
        if option.text_of("name").is_empty() {
            errors.required(&option.path, "must not be empty");
        }
    }
}

fn validate_searches(searches: &At<'_>, errors: &mut ErrorList) {
    if searches.len() > SEARCHES_MAX {
        searches.invalid(errors, &format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let texts = searches.value.as_list().unwrap_or_default().iter().filter_map(Value::as_str);
    let characters: usize = texts.map(|text| text.len() + 1).sum();
    if characters > SEARCH_CHARACTERS_MAX + 1 {
        let text = format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        searches.invalid(errors, &text);
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or_else(|| search.text());
        errors.invalid_each(&search.path, name, names::dns_subdomain_with_underscore(name));
    }
}
