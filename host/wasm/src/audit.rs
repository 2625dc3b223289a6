//! What a file is and what it asks for, read from the names of its imports and exports before anything is compiled.
//!
//! Linking would find the same mistakes, seconds later and in the words of a linker. People bring core modules, servers
//! instead of plugins, plugins of another version and builds that want a file system; each deserves a sentence that says
//! what was found, what is expected and what to do.

use std::fmt;

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use fairlead_core::plugin::PluginKind;

/// The version of the contract that this host serves.
pub const WIT_VERSION: &str = "0.1.0";

/// Interfaces of the contract that a plugin may import.
const CONTRACT: [&str; 7] = [
    "fairlead:types/types",
    "fairlead:host/log",
    "fairlead:host/clock",
    "fairlead:host/kv",
    "fairlead:host/secrets",
    "fairlead:host/metrics",
    "fairlead:middleware/exchange",
];

/// Packages of WASI that are there and empty: no files, no environment, no network.
const EMPTY_WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Calling out over HTTP, for the kinds that may; every request still needs a grant.
const OUTGOING_HTTP: [&str; 2] = ["wasi:http/types", "wasi:http/outgoing-handler"];

/// What a component can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// A plugin.
    Plugin(PluginKind),
    /// A program that `fairlead run` starts: it exports `wasi:cli/run`.
    Command,
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plugin(PluginKind::Middleware) => "a middleware",
            Self::Plugin(PluginKind::RegistrySource) => "a registry source",
            Self::Plugin(PluginKind::UpdatePolicy) => "an update policy",
            Self::Command => "a program (it exports `wasi:cli/run`)",
        })
    }
}

/// What the names in a component say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) kind: ComponentKind,
    /// Names of the imported interfaces, sorted.
    pub(crate) imports: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It is something else.
    #[error("is not a WebAssembly component: {found}")]
    NotAComponent {
        /// What it is.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A component, for something else.
    #[error("is {found}, but {expected} is needed here")]
    Purpose {
        /// What it is.
        found: String,
        /// What was looked for.
        expected: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// Built for another version of the contract.
    #[error("{verb} `{interface}` in version {found}, but this host serves version {expected}")]
    Version {
        /// `imports` or `exports`.
        verb: &'static str,
        /// The interface, without its version.
        interface: String,
        /// What it was built for.
        found: String,
        /// What the host has.
        expected: &'static str,
    },
    /// Wants something that no world offers.
    #[error("imports `{import}`, which no world of this host offers")]
    Import {
        /// The name.
        import: String,
        /// What to do.
        hint: &'static str,
    },
}

impl AuditError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotAComponent { hint, .. } | Self::Purpose { hint, .. } | Self::Import { hint, .. } => hint,
            Self::Version { .. } => {
                "build the plugin against the WIT of this host, or take the release of the plugin that was made for it"
            }
        }
    }
}

/// What a file can be used for, by the names in it. Nothing is compiled and nothing is run.
///
/// # Errors
/// It is no component, or one for nothing that is known here.
pub fn kind_of(bytes: &[u8]) -> Result<ComponentKind, AuditError> {
    audit(bytes).map(|audit| audit.kind)
}

/// Reads a component that is meant to be a plugin.
pub(crate) fn plugin(bytes: &[u8]) -> Result<Audit, AuditError> {
    let audit = audit(bytes)?;
    if audit.kind == ComponentKind::Command {
        return Err(AuditError::Purpose {
            found: audit.kind.to_string(),
            expected: "a plugin",
            hint: "run it as a server (`fairlead run FILE`), or attach a component that exports `fairlead:middleware/hooks`",
        });
    }
    for import in &audit.imports {
        check_import(import, audit.kind)?;
    }
    Ok(audit)
}

/// Reads a component that is meant to be a program.
pub(crate) fn command(bytes: &[u8]) -> Result<Audit, AuditError> {
    let audit = audit(bytes)?;
    if audit.kind != ComponentKind::Command {
        return Err(AuditError::Purpose {
            found: audit.kind.to_string(),
            expected: "a program that exports `wasi:cli/run`",
            hint: "attach it to a server (`--plugin FILE`) instead of running it",
        });
    }
    for import in &audit.imports {
        check_wasi(import)?;
    }
    Ok(audit)
}

fn audit(bytes: &[u8]) -> Result<Audit, AuditError> {
    let (imports, exports) = names(bytes)?;
    Ok(Audit { kind: kind(&exports)?, imports })
}

/// Names at the outermost level of the component. Whether the rest is valid is for the compiler to say.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), AuditError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(AuditError::NotAComponent {
            found: describe(bytes).to_owned(),
            hint: "give the `.wasm` file that `cargo xtask plugins`, `cargo component` or `wasm-tools component new` wrote",
        });
    }
    let broken = |error: wasmparser::BinaryReaderError| AuditError::NotAComponent {
        found: format!("it is damaged ({})", error.message()),
        hint: "build or download it again",
    };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(AuditError::NotAComponent {
                    found: "it is a core module".to_owned(),
                    hint: "turn it into a component with `wasm-tools component new`, or build with `cargo xtask plugins`",
                });
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(broken)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    imports.sort();
    Ok((imports, exports))
}

fn describe(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        [0x7f, b'E', b'L', b'F', ..] => "it is an ELF file (precompiled code is never taken from outside)",
        [b'(', ..] => "it looks like WebAssembly text",
        [0x1f, 0x8b, ..] => "it is compressed with gzip",
        _ => "it does not begin like one",
    }
}

fn kind(exports: &[String]) -> Result<ComponentKind, AuditError> {
    for export in exports {
        let (interface, version) = split(export);
        let kind = match interface {
            "fairlead:middleware/hooks" => PluginKind::Middleware,
            "fairlead:registry-source/source" => PluginKind::RegistrySource,
            "fairlead:update-policy/policy" => PluginKind::UpdatePolicy,
            "wasi:cli/run" if version.starts_with("0.2.") => return Ok(ComponentKind::Command),
            "wasi:cli/run" => return Err(other_version("exports", interface, version, "0.2")),
            _ => continue,
        };
        if !served(version) {
            return Err(other_version("exports", interface, version, WIT_VERSION));
        }
        return match exports.iter().map(|name| split(name)).find(|(name, _)| *name == "fairlead:types/manifest") {
            Some((_, version)) if served(version) => Ok(ComponentKind::Plugin(kind)),
            Some((name, version)) => Err(other_version("exports", name, version, WIT_VERSION)),
            None => Err(AuditError::Purpose {
                found: "a component without a manifest".to_owned(),
                expected: "a plugin",
                hint: "export `fairlead:types/manifest` as well: every plugin says who it is",
            }),
        };
    }
    let found = match exports {
        [] => "a component that exports no interface".to_owned(),
        names => format!("a component that exports {}", quoted(names)),
    };
    Err(AuditError::Purpose {
        found,
        expected: "a plugin (`fairlead:middleware/hooks`) or a program (`wasi:cli/run`)",
        hint: "build it for a world of `fairlead:worlds`, with `fairlead-plugin` or another SDK",
    })
}

fn quoted(names: &[String]) -> String {
    let mut text = names.iter().take(4).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 4 {
        text.push_str(", …");
    }
    text
}

fn check_import(import: &str, kind: ComponentKind) -> Result<(), AuditError> {
    let (interface, version) = split(import);
    if OUTGOING_HTTP.contains(&interface) && kind != ComponentKind::Plugin(PluginKind::UpdatePolicy) {
        return if version.starts_with("0.2.") {
            Ok(())
        } else {
            Err(other_version("imports", interface, version, "0.2"))
        };
    }
    if interface.starts_with("fairlead:") {
        if !CONTRACT.contains(&interface) {
            return Err(AuditError::Import {
                import: import.to_owned(),
                hint: "build the plugin for the world `middleware` of this host",
            });
        }
        return if served(version) { Ok(()) } else { Err(other_version("imports", interface, version, WIT_VERSION)) };
    }
    check_wasi(import)
}

fn check_wasi(import: &str) -> Result<(), AuditError> {
    let (interface, version) = split(import);
    if EMPTY_WASI.iter().any(|package| interface.starts_with(package)) {
        return if version.starts_with("0.2.") {
            Ok(())
        } else {
            Err(other_version("imports", interface, version, "0.2"))
        };
    }
    let hint = if interface.starts_with("wasi:http/") {
        "a middleware and a registry source may call out over `wasi:http/outgoing-handler`; nobody else, and nothing more"
    } else {
        "remove the import: a component gets the contract of Fairlead and an empty WASI 0.2, nothing else"
    };
    Err(AuditError::Import { import: import.to_owned(), hint })
}

/// Whether the component asks for WASI at all; most plugins do not.
pub(crate) fn wants_wasi(imports: &[String]) -> bool {
    imports.iter().any(|import| import.starts_with("wasi:"))
}

fn other_version(verb: &'static str, interface: &str, found: &str, expected: &'static str) -> AuditError {
    let found = if found.is_empty() { "none".to_owned() } else { found.to_owned() };
    AuditError::Version { verb, interface: interface.to_owned(), found, expected }
}

/// Versions 0.1.x are compatible with each other: a later one only adds.
fn served(version: &str) -> bool {
    version.strip_prefix("0.1.").is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('@').unwrap_or((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_file_is_refused_with_what_it_is() {
        for (bytes, found) in [
            (&b""[..], "it is empty"),
            (b"\x7fELF....", "ELF"),
            (b"(component)", "WebAssembly text"),
            (b"#!/bin/sh", "does not begin like one"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x0d\0\x01\0\xff\xff\xff", "damaged"),
        ] {
            let error = plugin(bytes).unwrap_err();
            assert!(error.to_string().contains(found), "{error}");
            assert!(matches!(error, AuditError::NotAComponent { .. }));
        }
    }

    proptest::proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_more(
            flips in proptest::collection::vec((0_usize..200, proptest::num::u8::ANY), 1..8),
            length in 0_usize..200,
        ) {
            let component = r#"(component
                (import "wasi:io/streams@0.2.6" (instance))
                (instance $empty)
                (core module)
                (component)
                (export "fairlead:types/manifest@0.1.0" (instance $empty))
                (export "fairlead:middleware/hooks@0.1.0" (instance $empty)))"#;
            let mut bytes = wat::parse_str(component).unwrap();
            proptest::prop_assert!(plugin(&bytes).is_ok());
            for (at, with) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= with;
                }
            }
            bytes.truncate(length);
            let _ = plugin(&bytes);
        }
    }

    #[test]
    fn only_later_patches_of_the_served_version_are_compatible() {
        for (version, compatible) in
            [("0.1.0", true), ("0.1.7", true), ("0.2.0", false), ("0.1.0-rc.1", false), ("", false), ("1.0.0", false)]
        {
            assert_eq!(served(version), compatible, "{version}");
        }
    }

    #[test]
    fn an_import_is_refused_by_name_unless_a_world_has_it() {
        let check = |import| check_import(import, ComponentKind::Plugin(PluginKind::Middleware));
        assert!(check("fairlead:host/log@0.1.3").is_ok());
        assert!(check("wasi:io/streams@0.2.6").is_ok());
        assert!(check("wasi:http/outgoing-handler@0.2.6").is_ok());
        assert!(matches!(check("fairlead:host/log@0.2.0"), Err(AuditError::Version { .. })));
        assert!(matches!(check("wasi:io/streams@0.3.0"), Err(AuditError::Version { .. })));
        assert!(matches!(check("wasi:http/types@0.3.0"), Err(AuditError::Version { .. })));
        for import in ["fairlead:host/shell@0.1.0", "wasi:http/incoming-handler@0.2.6", "env", "acme:x/y@1.0.0"] {
            assert!(matches!(check(import), Err(AuditError::Import { .. })), "{import}");
        }
    }

    #[test]
    fn a_policy_calls_nobody() {
        let check = |import| check_import(import, ComponentKind::Plugin(PluginKind::UpdatePolicy));
        assert!(matches!(check("wasi:http/outgoing-handler@0.2.6"), Err(AuditError::Import { .. })));
        assert!(check("wasi:clocks/monotonic-clock@0.2.6").is_ok());
    }
}
