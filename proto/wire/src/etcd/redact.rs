//! Passwords and tokens may be in logged requests: their Debug forms show who, never the secret.

use std::fmt::{Debug, Formatter, Result};

use super::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest, AuthenticateResponse,
};

impl Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthenticateRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthenticateResponse").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Debug for AuthUserAddRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthUserAddRequest")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Debug for AuthUserChangePasswordRequest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("AuthUserChangePasswordRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_forms_hide_every_secret() {
        let (name, password, hashed_password) = ("ann".to_owned(), "hush1".to_owned(), "hush2".to_owned());
        let add = AuthUserAddRequest {
            name: name.clone(),
            password: password.clone(),
            hashed_password: hashed_password.clone(),
            options: None,
        };
        let change =
            AuthUserChangePasswordRequest { name: name.clone(), password: password.clone(), hashed_password };
        let shown = format!("{add:?} {change:?} {:?}", AuthenticateRequest { name, password });
        let token = format!("{:?}", AuthenticateResponse { header: None, token: "hush3".into() });
        assert!(
            shown.contains("ann") && !shown.contains("hush") && !token.contains("hush"),
            "{shown} {token}"
        );
    }
}
