//! Formats of names and other short strings. Each function answers with what is wrong, in upstream's words; an
//! empty answer means valid.

/// What is wrong with a string; empty when nothing is.
pub type Faults = Vec<String>;

const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS_SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS_LABEL_MAX: usize = 63;
const DNS_SUBDOMAIN_MAX: usize = 253;

fn pattern(text: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{pattern}')");
    }
    // Two spaces before "or": that is how upstream joins the examples.
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn too_long_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn framed(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [one] => edge(*one),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|b| inner(*b)),
    }
}

fn matches_dns_label(text: &str) -> bool {
    framed(text, is_lower_alphanumeric, |b| is_lower_alphanumeric(b) || b == b'-')
}

fn matches_dns_subdomain(text: &str) -> bool {
    text.split('.').all(matches_dns_label)
}

fn matches_label_key(text: &str) -> bool {
    framed(text, is_alphanumeric, |b| is_alphanumeric(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// RFC 1123 label.
pub fn dns_label(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_LABEL_MAX {
        faults.push(too_long(DNS_LABEL_MAX));
    }
    if !matches_dns_label(text) {
        faults.push(if matches_dns_subdomain(text) {
            String::from("must not contain dots")
        } else {
            pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                DNS_LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    faults
}

/// RFC 1123 subdomain.
pub fn dns_subdomain(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        faults.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if !matches_dns_subdomain(text) {
        faults.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            DNS_SUBDOMAIN,
            &["example.com"],
        ));
    }
    faults
}

/// RFC 1123 subdomain whose labels may also hold underscores (DNS search paths).
pub fn dns_subdomain_with_underscore(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        faults.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        framed(label, is_lower_alphanumeric, |b| is_lower_alphanumeric(b) || matches!(b, b'-' | b'_'))
    };
    if !text.split('.').all(label) {
        faults.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    faults
}

/// RFC 1035 label: as [`dns_label`], and starts with a letter.
pub fn dns_label_1035(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_LABEL_MAX {
        faults.push(too_long(DNS_LABEL_MAX));
    }
    if !matches_dns_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        faults.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    faults
}

/// One segment of a URL path.
pub fn path_segment(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text == "." || text == ".." {
        faults.push(format!("may not be '{text}'"));
        return faults;
    }
    for part in ["/", "%"] {
        if text.contains(part) {
            faults.push(format!("may not contain '{part}'"));
        }
    }
    faults
}

/// Label key: an optional DNS prefix, a slash, a name of at most 63 bytes. Also annotations (in lower case) and
/// finalizers.
pub fn qualified_name(text: &str) -> Faults {
    let mut faults = Faults::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, rest)) if rest.contains('/') => {
            let key = pattern(LABEL_KEY_TEXT, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
            faults.push(format!(
                "a valid label key {key} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return faults;
        }
        Some(("", name)) => {
            faults.push(String::from("prefix part must be non-empty"));
            name
        }
        Some((prefix, name)) => {
            faults.extend(dns_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}")));
            name
        }
    };
    if name.is_empty() {
        faults.push(String::from("name part must be non-empty"));
    } else if name.len() > DNS_LABEL_MAX {
        faults.push(format!("name part {}", too_long_bytes(DNS_LABEL_MAX)));
    }
    if !matches_label_key(name) {
        let key = pattern(LABEL_KEY_TEXT, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
        faults.push(format!("name part {key}"));
    }
    faults
}

/// Label value: empty, or at most 63 bytes.
pub fn label_value(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_LABEL_MAX {
        faults.push(too_long_bytes(DNS_LABEL_MAX));
    }
    if !text.is_empty() && !matches_label_key(text) {
        faults.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({LABEL_KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    faults
}

/// Name of a container port.
pub fn port_name(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 15 {
        faults.push(too_long(15));
    }
    if text.is_empty() || !text.bytes().all(|b| is_lower_alphanumeric(b) || b == b'-') {
        faults.push(String::from("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"));
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        faults.push(String::from("must contain at least one letter (a-z)"));
    }
    if text.contains("--") {
        faults.push(String::from("must not contain consecutive hyphens"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push(String::from("must not begin or end with a hyphen"));
    }
    faults
}

/// Port number, 1 to 65535.
pub fn port_number(port: i64) -> Faults {
    in_range(port, 1, 65535)
}

/// A number within bounds, both inclusive.
pub fn in_range(value: i64, min: i64, max: i64) -> Faults {
    if (min..=max).contains(&value) {
        Faults::new()
    } else {
        vec![format!("must be between {min} and {max}, inclusive")]
    }
}

fn dots(text: &str) -> Option<String> {
    match text {
        "." | ".." => Some(format!("must not be '{text}'")),
        _ if text.starts_with("..") => Some(String::from("must not start with '..'")),
        _ => None,
    }
}

/// Key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        faults.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if text.is_empty() || !text.bytes().all(|b| is_alphanumeric(b) || matches!(b, b'-' | b'_' | b'.')) {
        faults.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    faults.extend(dots(text));
    faults
}

/// Name of an environment variable: printable ASCII other than `=`.
pub fn env_var_name(text: &str) -> Faults {
    if text.is_empty() {
        return vec![String::from("environment variable name must be non-empty")];
    }
    if text.chars().all(|c| matches!(c, ' '..='~') && c != '=') {
        return Faults::new();
    }
    vec![String::from(
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
    )]
}

/// Name of an HTTP header.
pub fn http_header_name(text: &str) -> Faults {
    if !text.is_empty() && text.bytes().all(|b| is_alphanumeric(b) || b == b'-') {
        return Faults::new();
    }
    vec![pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// A percentage such as `25%`.
pub fn percent(text: &str) -> Faults {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Faults::new();
    }
    vec![pattern(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Faults {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Faults::new();
    }
    vec![String::from("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
}

/// `*.` and an RFC 1123 subdomain.
pub fn wildcard_dns_subdomain(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > DNS_SUBDOMAIN_MAX {
        faults.push(too_long(DNS_SUBDOMAIN_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(matches_dns_subdomain) {
        faults.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
             of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        ));
    }
    faults
}

/// The path after the domain in `example.com/path`.
pub fn http_path(text: &str) -> Faults {
    let allowed = |b: u8| is_alphanumeric(b) || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !text.is_empty() && text.bytes().all(allowed) {
        return Faults::new();
    }
    vec![pattern("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[])]
}

/// Reason of a condition.
pub fn condition_reason(text: &str) -> Faults {
    let inner = |b: u8| is_alphanumeric(b) || matches!(b, b'_' | b',' | b':');
    let edge = |b: u8| is_alphanumeric(b) || b == b'_';
    if framed(text, edge, inner) && text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Faults::new();
    }
    vec![pattern(
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
         characters or '_,:', and must end with an alphanumeric character or '_'",
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// An IP address of a field that came late enough to be strict: in canonical form.
pub fn ip_canonical(text: &str) -> Faults {
    let Ok(address) = text.parse::<std::net::IpAddr>() else { return ip(text) };
    if matches!(address, std::net::IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return vec![String::from("must not be an IPv4-mapped IPv6 address")];
    }
    canonical(text, &address.to_string())
}

fn canonical(text: &str, expected: &str) -> Faults {
    if text == expected {
        return Faults::new();
    }
    vec![format!("must be in canonical form ({})", super::quote(expected))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_carry_pattern_and_examples() {
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
              and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            dns_subdomain("a_b"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
              must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
    }

    #[test]
    fn labels_have_63_characters_at_most_and_no_dots() {
        assert!(dns_label(&"a".repeat(63)).is_empty());
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert!(dns_label("").len() == 1 && !dns_label("-a").is_empty() && !dns_label("a-").is_empty());
    }

    #[test]
    fn a_1035_label_starts_with_a_letter() {
        assert!(dns_label_1035("a1").is_empty());
        assert_eq!(dns_label_1035("1a").len(), 1);
    }

    #[test]
    fn qualified_names_have_at_most_one_slash() {
        for good in ["a", "a.b/C_d", "MyName", "example.com/x"] {
            assert_eq!(qualified_name(good), Faults::new(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A_B/c", "-a", "a b"] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
    }

    #[test]
    fn path_segments_cannot_climb() {
        assert_eq!(path_segment(".."), ["may not be '..'"]);
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
        assert_eq!(path_segment("a%2fb"), ["may not contain '%'"]);
        assert!(path_segment("system:node:a").is_empty());
    }

    #[test]
    fn config_map_keys_are_file_names() {
        assert!(config_map_key("a.b_C-d").is_empty() && config_map_key(".hidden").is_empty());
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
        assert_eq!(config_map_key("a/b").len(), 1);
    }

    #[test]
    fn port_names_need_a_letter() {
        assert!(port_name("http-1").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("a--b"), ["must not contain consecutive hyphens"]);
    }
}
