//! Flushing: the growing segment is frozen, a new one opened, and the frozen rows are sealed with a graph.
//!
//! The steps, and what a crash after each leaves behind:
//! 1. One record opens a new growing segment and lists the old one as *flushing*: it is still searched.
//! 2. The old lanes are frozen. A writer that comes late sees it and turns to the new segment.
//! 3. The sealed segment's pages are written. Nobody refers to them yet.
//! 4. One record lists the sealed segment in place of the flushing one, whose pages become free.
//!
//! After a crash before step 4 the flushing segment is taken up by the next flush.

use super::growing;
use super::seal::{Batch, Plan};
use crate::pg::error::Problem;
use crate::pg::lock::MaintenanceLock;
use crate::pg::relation::Relation;
use crate::storage::edit::Edit;
use crate::storage::manifest::Snapshot;

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
    let mut batch = Batch::new(space);
    for segment in &edit.manifest.flushing {
        growing::for_each_row(relation, space, segment, |tid, row| {
            if !batch.push(tid, row) {
                Problem::corrupt(format!("index \"{}\" has a damaged row", relation.name())).raise();
            }
        });
    }
    if batch.rows() > 0 {
        let sealed = batch.seal(&mut edit, plan);
        edit.manifest.sealed.push(sealed);
    }
    for segment in std::mem::take(&mut edit.manifest.flushing) {
        edit.free(growing::extents(relation, &segment));
    }
    edit.publish();
}
