//! INSERT: a row is appended to the growing segment.

use super::build::{plan, tid_bytes};
use super::{opclass, settings};
use crate::pg::lock::MaintenanceLock;
use crate::pg::relation::Relation;
use crate::segment::flush;
use crate::segment::growing::{self, Append};
use crate::storage::manifest::Snapshot;
use crate::storage::meta::Meta;
use pgrx::{pg_guard, pg_sys};

/// After how many rows of a lane its writer looks whether the segment is full.
const ROWS_PER_CHECK: u32 = 64;

#[pg_guard]
#[allow(clippy::too_many_arguments)] // PostgreSQL's signature
pub unsafe extern "C-unwind" fn aminsert(
    index: pg_sys::Relation,
    values: *mut pg_sys::Datum,
    isnull: *mut bool,
    tid: pg_sys::ItemPointer,
    _heap: pg_sys::Relation,
    _check_unique: pg_sys::IndexUniqueCheck::Type,
    _index_unchanged: bool,
    _index_info: *mut pg_sys::IndexInfo,
) -> bool {
    // SAFETY: PostgreSQL passes an open index, one value and null flag per column, and a valid address.
    unsafe {
        if *isnull {
            return false;
        }
        let relation = Relation::from_raw(index);
        let meta = Meta::read(relation);
        let space = meta.space;
        opclass::with_row(space, *values, |row| {
            if opclass::is_indexed(space, row) {
                insert(relation, meta, tid_bytes(tid), row);
            }
        });
    }
    // The value matters to unique indexes only.
    false
}

fn insert(relation: Relation, mut meta: Meta, tid: crate::segment::Tid, row: &[u8]) {
    // SAFETY: a plain read of this backend's process id.
    let lane = unsafe { pg_sys::MyProcPid } as usize;
    let code = growing::encoder(&meta).map(|encoder| encoder.encode_row(row));
    loop {
        match growing::append(relation, &meta, lane, tid, row, code.as_ref()) {
            Append::Done { rows } => {
                if rows.is_multiple_of(ROWS_PER_CHECK) {
                    let limit = settings::growing_rows();
                    if growing::rows(relation, &meta.growing) >= limit {
                        // Somebody else who holds the lock is a flush or a vacuum: the next writer tries again.
                        if let Some(lock) = MaintenanceLock::try_take(relation) {
                            seal(relation, lock, limit);
                        }
                    }
                }
                return;
            }
            Append::Frozen => {}
            Append::Full => seal(relation, MaintenanceLock::wait(relation), 1),
        }
        pgrx::check_for_interrupts!();
        meta = Meta::read(relation);
    }
}

fn seal(relation: Relation, lock: MaintenanceLock, limit: u64) {
    flush::flush(relation, lock, limit, |snapshot: &Snapshot| plan(&snapshot.meta, false));
}
