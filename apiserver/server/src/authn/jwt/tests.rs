//! What a wrong configuration is told.

use super::AuthenticationConfig;
use crate::authn::anonymous::Anonymous;

fn parse(jwt: &str) -> Result<AuthenticationConfig, String> {
    let text =
        format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{jwt}]\n");
    AuthenticationConfig::parse(&text, &["https://own".to_owned()]).map_err(|error| error.to_string())
}

fn issuer(url: &str, mappings: &str) -> String {
    format!("{{issuer: {{url: '{url}', audiences: [a]}}, claimMappings: {{{mappings}}}}}")
}

const NAME: &str = "username: {claim: sub, prefix: ''}";

#[test]
fn what_is_wrong_is_said_with_its_field() {
    assert!(parse(&issuer("https://x", NAME)).is_ok());
    let wrong = |text: &str| parse(text).unwrap_err();
    assert!(
        wrong(&issuer("http://x", NAME))
            .contains("jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https")
    );
    assert!(wrong(&issuer("https://own", NAME)).contains("URL must not overlap with disallowed issuers"));
    assert!(
        wrong(&issuer("https://x", ""))
            .contains("jwt[0].claimMappings.username: Required value: claim or expression is required")
    );
    assert!(
        wrong(&issuer("https://x", "username: {claim: sub}"))
            .contains("prefix is required when claim is set")
    );
    assert!(wrong(&issuer("https://x", "username: {expression: 'claims.'}")).contains("compilation failed"));
    let email = "username: {expression: 'claims.email'}";
    assert!(wrong(&issuer("https://x", email)).contains("claims.email_verified must be used"));
    let twice = format!("{}, {}", issuer("https://x", NAME), issuer("https://x", NAME));
    assert!(wrong(&twice).contains("jwt[1].issuer.url: Duplicate value"));
    assert!(
        wrong("{issuer: {url: 'https://x'}, claimMappings: {username: {claim: sub, prefix: ''}}}")
            .contains("audiences is required")
    );
}

#[test]
fn anonymous_requests_are_ruled_by_path() {
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n";
    let config = AuthenticationConfig::parse(text, &[]).unwrap();
    assert_eq!(config.anonymous, Some(Anonymous::Paths(vec!["/livez".to_owned()])));
    let off = text.replace("enabled: true", "enabled: false");
    assert!(
        AuthenticationConfig::parse(&off, &[])
            .unwrap_err()
            .to_string()
            .contains("enabled should be set to true")
    );
}
