//! The settings `vdb.…`.

use crate::pg::compat;
use crate::structure::{MAX_EF_SEARCH, MAX_LISTS};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::time::Duration;

static EF_SEARCH: GucSetting<i32> = GucSetting::<i32>::new(100);
static PROBES: GucSetting<i32> = GucSetting::<i32>::new(0);
static TARGET_RECALL: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static FLUSH_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000);

/// Whether a scan goes on when the query asks for more rows than it has found, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types)] // the names that users write
pub enum IterativeScanSetting {
    strict,
    relaxed,
    off,
}

static ITERATIVE_SCAN: GucSetting<IterativeScanSetting> =
    GucSetting::<IterativeScanSetting>::new(IterativeScanSetting::strict);
static MAX_SCAN_TUPLES: GucSetting<i32> = GucSetting::<i32>::new(0);
static SCAN_MEM: GucSetting<i32> = GucSetting::<i32>::new(256 << 10);

/// Candidates of a graph search.
pub fn ef_search() -> usize {
    EF_SEARCH.get().max(1) as usize
}

/// Lists to probe; 0 for as many as suit the index.
pub fn probes() -> u32 {
    PROBES.get().max(0) as u32
}

/// What a scan does when the query asks for more rows than it has found.
pub fn iterative_scan() -> IterativeScanSetting {
    ITERATIVE_SCAN.get()
}

/// Most rows that a scan returns; 0 for any number.
pub fn max_scan_tuples() -> u64 {
    MAX_SCAN_TUPLES.get().unsigned_abs().into()
}

/// Bytes of memory of a scan.
pub fn scan_bytes() -> usize {
    SCAN_MEM.get().max(0) as usize * 1024
}

/// The recall that searches must reach, if it is set.
pub fn target_recall() -> Option<f64> {
    Some(TARGET_RECALL.get()).filter(|&recall| recall > 0.0)
}

static FLUSH_AGE: GucSetting<i32> = GucSetting::<i32>::new(3600);
static COMPACT_SEGMENTS: GucSetting<i32> = GucSetting::<i32>::new(4);
static COMPACT_TOMBSTONES: GucSetting<i32> = GucSetting::<i32>::new(20);
static COMPACT_MEM: GucSetting<i32> = GucSetting::<i32>::new(1 << 20);
static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(2);
static WORKER_THREADS: GucSetting<i32> = GucSetting::<i32>::new(1);
static NAPTIME: GucSetting<i32> = GucSetting::<i32>::new(60);

/// Seconds after which a growing segment is sealed however few its rows are; 0 for never.
pub fn flush_age() -> u64 {
    FLUSH_AGE.get().max(0) as u64
}

/// Segments of about one size that are merged.
pub fn compact_segments() -> usize {
    COMPACT_SEGMENTS.get().max(2) as usize
}

/// Share of dead rows at which a segment is rewritten.
pub fn compact_dead_share() -> f64 {
    f64::from(COMPACT_TOMBSTONES.get()) / 100.0
}

/// Memory that a compaction may use.
pub fn compact_bytes() -> usize {
    COMPACT_MEM.get().max(0) as usize * 1024
}

/// Workers of the whole server; 0 if backends do everything themselves.
pub fn max_workers() -> u32 {
    MAX_WORKERS.get().max(0) as u32
}

/// Threads on which a worker computes.
pub fn worker_threads() -> usize {
    WORKER_THREADS.get().max(1) as usize
}

/// Time between two rounds of the launcher.
pub fn naptime() -> Duration {
    Duration::from_secs(NAPTIME.get().max(1) as u64)
}

/// Rows at which a growing segment is sealed.
pub fn flush_rows() -> u64 {
    FLUSH_ROWS.get().max(1) as u64
}

/// Declares the settings; called once when the library is loaded.
pub fn register() {
    #[cfg(feature = "pg_test")]
    crate::pg::fault::register();
    register_searches();
    register_segments();
    register_workers();
    compat::reserve_settings(c"vdb");
}

fn define_as(
    context: GucContext,
    (name, short, long): (&'static CStr, &'static CStr, &'static CStr),
    setting: &'static GucSetting<i32>,
    range: RangeInclusive<i32>,
    flags: GucFlags,
) {
    let (min, max) = range.into_inner();
    GucRegistry::define_int_guc(name, short, long, setting, min, max, context, flags);
}

/// What a session's searches do: any user may set it.
fn register_searches() {
    let define = |texts, setting, range, flags| define_as(GucContext::Userset, texts, setting, range, flags);
    let plain = GucFlags::default();
    define(
        (
            c"vdb.ef_search",
            c"Candidates that a search of an HNSW graph looks at.",
            c"Higher values find more of the true neighbours and take longer.",
        ),
        &EF_SEARCH,
        1..=MAX_EF_SEARCH as i32,
        plain,
    );
    define(
        (
            c"vdb.probes",
            c"Lists that a search of an IVF index looks at.",
            c"Higher values find more of the true neighbours and take longer; 0 chooses by the number of lists.",
        ),
        &PROBES,
        0..=MAX_LISTS as i32,
        plain,
    );
    GucRegistry::define_float_guc(
        c"vdb.target_recall",
        c"Target recall of the first ten rows for searches of calibrated indexes.",
        c"It sets vdb.ef_search and vdb.probes by what vdb_calibrate() has measured; 0 disables it.",
        &TARGET_RECALL,
        0.0,
        1.0,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"vdb.iterative_scan",
        c"Whether an index scan goes on when more rows are asked for than it has found.",
        c"strict: in exact order, without rows that are found late; relaxed: late rows are returned late; off: no.",
        &ITERATIVE_SCAN,
        GucContext::Userset,
        GucFlags::default(),
    );
    define(
        (c"vdb.max_scan_tuples", c"Rows that an ordered index scan returns at most.", c"0 sets no limit."),
        &MAX_SCAN_TUPLES,
        0..=i32::MAX,
        plain,
    );
    define(
        (
            c"vdb.scan_mem",
            c"Memory of an ordered index scan's candidates.",
            c"Beyond it a strict scan goes on in passes over all rows; others end in an error.",
        ),
        &SCAN_MEM,
        1 << 10..=i32::MAX,
        GucFlags::UNIT_KB,
    );
}

/// How segments are made: a superuser sets it, or an index's owner by options of the index.
fn register_segments() {
    let define = |texts, setting, range, flags| define_as(GucContext::Suset, texts, setting, range, flags);
    let plain = GucFlags::default();
    define(
        (
            c"vdb.flush_rows",
            c"Rows at which a growing segment is sealed.",
            c"Until then its rows are searched one by one.",
        ),
        &FLUSH_ROWS,
        100..=super::options::MAX_FLUSH_ROWS,
        plain,
    );
    define(
        (
            c"vdb.compact_segments",
            c"Segments of about one size that are merged into one.",
            c"Fewer segments are searched faster; merging more often costs more writing.",
        ),
        &COMPACT_SEGMENTS,
        2..=100,
        plain,
    );
    define(
        (
            c"vdb.compact_tombstones",
            c"Percentage of dead rows at which a segment is rewritten.",
            c"Dead rows take space and search time until a compaction removes them.",
        ),
        &COMPACT_TOMBSTONES,
        1..=100,
        plain,
    );
    define(
        (
            c"vdb.compact_mem",
            c"Memory that a compaction may use.",
            c"Segments that would need more are not merged.",
        ),
        &COMPACT_MEM,
        1 << 10..=i32::MAX,
        GucFlags::UNIT_KB,
    );
}

/// What concerns the whole server.
fn register_workers() {
    let define = |texts, setting, range, flags| define_as(GucContext::Sighup, texts, setting, range, flags);
    let plain = GucFlags::default();
    define(
        (
            c"vdb.flush_age",
            c"Age at which a growing segment is sealed however few its rows are.",
            c"0 disables it; the launcher checks it, which needs shared_preload_libraries.",
        ),
        &FLUSH_AGE,
        0..=i32::MAX,
        GucFlags::UNIT_S,
    );
    define(
        (
            c"vdb.max_workers",
            c"Background workers that flush and compact at the same time.",
            c"With 0, backends do the work themselves.",
        ),
        &MAX_WORKERS,
        0..=64,
        plain,
    );
    define(
        (
            c"vdb.worker_threads",
            c"Threads on which a background worker computes.",
            c"More threads finish sooner, but leave fewer processors to queries.",
        ),
        &WORKER_THREADS,
        1..=64,
        plain,
    );
    define(
        (
            c"vdb.naptime",
            c"Time between two rounds of the launcher.",
            c"Each round looks through all databases.",
        ),
        &NAPTIME,
        1..=86_400,
        GucFlags::UNIT_S,
    );
}
