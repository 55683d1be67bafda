//! The documentation is followed to the letter: its commands, as they stand in it, are typed on bare machines.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bare::{Bare, Init};
use crate::cluster::SOON;
use crate::command::eventually;
use crate::machine::Switch;

/// What the README promises, from the first command to the last.
const PROMISED: Duration = Duration::from_secs(300);

/// The commands of one section, each with the sentence before them, which says where they are for.
pub(crate) struct Steps {
    section: String,
    steps: Vec<(String, String)>,
}

impl Steps {
    /// Of a document in the repository, and a heading of its second level.
    pub(crate) fn read(document: &str, heading: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let text = fs::read_to_string(file).unwrap();
        let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
        let section = section.unwrap_or_else(|| panic!("{document} has no section {heading:?}"));
        let parts = section.split("\n```sh\n").collect::<Vec<_>>();
        let mut steps = Vec::new();
        for pair in parts.windows(2) {
            // What is before the commands begins after those of the step before.
            let before = pair[0].rsplit("\n```\n").next().unwrap_or_default();
            let said = before.trim().split("\n\n").last().unwrap_or_default();
            let commands = pair[1].split("\n```").next().unwrap_or_default();
            steps.push((said.replace('\n', " "), commands.to_owned()));
        }
        Self { section: format!("{document}, {heading}"), steps }
    }

    /// The commands after the sentence that begins, or has a sentence in it that begins, so.
    pub(crate) fn of(&self, begins: &str) -> &str {
        let is_it = |said: &str| said.starts_with(begins) || said.contains(&format!(". {begins}"));
        let mut found = self.steps.iter().filter(|(said, _)| is_it(said));
        let step = found.next().unwrap_or_else(|| {
            let all: Vec<_> = self.steps.iter().map(|(said, _)| said).collect();
            panic!("{} has no step {begins:?}: {all:?}", self.section)
        });
        assert!(found.next().is_none(), "{} has two steps {begins:?}", self.section);
        &step.1
    }
}

/// The line that was printed and is the documentation's command with an address and a token in it.
#[track_caller]
pub(crate) fn printed(said: &str, documented: &str) -> String {
    let shape = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        for (option, placeholder) in [("--join", "https://IP:6443"), ("--token", "T")] {
            let at = words.iter().position(|word| *word == option)?;
            *words.get_mut(at + 1)? = placeholder;
        }
        Some(words.join(" "))
    };
    let line = said.lines().find(|line| shape(line).as_deref() == Some(documented));
    line.unwrap_or_else(|| panic!("nothing like {documented:?} was printed:\n{said}")).to_owned()
}

/// Rows of `kubectl get nodes` in the beginning of what was said: name, status, roles.
pub(crate) fn nodes(said: &str) -> Vec<[String; 3]> {
    let rows = said.lines().skip_while(|line| !line.starts_with("NAME ")).skip(1);
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some([words.next()?, words.next()?, words.next()?])
    };
    rows.map_while(row).take_while(|[name, ..]| name.starts_with('m')).collect()
}

/// Three servers that run pods, and a worker.
pub(crate) fn three_servers_and_a_worker() -> Vec<[String; 3]> {
    let row = |name: &str, role: &str| [name, "Ready", role].map(str::to_owned);
    vec![
        row("m1", "control-plane"),
        row("m2", "control-plane"),
        row("m3", "control-plane"),
        row("m4", "<none>"),
    ]
}

/// So many servers, set up as the README says, without a service.
#[track_caller]
pub(crate) fn by_the_readme(switch: &Switch, servers: u8) -> Vec<Bare> {
    let steps = Steps::read("README.md", "Several machines");
    let mut machines: Vec<Bare> =
        (1..=servers).map(|number| Bare::new(switch.machine(number), Init::Nothing)).collect();
    for machine in &machines {
        let said = machine.run(steps.of("On every machine")).ok();
        assert!(said.lines().count() > 5 && said.lines().all(|line| line.starts_with("ok ")), "{said}");
    }
    machines[0].starts(steps.of("On the first machine"), "mainstay agent --join "); // what it prints last
    let server = join(&machines, &steps, "On two more machines");
    for machine in &mut machines[1..] {
        machine.starts(&server, "ready in ");
    }
    machines
}

/// The command of a step, as the first machine printed it.
#[track_caller]
fn join(machines: &[Bare], steps: &Steps, step: &str) -> String {
    let said = fs::read_to_string(machines[0].log()).unwrap();
    printed(&said, steps.of(step))
}

#[test]
fn the_readme_alone_leads_from_bare_machines_to_three_servers() {
    let switch = Switch::new();
    let began = Instant::now();
    let mut machines = by_the_readme(&switch, 3);
    let steps = Steps::read("README.md", "Several machines");
    machines.push(Bare::new(switch.machine(4), Init::Nothing));
    let said = machines[3].run(steps.of("On every machine")).ok();
    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    let agent = join(&machines, &steps, "On each worker");
    machines[3].starts(&agent, "ready in ");
    let look = steps.of("Then, in another terminal of a server");
    // Whoever types is slower than this.
    let seen = eventually(SOON, || {
        let said = machines[1].run(look);
        (said.code == 0).then_some(said.stdout)
    });
    let took = began.elapsed();
    let seen = seen.unwrap_or_else(|| panic!("{:?}", machines[1].run(look)));
    println!("from the first command to three servers and a worker: {} ms", took.as_millis());
    println!("{seen}");
    assert_eq!(nodes(&seen), three_servers_and_a_worker(), "{seen}");
    assert!(seen.ends_with("nothing is wrong\n"), "{seen}");
    assert!(took < PROMISED, "{took:?}");
}
