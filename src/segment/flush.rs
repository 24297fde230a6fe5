//! Flushing: the growing segment is frozen, a new one opened, and the frozen rows are sealed.
//!
//! The steps, and what a crash after each leaves behind:
//! 1. One record opens a new growing segment and lists the old one as *flushing*: it is still
//!    searched.
//! 2. The old lanes are frozen. A late writer sees this and turns to the new segment.
//! 3. The sealed segment's pages are written. Nothing refers to them yet; the manifest lists them
//!    as *creating*.
//! 4. One record lists the sealed segment in place of the flushing one, whose pages become free.
//!
//! After a crash before step 4 the next flush takes up the flushing segment and frees what step 3
//! wrote. Steps 1, 2 and 4 hold the manifest's lock; step 3 takes it only to allocate pages. So
//! inserts, searches, vacuums and compactions go on.

use super::structures::{SAMPLE_BYTES, TrainingRows};
use super::{Entry, Plan, growing, pages, structure_of, vacuum};
use crate::pg::error::Problem;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::Relation;
use crate::storage::draft::Draft;
use crate::storage::edit::Edit;
use crate::storage::meta::Meta;
use crate::storage::snapshot::Snapshot;
use crate::storage::tasks::{Priority, TaskKind};

/// Seals the growing segment if it has at least `limit` rows, and whatever an interrupted flush has
/// left.
///
/// `plan` is called only if there is something to do. Returns the number of rows sealed, `None` if
/// there was nothing to do.
pub fn flush(
    relation: Relation,
    lock: &IndexLock,
    limit: u64,
    priority: Priority,
    plan: impl FnOnce(&Meta) -> Plan,
) -> Option<u64> {
    debug_assert_eq!(lock.purpose(), Purpose::Flush);
    let snapshot = Snapshot::read(relation);
    let rows = growing::rows(relation, &snapshot.meta.growing);
    if rows < limit && snapshot.manifest.flushing.is_empty() {
        // Another backend has flushed already.
        return None;
    }
    let plan = plan(&snapshot.meta);
    freeze(relation, rows >= limit, priority);

    let snapshot = Snapshot::read(relation);
    let draft = || Draft::begin(relation, TaskKind::Flush);
    let mut target = structure_of(&plan.structure).target(
        snapshot.meta.space,
        plan,
        Some((&relation, &snapshot)),
        &mut FrozenRows { relation, snapshot: &snapshot },
        Box::new(draft),
    );
    let mut batch = target.batch();
    for_each_frozen_row(relation, &snapshot, |entry| batch.push(entry));
    let sealed = (batch.rows() > 0).then(|| batch.seal(&mut draft()));

    let mut edit = Edit::open(relation);
    let mut rows = 0;
    if let Some(mut sealed) = sealed {
        // A vacuum may have marked rows in the frozen lanes meanwhile.
        let mut live = Vec::new();
        for segment in &edit.manifest.flushing {
            growing::for_each_tid(relation, &edit.meta, segment, |tid| live.push(tid));
        }
        if live.len() < sealed.rows as usize {
            live.sort_unstable();
            vacuum::mark_dead_but(relation, &mut sealed, &live);
        }
        rows = sealed.rows.into();
        edit.manifest.sealed.push(sealed);
        edit.manifest.codebooks.extend(target.take_codebook());
    }
    for segment in std::mem::take(&mut edit.manifest.flushing) {
        edit.free(segment.segment, growing::extents(relation, &segment));
    }
    edit.end_task(TaskKind::Flush, rows);
    edit.publish();
    Some(rows)
}

/// Steps 1 and 2; without `all`, only what an interrupted flush left is taken up.
fn freeze(relation: Relation, all: bool, priority: Priority) {
    let mut edit = Edit::open(relation);
    edit.begin_task(TaskKind::Flush, priority);
    pages::sweep(&mut edit);
    if all {
        let runs_per_lane = growing::used_runs(relation, &edit.meta.growing);
        let fresh = growing::open(&mut edit, &runs_per_lane);
        let old = std::mem::replace(&mut edit.meta.growing, fresh);
        edit.manifest.flushing.push(old);
    }
    edit.publish();
    for segment in &edit.manifest.flushing {
        growing::freeze(relation, segment);
    }
}

fn for_each_frozen_row(relation: Relation, snapshot: &Snapshot, mut visit: impl FnMut(Entry) -> bool) {
    for segment in &snapshot.manifest.flushing {
        growing::for_each_row(relation, &snapshot.meta, segment, |entry| {
            if !visit(entry) {
                Problem::corrupt(format!("index \"{}\" has a damaged row", relation.name())).raise()
            }
        });
    }
}

/// The rows of a flush, among which an index without centroids finds them.
struct FrozenRows<'a> {
    relation: Relation,
    snapshot: &'a Snapshot,
}

impl TrainingRows for FrozenRows<'_> {
    fn sample(&mut self, sample: &mut dyn FnMut(&[u8]) -> bool, enough: &dyn Fn(u64) -> usize) -> u64 {
        let mut rows = 0;
        for_each_frozen_row(self.relation, self.snapshot, |_| {
            rows += 1;
            true
        });
        let step = (rows as usize).div_ceil(enough(rows));
        let mut row_number = 0;
        for_each_frozen_row(self.relation, self.snapshot, |entry| {
            row_number += 1;
            row_number % step != 0 || sample(entry.row)
        });
        rows
    }

    fn memory(&self) -> usize {
        SAMPLE_BYTES
    }
}
