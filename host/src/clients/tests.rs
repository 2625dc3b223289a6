//! Registered clients, on files of their own: what is written, what is left alone, and what a crash leaves.

use super::*;

struct Bench {
    home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// As after a restart of the daemon.
    fn clients(&self) -> Clients {
        let home = self.home.path().to_owned();
        let places = Places { config: home.join(".config"), home };
        Clients::of(&Directories::below(&self.home.path().join("fairlead")), Some(places))
    }

    fn cursor(&self) -> PathBuf {
        self.home.path().join(".cursor/mcp.json")
    }

    fn write(&self, text: &str) {
        std::fs::create_dir_all(self.cursor().parent().unwrap()).unwrap();
        std::fs::write(self.cursor(), text).unwrap();
    }

    fn read(&self) -> String {
        std::fs::read_to_string(self.cursor()).unwrap()
    }
}

fn offers(names: &[&str]) -> Offers {
    let offered = |name: &&str| {
        let offered = Offered { url: format!("http://127.0.0.1:7420/s/{name}/mcp"), group: GroupName::default() };
        ((*name).to_owned(), offered)
    };
    names.iter().map(offered).collect()
}

const BEFORE: &str = "{\n  // mine\n  \"mcpServers\": {\n    \"a\": { \"url\": \"http://x/\" }, // by hand\n  },\n}\n";

#[test]
fn a_registered_client_follows_the_servers_and_everything_else_stays() {
    let bench = Bench::new();
    bench.write(BEFORE);
    bench.clients().register("cursor", None, &offers(&["time"])).unwrap();
    let with_one = bench.read();
    assert!(with_one.contains("/s/time/mcp") && with_one.contains("// by hand"), "{with_one}");
    let clients = bench.clients();
    assert!(clients.sync(&offers(&["time", "git"])).unwrap().is_empty());
    assert!(bench.read().contains("/s/git/mcp"));
    clients.sync(&offers(&["time"])).unwrap();
    assert_eq!(bench.read(), with_one);
    let state = clients.status(&offers(&["time"])).unwrap().into_iter().find(|state| state.id == "cursor").unwrap();
    assert!(state.registered && state.installed && state.problem.is_none(), "{state:?}");
    assert_eq!(state.entries, ["time"]);
    clients.remove("cursor").unwrap();
    assert_eq!(bench.read(), BEFORE);
    assert!(matches!(clients.remove("cursor"), Err(ClientsError::NotRegistered(_))));
}

#[test]
fn an_entry_by_hand_is_never_taken_over() {
    let bench = Bench::new();
    bench.write(BEFORE);
    let clients = bench.clients();
    let error = clients.register("cursor", None, &offers(&["a"])).unwrap_err();
    assert!(error.to_string().contains("a server `a` that is not ours"), "{error}");
    assert_eq!(bench.read(), BEFORE);
    clients.register("cursor", None, &offers(&[])).unwrap();
    let failed = clients.sync(&offers(&["a", "b"])).unwrap();
    assert!(matches!(failed.as_slice(), [(_, ClientsError::Taken { .. })]), "{failed:?}");
    assert!(bench.read().contains("http://x/") && bench.read().contains("/s/b/mcp"), "{}", bench.read());
    clients.sync(&offers(&[])).unwrap();
    assert_eq!(bench.read(), BEFORE);
}

#[test]
fn a_new_address_is_taken_over_and_a_group_keeps_to_itself() {
    let bench = Bench::new();
    let clients = bench.clients();
    let group = GroupName::new("work").unwrap();
    let mut all = offers(&["a", "b"]);
    all.get_mut("b").unwrap().group = group.clone();
    clients.register("cursor", Some(group), &all).unwrap();
    assert!(bench.read().contains("/s/b/mcp") && !bench.read().contains("/s/a/mcp"), "{}", bench.read());
    all.get_mut("b").unwrap().url = "http://127.0.0.1:9/s/b/mcp".to_owned();
    let status = |all: &Offers| clients.status(all).unwrap().into_iter().find(|state| state.id == "cursor").unwrap();
    assert!(status(&all).problem.unwrap().contains("`b` is not as it was written"));
    clients.sync(&all).unwrap();
    assert!(bench.read().contains("127.0.0.1:9/") && !bench.read().contains("7420"), "{}", bench.read());
    assert_eq!(status(&all).problem, None);
}

#[test]
fn what_a_crash_leaves_is_known_as_ours() {
    let bench = Bench::new();
    bench.write(BEFORE);
    let clients = bench.clients();
    clients.register("cursor", None, &offers(&["time"])).unwrap();
    let (file, list) = (bench.read(), std::fs::read(&clients.registered).unwrap());
    // The list was written, the file not yet.
    bench.write(BEFORE);
    std::fs::write(&clients.registered, list).unwrap();
    bench.clients().sync(&offers(&["time"])).unwrap();
    assert_eq!(bench.read(), file);
}

#[test]
fn undo_brings_back_what_was_there_and_lets_it_be() {
    let bench = Bench::new();
    bench.write(BEFORE);
    let clients = bench.clients();
    clients.register("cursor", None, &offers(&["time"])).unwrap();
    clients.undo("cursor").unwrap();
    assert_eq!(bench.read(), BEFORE);
    clients.sync(&offers(&["time"])).unwrap();
    assert_eq!(bench.read(), BEFORE, "it is not registered any more");
}

#[test]
fn a_file_that_cannot_be_read_is_left_and_named() {
    let bench = Bench::new();
    bench.write("{ \"mcpServers\": ");
    let error = bench.clients().register("cursor", None, &offers(&["time"])).unwrap_err();
    assert!(error.to_string().contains(".cursor/mcp.json"), "{error}");
    assert_eq!(bench.read(), "{ \"mcpServers\": ");
    let unknown = bench.clients().register("emacs", None, &offers(&[])).unwrap_err();
    assert!(matches!(unknown, ClientsError::Unknown(_)), "{unknown}");
}
