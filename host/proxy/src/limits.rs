//! Every bound of the data plane, with the reason for its number. Where [`crate::ProxyConfig`] has a field of the same
//! meaning, the constant is its default.

use std::time::Duration;

/// One message from a client: large enough for a document or an image in base64, small enough that a hundred of them at
/// once are bearable.
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All messages from clients that are being read at the same time: many clients that each send half a message must not fill
/// the memory together.
pub const BODIES_BYTES_MAX: usize = 512 * 1024 * 1024;

/// One message from a stdio server. Above the bound of a body, because results grow larger than arguments.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One event, or one JSON reply, of an HTTP server, where middleware wants to see it. What nobody wants to see is passed
/// through and not measured.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Messages in one batch: the revision that has batches (2025-03-26) names no bound, and no client sends more than a few.
pub const BATCH_MESSAGES_MAX: usize = 64;

/// Connections at the same time: below the usual limit of file descriptors, with room for what stands behind them.
pub const CONNECTIONS_MAX: usize = 8_192;

/// Time to send the head of a request, from its first byte; a client that takes longer is broken or hostile.
pub const HEADER_READ_MAX: Duration = Duration::from_secs(15);

/// A client's connection over which no request comes is closed after so long. The HTTP libraries of Go and Rust keep one for 90 s:
/// whoever closes it before them meets the request that they send into it.
pub const CLIENT_CONNECTION_KEEP: Duration = Duration::from_secs(100);

/// Time between two pieces of a request body.
pub const BODY_STALL_MAX: Duration = Duration::from_secs(30);

/// Time for a whole request body: the longest one over half a megabit a second, and an end for one that comes byte by byte.
pub const BODY_READ_MAX: Duration = Duration::from_secs(5 * 60);

/// Time that a client may leave written bytes unread before its connection is closed.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// After a refusal, so much of the refused body is read and thrown away: closing at once would reset the connection, and
/// the client would never read why.
pub const REFUSED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Time for the same.
pub const REFUSED_READ_MAX: Duration = Duration::from_secs(10);

/// Pause after the system refused a connection (out of file descriptors): trying at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time for requests under way when the listener stops.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Time for the processes of ended sessions to be given back, after that.
pub const SESSIONS_END_MAX: Duration = Duration::from_secs(2);

/// When a refused client should come back while the listener drains or a server is at its limit.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Sessions of one server.
pub const SESSIONS_MAX: usize = 1_024;

/// A session that nobody used for so long ends.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// At the limit, the session that was idle the longest makes room for a new one, if it was idle for at least so long.
pub const SESSION_EVICT_IDLE_MIN: Duration = Duration::from_secs(60);

/// How often idle sessions and unanswered questions are looked for.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Sessions of one HTTP server whose owners, and whose places, are remembered: the server bounds its sessions itself, and far below this.
pub const OWNERS_MAX: usize = 16 * 1024;

/// Requests of one session at the same time.
pub const IN_FLIGHT_MAX: usize = 1_024;

/// Time for a server to be opened: a first `npx` downloads a package.
pub const OPEN_MAX: Duration = Duration::from_secs(120);

/// Time without any sign of a request under way. Tools of ten minutes exist, and progress starts it anew.
pub const REQUEST_IDLE_MAX: Duration = Duration::from_secs(60 * 60);

/// After a request was cancelled, the server gets so long to answer all the same.
pub const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// Time for a stdio server to make room for one more message. As patient as with an answer: one of a single thread reads nothing
/// while a tool of it runs.
pub const PIPE_STALL_MAX: Duration = Duration::from_secs(60 * 60);

/// Messages on their way to a stdio server that it has not read yet.
pub const OUTGOING_MESSAGES_MAX: usize = 16;

/// Small messages are written to a pipe together, up to so many bytes: one system call instead of many.
pub const WRITE_COALESCE_BYTES: usize = 16 * 1024;

/// Space for one read from a pipe: what a Linux pipe holds.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// With less than this left, more of it is made: a message that somebody keeps would otherwise keep a whole chunk to itself.
pub const READ_ROOM_BYTES: usize = 8 * 1024;

/// Events of one request that wait to be forwarded.
pub const LANE_EVENTS_MAX: usize = 128;

/// Bytes of the same. A single event may be larger.
pub const LANE_BYTES_MAX: usize = 1024 * 1024;

/// Events of one stream that the client has not read yet; beyond this its sender waits.
pub const STREAM_EVENTS_MAX: usize = 64;

/// Bytes of the same. A single event may be larger.
pub const STREAM_BYTES_MAX: usize = 1024 * 1024;

/// A stream on which the client reads nothing for so long is cut; the client may come back with `Last-Event-ID`.
pub const STREAM_STALL_MAX: Duration = Duration::from_secs(60);

/// Events of one stream that are kept for a client that comes back with `Last-Event-ID`.
pub const REPLAY_EVENTS_MAX: usize = 256;

/// Bytes of the same.
pub const REPLAY_BYTES_MAX: usize = 1024 * 1024;

/// Streams of one session, the newest, that are kept for the same.
pub const REPLAY_STREAMS_MAX: usize = 8;

/// Bytes of all of them together, beyond which only the newest is kept: each holds its last event whole, however large.
pub const REPLAY_SESSION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A comment on a stream on which nothing happened for so long: below the 30 s after which some middle boxes hang up.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a client waits before it comes back for a stream that broke off: long enough for a daemon that is restarting,
/// too short to be noticed.
pub const STREAM_RETRY: Duration = Duration::from_millis(500);

/// A request that has not been answered for so long gets a stream, where its client's revision knows how to take one up
/// again: what is answered sooner is not worth one.
pub const STREAM_AFTER: Duration = Duration::from_millis(50);

/// Requests of one client of 2024-11-05 at the same time. They are answered on one stream, so more would only wait.
pub const LEGACY_IN_FLIGHT_MAX: usize = 128;

/// A client that opened a stream has so long to initialise.
pub const LEGACY_OPENING_MAX: Duration = Duration::from_secs(60);

/// Time for a server of 2024-11-05 to accept a message. It should at once; some do when they have answered.
pub const POST_MAX: Duration = Duration::from_secs(60 * 60);

/// So long the next message waits for such a server to accept the one before it, so that their order is kept.
pub const POST_PATIENCE: Duration = Duration::from_millis(500);

/// Questions of a server that wait for the client's answer.
pub const QUESTIONS_MAX: usize = 256;

/// Time for a question to be fetched by the client; then the server gets an error.
pub const QUESTION_WAIT_MAX: Duration = Duration::from_secs(60);

/// Resources that one session subscribes to, where we keep count of them.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Processes of one shared server: one for each way in which clients initialise.
pub const SHARED_PROCESSES_MAX: usize = 16;

/// Methods whose plan is kept per chain. A client that invents methods pays for a plan each time instead of filling memory.
pub const PLANS_MAX: usize = 256;

/// A hook that the plugin host did not cut off by then never will be. Above every deadline an attachment can sensibly have.
pub const HOOK_GUARD: Duration = Duration::from_secs(120);

/// How long it is believed which addresses the name of a server leads to: a pod that is gone has its address for longer than
/// that to itself, and a look costs what a connection costs.
pub const MEMBERS_KEEP: Duration = Duration::from_secs(2);

/// The same while the name service does not answer.
pub const MEMBERS_STALE_MAX: Duration = Duration::from_secs(30);

/// Time for the name service to answer.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Time to connect to a server on this machine.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The same for a server that runs elsewhere, with name, forward proxy and TLS: several round trips around the world.
pub const REMOTE_CONNECT_MAX: Duration = Duration::from_secs(15);

/// Redirects of one request to a remote server: one for a slash at the end, one for a moved service, and no circles.
pub const REDIRECTS_MAX: usize = 3;

/// How long the values of secrets in headers are kept: a provider may be a program that takes a second, and a changed secret
/// should count soon.
pub const REMOTE_HEADERS_KEEP: Duration = Duration::from_secs(30);

/// A file with certificates: a whole trust store has a few hundred KiB.
pub const CA_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long unused connections to remote servers are kept: a new one costs round trips, and balancers in front of servers
/// close after 60 seconds.
pub const REMOTE_CONNECTION_KEEP: Duration = Duration::from_secs(30);

/// Unused connections to one HTTP server that are kept.
pub const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long they are kept: below the five seconds after which Node closes them.
pub const IDLE_CONNECTION_KEEP: Duration = Duration::from_secs(4);

/// Polls of one connection in a row, each of which it asked for itself: more than an exchange of messages between its halves
/// needs, and few enough that others are not kept waiting.
pub const POLLS_IN_A_ROW_MAX: usize = 16;

/// Events that a pump has ready for an HTTP client.
pub const PUMP_EVENTS_MAX: usize = 4;

/// Time to end the session that a probe opened.
pub const PROBE_GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Requests of one HTTP server whose stream broke off before their answer came, and that are remembered for middleware.
pub const MISSED_MAX: usize = 1_024;

/// How long a stdio bridge waits for answers after its client has gone: whoever closes stdin expects the process to end.
pub const BRIDGE_DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long a stdio bridge looks for a daemon that cannot be reached: longer than a restart takes.
pub const BRIDGE_CONNECT_MAX: Duration = Duration::from_secs(15);

/// Between two looks.
pub const BRIDGE_CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// Before a stdio bridge opens the stream of the server again.
pub const BRIDGE_LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Time for a server to answer `server/discover` before it is asked for `initialize` as well: servers that know neither the
/// method nor how to refuse it keep silent. The first answer counts, whichever it is.
pub const DISCOVER_PATIENCE: Duration = Duration::from_secs(5);

/// How long it is believed which arguments of its tools a server wants repeated in headers.
pub const MIRRORS_KEEP: Duration = Duration::from_secs(60);

/// Pages of `tools/list` that are read for the same.
pub const MIRROR_PAGES_MAX: usize = 64;

/// Requests of the modern era that one process works on at the same time.
pub const MODERN_IN_FLIGHT_MAX: usize = 4_096;

/// How often a server may want to know more before it answers one request of a legacy client.
pub const INPUT_ROUNDS_MAX: usize = 8;

/// Time for a person to answer what a server wants to know.
pub const INPUT_WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// Time for a server to acknowledge that it will tell what a legacy client has subscribed to.
pub const LISTEN_ACK_MAX: Duration = Duration::from_secs(5);

/// Before a subscription at a modern server that ended is opened again for a legacy client.
pub const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Legacy sessions of one server that are kept for the next request of a client of the newest era.
pub const ELDER_IDLE_MAX: usize = 64;

/// How long: a conversation goes on within minutes, and opening another session costs what a process costs to start.
pub const ELDER_KEEP: Duration = Duration::from_secs(5 * 60);

/// Requests of one server that wait for what their clients are asked; each holds a session.
pub const ELDER_PARKED_MAX: usize = 256;

/// How long a process that was started for the next session waits for it: while sessions come one after the other each finds
/// one, and a minute after the last the machine has its memory back.
pub const SPARE_KEEP: Duration = Duration::from_secs(60);

/// Events that wait for a client of the modern era, whose connection is the only place where they can go.
pub const MODERN_EVENTS_MAX: usize = 16;

/// How often is looked whether a revision of a server that was replaced is used still. Nobody waits for it but its end.
pub const SUCCESSION_POLL: Duration = Duration::from_millis(100);

/// For how long a revision that has been replaced, and to which nothing new gets, may take to answer what it was asked before:
/// most tools have answered by then, and a server that hangs holds up nobody but itself.
pub const SUCCESSION_ANSWERS_MAX: Duration = Duration::from_secs(10);

/// Pages of `tools/list` that are read of a server that is examined: with more it is broken, or goes round in circles.
pub const EXAMINED_PAGES_MAX: usize = 64;

/// All of those pages together, each message that may bring one, and what a server says when it is asked who it is: a hundred tools
/// have about 100 KiB. What is read of them takes many times as much memory, and an operator examines images that nobody has let in
/// yet.
pub const EXAMINED_BYTES_MAX: usize = 2 * 1024 * 1024;
