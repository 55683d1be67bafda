//! The cluster's certificate authority, and a certificate for each part: made at the first start, renewed in time.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use mainstay_apiserver_server::bootstrap::extension_trust::FRONT_PROXY_NAME;
use mainstay_base::pki::{
    Ca, Leaf, LeafRequest, SubjectName, Usage, covers, facts, generate_key_pem, issuer, pins,
};
use time::OffsetDateTime;

use crate::authority::{Authorities, FRONT_PROXY, LineAuthorities, LineStanding, OPTIONAL, PEERS, Standing};
use crate::config::Config;
use crate::data_dir::{write_atomically, write_pair};

/// How long an authority is good for.
pub(crate) const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Which certificates are made anew. Those that are missing, or lack a name, are in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renew {
    /// Those that end soon.
    Due,
    /// All but the authorities'.
    All,
}

/// Every key and certificate that one node's parts need.
#[derive(Clone)]
pub(crate) struct Identities {
    /// The certificate authority's certificate, PEM: two while it is exchanged, the one that API servers show first.
    pub(crate) ca_pem: String,
    /// The authority that signs requests for certificates.
    pub(crate) signing: Ca,
    /// The key that ServiceAccount tokens are signed with, PEM.
    pub(crate) service_account_key_pem: String,
    /// The API server's serving certificate.
    pub(crate) apiserver: Leaf,
    /// What the API server shows to node agents.
    pub(crate) kubelet_client: Leaf,
    /// The authority of the front proxy, PEM, two while it is exchanged: nobody but extension servers trusts it.
    pub(crate) front_proxy_ca_pem: String,
    /// What the API server shows to extension servers.
    pub(crate) front_proxy: Leaf,
    /// What the node agent's own server shows.
    pub(crate) kubelet_server: Leaf,
    /// `kubernetes-admin` in `system:masters`.
    pub(crate) admin: Leaf,
    /// `system:kube-scheduler`.
    pub(crate) scheduler: Leaf,
    /// `system:kube-controller-manager`.
    pub(crate) controllers: Leaf,
    /// `system:kube-proxy`.
    pub(crate) proxy: Leaf,
    /// `system:node:<name>` in `system:nodes`.
    pub(crate) node: Leaf,
    /// What this server shows to the other members of the store, who look at its file; none where it has no others.
    peer: Option<Leaf>,
    /// Those of the store's members, PEM, who look at its file.
    peer_ca_pem: String,
}

/// The authorities of the store's members, one or two, below the data directory: what members trust.
pub(crate) const PEERS_TRUSTED: &str = "pki/peer-trusted.pem";

/// What every server of a cluster must have the same, below the data directory. The authority of the store's members is one
/// of its own: a node's certificate must not open the store.
const SHARED: [&str; 7] = [
    "pki/ca.crt",
    "pki/ca.key",
    "pki/front-proxy-ca.crt",
    "pki/front-proxy-ca.key",
    "pki/peer-ca.crt",
    "pki/peer-ca.key",
    "pki/sa.key",
];

/// The files of the data directory `dir` that every server of the cluster must have the same, by name; `own` is one more of them.
///
/// # Errors
/// One that cannot be read.
pub(crate) fn shared_keys(dir: &Path, own: Option<&str>) -> anyhow::Result<BTreeMap<String, String>> {
    let exchange = OPTIONAL.into_iter().filter(|name| dir.join(name).exists());
    let names = SHARED.iter().copied().chain(own).chain(exchange);
    names.map(|name| Ok((name.to_owned(), read(&dir.join(name))?))).collect()
}

impl Identities {
    /// Reads what is in the data directory `dir`, makes what is missing, and renews what ends soon or lacks a name, or all.
    pub(crate) fn ensure(
        dir: &Path,
        config: &Config,
        now: OffsetDateTime,
        renew: Renew,
    ) -> anyhow::Result<Self> {
        let folder = dir.join("pki");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let node_name = &config.cluster.node_name;
        let authorities = authorities(&folder, now)?;
        let line = |line| LineAuthorities::ensure(&folder, line, || ensure_ca(&folder, line.name, now));
        let (front_proxy_ca, peer_ca) = (line(FRONT_PROXY)?, line(PEERS)?);
        // Before anything of a new one is shown.
        ensure_text(&dir.join(PEERS_TRUSTED), &peer_ca.trusted_pem)?;
        let lifetime = config.certificate_lifetime;
        let maker_of = |ca| Maker { folder: &folder, ca, now, renew, lifetime };
        let mut peer = None;
        if config.member.is_some() {
            let request = LeafRequest {
                usage: Usage::ClientAndServer,
                ..server(node_name, vec![SubjectName::Ip(config.node_ip)])
            };
            peer = Some(maker_of(&peer_ca.signing).ensure("peer", &request)?);
        }
        let front_proxy = maker_of(&front_proxy_ca.signing);
        let maker = maker_of(&authorities.signing);
        let node_names = vec![SubjectName::Dns(node_name.clone()), SubjectName::Ip(config.node_ip)];
        Ok(Self {
            service_account_key_pem: ensure_key(&folder.join("sa.key"))?,
            apiserver: maker_of(&authorities.serving)
                .ensure("apiserver", &server("kube-apiserver", api_names(config)))?,
            kubelet_client: maker
                .ensure("apiserver-kubelet-client", &client("kube-apiserver-kubelet-client", None))?,
            front_proxy: front_proxy.ensure("front-proxy-client", &client(FRONT_PROXY_NAME, None))?,
            front_proxy_ca_pem: front_proxy_ca.trusted_pem,
            kubelet_server: maker
                .ensure("kubelet", &server(&format!("system:node:{node_name}"), node_names))?,
            admin: maker.ensure("admin", &client("kubernetes-admin", Some("system:masters")))?,
            scheduler: maker.ensure("scheduler", &client("system:kube-scheduler", None))?,
            controllers: maker
                .ensure("controller-manager", &client("system:kube-controller-manager", None))?,
            proxy: maker.ensure("proxy", &client("system:kube-proxy", None))?,
            node: maker.ensure("node", &client(&format!("system:node:{node_name}"), Some("system:nodes")))?,
            peer,
            peer_ca_pem: peer_ca.trusted_pem,
            ca_pem: authorities.trusted_pem,
            signing: authorities.signing,
        })
    }

    /// What this server's parts trust and show.
    ///
    /// # Errors
    /// A certificate that cannot be read.
    pub(crate) fn standing(&self) -> anyhow::Result<Standing> {
        let of = |leaf: &Leaf| issuer(&leaf.certificate_pem, &self.ca_pem);
        let shows: Vec<_> = self.of_own_parts().into_iter().map(of).collect::<Result<_, _>>()?;
        let serves = of(&self.apiserver)?.unwrap_or_default();
        let peers = LineStanding::new(&self.peer_ca_pem, self.peer.as_ref())?;
        let front_proxy = LineStanding::new(&self.front_proxy_ca_pem, Some(&self.front_proxy))?;
        let lines = [(PEERS.name.to_owned(), peers), (FRONT_PROXY.name.to_owned(), front_proxy)];
        Ok(Standing { lines: lines.into(), ..Standing::new(pins(&self.ca_pem)?, shows, Some(serves)) })
    }

    /// All certificates that end before the authorities do.
    pub(crate) fn leaves(&self) -> Vec<&Leaf> {
        let mut all = vec![&self.apiserver, &self.front_proxy];
        all.extend(self.of_own_parts());
        all.extend(&self.peer);
        all
    }

    /// What the parts of this server show each other: of the authority that signs now.
    fn of_own_parts(&self) -> [&Leaf; 7] {
        [
            &self.kubelet_client,
            &self.kubelet_server,
            &self.admin,
            &self.scheduler,
            &self.controllers,
            &self.proxy,
            &self.node,
        ]
    }
}

/// Every name under which clients reach the API server.
fn api_names(config: &Config) -> Vec<SubjectName> {
    let dns = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<_> = dns.iter().map(|name| SubjectName::Dns((*name).to_owned())).collect();
    names.push(SubjectName::Dns("localhost".to_owned()));
    names.push(SubjectName::Dns(config.cluster.node_name.clone()));
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(config.cluster.api_service_ip()),
        IpAddr::V4(config.cluster.gateway()),
        config.node_ip,
    ];
    if !config.bind.ip().is_unspecified() {
        addresses.push(config.bind.ip());
    }
    addresses.sort_unstable();
    addresses.dedup();
    names.extend(addresses.into_iter().map(SubjectName::Ip));
    names
}

fn client(user: &str, group: Option<&str>) -> LeafRequest {
    LeafRequest {
        common_name: user.to_owned(),
        organization: group.map(str::to_owned),
        names: Vec::new(),
        usage: Usage::Client,
        validity: Duration::ZERO, // the maker's
    }
}

fn server(name: &str, names: Vec<SubjectName>) -> LeafRequest {
    LeafRequest {
        common_name: name.to_owned(),
        organization: None,
        names,
        usage: Usage::Server,
        validity: Duration::ZERO, // the maker's
    }
}

/// The authorities in the folder of keys; the first one is made where none is.
///
/// # Errors
/// Files that cannot be read or written.
pub(crate) fn authorities(folder: &Path, now: OffsetDateTime) -> anyhow::Result<Authorities> {
    Authorities::ensure(folder, || ensure_ca(folder, "ca", now))
}

fn ensure_ca(folder: &Path, name: &str, now: OffsetDateTime) -> anyhow::Result<Ca> {
    let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    if certificate.exists() {
        return Ca::from_pem(read(&certificate)?, read(&key)?)
            .with_context(|| format!("using the certificate authority in {}", folder.display()));
    }
    let ca = Ca::generate(&format!("mainstay-{name}"), now, CA_VALIDITY)
        .context("making the certificate authority")?;
    write_atomically(&key, ca.key_pem().as_bytes(), 0o600)?;
    write_atomically(&certificate, ca.certificate_pem().as_bytes(), 0o644)?; // last: it marks the pair as complete
    Ok(ca)
}

/// Writes a file where it does not hold this text.
fn ensure_text(file: &Path, text: &str) -> anyhow::Result<()> {
    if file.exists() && read(file)? == text {
        return Ok(());
    }
    write_atomically(file, text.as_bytes(), 0o644)
}

fn ensure_key(file: &Path) -> anyhow::Result<String> {
    if file.exists() {
        return read(file);
    }
    let key = generate_key_pem().context("making the ServiceAccount key")?;
    write_atomically(file, key.as_bytes(), 0o600)?;
    Ok(key)
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

struct Maker<'a> {
    folder: &'a Path,
    ca: &'a Ca,
    now: OffsetDateTime,
    renew: Renew,
    /// How long what it makes is good for.
    lifetime: Duration,
}

impl Maker<'_> {
    fn ensure(&self, name: &str, request: &LeafRequest) -> anyhow::Result<Leaf> {
        let (certificate, key) =
            (self.folder.join(format!("{name}.crt")), self.folder.join(format!("{name}.key")));
        if certificate.exists() && key.exists() {
            let leaf = Leaf { certificate_pem: read(&certificate)?, key_pem: read(&key)? };
            if self.usable(&leaf, request).with_context(|| format!("checking {}", certificate.display()))? {
                return Ok(leaf);
            }
        }
        let request = LeafRequest { validity: self.lifetime, ..request.clone() };
        let leaf =
            self.ca.issue(&request, self.now).with_context(|| format!("making the certificate {name}"))?;
        write_pair(&self.folder.join(name), &leaf, false)?; // what is missing is made anew
        Ok(leaf)
    }

    fn usable(&self, leaf: &Leaf, request: &LeafRequest) -> anyhow::Result<bool> {
        let is_due = self.renew == Renew::All || facts(&leaf.certificate_pem)?.is_due(self.now);
        let is_ours = issuer(&leaf.certificate_pem, self.ca.certificate_pem())?.is_some();
        Ok(is_ours && !is_due && covers(&leaf.certificate_pem, &request.names)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn maker_in(folder: &Path, ca: &Ca, now: OffsetDateTime) -> Leaf {
        ensured(folder, ca, now, Renew::Due)
    }

    fn ensured(folder: &Path, ca: &Ca, now: OffsetDateTime, renew: Renew) -> Leaf {
        let maker = Maker { folder, ca, now, renew, lifetime: 365 * DAY };
        maker.ensure("x", &client("someone", None)).unwrap()
    }

    #[test]
    fn a_leaf_is_kept_until_it_ends_soon() {
        let dir = tempfile::tempdir().unwrap();
        let start = OffsetDateTime::now_utc();
        let ca = ensure_ca(dir.path(), "ca", start).unwrap();
        let first = maker_in(dir.path(), &ca, start).certificate_pem;
        assert_eq!(maker_in(dir.path(), &ca, start + 100 * DAY).certificate_pem, first);
        assert_ne!(maker_in(dir.path(), &ca, start + 300 * DAY).certificate_pem, first);
        let now = start + 301 * DAY;
        let second = maker_in(dir.path(), &ca, now).certificate_pem;
        assert_ne!(ensured(dir.path(), &ca, now, Renew::All).certificate_pem, second, "asked for");
    }

    #[test]
    fn the_authority_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let first = ensure_ca(dir.path(), "ca", now).unwrap();
        assert_eq!(ensure_ca(dir.path(), "ca", now).unwrap().certificate_pem(), first.certificate_pem());
    }
}
