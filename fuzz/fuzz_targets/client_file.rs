//! Whatever the file of a client application says: it is refused, or it says the same with an entry of ours in it, once more
//! changes nothing, and taken out again it says what it said.
#![no_main]
#![allow(dead_code, reason = "the modules are those of the host, which uses all of them")]

use libfuzzer_sys::fuzz_target;

#[path = "../../host/src/clients"]
mod clients {
    #[path = "edit/mod.rs"]
    pub mod edit;
    pub mod table;
}

use clients::{edit, table};

const NAME: &str = "time";

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let clients = table::read(std::path::Path::new("/nowhere")).expect("the table of clients is right");
    let client = clients.values().nth(usize::from(*which) % clients.len()).expect("there are clients");
    let entry = client.entry(NAME, "http://127.0.0.1:7420/s/time/mcp");
    let Ok(before) = edit::get(client, text, NAME) else { return };
    let Ok(after) = edit::set(client, text, NAME, &entry) else { return };
    assert!(edit::get(client, &after, NAME).expect("it can be read").is_some());
    assert_eq!(edit::set(client, &after, NAME, &entry).expect("once more"), after);
    if before.is_none()
        && let Ok(removed) = edit::remove(client, &after, NAME)
    {
        assert_eq!(edit::get(client, &removed, NAME).expect("it can be read"), None);
    }
});
