//! Small libraries in C that stand between a process and the kernel, for faults that no test can
//! cause otherwise: built by the C compiler that the build needs anyway, preloaded by the loader.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `tests/support/<name>.c` into `directory`; the value for `LD_PRELOAD`.
pub fn library(name: &str, directory: &Path) -> PathBuf {
    let built = directory.join(format!("{name}.so"));
    let source = format!("{}/tests/support/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&built)
        .args([source.as_str(), "-ldl"])
        .status()
        .expect("a C compiler");
    assert!(done.success(), "cc {source}: {done}");
    built
}
