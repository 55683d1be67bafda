//! Every command of etcdctl, old and new, against etcd and against our store: what it prints and its exit code are the same.
//!
//! `commands.txt` is the list. Identifiers, ports, times and sizes differ between any two clusters: they are made alike before the comparison.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::cluster::{Cluster, Kind, SOON, Version};
use crate::text;

const TABLE: &str = include_str!("commands.txt");

/// One server's side of the comparison.
struct Side {
    cluster: Cluster,
    version: Version,
    names: HashMap<String, String>,
    /// Identifiers by the order in which they were seen.
    seen: HashMap<String, usize>,
    running: Vec<Child>,
}

/// A line of the table.
#[derive(Clone, Debug, Default)]
struct Line {
    /// As it is written.
    whole: String,
    arguments: String,
    input: String,
    /// The name of the identifier that it prints.
    keeps: Option<String>,
    endpoint: Option<String>,
    /// It is ended after so many lines.
    lines: Option<usize>,
    goes_on: bool,
    may_differ: bool,
}

impl Line {
    /// None if it is not for this cluster and version.
    fn parse(line: &str, members: usize, version: Version) -> Option<Self> {
        let mut parsed = Self { whole: line.to_owned(), ..Self::default() };
        let mut rest = line.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            return None;
        }
        loop {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            match word {
                "1:" | "3:" if word != format!("{members}:") => return None,
                "3.4:" if version != Version::V3_4 => return None,
                "3.5:" if version != Version::V3_5 => return None,
                "1:" | "3:" | "3.4:" | "3.5:" => {}
                "!" => parsed.may_differ = true,
                "&" => (parsed.goes_on, parsed.lines) = (true, Some(1)),
                _ if word.starts_with('~') => parsed.lines = Some(word[1..].parse().unwrap()),
                _ if word.starts_with('@') => parsed.endpoint = Some(word.to_owned()),
                _ => break,
            }
            rest = after;
        }
        let is_name = |name: &str| name.bytes().all(|letter| letter.is_ascii_uppercase());
        if let Some((before, name)) = rest.rsplit_once(" > ").filter(|(_, name)| is_name(name)) {
            (rest, parsed.keeps) = (before, Some(name.to_owned()));
        }
        if let Some((before, input)) = rest.split_once(" < ") {
            (rest, parsed.input) = (before, input.replace("\\n", "\n"));
        }
        rest.clone_into(&mut parsed.arguments);
        Some(parsed)
    }
}

/// The words of a line, as a shell has them: single quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

impl Side {
    fn start(kind: Kind, members: usize, version: Version) -> Self {
        let cluster = Cluster::start(kind, members);
        let mut side =
            Self { cluster, version, names: HashMap::new(), seen: HashMap::new(), running: Vec::new() };
        side.names.insert("dir".into(), side.cluster.dir.path().display().to_string());
        let endpoints = side.cluster.endpoints();
        let status = Version::V3_5.command().args(["--endpoints", &endpoints, "endpoint", "status"]).output();
        for line in text(&status.unwrap()).lines() {
            let fields: Vec<&str> = line.split(", ").collect();
            let role = if fields[4] == "true" { "leader" } else { "follower" };
            side.names.insert(role.into(), fields[1].into());
            side.names.insert(format!("@{role}"), fields[0].into());
        }
        side
    }

    /// Runs a line: what it printed and its exit code, made alike.
    fn run(&mut self, line: &Line) -> String {
        let named = |text: &str| {
            self.names
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
        };
        let endpoints = match &line.endpoint {
            Some(role) => self.names[role].clone(),
            None => self.cluster.endpoints(),
        };
        let mut arguments = vec![format!("--endpoints={endpoints}")];
        arguments.extend(words(&line.arguments).iter().map(|word| named(word)));
        let printed = match line.lines {
            Some(lines) => self.some_lines(&arguments, lines, line.goes_on),
            None => whole(self.version.command().args(&arguments), &line.input),
        };
        if let Some(name) = &line.keeps {
            let mut found = None;
            each_token(&printed, |token| {
                found = found.take().or_else(|| is_identifier(token).then(|| token.to_owned()));
                None
            });
            self.names.insert(name.clone(), found.unwrap_or_else(|| panic!("{}: {printed}", line.whole)));
        }
        self.alike(&line.arguments, &printed)
    }

    /// The first lines of a command that goes on.
    fn some_lines(&mut self, arguments: &[String], lines: usize, goes_on: bool) -> String {
        let mut command = self.version.endless();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, said) = mpsc::channel();
        // It ends with the command, or when nobody listens any more.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let said: Vec<String> = (0..lines).map_while(|_| said.recv_timeout(SOON).ok()).collect();
        self.running.push(child);
        if !goes_on && let Some(mut child) = self.running.pop() {
            end(&mut child);
        }
        said.join("\n")
    }

    /// Makes alike what differs between any two clusters.
    fn alike(&mut self, arguments: &str, printed: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for line in printed.lines() {
            let line = logged(line).unwrap_or_else(|| line.to_owned());
            // How often something is tried depends on time.
            if !(line.starts_with("log: ") && lines.last() == Some(&line)) {
                lines.push(line);
            }
        }
        let mut text = lines.join("\n");
        for (name, urls) in [("client", &self.cluster.urls), ("peer", &self.cluster.peers)] {
            for url in urls {
                text = text.replace(url.trim_start_matches("http://"), name);
            }
        }
        text = text.replace(&self.names["dir"], "DIR");
        text = each_token(&text, |token| {
            let next = self.seen.len();
            is_identifier(token).then(|| match self.cluster.urls.len() {
                1 => format!("id{}", self.seen.entry(token.into()).or_insert(next)),
                // Which member answers, and whose identifier is the least, is chance.
                _ => "ID".to_owned(),
            })
        });
        for before in ["took = ", "\"took\":\"", "\"raft_term\":", "\"RaftTerm\" : ", "remaining("] {
            text = blank_after(&text, before);
        }
        let is = |what: &str| arguments.contains(what);
        if is("snapshot status") {
            text = blank_after(&format!("hash {text}"), "hash ");
        }
        if is("endpoint status") || is("endpoint hashkv") || is("snapshot ") {
            text = without_numbers(&text);
        }
        // Columns are as wide as their contents, and identifiers as short as their leading zeros make them: this holds for the frames too.
        text = text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        while text.contains("---") {
            text = text.replace("---", "--");
        }
        if is("endpoint ") || is("member list") {
            let mut lines: Vec<&str> = text.lines().collect();
            for line in &mut lines {
                *line = line.trim_end();
            }
            lines.sort_unstable();
            text = lines.join("\n");
        }
        if is("member add") {
            text = text.lines().map(members_by_name).collect::<Vec<_>>().join("\n");
        }
        text
    }
}

/// The line with the members that it lists sorted by name: etcdctl has them by their identifiers, which are random.
fn members_by_name(line: &str) -> String {
    const LIST: &str = "ETCD_INITIAL_CLUSTER=";
    let Some(quoted) = line.strip_prefix(LIST) else { return line.to_owned() };
    let mut members: Vec<&str> = quoted.trim_matches('"').split(',').collect();
    members.sort_unstable();
    format!("{LIST}{:?}", members.join(","))
}

impl Drop for Side {
    fn drop(&mut self) {
        self.running.iter_mut().for_each(end);
    }
}

fn end(child: &mut Child) {
    // One that has ended by itself needs no killing.
    drop(child.kill());
    drop(child.wait());
}

fn whole(command: &mut Command, input: &str) -> String {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("this test needs etcdctl: apt-get install etcd-client");
    // A command that reads nothing may have ended already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    format!("{}\nexit code {:?}", text(&output).trim_end(), output.status.code())
}

/// What a line of etcdctl's own log says.
fn logged(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line.strip_prefix('{').map(|_| line)?).ok()?;
    line.get("level")?;
    Some(format!("log: {} {}", line["msg"], line["error"]))
}

fn is_identifier(token: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match token.len() {
        13..=16 => token.bytes().all(is_hex) && token.bytes().any(|byte| byte.is_ascii_digit()),
        17..=20 => token.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// Replaces words of letters and digits.
fn each_token(text: &str, mut replace: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        out.push_str(&replace(token).unwrap_or_else(|| token.to_owned()));
        let begin = after.find(|letter: char| letter.is_ascii_alphanumeric()).unwrap_or(after.len());
        out.push_str(&after[..begin]);
        rest = &after[begin..];
    }
    out
}

/// Replaces the number, with its unit, that follows.
fn blank_after(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !letter.is_alphanumeric() && letter != '.').unwrap_or(part.len());
        out.extend([before, "N", &part[end..]]);
    }
    out
}

/// Replaces all numbers, the units of sizes, and the widths of columns.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '0'..='9' | '.' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            '-' if out.ends_with('-') => {}
            letter => out.push(letter),
        }
    }
    out.replace("kB", "B").replace("MB", "B")
}

fn all(kind: Kind, members: usize, version: Version) -> Vec<(Line, String)> {
    let mut side = Side::start(kind, members, version);
    let lines = TABLE.lines().filter_map(|line| Line::parse(line, members, version));
    lines.map(|line| (line.clone(), side.run(&line))).collect()
}

fn compare(members: usize, version: Version) {
    let [wanted, found] = std::thread::scope(|scope| {
        [Kind::Etcd, Kind::Ours]
            .map(|kind| scope.spawn(move || all(kind, members, version)))
            .map(|side| side.join().unwrap())
    });
    assert!(wanted.len() > 150, "only {} commands", wanted.len());
    let mut differences = Vec::new();
    for ((line, wanted), (_, found)) in wanted.iter().zip(&found) {
        if wanted != found && !line.may_differ {
            differences.push(format!("etcdctl {}\n--- etcd:\n{wanted}\n--- ours:\n{found}", line.whole));
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

#[test]
fn etcdctl_3_4_says_the_same_of_one_member() {
    compare(1, Version::V3_4);
}

#[test]
fn etcdctl_3_5_says_the_same_of_one_member() {
    compare(1, Version::V3_5);
}

#[test]
fn etcdctl_3_4_says_the_same_of_three_members() {
    compare(3, Version::V3_4);
}

#[test]
fn etcdctl_3_5_says_the_same_of_three_members() {
    compare(3, Version::V3_5);
}
