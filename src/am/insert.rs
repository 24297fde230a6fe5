//! INSERT: a row is appended to the growing segment.

use super::table::tid_bytes;
use super::{attributes, opclass};
use crate::maintenance;
use crate::pg::context::Context;
use crate::pg::process::process_id;
use crate::pg::relation::Relation;
use crate::segment::Entry;
use crate::segment::growing::{self, Append};
use crate::storage::meta::Meta;
use crate::storage::tasks::Priority;
use pgrx::{pg_guard, pg_sys};

/// After this many rows of a lane, its writer checks whether the segment is full.
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
    // SAFETY: PostgreSQL passes an open index, a value and a null flag per column, and a valid
    // address. The first value is not null when it is read, and of the operator class's type. The
    // meta page has the kinds of these columns, as the build stored them.
    unsafe {
        if *isnull {
            return false;
        }
        let relation = Relation::from_raw(index);
        // Frees copies of the row's values after its insertion.
        Context::new(c"vdb insert").switch_to(|| {
            let meta = Meta::read(relation);
            let space = meta.space;
            opclass::with_row(space, *values, |row| {
                if space.is_indexed(row) {
                    let attributes = attributes::of_values(relation, &meta.filters, values, isnull);
                    insert(relation, meta, Entry { tid: tid_bytes(tid), row, attributes: &attributes });
                }
            });
        });
    }
    // PostgreSQL uses the result for unique indexes only.
    false
}

fn insert(relation: Relation, mut meta: Meta, entry: Entry) {
    let lane = process_id() as usize;
    let code = growing::encoder(&meta).map(|encoder| encoder.encode_row(entry.row));
    loop {
        let outcome = growing::append(relation, &meta, lane, entry, code.as_ref());
        match outcome {
            Append::Done { rows } => {
                if rows.is_multiple_of(ROWS_PER_CHECK) {
                    let rows = growing::rows(relation, &meta.growing);
                    let limits = maintenance::limits(relation, &meta);
                    if rows >= limits.flush_rows {
                        maintenance::flush_is_due(relation, rows, limits);
                    }
                }
                return;
            }
            Append::Frozen => {}
            Append::NeedsRuns(runs) => {
                growing::add_spare_runs(relation, &meta.growing, lane, runs);
            }
            Append::Full => {
                maintenance::flush_now(relation, Priority::Critical);
            }
        }
        pgrx::check_for_interrupts!();
        let before = std::mem::replace(&mut meta, Meta::read(relation));
        // A flush opens another growing segment before it freezes one.
        if outcome == Append::Frozen && before.growing == meta.growing {
            relation
                .corrupt()
                .detail(format!("Growing segment {} takes no rows.", meta.growing.segment))
                .raise();
        }
    }
}
