//! Every RPC with every field of its request, as a script with the answers under each call (`rpcs.txt`; `UPDATE_GOLDEN=1` writes it anew).
//!
//! The calls go through the JSON gateway, which makes the gRPC request of them and sends it to the same services. The script is checked
//! against the descriptors that reflection serves: a new RPC or field that it does not use fails here.
//!
//! A call is the name of the RPC, its route and the request. `~text` stands for bytes, `route*2` for a stream of which two messages are read, `$MEMBER`, `$ADDED` and `$LEADER` for what
//! earlier answers said. Identifiers, hashes and sizes are masked.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_proto_wire::etcd::DESCRIPTORS;
use mainstay_store::etcd::FaceConfig;
use mainstay_store::{ClusterConfig, Config, InitialMember, MemoryNetwork, Store};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::rig::{Rig, SOON};

const SCRIPT: &str = "tests/etcd/rpcs.txt";
/// What has no route in the gateway, as in etcd, and is tested with gRPC in `kv.rs`.
const WITHOUT_ROUTE: &[&str] = &["etcdserverpb.KV.RangeStream"];
/// Fields that hold bytes.
const BYTES: &[&str] = &["key", "value", "range_end", "blob", "name"];

struct Player {
    rig: Rig,
    pool: DescriptorPool,
    token: Option<String>,
    added: String,
    leader: Value,
    methods: BTreeSet<String>,
    fields: BTreeSet<String>,
}

async fn player() -> Player {
    let network = MemoryNetwork::new();
    let dir = tempfile::tempdir().unwrap();
    let url = "http://m0:2380".to_owned();
    let initial = [InitialMember { name: "m0".into(), peer_urls: vec![url.clone()] }];
    let cluster = ClusterConfig::new("m0", initial, Arc::new(network.transport("m0", [url])));
    let auth = mainstay_store::AuthOptions { bcrypt_cost: 4, ..Default::default() };
    let config = Config {
        dir: dir.path().to_path_buf(),
        cluster: Some(cluster),
        sync: false,
        disk_reserve_bytes: 0,
        auth,
        ..Config::default()
    };
    let store = Store::open(config).await.unwrap();
    store.ready().await.unwrap();
    let rig = Rig::over(store, FaceConfig::default(), dir).await;
    Player {
        rig,
        pool: DescriptorPool::decode(DESCRIPTORS).unwrap(),
        token: None,
        added: String::new(),
        leader: Value::Null,
        methods: BTreeSet::new(),
        fields: BTreeSet::new(),
    }
}

impl Player {
    fn method(&self, name: &str) -> MethodDescriptor {
        let mut methods = self.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        methods.find(|method| method.name() == name).unwrap_or_else(|| panic!("no RPC is called {name}"))
    }

    /// The messages of a request, which may be several.
    fn fill(&self, body: &str) -> Vec<Value> {
        let body = body.replace("$MEMBER", &self.rig.store.member_id().to_string());
        let body = body.replace("$ADDED", &self.added).replace("\"$LEADER\"", &self.leader.to_string());
        let messages = serde_json::Deserializer::from_str(&body).into_iter::<Value>();
        messages
            .map(|message| {
                let mut message = message.unwrap_or_else(|error| panic!("{body}: {error}"));
                encode(&mut message);
                message
            })
            .collect()
    }

    /// Notes which fields a request uses.
    fn note(&mut self, message: &MessageDescriptor, value: &Value) {
        let Some(fields) = value.as_object() else { return };
        for (name, value) in fields {
            let field = message.fields().find(|field| field.name() == name || field.json_name() == name);
            let field = field.unwrap_or_else(|| panic!("{} has no {name}", message.full_name()));
            self.fields.insert(field.full_name().to_owned());
            if let Kind::Message(inner) = field.kind() {
                match value {
                    Value::Array(items) => items.iter().for_each(|item| self.note(&inner, item)),
                    one => self.note(&inner, one),
                }
            }
        }
    }

    /// Calls and returns the status with the messages, or the error.
    async fn call(&mut self, route: &str, messages: usize, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.rig.port)).await.unwrap();
        let authorization =
            self.token.as_ref().map_or_else(String::new, |token| format!("Authorization: {token}\r\n"));
        let request = format!(
            "POST /v3/{route} HTTP/1.0\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut next = async || tokio::time::timeout(SOON, lines.next_line()).await.expect(route).unwrap();
        let status = next().await.unwrap().split(' ').nth(1).unwrap().to_owned();
        while next().await.is_some_and(|line| !line.is_empty()) {}
        let mut said = String::new();
        for _ in 0..messages {
            let Some(line) = next().await else { break };
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            self.learn(&answer);
            mask(&mut answer);
            said.extend([format!("{status} {answer}\n")]);
        }
        said
    }

    fn learn(&mut self, answer: &Value) {
        if let Some(token) = answer["token"].as_str() {
            self.token = Some(token.to_owned());
        }
        if let Some(id) = answer["member"]["ID"].as_str() {
            id.clone_into(&mut self.added);
        }
        if answer["leader"].is_object() {
            self.leader = answer["leader"].clone();
        }
    }
}

fn encode(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(plain) = text.strip_prefix('~') {
                *text = STANDARD.encode(plain);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(encode),
        Value::Object(fields) => fields.values_mut().for_each(encode),
        _ => {}
    }
}

/// Takes out what differs from run to run, and shows bytes as text.
fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            if let Some(Value::Object(header)) = fields.get_mut("header") {
                // What is missing shows.
                let names = ["cluster_id", "member_id", "raft_term"];
                let missing = names.iter().filter(|name| header.remove(**name).is_none());
                let missing: Vec<Value> = missing.map(|name| Value::from(*name)).collect();
                if !missing.is_empty() {
                    header.insert("without".into(), missing.into());
                }
            }
            if fields.contains_key("grantedTTL") {
                // What is left of it.
                fields.insert("TTL".into(), "*".into());
            }
            if let Some(Value::Array(members)) = fields.get_mut("members") {
                // They come in the order of their identifiers, and an added member's depends on the time.
                members.sort_by_key(|member| member["peerURLs"].to_string());
            }
            fields.iter_mut().for_each(|(name, value)| mask_field(name, value));
        }
        _ => {}
    }
}

fn mask_field(name: &str, value: &mut Value) {
    let volatile = name.starts_with("dbSize") || name.starts_with("raft") || name.starts_with("remaining");
    match value {
        Value::String(text) if BYTES.contains(&name) => {
            let decoded = STANDARD.decode(&*text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            match decoded {
                Some(plain) if !plain.contains('\0') => *text = format!("~{plain}"),
                Some(_) | None if name == "blob" => "*".clone_into(text),
                _ => {}
            }
        }
        Value::String(text) if volatile || ["token", "hash"].contains(&name) => "*".clone_into(text),
        Value::String(text) if text.len() > 12 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            "*".clone_into(text);
        }
        Value::Number(_) if name == "hash" => *value = "*".into(),
        other => mask(other),
    }
}

#[tokio::test]
async fn every_rpc_takes_every_field() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
    let script = std::fs::read_to_string(&path).unwrap();
    let mut player = player().await;
    let mut transcript = String::new();
    for line in script.lines().filter(|line| !line.starts_with(|first: char| first.is_ascii_digit())) {
        transcript.extend([line, "\n"]);
        if line.starts_with('#') {
            continue;
        }
        let [name, route, body] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (route, messages) = match route.split_once('*') {
            Some((route, count)) => (route, count.parse().unwrap()),
            None => (route, 1),
        };
        let method = player.method(name);
        player.methods.insert(method.full_name().to_owned());
        let body = player.fill(body);
        for message in &body {
            player.note(&method.input(), message);
        }
        let body: String = body.iter().map(Value::to_string).collect();
        transcript += &player.call(route, messages, &body).await;
    }
    #[allow(clippy::disallowed_methods, reason = "how goldens are written anew")]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(&path, &transcript).unwrap();
    } else {
        for (wanted, found) in script.lines().zip(transcript.lines()) {
            assert_eq!(found, wanted);
        }
        assert_eq!(transcript.len(), script.len());
    }
    let (mut methods, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for method in player.pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        methods.insert(method.full_name().to_owned());
        add_fields(&method.input(), &mut fields);
    }
    player.methods.extend(WITHOUT_ROUTE.iter().map(|name| (*name).to_owned()));
    assert_eq!(methods.len(), 49, "with RangeStream");
    let left: Vec<_> = methods.difference(&player.methods).collect();
    assert!(left.is_empty(), "RPCs that the script does not call: {left:#?}");
    let left: Vec<_> = fields.difference(&player.fields).collect();
    assert!(left.is_empty(), "fields that the script does not set: {left:#?}");
    println!("{} RPCs, {} fields", methods.len(), fields.len());
    player.rig.stop().await;
}

/// The fields of a request, with those of the messages in it.
fn add_fields(message: &MessageDescriptor, fields: &mut BTreeSet<String>) {
    for field in message.fields() {
        if fields.insert(field.full_name().to_owned())
            && let Kind::Message(inner) = field.kind()
        {
            add_fields(&inner, fields);
        }
    }
}
