//! What is loaded, what is refused, and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use fairlead_core::plugin::PluginKind;
use fairlead_wasm::{AuditError, Compiler, LoadErrorKind, Origin, PluginHost, PluginHostConfig};

use crate::support::{Host, Memory, ask, chain, guest, request};

#[tokio::test]
async fn a_plugin_says_who_it_is() {
    let plugin = Host::new().load("tool-filter").await;
    assert_eq!(plugin.manifest().name, "tool-filter");
    assert_eq!(plugin.manifest().kind, PluginKind::Middleware);
    assert!(plugin.manifest().config_schema.is_object());
    assert!(!plugin.manifest().interests.is_empty());
    assert!(plugin.imports().iter().all(|import| import.starts_with("fairlead:")), "{:?}", plugin.imports());
    assert_eq!(plugin.wit_version(), "0.1.0");
    assert_eq!(plugin.size(), fs::metadata(guest("tool-filter")).unwrap().len());
}

#[tokio::test]
async fn the_same_bytes_are_the_same_plugin_wherever_they_lie() {
    let host = Host::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.wasm");
    fs::copy(guest("noop"), &copy).unwrap();
    let (one, other) = tokio::join!(host.load("noop"), host.host.load(&copy));
    assert!(Arc::ptr_eq(&one, &other.unwrap()));
}

#[tokio::test]
async fn every_wrong_file_is_refused_with_what_it_is_and_what_to_do() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text.wasm");
    fs::write(&text, "(component)").unwrap();
    let cut = directory.path().join("cut.wasm");
    let whole = fs::read(guest("noop")).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for (path, says) in [
        (guest("not-a-component"), "it is a core module"),
        (guest("wrong-world"), "exports `example:greeting/greeter@1.0.0`, but a plugin"),
        (guest("wrong-version"), "version 0.9.0, but this host serves version 0.1.0"),
        (guest("toolbox"), "a program (it exports `wasi:cli/run`), but a plugin"),
        (text, "it looks like WebAssembly text"),
        (cut, "is not a WebAssembly component: it is damaged"),
        (directory.path().join("none.wasm"), "cannot be read"),
    ] {
        let error = host.host.load(&path).await.unwrap_err();
        let told = chain(&error);
        assert!(told.contains(says), "{told}");
        assert!(told.starts_with(&format!("`{}`", path.display())), "{told}");
        assert_eq!(error.hint().is_some(), !matches!(error.reason, LoadErrorKind::Read(_)), "{told}");
    }
}

#[tokio::test]
async fn a_component_that_only_claims_the_world_is_refused() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("claims.wasm");
    let claims = r#"(component
        (instance $empty)
        (export "fairlead:types/manifest@0.1.0" (instance $empty))
        (export "fairlead:middleware/hooks@0.1.0" (instance $empty)))"#;
    fs::write(&path, wat::parse_str(claims).unwrap()).unwrap();
    let error = host.host.load(&path).await.unwrap_err();
    assert!(matches!(error.reason, LoadErrorKind::Link(_)), "{error}");
}

#[tokio::test]
async fn an_import_that_no_world_has_is_refused_by_name() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wants.wasm");
    let wants = r#"(component
        (import "wasi:keyvalue/store@0.2.0" (instance $store))
        (instance $empty)
        (export "fairlead:types/manifest@0.1.0" (instance $empty))
        (export "fairlead:middleware/hooks@0.1.0" (instance $empty)))"#;
    fs::write(&path, wat::parse_str(wants).unwrap()).unwrap();
    let error = host.host.load(&path).await.unwrap_err();
    assert!(
        matches!(&error.reason, LoadErrorKind::Audit(AuditError::Import { import, .. }) if import.contains("keyvalue"))
    );
}

/// A compiler that is a shell script: what the host makes of how it ends.
async fn compile_with(script: &str) -> LoadErrorKind {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("compiler");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let config = PluginHostConfig {
        compiler: Compiler::Child { program },
        ..PluginHostConfig::new(directory.path().join("cache"), Arc::new(Memory::default()))
    };
    let host = PluginHost::new(config).unwrap();
    let error = host.load(&guest("noop")).await.unwrap_err();
    let left = fs::read_dir(directory.path().join("cache")).unwrap().count();
    assert_eq!(left, 1, "only the key is left");
    error.reason
}

#[tokio::test]
async fn a_compiler_that_fails_is_quoted() {
    let reason = compile_with("echo 'error: on purpose' >&2; exit 1").await;
    assert!(chain(&reason).contains("error: on purpose"), "{}", chain(&reason));
}

#[tokio::test]
async fn a_compiler_that_is_killed_or_writes_nothing_is_told() {
    let reason = compile_with("kill -9 $$").await;
    assert!(chain(&reason).contains("needs more memory or time"), "{}", chain(&reason));
    let reason = compile_with("exit 0").await;
    assert!(chain(&reason).contains("read what the compiler wrote"), "{}", chain(&reason));
}

#[tokio::test]
async fn a_second_host_takes_what_the_first_has_compiled() {
    let cache = tempfile::tempdir().unwrap();
    let first = Host::with_cache(cache.path().join("c")).load("noop").await;
    assert!(matches!(first.origin(), Origin::Compiled(_)));
    let second = Host::with_cache(cache.path().join("c")).load("noop").await;
    assert!(matches!(second.origin(), Origin::Cached(_)));
}

#[tokio::test]
async fn a_spoilt_cache_costs_a_compilation_and_nothing_else() {
    let cache = tempfile::tempdir().unwrap();
    Host::with_cache(cache.path().to_path_buf()).load("noop").await;
    let spoil: [fn(&mut Vec<u8>); 3] = [
        |code| code.truncate(1_000),
        |code| {
            let middle = code.len() / 2;
            code[middle] ^= 0x40;
        },
        Vec::clear,
    ];
    for spoil in spoil {
        let host = Host::with_cache(cache.path().to_path_buf());
        let code = fs::read_dir(&host.cache).unwrap().map(|entry| entry.unwrap().path());
        let code = code.filter(|path| path.extension().is_some_and(|ending| ending == "cwasm")).collect::<Vec<_>>();
        assert_eq!(code.len(), 1);
        let mut bytes = fs::read(&code[0]).unwrap();
        spoil(&mut bytes);
        // As somebody would who replaces the file: the mapped one must not change.
        fs::remove_file(&code[0]).unwrap();
        fs::write(&code[0], bytes).unwrap();
        assert!(matches!(host.load("noop").await.origin(), Origin::Compiled(_)));
        let middleware = host.attach("noop", serde_json::json!({})).await.unwrap();
        ask(&middleware, request(serde_json::json!({}))).await.unwrap();
    }
}
