//! The files of the templates, as this program carries them.

use crate::authoring::language::Language;

/// A file by its path in the directory of the plugin.
type File = (&'static str, &'static str);

/// What every middleware begins with, whatever its language.
pub(super) const MIDDLEWARE: &[File] = &[
    ("config.json", include_str!("../../../../sdk/templates/rust/middleware/config.json")),
    ("tests/cases.json", include_str!("../../../../sdk/templates/rust/middleware/tests/cases.json")),
    ("message.json", include_str!("../../../../sdk/templates/rust/middleware/message.json")),
];

/// What every registry source begins with, whatever its language.
pub(super) const REGISTRY_SOURCE: &[File] = &[
    ("config.json", include_str!("../../../../sdk/templates/rust/registry-source/config.json")),
    ("tests/cases.json", include_str!("../../../../sdk/templates/rust/registry-source/tests/cases.json")),
];

/// What every update policy begins with, whatever its language.
pub(super) const UPDATE_POLICY: &[File] = &[
    ("config.json", include_str!("../../../../sdk/templates/rust/update-policy/config.json")),
    ("tests/cases.json", include_str!("../../../../sdk/templates/rust/update-policy/tests/cases.json")),
];

/// A middleware in a language.
pub(super) const fn middleware(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &[
            ("Cargo.toml", include_str!("../../../../sdk/templates/rust/middleware/Cargo.toml")),
            ("README.md", include_str!("../../../../sdk/templates/rust/middleware/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/rust/middleware/gitignore")),
            ("src/lib.rs", include_str!("../../../../sdk/templates/rust/middleware/src/lib.rs")),
            ("tests/native.rs", include_str!("../../../../sdk/templates/rust/middleware/tests/native.rs")),
        ],
        Language::JavaScript => &[
            ("package.json", include_str!("../../../../sdk/templates/js/middleware/package.json")),
            ("README.md", include_str!("../../../../sdk/templates/js/middleware/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/js/middleware/gitignore")),
            ("plugin.js", include_str!("../../../../sdk/templates/js/middleware/plugin.js")),
            ("tests/native.test.js", include_str!("../../../../sdk/templates/js/middleware/native.test.js")),
        ],
        Language::Python => &[
            ("pyproject.toml", include_str!("../../../../sdk/templates/python/middleware/pyproject.toml")),
            ("README.md", include_str!("../../../../sdk/templates/python/middleware/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/python/middleware/gitignore")),
            ("plugin.py", include_str!("../../../../sdk/templates/python/middleware/plugin.py")),
            ("tests/test_native.py", include_str!("../../../../sdk/templates/python/middleware/test_native.py")),
        ],
    }
}

/// A registry source in a language.
pub(super) const fn registry_source(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &[
            ("Cargo.toml", include_str!("../../../../sdk/templates/rust/registry-source/Cargo.toml")),
            ("README.md", include_str!("../../../../sdk/templates/rust/registry-source/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/rust/registry-source/gitignore")),
            ("src/lib.rs", include_str!("../../../../sdk/templates/rust/registry-source/src/lib.rs")),
            ("tests/native.rs", include_str!("../../../../sdk/templates/rust/registry-source/tests/native.rs")),
        ],
        Language::JavaScript => &[
            ("package.json", include_str!("../../../../sdk/templates/js/registry-source/package.json")),
            ("README.md", include_str!("../../../../sdk/templates/js/registry-source/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/js/registry-source/gitignore")),
            ("plugin.js", include_str!("../../../../sdk/templates/js/registry-source/plugin.js")),
            ("tests/native.test.js", include_str!("../../../../sdk/templates/js/registry-source/native.test.js")),
        ],
        Language::Python => &[
            ("pyproject.toml", include_str!("../../../../sdk/templates/python/registry-source/pyproject.toml")),
            ("README.md", include_str!("../../../../sdk/templates/python/registry-source/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/python/registry-source/gitignore")),
            ("plugin.py", include_str!("../../../../sdk/templates/python/registry-source/plugin.py")),
            ("tests/test_native.py", include_str!("../../../../sdk/templates/python/registry-source/test_native.py")),
        ],
    }
}

/// An update policy in a language.
pub(super) const fn update_policy(language: Language) -> &'static [File] {
    match language {
        Language::Rust => &[
            ("Cargo.toml", include_str!("../../../../sdk/templates/rust/update-policy/Cargo.toml")),
            ("README.md", include_str!("../../../../sdk/templates/rust/update-policy/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/rust/update-policy/gitignore")),
            ("src/lib.rs", include_str!("../../../../sdk/templates/rust/update-policy/src/lib.rs")),
            ("tests/native.rs", include_str!("../../../../sdk/templates/rust/update-policy/tests/native.rs")),
        ],
        Language::JavaScript => &[
            ("package.json", include_str!("../../../../sdk/templates/js/update-policy/package.json")),
            ("README.md", include_str!("../../../../sdk/templates/js/update-policy/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/js/update-policy/gitignore")),
            ("plugin.js", include_str!("../../../../sdk/templates/js/update-policy/plugin.js")),
            ("tests/native.test.js", include_str!("../../../../sdk/templates/js/update-policy/native.test.js")),
        ],
        Language::Python => &[
            ("pyproject.toml", include_str!("../../../../sdk/templates/python/update-policy/pyproject.toml")),
            ("README.md", include_str!("../../../../sdk/templates/python/update-policy/README.md")),
            (".gitignore", include_str!("../../../../sdk/templates/python/update-policy/gitignore")),
            ("plugin.py", include_str!("../../../../sdk/templates/python/update-policy/plugin.py")),
            ("tests/test_native.py", include_str!("../../../../sdk/templates/python/update-policy/test_native.py")),
        ],
    }
}
