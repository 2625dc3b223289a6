//! The contract keeps its promises.
//!
//! Every world resolves; and what was published once never changes: records, variants, enums, flags and the signatures of
//! functions are closed, and an interface that plugins *export* takes no new function either, for no plugin that exists has
//! it. Growth is allowed where a plugin that was built yesterday does not notice: new functions of imported interfaces, new
//! methods of imported resources, new interfaces, new worlds.
//!
//! `contract/0.1.0.txt` is the published shape, one item a line, without documentation. What is new is added to it by
//! running this test with `FAIRLEAD_FREEZE=1`; nothing removes or changes a line.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "ids of a `Resolve` are indices, and a panic fails the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wit_parser::{Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, WorldItem, WorldKey};

/// Worlds that a plugin may target.
const WORLDS: [&str; 4] = ["middleware", "middleware-http", "registry-source", "update-policy"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

fn contract() -> (Resolve, wit_parser::PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(directory()).unwrap_or_else(|error| panic!("{error:?}"));
    (resolve, package)
}

#[test]
fn every_world_resolves() {
    let (resolve, package) = contract();
    for world in WORLDS {
        resolve.select_world(&[package], Some(world)).unwrap_or_else(|error| panic!("{world}: {error:?}"));
    }
    let known: BTreeSet<&str> = resolve.packages[package].worlds.keys().map(String::as_str).collect();
    assert_eq!(known, BTreeSet::from(WORLDS), "a world is missing in this test");
}

#[test]
fn no_world_gives_files_environment_or_sockets() {
    let (resolve, package) = contract();
    for (name, world) in &resolve.packages[package].worlds {
        for (key, _) in &resolve.worlds[*world].imports {
            let import = resolve.name_world_key(key);
            let allowed = ["fairlead:", "wasi:http/", "wasi:io/", "wasi:clocks/"];
            assert!(allowed.iter().any(|prefix| import.starts_with(prefix)), "{name} imports {import}");
        }
    }
}

#[test]
fn an_update_policy_is_a_pure_function() {
    let (resolve, package) = contract();
    let world = &resolve.worlds[resolve.select_world(&[package], Some("update-policy")).unwrap()];
    for (key, item) in &world.imports {
        let WorldItem::Interface { id, .. } = item else { panic!("imports a function") };
        let name = resolve.name_world_key(key);
        let silent = resolve.interfaces[*id].functions.is_empty();
        assert!(silent || name.starts_with("fairlead:host/log@"), "imports {name}, and could decide by it");
    }
}

#[test]
fn what_was_published_never_changes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/0.1.0.txt");
    let published: BTreeSet<String> =
        std::fs::read_to_string(&file).unwrap_or_default().lines().map(str::to_owned).collect();
    let now = shape();
    let changed: Vec<&String> = published.difference(&now).collect();
    assert!(
        changed.is_empty(),
        "the published contract was changed or lost something; plugins that exist would no longer load.\n\
         Give the change a new interface, a new world or a new version of its package instead.\n{changed:#?}"
    );
    let new: Vec<&String> = now.difference(&published).collect();
    let closed: Vec<&&String> = new.iter().filter(|line| closes(line, &published)).collect();
    assert!(
        closed.is_empty(),
        "an interface that plugins export has grown; plugins that exist do not have this. Make a new interface and a \
         new world.\n{closed:#?}"
    );
    if !new.is_empty() && std::env::var_os("FAIRLEAD_FREEZE").is_some() {
        let all: Vec<String> = now.into_iter().collect();
        std::fs::write(&file, all.join("\n") + "\n").unwrap();
        return;
    }
    assert!(new.is_empty(), "new in the contract; publish it by running this test with FAIRLEAD_FREEZE=1.\n{new:#?}");
}

/// Whether a new line asks something of plugins that exist: a function of an interface that is published and exported, or
/// an export of a published world.
fn closes(line: &str, published: &BTreeSet<String>) -> bool {
    if let Some((world, _)) = line.split_once(": export ") {
        return published.iter().any(|known| known.starts_with(&format!("{world}: ")));
    }
    let Some((interface, item)) = line.split_once(' ') else { return false };
    item.starts_with("func ") && published.contains(&format!("{interface} exported"))
}

#[test]
fn growth_is_told_from_what_breaks() {
    let published = shape();
    for (line, breaks) in [
        ("fairlead:middleware/hooks@0.1.0 func on-close()", true),
        ("fairlead:worlds@0.1.0 world middleware: export fairlead:middleware/more@0.1.0", true),
        ("fairlead:worlds@0.1.0 world middleware: import fairlead:host/random@0.1.0", false),
        ("fairlead:worlds@0.1.0 world middleware-stream: export fairlead:middleware/stream@0.1.0", false),
        ("fairlead:middleware/exchange@0.1.0 func [method]body.pointers(self: borrow<body>)", false),
        ("fairlead:host/kv@0.1.0 func touch(key: string)", false),
    ] {
        assert_eq!(closes(line, &published), breaks, "{line}");
    }
}

// === the shape as text, one item a line ===

fn shape() -> BTreeSet<String> {
    let (resolve, package) = contract();
    let mut lines = BTreeSet::new();
    let mut exported: BTreeSet<InterfaceId> = BTreeSet::new();
    for (name, world) in &resolve.packages[package].worlds {
        let world_name = format!("{} world {name}", resolve.packages[package].name);
        for (direction, items) in
            [("import", &resolve.worlds[*world].imports), ("export", &resolve.worlds[*world].exports)]
        {
            for (key, item) in items {
                lines.insert(format!("{world_name}: {direction} {}", resolve.name_world_key(key)));
                if let (WorldItem::Interface { id, .. }, "export") = (item, direction) {
                    exported.insert(*id);
                }
            }
        }
    }
    for (id, interface) in resolve.interfaces.iter() {
        let ours = interface.package.is_some_and(|id| resolve.packages[id].name.namespace == "fairlead");
        if !ours {
            continue;
        }
        let name = resolve.name_world_key(&WorldKey::Interface(id));
        if exported.contains(&id) {
            lines.insert(format!("{name} exported"));
        }
        for (item, id) in &interface.types {
            lines.insert(format!("{name} {} {item} {}", resolve.types[*id].kind.as_str(), definition(&resolve, *id)));
        }
        for function in interface.functions.values() {
            lines.insert(format!("{name} func {}", signature(&resolve, function)));
        }
    }
    lines
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, name_of(resolve, &parameter.ty)))
        .collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", name_of(resolve, ty))).unwrap_or_default();
    format!("{}({}){result}", function.name, parameters.join(", "))
}

fn definition(resolve: &Resolve, id: wit_parser::TypeId) -> String {
    let fields: Vec<String> = match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            record.fields.iter().map(|field| format!("{}: {}", field.name, name_of(resolve, &field.ty))).collect()
        }
        TypeDefKind::Variant(variant) => variant
            .cases
            .iter()
            .map(|case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, name_of(resolve, ty)),
                None => case.name.clone(),
            })
            .collect(),
        TypeDefKind::Enum(items) => items.cases.iter().map(|case| case.name.clone()).collect(),
        TypeDefKind::Flags(items) => items.flags.iter().map(|flag| flag.name.clone()).collect(),
        TypeDefKind::Type(ty) => return format!("= {}", name_of(resolve, ty)),
        TypeDefKind::Resource => return String::new(),
        _ => return format!("= {}", structure(resolve, id)),
    };
    format!("{{ {} }}", fields.join(", "))
}

fn name_of(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => structure(resolve, *id),
        },
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

fn structure(resolve: &Resolve, id: wit_parser::TypeId) -> String {
    let name = |ty: &Type| name_of(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), name);
    match &resolve.types[id].kind {
        TypeDefKind::List(ty) => format!("list<{}>", name(ty)),
        TypeDefKind::Option(ty) => format!("option<{}>", name(ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", tuple.types.iter().map(name).collect::<Vec<_>>().join(", ")),
        TypeDefKind::Handle(Handle::Own(id)) => name(&Type::Id(*id)),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", name(&Type::Id(*id))),
        TypeDefKind::Type(ty) => name(ty),
        other => format!("{other:?}"),
    }
}
