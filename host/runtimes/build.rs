//! Compiles the porter (`porter/main.rs`) into one static file for the system that this is built for, where that is Linux.
//! Where it cannot be compiled an empty file takes its place, and servers that need it are refused with the reason.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=porter/main.rs");
    let out = env::var("OUT_DIR").unwrap_or_default();
    let program = Path::new(&out).join("porter");
    let is_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if !is_linux || !compiled(&program) {
        let written = std::fs::write(&program, []);
        assert!(written.is_ok(), "write to OUT_DIR");
    }
}

fn compiled(program: &Path) -> bool {
    let (rustc, target) = (env::var("RUSTC").unwrap_or_default(), env::var("TARGET").unwrap_or_default());
    let status = Command::new(rustc)
        .args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols", "-Cpanic=abort", "-Ctarget-feature=+crt-static"])
        .args(["--target", &target, "porter/main.rs", "-o"])
        .arg(program)
        .status();
    let compiled = status.is_ok_and(|status| status.success());
    if !compiled {
        println!(
            "cargo::warning=the porter does not compile; servers that listen with a closed network will be refused"
        );
    }
    compiled
}
