//! The table of `docs/reference/recovery.md`, row by row.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fairlead_tests::binary;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    ProcessKilled,
    ContainerKilled,
    EngineRestarted,
    DaemonKilled,
    TaskPanics,
    DiskFull,
    ClockJumps,
    MachineSleeps,
    ServersSleep,
    AddressTaken,
    PortTaken,
}

impl Case {
    const ALL: [Self; 11] = [
        Self::ProcessKilled,
        Self::ContainerKilled,
        Self::EngineRestarted,
        Self::DaemonKilled,
        Self::TaskPanics,
        Self::DiskFull,
        Self::ClockJumps,
        Self::MachineSleeps,
        Self::ServersSleep,
        Self::AddressTaken,
        Self::PortTaken,
    ];

    /// What happens, what is lost, from when it is counted, and how long it may take: a bound for a busy machine.
    fn row(self) -> (&'static str, &'static str, &'static str, u64) {
        match self {
            Self::ProcessKilled => (
                "The process of a server is killed",
                "its requests under way (each gets an error) and its sessions",
                "the kill",
                5,
            ),
            Self::ContainerKilled => (
                "Containers are killed, of servers over stdio and HTTP, and a porter",
                "their requests under way and their sessions",
                "the kill",
                20,
            ),
            Self::EngineRestarted => (
                "The container engine is stopped and started again",
                "requests and sessions of its servers; no other server notices",
                "the engine's first answer",
                20,
            ),
            Self::DaemonKilled => (
                "The daemon is killed (`kill -9`)",
                "requests under way, sessions, plugin state of the last half second",
                "the start of the next daemon",
                15,
            ),
            Self::TaskPanics => (
                "A task of the data plane panics: accepting, a connection, a request, the pipe of a server, a session",
                "at most that connection, request or session; no other one notices",
                "the panic",
                5,
            ),
            Self::DiskFull => (
                "The disk of the state is full",
                "nothing: changes are refused, what runs goes on serving, a daemon that is killed comes back",
                "the moment that there is room",
                10,
            ),
            Self::ClockJumps => (
                "The clock jumps, by years, forwards and backwards",
                "nothing; what has a date of expiry follows the clock",
                "the jump",
                5,
            ),
            Self::MachineSleeps => (
                "The machine sleeps, daemon and servers, and the clock has moved on when it wakes",
                "nothing: requests under way are answered, sessions go on",
                "waking",
                5,
            ),
            Self::ServersSleep => (
                "Servers stand still while the daemon goes on",
                "nothing: requests under way are answered, sessions go on",
                "waking",
                5,
            ),
            Self::AddressTaken => (
                "Somebody takes the address of the daemon while it is down",
                "nothing: the daemon says whose remedy it needs and does not start",
                "the start of the next daemon, the address being free again",
                15,
            ),
            Self::PortTaken => (
                "Somebody takes the port of a server after its process was killed",
                "requests meanwhile; nothing is ever sent to the stranger",
                "the port being free again",
                20,
            ),
        }
    }

    /// The row without what was measured.
    fn begins(self) -> String {
        let (happens, lost, since, within) = self.row();
        format!("| {happens} | {lost} | {since} | {within} s | ")
    }

    /// It came back in this time, and nothing that was acknowledged was lost: compares that with the page.
    #[track_caller]
    pub(super) fn recovered(self, took: Duration) {
        println!("{self:?}: {took:?}");
        let within = Duration::from_secs(self.row().3);
        assert!(took <= within, "{self:?} took {took:?}, and {within:?} are promised");
        if std::env::var("FAIRLEAD_RECOVERY").as_deref() == Ok("write") {
            self.write(took);
        }
        let page = std::fs::read_to_string(page()).unwrap();
        assert!(page.contains(&self.begins()), "the page has no row of {self:?}: `{}…`", self.begins());
    }

    fn write(self, took: Duration) {
        // One test at a time: each replaces one line.
        static PAGE: Mutex<()> = Mutex::new(());
        let _turn = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::fs::read_to_string(page()).unwrap();
        let line = format!("{}{:.2} s |", self.begins(), took.as_secs_f64());
        let replaced = text.lines().map(|old| if old.starts_with(&self.begins()) { line.as_str() } else { old });
        std::fs::write(page(), replaced.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    }
}

fn page() -> PathBuf {
    binary::root().join("docs/reference/recovery.md")
}

#[test]
fn the_page_has_the_rows_of_the_matrix_and_no_other() {
    let page = std::fs::read_to_string(page()).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows = rows.collect::<Vec<_>>();
    assert_eq!(rows.len(), Case::ALL.len(), "{rows:#?}");
    for (row, case) in rows.into_iter().zip(Case::ALL) {
        assert!(row.starts_with(&case.begins()), "row of {case:?}:\n{row}\n{}", case.begins());
        let measured = row.trim_end_matches(" |").rsplit(' ').nth(1).and_then(|number| number.parse::<f64>().ok());
        assert!(measured.is_some(), "{case:?} was never measured: `FAIRLEAD_RECOVERY=write` does it");
    }
}
