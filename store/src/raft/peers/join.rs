//! How a member with an empty directory finds out who it is: it asks the members of the cluster that it was added to.
use std::time::Duration;

use super::peer::dial_and_greet;
use crate::api::{ClusterConfig, OpenError};
use crate::raft::types::MemberNode;
use crate::raft::wire::{Hello, PROTOCOL_VERSION, Purpose, Welcome};

/// Each member is given so long to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The cluster may be electing: it is asked again for so long.
const ASK_MAX: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The identity that a cluster has given to the member with our peer URLs: its cluster and its own identifier.
pub(crate) async fn ask_for_members(config: &ClusterConfig) -> Result<(u64, u64), OpenError> {
    let own = config.initial.iter().find(|member| member.name == config.name);
    let mut own_urls = own.map(|member| member.peer_urls.clone()).unwrap_or_default();
    own_urls.sort_unstable();
    let others: Vec<&[String]> = config
        .initial
        .iter()
        .filter(|member| member.name != config.name)
        .map(|member| &member.peer_urls[..])
        .collect();
    if own_urls.is_empty() || others.is_empty() {
        return Err(OpenError::Config("to join a cluster, name this member and at least one other".into()));
    }
    let started = tokio::time::Instant::now();
    loop {
        let mut failed = String::new();
        for urls in &others {
            match ask(config, urls).await {
                Ok((cluster_id, members)) => {
                    let ours = |(_, node): &&(u64, MemberNode)| node.peer_urls == own_urls;
                    return match members.iter().find(ours) {
                        Some((id, _)) => Ok((cluster_id, *id)),
                        None => Err(OpenError::Config(format!(
                            "cluster {cluster_id:016x} has no member with the peer URLs {}: add it there first",
                            own_urls.join(",")
                        ))),
                    };
                }
                Err(why) => failed = why,
            }
        }
        if started.elapsed() > ASK_MAX {
            return Err(OpenError::Raft(format!(
                "no member of the cluster told who we are; the last one: {failed}"
            )));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn ask(config: &ClusterConfig, urls: &[String]) -> Result<(u64, Vec<(u64, MemberNode)>), String> {
    let hello = Hello {
        version: PROTOCOL_VERSION,
        purpose: Purpose::Join,
        cluster_id: 0,
        from: 0,
        to: 0,
        instance: 0,
    };
    let asked = tokio::time::timeout(ANSWER_MAX, dial_and_greet(&*config.transport, urls, hello)).await;
    match asked.map(|greeted| greeted.map(|greeted| greeted.welcome)) {
        Ok(Ok(Welcome::Members { cluster_id, members })) => Ok((cluster_id, members)),
        Ok(Ok(Welcome::Refused(refusal))) => Err(refusal.to_string()),
        Ok(Ok(Welcome::Accepted)) => Err("it did not tell its members".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_late) => Err("it took too long".into()),
    }
}
