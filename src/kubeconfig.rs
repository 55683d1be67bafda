//! Kubeconfig files, with everything embedded so that they can be copied.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mainstay_base::pki::Leaf;

/// A kubeconfig for one user of one cluster.
pub(crate) fn render(server: &str, ca_pem: &str, user: &str, leaf: &Leaf) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: mainstay\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
         client-key-data: {}\ncontexts:\n- name: mainstay\n  context:\n    cluster: mainstay\n    user: {user}\n\
         current-context: mainstay\n",
        encode(ca_pem),
        encode(&leaf.certificate_pem),
        encode(&leaf.key_pem),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_libraries_can_read_it() {
        let leaf = Leaf { certificate_pem: "cert".to_owned(), key_pem: "key".to_owned() };
        let text = render("https://127.0.0.1:6443", "ca", "admin", &leaf);
        let parsed = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(parsed.current_context.as_deref(), Some("mainstay"));
        let cluster = parsed.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Y2E="));
    }
}
