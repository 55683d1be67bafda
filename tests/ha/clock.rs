//! A wall clock that can be wrong: Linux has no such namespace, so a library that is loaded before libc's adds as many seconds as a link says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::run;

/// Names the link. Its target is the number: it is there as a whole, or not at all.
const VARIABLE: &str = "MAINSTAY_TEST_CLOCK";
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *link = getenv("MAINSTAY_TEST_CLOCK");
    char seconds[32];
    if (result != 0 || clock != CLOCK_REALTIME || !link) return result;
    ssize_t length = readlink(link, seconds, sizeof seconds - 1);
    if (length < 0) return result;
    seconds[length] = 0;
    now->tv_sec += atol(seconds);
    return result;
}
"#;

/// Made once per test program.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = std::env::temp_dir().join(format!("mainstay-ha-clock-{}.so", std::process::id()));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-x", "c", "-", "-ldl", "-o"]).arg(&library);
        run(&mut compile, SOURCE).ok();
        library
    })
}

/// The clock of one machine.
pub(crate) struct WallClock {
    link: PathBuf,
}

impl WallClock {
    /// Right so far; `dir` is the machine's own.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { link: dir.join("clock") }
    }

    /// Has a program go by it.
    pub(crate) fn set_for(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env(VARIABLE, &self.link);
    }

    /// Jumps so many seconds ahead of the right time.
    pub(crate) fn jump(&self, seconds: i64) {
        std::os::unix::fs::symlink(seconds.to_string(), &self.link).unwrap();
    }

    /// And back to that.
    pub(crate) fn jump_back(&self) {
        std::fs::remove_file(&self.link).unwrap();
    }
}
