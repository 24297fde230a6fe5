//! Flushing: the growing segment is frozen, a new one opened, and the frozen rows are sealed.
//!
//! The steps, and what a crash after each leaves behind:
//! 1. One record opens a new growing segment and lists the old one as *flushing*: it is still searched.
//! 2. The old lanes are frozen. A writer that comes late sees it and turns to the new segment.
//! 3. The sealed segment's pages are written. Nobody refers to them yet.
//! 4. One record lists the sealed segment in place of the flushing one, whose pages become free.
//!
//! After a crash before step 4 the flushing segment is taken up by the next flush.

use super::batch::{Batch, Target};
use super::lists::centroids::Lists;
use super::lists::train::{self, Sample};
use super::{Plan, Tid, growing};
use crate::pg::error::Problem;
use crate::pg::lock::MaintenanceLock;
use crate::pg::relation::Relation;
use crate::storage::edit::Edit;
use crate::storage::manifest::Snapshot;
use crate::storage::meta::{ListOptions, Structure};

/// Seals the growing segment if it has at least `limit` rows, and whatever an interrupted flush has left.
///
/// `plan` is asked how, once it is certain that there is something to do.
pub fn flush(relation: Relation, lock: MaintenanceLock, limit: u64, plan: impl FnOnce(&Snapshot) -> Plan) {
    let snapshot = Snapshot::read(relation);
    if growing::rows(relation, &snapshot.meta.growing) < limit {
        // Somebody else was faster.
        return;
    }
    let plan = plan(&snapshot);
    let mut edit = Edit::open(relation, lock);
    let fresh = growing::open(&mut edit);
    let old = std::mem::replace(&mut edit.meta.growing, fresh);
    edit.manifest.flushing.push(old);
    edit.publish();
    for segment in &edit.manifest.flushing {
        growing::freeze(relation, segment);
    }

    let space = edit.meta.space;
    let target = match plan.structure {
        Structure::Graph(options) => Target::Graph(options),
        Structure::Lists(options) => Target::Lists(options, lists_of(&mut edit, plan, options)),
    };
    let mut batch = Batch::new(space, plan, &target);
    for_each_frozen_row(&edit, |tid, row| batch.push(tid, row));
    if batch.rows() > 0 {
        let sealed = batch.seal(&mut edit);
        edit.manifest.sealed.push(sealed);
    }
    for segment in std::mem::take(&mut edit.manifest.flushing) {
        edit.free(growing::extents(relation, &segment));
    }
    edit.publish();
}

fn for_each_frozen_row(edit: &Edit, mut visit: impl FnMut(Tid, &[u8]) -> bool) {
    let relation = edit.relation();
    for segment in &edit.manifest.flushing {
        growing::for_each_row(relation, &edit.meta, segment, |tid, row| {
            if !visit(tid, row) {
                Problem::corrupt(format!("index \"{}\" has a damaged row", relation.name())).raise()
            }
        });
    }
}

/// The index's lists. An index that was empty so far gets its centroids now, if the frozen rows suffice.
fn lists_of(edit: &mut Edit, plan: Plan, options: ListOptions) -> Lists {
    if let Some(lists) = Lists::read(edit) {
        return lists;
    }
    let space = edit.meta.space;
    let mut rows = 0;
    for_each_frozen_row(edit, |_, _| {
        rows += 1;
        true
    });
    let count = train::lists_wanted(options.lists, rows);
    let step = (rows as usize).div_ceil(train::sample_rows(count, space.dims as usize, SAMPLE_BYTES));
    let mut sample = Sample::new(space);
    let mut row_number = 0;
    for_each_frozen_row(edit, |_, row| {
        row_number += 1;
        row_number % step != 0 || sample.push(row)
    });
    sample.into_lists(edit, count, rows, plan)
}

/// Most memory for the sample of rows from which an index gets its first centroids.
const SAMPLE_BYTES: usize = 64 << 20;
