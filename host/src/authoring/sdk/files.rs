//! The files of the SDKs, as this program carries them. A test says when one is missing.

/// The contract, which every SDK lies beside, and the licence of both.
pub(crate) const CONTRACT: &[(&str, &str)] = &[
    ("LICENSE", include_str!("../../../../LICENSE")),
    ("wit/README.md", include_str!("../../../../wit/README.md")),
    ("wit/deps/fairlead-host/host.wit", include_str!("../../../../wit/deps/fairlead-host/host.wit")),
    (
        "wit/deps/fairlead-middleware/middleware.wit",
        include_str!("../../../../wit/deps/fairlead-middleware/middleware.wit"),
    ),
    (
        "wit/deps/fairlead-registry-source/source.wit",
        include_str!("../../../../wit/deps/fairlead-registry-source/source.wit"),
    ),
    ("wit/deps/fairlead-types/types.wit", include_str!("../../../../wit/deps/fairlead-types/types.wit")),
    (
        "wit/deps/fairlead-update-policy/policy.wit",
        include_str!("../../../../wit/deps/fairlead-update-policy/policy.wit"),
    ),
    ("wit/deps/wasi-cli/cli.wit", include_str!("../../../../wit/deps/wasi-cli/cli.wit")),
    ("wit/deps/wasi-clocks/clocks.wit", include_str!("../../../../wit/deps/wasi-clocks/clocks.wit")),
    ("wit/deps/wasi-filesystem/filesystem.wit", include_str!("../../../../wit/deps/wasi-filesystem/filesystem.wit")),
    ("wit/deps/wasi-http/http.wit", include_str!("../../../../wit/deps/wasi-http/http.wit")),
    ("wit/deps/wasi-io/io.wit", include_str!("../../../../wit/deps/wasi-io/io.wit")),
    ("wit/deps/wasi-random/random.wit", include_str!("../../../../wit/deps/wasi-random/random.wit")),
    ("wit/deps/wasi-sockets/sockets.wit", include_str!("../../../../wit/deps/wasi-sockets/sockets.wit")),
    ("wit/worlds.wit", include_str!("../../../../wit/worlds.wit")),
];

/// The SDK for Rust.
pub(crate) const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../../sdk/templates/rust/workspace/Cargo.toml")),
    ("sdk/rust/Cargo.toml", include_str!("../../../../sdk/rust/Cargo.toml")),
    ("sdk/rust/README.md", include_str!("../../../../sdk/rust/README.md")),
    ("sdk/rust/build.rs", include_str!("../../../../sdk/rust/build.rs")),
    ("sdk/rust/src/bindings.rs", include_str!("../../../../sdk/rust/src/bindings.rs")),
    ("sdk/rust/src/failure.rs", include_str!("../../../../sdk/rust/src/failure.rs")),
    ("sdk/rust/src/guest.rs", include_str!("../../../../sdk/rust/src/guest.rs")),
    ("sdk/rust/src/host.rs", include_str!("../../../../sdk/rust/src/host.rs")),
    ("sdk/rust/src/http.rs", include_str!("../../../../sdk/rust/src/http.rs")),
    ("sdk/rust/src/http/wasm.rs", include_str!("../../../../sdk/rust/src/http/wasm.rs")),
    ("sdk/rust/src/json.rs", include_str!("../../../../sdk/rust/src/json.rs")),
    ("sdk/rust/src/lib.rs", include_str!("../../../../sdk/rust/src/lib.rs")),
    ("sdk/rust/src/manifest.rs", include_str!("../../../../sdk/rust/src/manifest.rs")),
    ("sdk/rust/src/message.rs", include_str!("../../../../sdk/rust/src/message.rs")),
    ("sdk/rust/src/middleware.rs", include_str!("../../../../sdk/rust/src/middleware.rs")),
    ("sdk/rust/src/pattern.rs", include_str!("../../../../sdk/rust/src/pattern.rs")),
    ("sdk/rust/src/registry_source.rs", include_str!("../../../../sdk/rust/src/registry_source.rs")),
    ("sdk/rust/src/testing.rs", include_str!("../../../../sdk/rust/src/testing.rs")),
    ("sdk/rust/src/testing/context.rs", include_str!("../../../../sdk/rust/src/testing/context.rs")),
    ("sdk/rust/src/testing/facts.rs", include_str!("../../../../sdk/rust/src/testing/facts.rs")),
    ("sdk/rust/src/testing/fakes.rs", include_str!("../../../../sdk/rust/src/testing/fakes.rs")),
    ("sdk/rust/src/testing/http.rs", include_str!("../../../../sdk/rust/src/testing/http.rs")),
    ("sdk/rust/src/testing/outcome.rs", include_str!("../../../../sdk/rust/src/testing/outcome.rs")),
    ("sdk/rust/src/testing/patch.rs", include_str!("../../../../sdk/rust/src/testing/patch.rs")),
    ("sdk/rust/src/update_policy.rs", include_str!("../../../../sdk/rust/src/update_policy.rs")),
    ("sdk/rust/src/verdict.rs", include_str!("../../../../sdk/rust/src/verdict.rs")),
];

/// The SDK for JavaScript and TypeScript.
pub(crate) const JAVASCRIPT: &[(&str, &str)] = &[
    ("sdk/js/README.md", include_str!("../../../../sdk/js/README.md")),
    ("sdk/js/package.json", include_str!("../../../../sdk/js/package.json")),
    ("sdk/js/src/config.js", include_str!("../../../../sdk/js/src/config.js")),
    ("sdk/js/src/failure.js", include_str!("../../../../sdk/js/src/failure.js")),
    ("sdk/js/src/guest/manifest.js", include_str!("../../../../sdk/js/src/guest/manifest.js")),
    ("sdk/js/src/guest/middleware.js", include_str!("../../../../sdk/js/src/guest/middleware.js")),
    ("sdk/js/src/guest/registry-source.js", include_str!("../../../../sdk/js/src/guest/registry-source.js")),
    ("sdk/js/src/guest/update-policy.js", include_str!("../../../../sdk/js/src/guest/update-policy.js")),
    ("sdk/js/src/host.js", include_str!("../../../../sdk/js/src/host.js")),
    ("sdk/js/src/index.js", include_str!("../../../../sdk/js/src/index.js")),
    ("sdk/js/src/json.js", include_str!("../../../../sdk/js/src/json.js")),
    ("sdk/js/src/kinds.js", include_str!("../../../../sdk/js/src/kinds.js")),
    ("sdk/js/src/message.js", include_str!("../../../../sdk/js/src/message.js")),
    ("sdk/js/src/testing.js", include_str!("../../../../sdk/js/src/testing.js")),
    ("sdk/js/src/utf8.js", include_str!("../../../../sdk/js/src/utf8.js")),
    ("sdk/js/src/verdict.js", include_str!("../../../../sdk/js/src/verdict.js")),
    ("sdk/js/types/index.d.ts", include_str!("../../../../sdk/js/types/index.d.ts")),
    ("sdk/js/types/testing.d.ts", include_str!("../../../../sdk/js/types/testing.d.ts")),
];

/// The SDK for Python.
pub(crate) const PYTHON: &[(&str, &str)] = &[
    ("sdk/python/README.md", include_str!("../../../../sdk/python/README.md")),
    ("sdk/python/fairlead_plugin/__init__.py", include_str!("../../../../sdk/python/fairlead_plugin/__init__.py")),
    (
        "sdk/python/fairlead_plugin/_guest/__init__.py",
        include_str!("../../../../sdk/python/fairlead_plugin/_guest/__init__.py"),
    ),
    (
        "sdk/python/fairlead_plugin/_guest/_manifest.py",
        include_str!("../../../../sdk/python/fairlead_plugin/_guest/_manifest.py"),
    ),
    (
        "sdk/python/fairlead_plugin/_guest/middleware.py",
        include_str!("../../../../sdk/python/fairlead_plugin/_guest/middleware.py"),
    ),
    (
        "sdk/python/fairlead_plugin/_guest/registry_source.py",
        include_str!("../../../../sdk/python/fairlead_plugin/_guest/registry_source.py"),
    ),
    (
        "sdk/python/fairlead_plugin/_guest/update_policy.py",
        include_str!("../../../../sdk/python/fairlead_plugin/_guest/update_policy.py"),
    ),
    ("sdk/python/fairlead_plugin/clock.py", include_str!("../../../../sdk/python/fairlead_plugin/clock.py")),
    ("sdk/python/fairlead_plugin/config.py", include_str!("../../../../sdk/python/fairlead_plugin/config.py")),
    ("sdk/python/fairlead_plugin/failure.py", include_str!("../../../../sdk/python/fairlead_plugin/failure.py")),
    ("sdk/python/fairlead_plugin/host.py", include_str!("../../../../sdk/python/fairlead_plugin/host.py")),
    ("sdk/python/fairlead_plugin/json.py", include_str!("../../../../sdk/python/fairlead_plugin/json.py")),
    ("sdk/python/fairlead_plugin/kinds.py", include_str!("../../../../sdk/python/fairlead_plugin/kinds.py")),
    ("sdk/python/fairlead_plugin/kv.py", include_str!("../../../../sdk/python/fairlead_plugin/kv.py")),
    ("sdk/python/fairlead_plugin/log.py", include_str!("../../../../sdk/python/fairlead_plugin/log.py")),
    ("sdk/python/fairlead_plugin/message.py", include_str!("../../../../sdk/python/fairlead_plugin/message.py")),
    ("sdk/python/fairlead_plugin/metrics.py", include_str!("../../../../sdk/python/fairlead_plugin/metrics.py")),
    ("sdk/python/fairlead_plugin/policy.py", include_str!("../../../../sdk/python/fairlead_plugin/policy.py")),
    ("sdk/python/fairlead_plugin/py.typed", include_str!("../../../../sdk/python/fairlead_plugin/py.typed")),
    ("sdk/python/fairlead_plugin/registry.py", include_str!("../../../../sdk/python/fairlead_plugin/registry.py")),
    ("sdk/python/fairlead_plugin/secrets.py", include_str!("../../../../sdk/python/fairlead_plugin/secrets.py")),
    ("sdk/python/fairlead_plugin/testing.py", include_str!("../../../../sdk/python/fairlead_plugin/testing.py")),
    ("sdk/python/fairlead_plugin/verdict.py", include_str!("../../../../sdk/python/fairlead_plugin/verdict.py")),
    ("sdk/python/pyproject.toml", include_str!("../../../../sdk/python/pyproject.toml")),
];
