//! Tokens that must not hold, and the one that does.

use super::*;
use serde_json::json;

const NOW: i64 = 1_700_000_000;

fn issuer() -> TokenIssuer {
    let key = rcgen::KeyPair::generate().unwrap();
    TokenIssuer {
        issuers: vec!["https://cluster".to_owned()],
        audiences: vec!["https://cluster".to_owned()],
        keys: SigningKeys::new(key.serialize_pem().as_bytes(), &[]).unwrap(),
    }
}

fn claims() -> Claims {
    Claims {
        aud: vec!["https://cluster".to_owned()],
        exp: NOW + 600,
        iat: NOW,
        iss: "https://cluster".to_owned(),
        jti: "id".to_owned(),
        kubernetes: KubernetesClaims {
            namespace: "ns".to_owned(),
            serviceaccount: ObjectRef { name: "sa".to_owned(), uid: "u".to_owned() },
            ..KubernetesClaims::default()
        },
        nbf: NOW,
        sub: "system:serviceaccount:ns:sa".to_owned(),
    }
}

fn forged(header: &serde_json::Value, claims: &Claims, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.to_string().as_bytes()),
        part(serde_json::to_string(claims).unwrap().as_bytes()),
        part(signature)
    )
}

#[test]
fn an_issued_token_holds_until_its_last_second() {
    let issuer = issuer();
    let token = issuer.keys.sign(&claims()).unwrap();
    let (held, audiences) = issuer.verify(&token, &[], NOW + 599).unwrap();
    assert_eq!(*held, claims());
    assert_eq!(audiences, ["https://cluster"]);
    assert_eq!(issuer.verify(&token, &[], NOW + 601), Err(TokenError::Expired));
}

#[test]
fn wrong_times_audience_issuer_and_subject_are_refused() {
    let issuer = issuer();
    let mut cases = Vec::new();
    cases.push(("nbf", Claims { nbf: NOW + 61, ..claims() }, TokenError::NotYet));
    cases.push(("exp", Claims { exp: NOW - 1, ..claims() }, TokenError::Expired));
    cases.push((
        "iss",
        Claims { iss: "https://other".to_owned(), ..claims() },
        TokenError::Issuer("https://other".to_owned()),
    ));
    cases.push((
        "aud",
        Claims { aud: vec!["vault".to_owned()], ..claims() },
        TokenError::Audience { held: vec!["vault".to_owned()], wanted: vec!["https://cluster".to_owned()] },
    ));
    cases.push((
        "sub",
        Claims { sub: "system:serviceaccount:kube-system:sa".to_owned(), ..claims() },
        TokenError::Claims("the subject is not the named service account"),
    ));
    cases.push(("user", Claims { sub: "admin".to_owned(), ..claims() }, TokenError::Claims("the subject")));
    for (what, claims, expected) in cases {
        let token = issuer.keys.sign(&claims).unwrap();
        assert_eq!(issuer.verify(&token, &[], NOW), Err(expected), "{what}");
    }
}

#[test]
fn wanted_audiences_replace_the_servers_own() {
    let issuer = issuer();
    let token =
        issuer.keys.sign(&Claims { aud: vec!["vault".to_owned(), "x".to_owned()], ..claims() }).unwrap();
    let wanted = ["vault".to_owned(), "other".to_owned()];
    assert_eq!(issuer.verify(&token, &wanted, NOW).unwrap().1, ["vault"]);
}

#[test]
fn algorithm_confusion_and_key_tricks_are_refused() {
    let issuer = issuer();
    let kid = issuer.keys.signing_id.clone();
    let public_jwk = serde_json::to_string(&issuer.keys.jwks().keys[0]).unwrap();
    let none = forged(&json!({"alg": "none", "kid": kid}), &claims(), b"");
    assert_eq!(issuer.verify(&none, &[], NOW), Err(TokenError::Signature));
    let unsigned = none.trim_end_matches('.').to_owned();
    assert_eq!(issuer.verify(&unsigned, &[], NOW), Err(TokenError::Malformed));

    let header = json!({"alg": "HS256", "kid": kid});
    let message = forged(&header, &claims(), b"");
    let hmac = jsonwebtoken::crypto::sign(
        message.trim_end_matches('.').as_bytes(),
        &EncodingKey::from_secret(public_jwk.as_bytes()),
        Algorithm::HS256,
    )
    .unwrap();
    let confused = format!("{message}{hmac}");
    assert_eq!(issuer.verify(&confused, &[], NOW), Err(TokenError::Signature));

    for header in [json!({"alg": "ES256", "kid": "../../key"}), json!({"alg": "ES256", "kid": "' OR 1=1"})] {
        assert_eq!(
            issuer.verify(&forged(&header, &claims(), &[7; 64]), &[], NOW),
            Err(TokenError::Header("unknown key id"))
        );
    }
    let jku = json!({"alg": "ES256", "jku": "https://attacker/jwks", "x5u": "https://attacker/x5u"});
    assert_eq!(issuer.verify(&forged(&jku, &claims(), &[7; 64]), &[], NOW), Err(TokenError::Signature));
    let crit = json!({"alg": "ES256", "kid": kid, "crit": ["b64"]});
    assert_eq!(
        issuer.verify(&forged(&crit, &claims(), &[7; 64]), &[], NOW),
        Err(TokenError::Header("critical extensions"))
    );
}

#[test]
fn another_clusters_key_does_not_verify() {
    let (ours, theirs) = (issuer(), issuer());
    let token = theirs.keys.sign(&claims()).unwrap();
    assert_eq!(ours.verify(&token, &[], NOW), Err(TokenError::Header("unknown key id")));
}

#[test]
fn an_older_public_key_still_verifies() {
    let old = rcgen::KeyPair::generate().unwrap();
    let new = rcgen::KeyPair::generate().unwrap();
    let before = SigningKeys::new(old.serialize_pem().as_bytes(), &[]).unwrap();
    let after = SigningKeys::new(new.serialize_pem().as_bytes(), &[old.public_key_pem().as_bytes()]).unwrap();
    assert!(after.verify(&before.sign(&claims()).unwrap()).is_ok());
    assert_eq!(after.jwks().keys.len(), 2);
}
