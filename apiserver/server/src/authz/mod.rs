//! What a user may do: RBAC, node authorizer, always-allowed paths.
