//! Compiles the programs that stand in and beside containers (`porter/main.rs`, `steward/main.rs`), each into one static file for
//! the system that this is built for, where that is Linux. Where one cannot be compiled an empty file takes its place; servers
//! that need the porter are then refused with the reason, and sessions have a container each.

use std::env;
use std::path::Path;
use std::process::Command;

/// Each with what is missed without it.
const PROGRAMS: [(&str, &str); 2] = [
    ("porter", "servers that listen with a closed network will be refused"),
    ("steward", "sessions will have a container each"),
];

fn main() {
    let out = env::var("OUT_DIR").unwrap_or_default();
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    for (name, missed) in PROGRAMS {
        let (source, program) = (format!("{name}/main.rs"), Path::new(&out).join(name));
        println!("cargo::rerun-if-changed={source}");
        if !is_linux || !compiled(&source, &program, missed) {
            let written = std::fs::write(&program, []);
            assert!(written.is_ok(), "write to OUT_DIR");
        }
    }
}

fn compiled(source: &str, program: &Path, missed: &str) -> bool {
    let (rustc, target) = (env::var("RUSTC").unwrap_or_default(), env::var("TARGET").unwrap_or_default());
    let status = Command::new(rustc)
        .args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols", "-Cpanic=abort", "-Ctarget-feature=+crt-static"])
        .args(["--target", &target, source, "-o"])
        .arg(program)
        .status();
    let compiled = status.is_ok_and(|status| status.success());
    if !compiled {
        println!("cargo::warning={source} does not compile; {missed}");
    }
    compiled
}
