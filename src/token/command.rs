//! `mainstay token`: makes, lists and revokes tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use time::format_description::well_known::Rfc3339;

use super::secret::{Class, create, list, revoke};
use crate::cli::DATA_DIR;
use crate::refusal::refuse;
use crate::store_command::parse_duration;
use crate::up::{install_crypto, print_line};

/// `mainstay token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it.
    Create {
        /// A token that makes a machine a server, which then holds every key of the cluster; else it makes a node.
        #[arg(long)]
        server: bool,
        /// How long it is good for, such as 30m, 24h; 0 means for ever.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
        ttl: Duration,
        /// A note for people.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        #[command(flatten)]
        cluster: ClusterFlags,
    },
    /// List the tokens, without their secrets.
    List {
        #[command(flatten)]
        cluster: ClusterFlags,
    },
    /// Revoke a token: machines that joined with it stay.
    Revoke {
        /// The token, or its id.
        #[arg(value_name = "TOKEN")]
        token: String,
        #[command(flatten)]
        cluster: ClusterFlags,
    },
}

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// An administrator's kubeconfig [default: /var/lib/mainstay/admin.kubeconfig].
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl ClusterFlags {
    /// A client, and the authority that the kubeconfig trusts, PEM.
    pub(crate) async fn connect(&self) -> anyhow::Result<(kube::Client, String)> {
        let default = Path::new(DATA_DIR).join("admin.kubeconfig");
        let file = self.kubeconfig.as_ref().unwrap_or(&default);
        let refused = |why: String| refuse(format!("--kubeconfig {}: {why}", file.display()));
        let parsed = Kubeconfig::read_from(file).map_err(|error| refused(error.to_string()))?;
        let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .map_err(|error| refused(error.to_string()))?;
        let authority = config.root_cert.iter().flatten().next();
        let authority = authority.ok_or_else(|| refused("it names no certificate authority".to_owned()))?;
        let ca_pem = crate::join::pem("CERTIFICATE", authority);
        let client = kube::Client::try_from(config).context("making the API client")?;
        Ok((client, ca_pem))
    }
}

/// Carries out one of the commands.
///
/// # Errors
/// A kubeconfig that cannot be used; what the API server refuses.
pub(crate) fn run(command: &TokenCommand) -> anyhow::Result<()> {
    install_crypto()?;
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(async {
        match command {
            TokenCommand::Create { server, ttl, description, cluster } => {
                let (client, ca_pem) = cluster.connect().await?;
                let class = if *server { Class::Server } else { Class::Agent };
                let lifetime = (!ttl.is_zero()).then_some(*ttl);
                let now = SystemClock.wall();
                let token = create(&client, &ca_pem, class, lifetime, description, now).await?;
                print_line(&token.to_string())
            }
            TokenCommand::List { cluster } => print_list(&cluster.connect().await?.0).await,
            TokenCommand::Revoke { token, cluster } => {
                let id = token.rsplit('.').nth(1).unwrap_or(token);
                if revoke(&cluster.connect().await?.0, id).await? {
                    return print_line(&format!("token {id} is revoked"));
                }
                Err(refuse(format!("there is no token {id:?}: see `mainstay token list`")))
            }
        }
    })
}

async fn print_list(client: &kube::Client) -> anyhow::Result<()> {
    print_line(&format!("{:<8}{:<9}{:<22}DESCRIPTION", "ID", "FOR", "EXPIRES"))?;
    for token in list(client).await? {
        let class = token.class.map_or("other", Class::name);
        let ends = token.expires.and_then(|ends| ends.format(&Rfc3339).ok());
        let ends = ends.unwrap_or_else(|| "never".to_owned());
        print_line(&format!("{:<8}{class:<9}{ends:<22}{}", token.id, token.description))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::secret::LIFETIME;

    #[test]
    fn the_help_tells_the_lifetime_of_printed_tokens() {
        assert_eq!(parse_duration("24h").unwrap(), LIFETIME);
    }
}
