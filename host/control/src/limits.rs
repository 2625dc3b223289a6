//! Every bound of this crate, with the reason for its number.

use std::time::Duration;

/// Sessions of one server with a process each. A node process takes 60 to 100 MB, so this many take what a laptop can
/// spare; a server for more clients shares its process or speaks HTTP.
pub const SESSIONS_MAX: usize = 64;

/// Processes that are started before anybody asks. None: a spare hides the start of a process (0.3 s for node, seconds
/// for `npx`), but it is started for nobody, and servers that log in, open a browser or lock a file when they start would do
/// so unasked. Who wants speed says so.
pub const SPARES: usize = 0;

/// Time to start a workload, as a backstop: every runtime bounds its own work, and the longest is to fetch a large image
/// over a slow line, in half an hour.
pub const LAUNCH_MAX: Duration = Duration::from_secs(35 * 60);

/// Time that a caller waits here for a workload to start, or for its port to open. The data plane bounds the wait of its
/// clients more tightly; this is for the probe of a new server, whose first `npx` may have to fetch a hundred packages.
pub const START_WAIT_MAX: Duration = Duration::from_secs(170);

/// Time that a workload has to end after its stdin was closed, before it is asked more plainly. Every one of eight servers
/// measured was gone after 1.1 s.
pub const STDIN_GRACE: Duration = Duration::from_secs(2);

/// Time that it has after it was asked, before it is killed: what container engines and init systems have taught programs to
/// expect, halved, because closing stdin came first.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// Time for a server to come to rest when its supervisor is dropped rather than stopped: both graces and a little.
pub const DROP_DEADLINE: Duration = Duration::from_secs(8);

/// Time for one access to the store. It flushes to a disk; one that takes longer is broken, and a session must not wait.
pub const STORE_MAX: Duration = Duration::from_secs(5);

/// One line of what a server writes. Longer ones are cut: a log line is read by people.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// Bytes read from a pipe at once.
pub const CHUNK_BYTES: usize = 8 * 1024;

/// Last lines of each workload that are kept to explain its end. A stack trace of node or Python fits.
pub const TAIL_LINES: usize = 32;

/// Characters of such a line that become part of a reason: one line of a terminal and a bit.
pub const REASON_CHARS_MAX: usize = 200;

/// Time to read what an ended workload still has in its pipe. It is there already, unless a process that left its group
/// holds the pipe open; then nothing is worth waiting for.
pub const LAST_WORDS_MAX: Duration = Duration::from_millis(250);

/// Time that a failed probe waits for the end of a workload that is on its way, for that explains it: last words, and one
/// access to the store.
pub const EXPLANATION_MAX: Duration = Duration::from_secs(2);

/// Unwanted ends of workloads that had come up, in a row and with nobody else being served, that count as one failure. One
/// client whose request crashes its own process is that client's trouble; five in a row are the server's.
pub const CRASHES_PER_FAILURE: u32 = 5;

/// Between two tries to launch while the engine that would do it is away. Asking costs one refused connection, and whoever
/// has started the engine again does not want to wait for minutes, however long it was away.
pub const AWAY_RETRY: Duration = Duration::from_secs(3);

/// A workload that ends with status 0 without a word is no failure if it has lived so long: it was tired of waiting for a
/// client. Sooner it is a command that is no server.
pub const SILENT_END_AFTER: Duration = Duration::from_secs(10);

/// Time that a server that speaks HTTP has to open its port, before it is ended and launched anew.
pub const PORT_OPEN_MAX: Duration = START_WAIT_MAX;

/// Time for one attempt to connect to a port of this machine, which answers at once or not at all.
pub const CONNECT_MAX: Duration = Duration::from_secs(1);

/// First pause between two such attempts; doubled each time.
pub const PORT_POLL_FIRST: Duration = Duration::from_millis(10);

/// Longest pause between two such attempts. It is a part of what a `run` takes after its server is ready, of which there are 300 ms
/// in all; an attempt costs one refused connection.
pub const PORT_POLL_MAX: Duration = Duration::from_millis(50);

/// After which a client may ask again when its server was still starting.
pub const NOT_READY_RETRY: Duration = Duration::from_secs(1);

/// How often the engine looks whether servers came or went without a word; also the longest that it sleeps, so that a
/// clock that was set is noticed.
pub const AGENDA_REFRESH: Duration = Duration::from_secs(30);

/// Servers whose freshness is worked on at once. Checks wait for networks, and sixteen keep an OCI registry busy without
/// being rude.
pub const UPDATE_WORKERS_MAX: usize = 16;

/// Between two renewals of a lease: a quarter of its life, so that three may fail.
pub const LEASE_RENEW: Duration = Duration::from_secs(15);

/// After a lease was lost, or could not be had.
pub const LEASE_RETRY: Duration = Duration::from_secs(5);

/// One check: a handful of requests of ten seconds each, or a probe that pulls an image.
pub const CHECK_MAX: Duration = Duration::from_secs(6 * 60);

/// One trial: the candidate is pulled, or built of its package (half an hour at most), and started, and answers.
pub const TRIAL_MAX: Duration = Duration::from_secs(40 * 60);

/// One look at a rollout. It may start a server that is slow to come up; the deadline of the rollout is another one.
pub const SETTLE_MAX: Duration = Duration::from_secs(5 * 60);

/// All policies of one server together; each has a deadline of its own.
pub const POLICY_MAX: Duration = Duration::from_secs(10);

/// Telling one message.
pub const ANNOUNCE_MAX: Duration = Duration::from_secs(10);

/// How often a step is tried again because somebody's command came between.
pub const STEP_TRIES: usize = 16;

/// How often a command is tried again because the record changed meanwhile.
pub const COMMAND_TRIES: usize = 16;

/// Steps of one turn: more than an update has, so that a mistake in the state machine cannot keep a processor busy.
pub const STEPS_PER_TURN_MAX: usize = 32;

/// Steps of a replay: seven months of checks every quarter of an hour, each of which is a check, a decision and a rest.
pub const REPLAY_STEPS_MAX: usize = 60_000;

/// Time that a runtime has to say what a workload uses: a person looks at it, and the next look comes soon.
pub const USAGE_MAX: Duration = Duration::from_secs(2);
