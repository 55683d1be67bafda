//! A wall clock that can jump: Linux has no such namespace, so a library that is loaded before libc's adds an hour while a file is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::run;

/// Names the file.
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
    const char *file = getenv("MAINSTAY_TEST_CLOCK");
    if (result == 0 && clock == CLOCK_REALTIME && file && access(file, F_OK) == 0) now->tv_sec += 3600;
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
    file: PathBuf,
}

impl WallClock {
    /// Right so far; `dir` is the machine's own.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { file: dir.join("clock-is-ahead") }
    }

    /// Has a program go by it.
    pub(crate) fn set_for(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env(VARIABLE, &self.file);
    }

    /// One hour ahead, at once.
    pub(crate) fn jump(&self) {
        std::fs::write(&self.file, "").unwrap();
    }

    /// And back.
    pub(crate) fn jump_back(&self) {
        std::fs::remove_file(&self.file).unwrap();
    }
}
