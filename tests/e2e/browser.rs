//! A real headless Chromium, told what to do over the pipe of its DevTools protocol: JSON messages that end with NUL.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::command::{eventually, run};

/// How long the browser, or the page, may take for anything.
const DEADLINE: Duration = Duration::from_secs(60);
/// Messages that wait to be read; the browser waits when there are more.
const MESSAGES_MAX: usize = 1024;
const PROGRAM: &str = "chromium-headless-shell";

/// A network of the browser's own, where this machine is one hop away. Chromium drops its requests whenever an interface of
/// its machine comes or goes, and here they do with every pod of every test. Without IPv6, which finds its addresses late.
struct Booth {
    name: String,
    host: String,
}

impl Booth {
    /// `number` is one that no other test has at the moment.
    fn open(number: u8) -> Self {
        let booth = Self { name: format!("mainstay-ui-{number}"), host: format!("198.18.{number}.1") };
        booth.close(); // one that a killed test left
        let (name, host) = (&booth.name, &booth.host);
        let script = format!(
            "set -e
             ip netns add {name}
             for which in all default; do
                 ip netns exec {name} sh -c \"echo 1 > /proc/sys/net/ipv6/conf/$which/disable_ipv6\" || true
             done
             ip link add {name} type veth peer name eth0 netns {name}
             ip address add {host}/30 dev {name}
             ip link set {name} up
             ip -n {name} address add 198.18.{number}.2/30 dev eth0
             ip -n {name} link set lo up
             ip -n {name} link set eth0 up"
        );
        run(Command::new("sh").args(["-c", &script]), "").ok();
        booth
    }

    fn close(&self) {
        let name = &self.name;
        let script = format!("ip netns delete {name}; ip link delete {name}");
        run(Command::new("sh").args(["-c", &script]), ""); // fails where nothing is left
    }
}

impl Drop for Booth {
    fn drop(&mut self) {
        self.close();
    }
}

/// A browser with one page; dropping it ends it.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the page complained about: exceptions, breaches of its policy.
    pub(crate) complaints: Vec<String>,
    booth: Booth,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it with an empty page; `number` is that of the test's cluster.
    pub(crate) fn start(number: u8) -> Self {
        let booth = Booth::open(number);
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from 3 and writes to 4. As root it needs --no-sandbox; it opens pages of this test's own only.
        let flags = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-proxy-server",
            "--ignore-certificate-errors",
            "--font-render-hinting=none",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ];
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &booth.name, "sh", "-c"])
            .args(["exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", PROGRAM])
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        thread::spawn(move || {
            let messages = BufReader::new(from).split(0);
            for message in messages.map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return; // the test is over
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from: receiver,
            session: None,
            last: 0,
            complaints: Vec::new(),
            booth,
            _profile: profile,
        };
        let made = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, &json!({}));
        }
        browser
    }

    /// One command that works.
    #[track_caller]
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.attempt(method, params).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// One command and its answer, or what the browser says against it.
    #[track_caller]
    fn attempt(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        sent.unwrap_or_else(|error| {
            panic!("{PROGRAM} cannot be spoken to ({error}): run `scripts/setup test`, which installs it")
        });
        loop {
            let answer = self.from.recv_timeout(DEADLINE);
            let answer = answer.unwrap_or_else(|error| {
                panic!("{PROGRAM} does not answer {method} ({error}): `scripts/setup test` installs it")
            });
            if answer["id"] == self.last {
                let failed = answer.get("error").cloned();
                return failed.map_or_else(|| Ok(answer["result"].clone()), Err);
            }
            self.listen(&answer);
        }
    }

    fn listen(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["source"] == "security" => {
                self.complaints.push(params["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    /// Opens a page of this machine.
    #[track_caller]
    pub(crate) fn open(&mut self, port: u16, path: &str) {
        let page = json!({"url": format!("https://{}:{port}{path}", self.booth.host)});
        // Its own network may have come up just now, which counts as a change too.
        let mut last = Value::Null;
        let opened = eventually(DEADLINE, || {
            last = self.call("Page.navigate", &page);
            last.get("errorText").is_none().then_some(())
        });
        assert!(opened.is_some(), "{page}: {last}");
    }

    /// What an expression of JavaScript comes to in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true; what it asks for may not be there yet, nor the page.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let wanted = format!("(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()");
        let params = json!({"expression": wanted, "returnByValue": true});
        let is_true = |answer: &Value| answer["result"]["value"] == true;
        let found = eventually(DEADLINE, || {
            self.attempt("Runtime.evaluate", &params).is_ok_and(|answer| is_true(&answer)).then_some(())
        });
        if found.is_none() {
            let text = self.eval("document.body.innerText");
            self.screenshot("failed");
            panic!("never true: {expression}; the page shows: {text}; complaints: {:?}", self.complaints);
        }
    }

    /// Clicks what a selector finds, once it is there.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.until(&format!("document.querySelector({})", json!(selector)));
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Types into the element that has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Presses and leaves the Enter key.
    pub(crate) fn enter(&mut self) {
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13});
            self.call("Input.dispatchKeyEvent", &key);
        }
    }

    /// The size of the window, in CSS pixels; a phone has a finer screen.
    pub(crate) fn size(&mut self, width: u32, height: u32, is_phone: bool) {
        let scale = if is_phone { 2 } else { 1 };
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// What the system prefers: `light` or `dark`.
    pub(crate) fn prefer(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// Keeps what the window shows, for people to look at.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::create_dir_all(folder()).unwrap();
        fs::write(folder().join(format!("{name}.png")), bytes).unwrap();
    }
}

/// Where screenshots are kept.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Debian's program is a script around the browser: asked to close, both end.
        let close = json!({"id": self.last + 1, "method": "Browser.close"});
        drop(self.to.write_all(format!("{close}\0").as_bytes()));
        let ended = eventually(Duration::from_secs(10), || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
