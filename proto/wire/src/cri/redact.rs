//! `AuthConfig` may appear in logged requests: its Debug form shows who, never the secret.

use super::v1::AuthConfig;

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_form_of_auth_hides_every_secret() {
        let auth = AuthConfig {
            username: "ann".into(),
            password: "hush1".into(),
            auth: "hush2".into(),
            server_address: "reg".into(),
            identity_token: "hush3".into(),
            registry_token: "hush4".into(),
        };
        let shown = format!("{auth:?}");
        assert!(shown.contains("ann") && shown.contains("reg") && !shown.contains("hush"), "{shown}");
    }
}
