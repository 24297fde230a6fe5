//! Maintenance of indexes: what is due ([`policy`]), which process does it (the backend that finds
//! it due, or a [`worker`]), and the outcome.

pub mod policy;
mod worker;

use crate::config::{options, settings};
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::process::now;
use crate::pg::relation::Relation;
use crate::pg::threads;
use crate::segment::compaction::{self, Job};
use crate::segment::{Plan, flush, growing, structure_of};
use crate::storage::edit::Edit;
use crate::storage::manifest::Manifest;
use crate::storage::meta::Meta;
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::{Priority, TaskKind};
use policy::{Limits, Shape};

pub use worker::{flush_is_due, look_after, look_after_soon, register};

/// How segments of an index with this meta data are sealed.
pub fn plan(meta: &Meta, threads: usize, memory: usize, show_progress: bool) -> Plan {
    Plan {
        structure: meta.structure,
        quantizer: meta.quantizer,
        columns: meta.filters.len(),
        seed: meta.seed,
        threads,
        memory,
        show_progress,
    }
}

/// The limits of an index, from its options, or else the settings.
pub fn limits(relation: Relation, meta: &Meta) -> Limits {
    let options = options::maintenance(relation);
    let memory = settings::compact_bytes() / structure_of(&meta.structure).merge_bytes_per_row(meta).max(1);
    Limits {
        flush_rows: options.flush_rows.unwrap_or_else(settings::flush_rows),
        flush_age: settings::flush_age(),
        segments: options.compact_segments.unwrap_or_else(settings::compact_segments),
        dead_share: settings::compact_dead_share(),
        merged_rows: memory as u64,
    }
}

/// The tasks that are due in an index.
pub struct Due {
    pub flush: Option<Priority>,
    pub compaction: Option<Job>,
}

impl Due {
    fn is_anything(&self) -> bool {
        self.flush.is_some() || self.compaction.is_some()
    }
}

/// The queue of an index, from its manifest, the rows in its growing segment and the limits.
pub fn due(relation: Relation, snapshot: &Snapshot, limits: Limits) -> Due {
    let growing = &snapshot.meta.growing;
    let rows = growing::rows(relation, growing);
    let seconds = now().saturating_sub(growing.opened) / 1_000_000;
    let is_left_over = !snapshot.manifest.flushing.is_empty();
    Due {
        flush: policy::flush(rows, seconds, is_left_over, limits),
        compaction: choose(&snapshot.meta, &snapshot.manifest, limits),
    }
}

/// The index as it is now, and the tasks that are due.
///
/// Under the manifest's lock: workers and vacuums have no snapshot that keeps pages from being
/// reused while they read them.
fn survey(relation: Relation, limits: Limits) -> (Snapshot, Due) {
    let _lock = IndexLock::wait(relation, Purpose::Manifest);
    let snapshot = Snapshot::read(relation);
    let due = due(relation, &snapshot, limits);
    (snapshot, due)
}

/// The compaction that is due.
fn choose(meta: &Meta, manifest: &Manifest, limits: Limits) -> Option<Job> {
    let shapes = shapes(manifest, |_| true);
    let all = || shapes.iter().map(|shape| shape.id).collect();
    let live: u64 = shapes.iter().map(|shape| shape.live()).sum();
    let structure = structure_of(&meta.structure);
    if live <= limits.merged_rows && structure.wants_codebook(manifest) {
        return Some(Job { segments: all(), retrain: true, priority: Priority::High });
    }
    if structure.is_bound_to_codebook() {
        let newest = manifest.codebook().map_or(0, |codebook| codebook.id);
        let shapes = self::shapes(manifest, |codebook| codebook == Some(newest));
        return job(policy::compaction(&shapes, limits));
    }
    job(policy::compaction(&shapes, limits))
}

fn job(due: Option<(Vec<u32>, Priority)>) -> Option<Job> {
    due.map(|(segments, priority)| Job { segments, retrain: false, priority })
}

fn shapes(manifest: &Manifest, is_wanted: impl Fn(Option<u32>) -> bool) -> Vec<Shape> {
    let sealed = manifest.sealed.iter().filter(|segment| is_wanted(segment.codebook()));
    let shape = |segment: &crate::storage::manifest::Sealed| Shape {
        id: segment.id,
        rows: segment.rows.into(),
        tombstones: segment.tombstones.into(),
    };
    sealed.map(shape).collect()
}

/// Flushes an index in this backend if it has at least `limit` growing rows; `None` if it has
/// fewer.
///
/// The caller holds the lock.
pub fn flush(relation: Relation, lock: &IndexLock, limit: u64, priority: Priority) -> Option<u64> {
    flush::flush(relation, lock, limit, priority, |meta| {
        plan(meta, threads::maintenance_threads(), settings::compact_bytes(), false)
    })
}

/// Seals what is growing, in this backend; waits for the flush lock. `None` if there was nothing.
pub fn flush_now(relation: Relation, priority: Priority) -> Option<u64> {
    let lock = IndexLock::wait(relation, Purpose::Flush);
    flush(relation, &lock, 1, priority)
}

/// What a [`compact_all`] has done.
pub struct Compacted {
    /// Rows of the new segment; 0 if there was nothing to gain.
    pub rows: u64,
    /// Segments that there are now, and their live rows.
    pub segments: usize,
    pub live: u64,
    /// Most rows of a merged segment: as many as fit into memory.
    pub most_rows: u64,
}

/// Seals the growing segment, and merges all segments of an index that fit into memory, in this
/// backend.
pub fn compact_all(relation: Relation) -> Compacted {
    let flushed = flush_now(relation, Priority::High);
    let lock = IndexLock::wait(relation, Purpose::Compact);
    let everything = |meta: &Meta, manifest: &Manifest| {
        let limits = Limits { segments: 2, dead_share: f64::MIN_POSITIVE, ..limits(relation, meta) };
        // As if all segments were of one tier.
        choose(meta, manifest, Limits { flush_rows: u64::MAX, ..limits })
    };
    let plan = |meta: &Meta| plan(meta, threads::maintenance_threads(), settings::compact_bytes(), false);
    let merged = compaction::compact(relation, &lock, everything, plan);
    let Snapshot { meta, manifest } = Snapshot::read(relation);
    Compacted {
        rows: merged.or(flushed).unwrap_or(0),
        segments: manifest.sealed.len(),
        live: manifest.sealed.iter().map(|segment| u64::from(segment.live())).sum(),
        most_rows: limits(relation, &meta).merged_rows,
    }
}

/// Does the most urgent task if its lock is free and it has not failed recently; calls `noted`
/// before it begins. False if there was nothing to do.
fn run_next(relation: Relation, limits: Limits, threads: usize, noted: impl Fn(TaskKind)) -> bool {
    let (snapshot, due) = survey(relation, limits);
    let may_begin = |kind| snapshot.manifest.tasks.retry_at(kind) <= now();
    let plan = |meta: &Meta| plan(meta, threads, settings::compact_bytes(), true);
    if let Some(priority) = due.flush.filter(|_| may_begin(TaskKind::Flush))
        && let Some(lock) = IndexLock::try_take(relation, Purpose::Flush)
    {
        noted(TaskKind::Flush);
        // An old segment is flushed however few its rows are.
        let limit = if priority == Priority::Low { 1 } else { limits.flush_rows };
        flush::flush(relation, &lock, limit, priority, plan);
        return true;
    }
    if due.compaction.is_some()
        && may_begin(TaskKind::Compact)
        && let Some(lock) = IndexLock::try_take(relation, Purpose::Compact)
    {
        noted(TaskKind::Compact);
        let choose = |meta: &Meta, manifest: &Manifest| choose(meta, manifest, limits);
        compaction::compact(relation, &lock, choose, plan);
        return true;
    }
    false
}

/// Records that a task has failed.
fn note_failure(relation: Relation, kind: TaskKind, error: String) {
    let mut edit = Edit::open(relation);
    edit.manifest.tasks.fail(kind, error, now());
    edit.publish();
}
