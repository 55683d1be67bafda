//! The text of a refusal.

use crate::types::{Attributes, UserInfo};

/// Why the user may not do this, as upstream words it; the authorizer's reason follows if there is one.
pub fn message(user: &UserInfo, attributes: &Attributes, reason: &str) -> String {
    let text = describe(user, attributes);
    if reason.is_empty() { text } else { format!("{text}: {reason}") }
}

fn describe(user: &UserInfo, attributes: &Attributes) -> String {
    let (name, verb) = (user.name.as_str(), attributes.verb.as_str());
    if !attributes.resource_request {
        return format!("User {name:?} cannot {verb} path {:?}", attributes.path.as_str());
    }
    let mut resource = attributes.resource.to_string();
    if !attributes.subresource.is_empty() {
        resource.push('/');
        resource.push_str(&attributes.subresource);
    }
    let group = attributes.api_group.as_str();
    if attributes.namespace.is_empty() {
        format!(
            "User {name:?} cannot {verb} resource {resource:?} in API group {group:?} at the cluster scope"
        )
    } else {
        format!(
            "User {name:?} cannot {verb} resource {resource:?} in API group {group:?} in the namespace {:?}",
            attributes.namespace.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(namespace: &str, subresource: &str) -> Attributes {
        Attributes {
            verb: "list".into(),
            resource: "pods".into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn texts_are_upstreams() {
        let user = UserInfo::new("x", ["g"]);
        assert_eq!(
            message(&user, &ask("default", ""), ""),
            r#"User "x" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        assert_eq!(
            message(&user, &ask("", "log"), "because"),
            r#"User "x" cannot list resource "pods/log" in API group "" at the cluster scope: because"#
        );
        let path = Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() };
        assert_eq!(message(&user, &path, ""), r#"User "x" cannot get path "/metrics""#);
    }
}
