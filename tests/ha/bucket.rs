//! Snapshots in a bucket of a real S3 server (MinIO's gateway of JuiceFS): by the clock and by hand, in one piece and in parts, refused in
//! one line when something is wrong with the bucket, and restored, also at an earlier moment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle};

use crate::command::{Output, eventually, run};
use crate::machine::{Machine, Switch, binary};

const SOON: Duration = Duration::from_secs(60);
const KEY: &str = "the-access-key";
const SECRET: &str = "a-secret-of-the-bucket";

/// An S3 server on a machine, with one bucket, `backup`.
struct Gateway {
    process: Child,
    endpoint: String,
    dir: tempfile::TempDir,
}

impl Gateway {
    fn start(on: &Machine) -> Self {
        let juicefs = std::env::var_os("MAINSTAY_TEST_S3")
            .expect("MAINSTAY_TEST_S3 must give the path of juicefs: run the tests with `make test`");
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let meta = format!("sqlite3://{}", path("meta.db"));
        let mut format = on.command(&juicefs);
        format.env("HOME", dir.path());
        run(format.args(["format", "--storage", "file", "--bucket", &path("data"), &meta, "backup"]), "")
            .ok();
        let address = format!("{}:9000", on.address());
        let mut command = on.command(&juicefs);
        command.args([
            "gateway",
            "--no-banner",
            "--no-usage-report",
            "--keep-etag",
            "--cache-dir",
            &path("cache"),
        ]);
        command.args(["--log", &path("log"), &meta, &address]).env("HOME", dir.path());
        command.env("MINIO_ROOT_USER", KEY).env("MINIO_ROOT_PASSWORD", SECRET);
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let gateway = Self { process, endpoint: format!("http://{address}"), dir };
        let answers = eventually(SOON, || (gateway.list(on, "s3://backup").code == 0).then_some(()));
        answers.unwrap_or_else(|| panic!("{:?}", gateway.list(on, "s3://backup")));
        gateway
    }

    /// A file with a pair of keys. A server may read it at any moment: it is never there in part.
    fn keys(&self, key: &str, secret: &str) -> PathBuf {
        let file = self.dir.path().join(format!("keys-{key}-{}", secret.len()));
        let new = self.dir.path().join("keys.new");
        fs::write(&new, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"))
            .unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&new, &file).unwrap();
        file
    }

    /// The flags that reach it.
    fn flags(&self) -> Vec<String> {
        let file = self.keys(KEY, SECRET);
        ["--s3-endpoint", &self.endpoint, "--s3-credentials-file", file.to_str().unwrap()]
            .map(str::to_owned)
            .to_vec()
    }

    #[track_caller]
    fn restore(&self, on: &Machine, from: &str, more: &[&str]) -> Output {
        let data_dir = on.data_dir();
        let arguments = ["restore", from, "--data-dir", data_dir.to_str().unwrap(), "--yes"];
        self.snapshot(on, &[&arguments[..], more].concat())
    }

    /// `mainstay snapshot` with these words and the flags of the bucket.
    fn snapshot(&self, on: &Machine, words: &[&str]) -> Output {
        let flags = self.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        on.mainstay(&[&["snapshot"], words, &flags].concat())
    }

    fn list(&self, on: &Machine, place: &str) -> Output {
        self.snapshot(on, &["list", "--dir", place])
    }

    /// Sends bytes to an object, as any other program could.
    fn put(&self, on: &Machine, key: &str, bytes: &[u8]) {
        let url =
            self.bucket().put_object(Some(&Credentials::new(KEY, SECRET)), key).sign(Duration::from_secs(60));
        let file = self.dir.path().join("sent");
        fs::write(&file, bytes).unwrap();
        run(on.command("curl").args(["-sSf", "-T"]).arg(&file).arg(url.as_str()), "").ok();
    }

    fn bucket(&self) -> Bucket {
        Bucket::new(self.endpoint.parse().unwrap(), UrlStyle::Path, "backup", "us-east-1").unwrap()
    }

    /// Begins to send an object in parts, as one that is killed before the first part.
    fn begin_upload(&self, on: &Machine, key: &str) {
        let credentials = Credentials::new(KEY, SECRET);
        let url =
            self.bucket().create_multipart_upload(Some(&credentials), key).sign(Duration::from_secs(60));
        run(on.command("curl").args(["-sSf", "-X", "POST"]).arg(url.as_str()), "").ok();
    }

    /// What was begun and is not whole.
    fn uploads(&self, on: &Machine) -> String {
        let (bucket, credentials) = (self.bucket(), Credentials::new(KEY, SECRET));
        let mut list = bucket.get_object(Some(&credentials), "");
        list.query_mut().insert("uploads", "");
        run(on.command("curl").arg("-sSf").arg(list.sign(Duration::from_secs(60)).as_str()), "").ok()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[track_caller]
fn assert_refused(said: &Output, words: &str) {
    assert_eq!(said.code, 2, "{words}: {said:?}");
    assert!(said.stderr.starts_with("mainstay: ") && said.stderr.contains(words), "{words}: {said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    assert!(!said.stderr.contains(SECRET) && !said.stderr.contains("X-Amz-"), "{said:?}");
}

/// Everything that can be wrong with a bucket, each with what is said about it.
fn refusals(gateway: &Gateway, on: &Machine) {
    let list =
        |place: &str, flags: &[&str]| on.mainstay(&[&["snapshot", "list", "--dir", place], flags].concat());
    let (endpoint, good) = (gateway.endpoint.as_str(), gateway.keys(KEY, SECRET));
    let good = good.to_str().unwrap();
    let with = |file: &str| list("s3://backup", &["--s3-endpoint", endpoint, "--s3-credentials-file", file]);
    assert_refused(
        &gateway.list(on, "s3://no-such-bucket"),
        "there is no bucket no-such-bucket at http://10.213.0.1:9000",
    );
    assert_refused(
        &with(gateway.keys("nobody", SECRET).to_str().unwrap()),
        "does not know the access key of /",
    );
    assert_refused(
        &with(gateway.keys(KEY, "wrong").to_str().unwrap()),
        "does not accept the secret key of /",
    );
    assert_refused(&list("s3://backup", &["--s3-endpoint", endpoint]), "no credentials for the bucket");
    assert_refused(&list("s3://BACKUP", &[]), "is no name of a bucket");
    let nobody = ["--s3-endpoint", "http://10.213.0.1:9", "--s3-credentials-file", good];
    assert_refused(
        &list("s3://backup", &nobody),
        "http://10.213.0.1:9 cannot be reached (Connection refused",
    );
    let not_s3 = ["--s3-endpoint", "https://10.213.0.1:6443", "--s3-credentials-file", good];
    assert_refused(&list("s3://backup", &not_s3), "cannot be trusted (invalid peer certificate");
    let ca = on.data_dir().join("pki/ca.crt");
    let trusted = [&not_s3[..], &["--s3-ca-file", ca.to_str().unwrap()]].concat();
    assert_refused(&list("s3://backup", &trusted), "and not as S3 does");
    let open = gateway.keys(KEY, "others-may-read-it");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(&with(open.to_str().unwrap()), "others may read it (mode 644)");

    let clock = on.clock();
    clock.jump(3600);
    let mut late = on.command(binary());
    late.args(["snapshot", "list", "--dir", "s3://backup"]).args(gateway.flags());
    clock.set_for(&mut late);
    let said = run(&mut late, "");
    clock.jump_back();
    assert_refused(&said, "this machine's clock is 3");
    assert!(said.stderr.contains(" s ahead of that of http://10.213.0.1:9000: set it"), "{said:?}");
}

/// What the schedule leaves: in a folder of the server's own, checked, the newest kept.
#[track_caller]
fn by_the_clock(gateway: &Gateway, machine: &Machine, data_dir: &str) {
    let listed = eventually(SOON, || {
        let said = gateway.list(machine, "s3://backup/clusters/a");
        let lines: Vec<String> =
            said.stdout.lines().filter(|line| line.starts_with("m1/scheduled-")).map(str::to_owned).collect();
        (lines.len() == 2 && lines.iter().all(|line| line.ends_with(" yes"))).then_some(lines)
    });
    listed.unwrap_or_else(|| panic!("{:?}", gateway.list(machine, "s3://backup/clusters/a")));
    let quick = gateway.snapshot(machine, &["list", "--quick", "--dir", "s3://backup/clusters/a"]).ok();
    assert!(quick.contains("not read"), "{quick}");
    let status = machine.mainstay(&["status", "--data-dir", data_dir]).ok();
    assert!(status.contains("snapshots of m1: the last is scheduled-"), "{status}");
    assert!(status.contains(", in s3://backup/clusters/a/m1; the next "), "{status}");
}

/// A server that was killed while it sent a snapshot removes what is left of it; nobody else's is touched.
#[track_caller]
fn gives_up_what_it_left(gateway: &Gateway, machine: &Machine) {
    let (left, others) = ("scheduled-20200101T000000Z.snapshot", "by-hand.snapshot");
    for name in [left, others] {
        gateway.begin_upload(machine, &format!("clusters/a/m1/{name}"));
    }
    let removed = eventually(SOON, || {
        let told = gateway.uploads(machine);
        (!told.contains(left) && told.contains(others)).then_some(())
    });
    removed.unwrap_or_else(|| panic!("{}", gateway.uploads(machine)));
}

#[test]
fn snapshots_go_to_a_bucket_and_a_cluster_comes_back_from_it() {
    let switch = Switch::new();
    let mut machine = switch.machine(1);
    let gateway = Gateway::start(&machine);
    let (flags, data_dir) = (gateway.flags(), machine.data_dir());
    let data_dir = data_dir.to_str().unwrap();
    let clocked =
        ["--snapshot-interval", "1s", "--snapshot-keep", "2", "--snapshot-dir", "s3://backup/clusters/a"];
    let mut server = vec!["server", "--agent=false"];
    server.extend(clocked);
    server.extend(flags.iter().map(String::as_str));
    machine.start(&server);

    by_the_clock(&gateway, &machine, data_dir);
    gives_up_what_it_left(&gateway, &machine);

    // By hand, larger than one part, with a Secret that is deleted by mistake before.
    let value = "--from-literal=key=value";
    let revision = machine
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "precious",
            value,
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ])
        .ok();
    machine.kubectl(&["delete", "secret", "precious"]).ok();
    let filler = gateway.dir.path().join("filler");
    fs::write(&filler, "0123456789abcdef".repeat(60_000)).unwrap();
    for number in 0..20 {
        let from = format!("--from-file=filler={}", filler.to_str().unwrap());
        machine.kubectl(&["create", "configmap", &format!("large-{number}"), &from]).ok();
    }
    let saved = "s3://backup/by-hand/saved.snapshot";
    gateway.begin_upload(&machine, "by-hand/saved.snapshot"); // as one that was killed before
    gateway.begin_upload(&machine, "by-hand/another.snapshot");
    let said = gateway.snapshot(&machine, &["save", saved, "--data-dir", data_dir]).ok();
    let uploads = gateway.uploads(&machine);
    assert!(!uploads.contains("saved.snapshot") && uploads.contains("another.snapshot"), "{uploads}");
    let bytes: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(bytes.iter().any(|bytes| *bytes > 17 << 20), "in more than one part: {said}");
    let oldest = said.split("(restores at any from ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(oldest.parse::<u64>().unwrap() <= revision.parse().unwrap(), "{said}");

    refusals(&gateway, &machine);
    let file = gateway.dir.path().join("saved");
    machine.mainstay(&["snapshot", "save", file.to_str().unwrap(), "--data-dir", data_dir]).ok();
    let whole = fs::read(&file).unwrap();
    gateway.put(&machine, "cut/cut.snapshot", &whole[..whole.len() - 20]);
    let cut = gateway.list(&machine, "s3://backup/cut");
    assert!(cut.code == 1 && cut.stdout.contains("it ends early"), "{cut:?}");
    assert_refused(&gateway.restore(&machine, saved, &[]), "stop all servers first");

    // Back to the moment before the mistake.
    let log = machine.log();
    machine.stop();
    let restore = |from: &str, more: &[&str]| gateway.restore(&machine, from, more);
    assert_refused(
        &restore("s3://backup/cut/cut.snapshot", &[]),
        "s3://backup/cut/cut.snapshot: the snapshot cannot be used",
    );
    assert_refused(&restore("s3://backup/by-hand/none.snapshot", &[]), "there is no such object");
    assert_refused(
        &restore(saved, &["--revision", "999999999"]),
        "revision 999999999 is not in the snapshot, which holds",
    );
    restore(saved, &["--revision", &revision]).ok();
    machine.start(&server);
    let back = machine.kubectl(&["get", "secret", "precious", "-o", "jsonpath={.data.key}"]).ok();
    assert_eq!(back, "dmFsdWU=");
    let later = machine.kubectl(&["get", "configmaps", "-o", "name"]).ok();
    assert!(!later.contains("large-"), "what came later is not there: {later}");
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.contains(SECRET) && !log.contains("X-Amz-"), "no secret is logged");
}
