//! What comes next, from how far the cluster is and what its machines have done. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lines::LINES;
use super::standing::{Stage, Standing};

/// What an administrator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wish {
    /// To know.
    Look,
    /// A new authority that everything of the cluster's own is of, with the old one still trusted.
    Issue,
    /// The end of the old one.
    Finish,
}

/// An exchange, under way or done. Authorities go by their pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rotation {
    /// How far it is.
    pub(crate) stage: Stage,
    /// The authority that goes.
    pub(crate) old: String,
    /// The one that comes.
    pub(crate) new: String,
    /// Those that come in other lines, by the names of these. One that began before there were any has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) others: BTreeMap<String, String>,
}

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a server.
    pub(crate) is_server: bool,
    /// What it said last; none if it never said anything.
    pub(crate) standing: Option<Standing>,
}

impl Machine {
    /// Its name and its version.
    pub(super) fn version(&self) -> (&str, Option<&str>) {
        (&self.name, self.standing.as_ref().map(|standing| standing.version.as_str()))
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is done, or machines are waited for.
    Nothing,
    /// Make a new authority, and begin with the first stage.
    Begin,
    /// Go on to this stage.
    To(Stage),
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What to do now.
    pub(crate) step: Step,
    /// What each machine lacks that is waited for.
    pub(crate) waits: Vec<String>,
    /// Whether the wish is fulfilled.
    pub(crate) is_done: bool,
}

/// Decides.
///
/// # Errors
/// A wish that cannot be fulfilled from here, with what to do instead.
pub(crate) fn decide(
    rotation: Option<&Rotation>,
    machines: &[Machine],
    wish: Wish,
) -> Result<Decision, String> {
    let waits: Vec<String> = machines.iter().filter_map(|machine| lack(rotation, machine)).collect();
    let stage = rotation.map(|rotation| rotation.stage);
    let next = match (wish, stage) {
        (Wish::Look, _) | (Wish::Issue, Some(Stage::Issued)) | (Wish::Finish, Some(Stage::Dropped)) => None,
        (Wish::Issue, None | Some(Stage::Dropped)) => Some(Step::Begin),
        (Wish::Issue, Some(Stage::Trusted)) => Some(Step::To(Stage::Issued)),
        (Wish::Finish, Some(Stage::Issued)) => Some(Step::To(Stage::Served)),
        (Wish::Finish, Some(Stage::Served)) => Some(Step::To(Stage::Dropped)),
        (Wish::Issue, Some(Stage::Served)) => {
            return Err("the old authority is on its way out: go on with `mainstay certs rotate --authority --finish`".to_owned());
        }
        (Wish::Finish, None) => {
            return Err(
                "no new authority is there: begin with `mainstay certs rotate --authority`".to_owned()
            );
        }
        (Wish::Finish, Some(Stage::Trusted)) => {
            return Err("certificates are not of the new authority yet: run `mainstay certs rotate --authority` to its end first".to_owned());
        }
    };
    let is_done = next.is_none() && waits.is_empty();
    let step = next.filter(|_| waits.is_empty()).unwrap_or(Step::Nothing);
    Ok(Decision { step, waits, is_done })
}

/// What a machine has not done yet of the stage that the cluster is in.
fn lack(rotation: Option<&Rotation>, machine: &Machine) -> Option<String> {
    let kind = if machine.is_server { "server" } else { "worker" };
    let who = format!("{kind} {}", machine.name);
    let Some(standing) = &machine.standing else {
        let instead = if machine.is_server {
            format!("`mainstay server remove {}`", machine.name)
        } else {
            format!("`kubectl delete node {}`", machine.name)
        };
        return Some(format!(
            "{who} has never said which authorities it trusts: start it, with this version; or give it up by {instead}"
        ));
    };
    let Rotation { stage, old: _, new, others } = rotation?;
    let is_new = |pin: &String| pin == new;
    let lacks = match stage {
        Stage::Trusted => {
            (!standing.trusts.iter().any(is_new)).then_some("does not trust the new authority yet")
        }
        Stage::Issued => {
            (!standing.shows.iter().all(is_new)).then_some("has certificates of the old authority still")
        }
        Stage::Served => standing
            .serves
            .iter()
            .any(|pin| !is_new(pin))
            .then_some("serves with a certificate of the old authority still"),
        Stage::Dropped => (!standing.trusts.iter().all(is_new)).then_some("trusts the old authority still"),
    };
    let lacks = lacks.map(str::to_owned).or_else(|| lack_of_lines(*stage, others, machine));
    lacks.map(|what| format!("{who} {what}: is it up?"))
}

/// What a server has not done yet with the authorities that only servers have.
fn lack_of_lines(stage: Stage, new: &BTreeMap<String, String>, machine: &Machine) -> Option<String> {
    let standing = machine.standing.as_ref().filter(|_| machine.is_server)?;
    LINES.into_iter().find_map(|line| {
        let new = new.get(line.name)?;
        match standing.lines.get(line.name) {
            Some(standing) => standing.lacks(line, stage, new),
            None => Some(format!("does not know of the new authority of {} yet", line.words)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn standing(trusts: &[&str], shows: &[&str], serves: Option<&str>) -> Standing {
        let owned = |pins: &[&str]| pins.iter().map(|pin| (*pin).to_owned()).collect();
        Standing {
            version: "1.2.3".to_owned(),
            trusts: owned(trusts),
            shows: owned(shows),
            serves: serves.map(str::to_owned),
            lines: BTreeMap::new(),
        }
    }

    fn machine(name: &str, is_server: bool, standing: Option<Standing>) -> Machine {
        Machine { name: name.to_owned(), is_server, standing }
    }

    #[test]
    fn servers_are_waited_for_in_the_lines_that_they_alone_have() {
        let others = BTreeMap::from([("peer-ca".to_owned(), "new".to_owned())]);
        let rotation =
            Rotation { stage: Stage::Trusted, old: "old".to_owned(), new: "new".to_owned(), others };
        let trusting = standing(&["old", "new"], &["old"], Some("old"));
        let worker = machine("w", false, Some(standing(&["old", "new"], &["old"], None)));
        let with = |trusts: &[&str]| {
            let pins: Vec<_> = trusts.iter().map(|pin| (*pin).to_owned()).collect();
            let lines = serde_json::json!({"peer-ca": {"trusts": pins, "shows": "old"}});
            Standing { lines: serde_json::from_value(lines).unwrap(), ..trusting.clone() }
        };
        let waits = |said: Standing| {
            let machines = [machine("s", true, Some(said)), worker.clone()];
            decide(Some(&rotation), &machines, Wish::Issue).unwrap()
        };
        let unknown = "server s does not know of the new authority of the store's members yet: is it up?";
        assert_eq!(waits(trusting.clone()).waits, [unknown]);
        let untrusted = "server s does not trust the new authority of the store's members yet: is it up?";
        assert_eq!(waits(with(&["old"])).waits, [untrusted]);
        assert_eq!(waits(with(&["old", "new"])).step, Step::To(Stage::Issued));
    }

    /// One line for each thing that a cluster can be in.
    #[test]
    fn no_stage_begins_before_all_machines_have_come_to_the_one_before() {
        let before = standing(&["old"], &["old"], Some("old"));
        let trusting = standing(&["old", "new"], &["old"], Some("old"));
        let issued = standing(&["old", "new"], &["new"], Some("old"));
        let both_new = standing(&["new", "old"], &["new"], Some("new"));
        let ended = standing(&["new"], &["new"], Some("new"));
        let worker =
            |trusts: &[&str], shows: &[&str]| machine("w", false, Some(standing(trusts, shows, None)));
        let server = |said: &Standing| machine("s", true, Some(said.clone()));
        let all = [
            ("none", None, vec![server(&before), worker(&["old"], &["old"])]),
            ("none, a silent worker", None, vec![server(&before), machine("w", false, None)]),
            ("trusted, begun", Some(Stage::Trusted), vec![server(&before), worker(&["old"], &["old"])]),
            (
                "trusted, a worker lacks it",
                Some(Stage::Trusted),
                vec![server(&trusting), worker(&["old"], &["old"])],
            ),
            (
                "trusted, by all",
                Some(Stage::Trusted),
                vec![server(&trusting), worker(&["old", "new"], &["old"])],
            ),
            (
                "issued, begun",
                Some(Stage::Issued),
                vec![server(&trusting), worker(&["old", "new"], &["new"])],
            ),
            ("issued, to all", Some(Stage::Issued), vec![server(&issued), worker(&["old", "new"], &["new"])]),
            (
                "issued, a server came back",
                Some(Stage::Issued),
                vec![server(&issued), machine("t", true, None)],
            ),
            ("served, begun", Some(Stage::Served), vec![server(&issued), worker(&["new", "old"], &["new"])]),
            (
                "served, by all",
                Some(Stage::Served),
                vec![server(&both_new), worker(&["new", "old"], &["new"])],
            ),
            ("dropped, begun", Some(Stage::Dropped), vec![server(&both_new), worker(&["new"], &["new"])]),
            ("dropped, by all", Some(Stage::Dropped), vec![server(&ended), worker(&["new"], &["new"])]),
        ];
        let mut text = String::new();
        for (what, stage, machines) in all {
            let rotation = stage.map(|stage| Rotation {
                stage,
                old: "old".to_owned(),
                new: "new".to_owned(),
                others: BTreeMap::new(),
            });
            writeln!(text, "{what}").unwrap();
            for wish in [Wish::Look, Wish::Issue, Wish::Finish] {
                let said = match decide(rotation.as_ref(), &machines, wish) {
                    Ok(decision) => format!(
                        "{:?}{}{}",
                        decision.step,
                        if decision.is_done { ", done" } else { "" },
                        decision.waits.iter().fold(String::new(), |all, wait| all + "\n    " + wait)
                    ),
                    Err(why) => format!("refused: {why}"),
                };
                writeln!(text, "  {wish:?}: {said}").unwrap();
            }
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/authority/decide.txt");
            std::fs::write(file, &text).unwrap();
        } else {
            assert_eq!(text, include_str!("decide.txt"));
        }
    }
}
