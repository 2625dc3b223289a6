//! Every bound of the plugin host, with the reason for its number. Bounds that a plugin's author should know as well are in
//! [`fairlead_core::limits`].

use std::time::Duration;

/// Bytes of a component that is read at all. A Python guest has about 18 MiB; nothing that decides about messages is larger.
pub const COMPONENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Compiled components kept on disk. Code is about 3.5 times the component: room for a thousand small plugins.
pub const CACHE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Age at which a scratch file in the cache is left over from a process that was killed: longer than any compilation.
pub const SCRATCH_AGE_MAX: Duration = Duration::from_secs(3600);

/// Time for one compilation. The largest guests measured (Python) need 20 seconds of processor time, and a machine that is
/// busy with ten other things gives a tenth of a core.
pub const COMPILE_MAX: Duration = Duration::from_secs(300);

/// Processor seconds of a compiling child: twenty times what the largest guest measured needs.
pub const COMPILE_CPU_SECS_MAX: u64 = 480;

/// How far a compiling child stands behind in the queue for processors: half of what the system has. A large guest takes 20
/// seconds of all cores, and meanwhile nobody who waits for an answer should notice.
pub const COMPILE_NICENESS: i32 = 10;

/// Address space of a compiling child. The compiler maps generously; what a compile bomb wants is more than this.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;

/// Largest file that a compiling child may write.
pub const COMPILE_OUTPUT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What is kept of the words of a failed compilation.
pub const COMPILE_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Compilations at the same time: each uses all cores by itself.
pub const COMPILES_AT_ONCE: usize = 2;

/// Plugins that stay loaded while nobody uses them are forgotten when there are more than this.
pub const PLUGINS_REMEMBERED: usize = 256;

/// Live instances of all plugins together. Each reserves address space and takes about 60 KiB once used.
pub const INSTANCES_MAX: u32 = 512;

/// Live instances of one tenant: half, so that no tenant leaves nothing for the others.
pub const TENANT_INSTANCES_MAX: u32 = INSTANCES_MAX / 2;

/// Instances beyond that, for plugins that are asked who they are or what they think of a configuration: that must not
/// wait for the traffic.
pub const INSTANCES_SPARE: u32 = 32;

/// Core instances in one component: `wit-component` makes two to six, a composition several times that.
pub const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 24;

/// Core instances of all plugins together. Most components are made of four.
pub const CORE_INSTANCES_MAX: u32 = INSTANCES_MAX * 6;

/// Linear memories in one component.
pub const MEMORIES_PER_COMPONENT_MAX: u32 = 4;

/// Linear memories of all plugins together: nearly every component has exactly one.
pub const MEMORIES_MAX: u32 = INSTANCES_MAX + 64;

/// Tables in one component.
pub const TABLES_PER_COMPONENT_MAX: u32 = 12;

/// Tables of all plugins together.
pub const TABLES_MAX: u32 = INSTANCES_MAX * 3;

/// Elements of one table. JavaScript engines compiled to Wasm have some ten thousand functions.
pub const TABLE_ELEMENTS_MAX: usize = 32 * 1024;

/// Bytes of a used table that are cleared by hand: those of two thousand functions, which is more than a Rust guest has.
pub const TABLE_BYTES_RESIDENT: usize = 16 * 1024;

/// Metadata of one instance, as wasmtime counts it. Large engines compiled to Wasm need several hundred KiB.
pub const INSTANCE_METADATA_BYTES_MAX: usize = 1024 * 1024;

/// Slots that keep the image of their component mapped after use, so that the next instance starts faster.
pub const WARM_SLOTS_MAX: u32 = 128;

/// Stack of a guest.
pub const GUEST_STACK_BYTES_MAX: usize = 512 * 1024;

/// Stack of a fiber: that of the guest, and of the host functions that it calls.
pub const FIBER_STACK_BYTES: usize = 1024 * 1024;

/// One tick of the epoch: how long a guest may compute before it hands the thread back.
pub const TICK: Duration = Duration::from_millis(1);

/// Idle ticks after which the ticker sleeps until somebody calls a guest. A laptop that serves nothing should not wake a
/// thousand times a second.
pub const TICKS_BEFORE_REST: u32 = 100;

/// Calls of one attachment at the same time, unless its spec says otherwise.
pub const CONCURRENCY_DEFAULT: u32 = 32;

/// The most that a spec may ask for: a quarter of all instances, so that no attachment starves the others.
pub const CONCURRENCY_MAX: u32 = INSTANCES_MAX / 4;

/// Longest computing time and wall time that a spec may ask for a hook. A client waits all that time.
pub const HOOK_MS_MAX: u32 = 30_000;

/// Calls after which an instance is replaced, more or less a fifth: what a guest leaks must not grow for ever.
pub const CALLS_PER_INSTANCE: u32 = 10_000;

/// Age at which an instance is replaced.
pub const INSTANCE_AGE_MAX: Duration = Duration::from_secs(600);

/// Smallest linear memory that a spec may ask for: one page.
pub const MEMORY_BYTES_MIN: u64 = 64 * 1024;

/// JSON text that a guest may return as payload: what a listener takes from a client is smaller.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// `error.data` of a rejection.
pub const REJECTION_DATA_BYTES_MAX: usize = 64 * 1024;

/// Text of a fault: enough for an operator to find the cause.
pub const FAULT_TEXT_BYTES_MAX: usize = 1024;

/// Interests of one attachment.
pub const INTERESTS_MAX: usize = 256;

/// Method and target patterns of an interest.
pub const PATTERN_BYTES_MAX: usize = 512;

/// JSON Schema of a configuration.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;

/// Configuration of an attachment as JSON text.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Problems of one configuration that are told at once.
pub const CONFIG_PROBLEMS_MAX: usize = 16;

/// Warnings of one configuration, and the length of each.
pub const CONFIG_WARNINGS_MAX: usize = 16;

/// Claims of an identity.
pub const CLAIMS_MAX: usize = 64;

/// Handles (streams, clocks, secrets) that a plugin may hold open: what lies behind them is memory of the host.
pub const HANDLES_MAX: usize = 1_000;

/// Handles that a workload may hold open.
pub const WORKLOAD_HANDLES_MAX: usize = 10_000;

/// Bytes that one call of a guest may make the host copy: twice the largest payload, for the shape around it.
pub const COPIED_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Capabilities, attributes, and names in the scope of a capability that a manifest may have.
pub const MANIFEST_ENTRIES_MAX: usize = 64;

/// A text of a manifest.
pub const MANIFEST_TEXT_BYTES_MAX: usize = 1024;

/// Secrets that an instance may hold open.
pub const SECRETS_OPEN_MAX: usize = 64;

/// Outgoing requests of one attachment at the same time; more wait for their turn, within the time of their call.
pub const REQUESTS_AT_ONCE: usize = 8;

/// Time of one outgoing request, from its head to the last byte of its answer. A call has less unless it is that of a source.
pub const REQUEST_MAX: Duration = Duration::from_secs(60);

/// Body of an outgoing request or of its answer: what a guest can hold in its memory, and read in its time.
pub const REQUEST_BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Head of an answer. Common servers send less than 16 KiB, cookies included.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a guest writes of a body at once.
pub const REQUEST_CHUNK_BYTES: usize = 64 * 1024;

/// Log records of one attachment in a second, and at once.
pub const LOG_RECORDS_PER_SEC: u32 = 100;

/// Message of a log record.
pub const LOG_MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Fields of a log record.
pub const LOG_FIELDS_MAX: usize = 16;

/// Name and value of a field of a log record.
pub const LOG_FIELD_BYTES_MAX: usize = 512;

/// Names of metrics of one attachment.
pub const METRIC_NAMES_MAX: usize = 32;

/// Series (label sets) of one name.
pub const METRIC_SERIES_MAX: usize = 64;

/// Labels of one series.
pub const METRIC_LABELS_MAX: usize = 8;

/// Name of a metric, name or value of a label.
pub const METRIC_TEXT_BYTES_MAX: usize = 96;

/// Upper bounds of the buckets of a distribution: powers of ten, three to the decade, for seconds and for bytes alike.
pub const METRIC_BUCKETS: [f64; 19] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1_000.0, 10_000.0,
    100_000.0,
];

/// Linear memory of a workload. An MCP server in Python or JavaScript needs tens of MiB.
pub const WORKLOAD_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bytes that wait between a workload and whoever reads or writes it: one pipe of the operating system.
pub const WORKLOAD_PIPE_BYTES: usize = 64 * 1024;

/// Computing time of one decision of an update policy, its fresh instance included. A Rust policy takes a third of a
/// millisecond with the most facts there can be; an interpreter starts first.
pub const POLICY_CPU_MAX: Duration = Duration::from_millis(200);

/// Time of one decision in all: the deadline that the contract names.
pub const POLICY_WALL_MAX: Duration = Duration::from_secs(1);

/// Linear memory of a policy that decides.
pub const POLICY_MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Log lines of one decision.
pub const POLICY_LOGS_MAX: usize = 32;

/// Time zones that the configuration of one policy may name.
pub const TIME_ZONES_MAX: usize = 16;

/// Computing time of one page of a registry source. Reading a file of 16 MiB takes a guest about a second; the rest is for a
/// loaded machine and for interpreters.
pub const SOURCE_CPU_MAX: Duration = Duration::from_secs(15);

/// Time of one page in all: the deadline that the contract names.
pub const SOURCE_WALL_MAX: Duration = Duration::from_secs(30);
