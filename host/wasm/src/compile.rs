//! Turning a component into code of this machine, in bounds.
//!
//! A compiler is the largest parser of untrusted bytes in the house, and some inputs make it work for minutes. In a child
//! process its memory and time are the operating system's business; what it wrote is trusted because the child is this
//! very program. In-process compilation is for tests and tools.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use wasmtime::Engine;

use crate::artifact::SCRATCH;
use crate::engine::{self, EngineError};
use crate::limits::{
    COMPILE_CPU_SECS_MAX, COMPILE_MAX, COMPILE_MEMORY_BYTES_MAX, COMPILE_MESSAGE_BYTES_MAX, COMPILE_NICENESS,
    COMPILE_OUTPUT_BYTES_MAX,
};

/// Argument with which the child is called; two paths follow.
pub const COMPILE_SUBCOMMAND: &str = "compile-component";

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In this process: no bounds but the size of the component.
    #[default]
    InProcess,
    /// By `<program> compile-component <in> <out>`, which ends in [`compile_child`].
    Child {
        /// The program: this one.
        program: PathBuf,
    },
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is invalid, or uses what this host does not offer (threads, 64-bit memories, async).
    #[error("the component is invalid or uses a feature that is not offered: {0}")]
    Component(String),
    /// The child took too long.
    #[error("compiling took longer than {} s", COMPILE_MAX.as_secs())]
    Deadline,
    /// The child did not start, or a file of it could not be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// No engine to compile with.
    #[error("prepare the compiler")]
    Engine(#[source] EngineError),
}

impl Compiler {
    /// Compiles `component`, with scratch files in `directory`.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        component: Vec<u8>,
        directory: &Path,
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::InProcess => {
                let engine = engine.clone();
                tokio::task::spawn_blocking(move || compile(&engine, &component))
                    .await
                    .map_err(|error| CompileError::Component(format!("the compiler panicked: {error}")))?
            }
            Self::Child { program } => compile_in_child(program, component, directory).await,
        }
    }
}

fn compile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    engine.precompile_component(component).map_err(|error| CompileError::Component(bounded(format!("{error:#}"))))
}

async fn compile_in_child(program: &Path, component: Vec<u8>, directory: &Path) -> Result<Vec<u8>, CompileError> {
    let io = |doing: &str| {
        let doing = doing.to_owned();
        move |source| CompileError::Io { doing, source }
    };
    let scratch = tempfile::Builder::new()
        .prefix(SCRATCH)
        .tempdir_in(directory)
        .map_err(io("make a directory for the compiler"))?;
    let (input, output) = (scratch.path().join("in.wasm"), scratch.path().join("out.cwasm"));
    tokio::fs::write(&input, component).await.map_err(io("write the component for the compiler"))?;
    let mut child = Command::new(program)
        .arg(COMPILE_SUBCOMMAND)
        .arg(&input)
        .arg(&output)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(io(&format!("start the compiler `{}`", program.display())))?;
    let stderr = child.stderr.take();
    let ended = timeout(COMPILE_MAX, async {
        let mut words = Vec::new();
        if let Some(stderr) = stderr {
            // A child that says more than this is not listened to, and then ends on a broken pipe.
            let bound = u64::try_from(COMPILE_MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
            stderr.take(bound).read_to_end(&mut words).await?;
        }
        Ok((child.wait().await?, words))
    });
    let (status, words) = ended.await.map_err(|_| CompileError::Deadline)?.map_err(io("wait for the compiler"))?;
    if !status.success() {
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        return Err(CompileError::Component(if words.is_empty() {
            format!("the compiler ended with {status}, as it does when it needs more memory or time than it may have")
        } else {
            words
        }));
    }
    tokio::fs::read(&output).await.map_err(io("read what the compiler wrote"))
}

/// The whole life of the compiling child: bounds itself, then compiles `input` to `output`.
///
/// # Errors
/// The bounds cannot be set, a file cannot be read or written, or the component does not compile. The caller prints the
/// error to standard error and ends with a status other than zero.
pub fn compile_child(input: &Path, output: &Path) -> Result<(), CompileError> {
    for (resource, bound) in [
        (Resource::Cpu, COMPILE_CPU_SECS_MAX),
        (Resource::As, COMPILE_MEMORY_BYTES_MAX),
        (Resource::Fsize, COMPILE_OUTPUT_BYTES_MAX),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })
            .map_err(|source| CompileError::Io { doing: "bound the compiler".to_owned(), source: source.into() })?;
    }
    // Requests go first. Where this is not possible, the compiler competes with them, and that is all.
    let _ = rustix::process::nice(COMPILE_NICENESS);
    let component = std::fs::read(input)
        .map_err(|source| CompileError::Io { doing: format!("read `{}`", input.display()), source })?;
    let engine = engine::compiler().map_err(CompileError::Engine)?;
    let code = compile(&engine, &component)?;
    std::fs::write(output, code)
        .map_err(|source| CompileError::Io { doing: format!("write `{}`", output.display()), source })
}

fn bounded(text: String) -> String {
    crate::text::bounded(text, COMPILE_MESSAGE_BYTES_MAX)
}
