//! Functions that do at once what otherwise happens in the background.

use crate::am;
use crate::maintenance::{self, Compacted};
use crate::pg::error::Problem;
use crate::pg::open::OpenIndex;
use crate::storage::tasks::Priority;
use pgrx::iter::TableIterator;
use pgrx::{PgSqlErrorCode, name, pg_extern, pg_sys};

/// Seals the growing segment; returns the rows sealed.
#[pg_extern(sql = false)]
fn vdb_flush(index: pg_sys::Oid) -> i64 {
    let index = OpenIndex::of_owner(index, c"vdb_flush()");
    maintenance::flush_now(index.relation(), Priority::High).unwrap_or(0) as i64
}

/// Seals the growing segment and merges the sealed ones; returns the rows of the new one.
#[pg_extern(sql = false)]
fn vdb_compact(index: pg_sys::Oid) -> i64 {
    let index = OpenIndex::of_owner(index, c"vdb_compact()");
    let Compacted { rows, segments, live, most_rows } = maintenance::compact_all(index.relation());
    if segments > 1 && live > most_rows {
        Problem::new(
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!("index \"{}\" still has {segments} segments", index.relation().name()),
        )
        .detail(format!("They have {live} rows; vdb.compact_mem has room to merge {most_rows}."))
        .hint("Increase vdb.compact_mem, and call vdb_compact again.")
        .notice();
    }
    rows as i64
}

/// Most rows of the table that a calibration keeps in memory, and compares with all others.
const MOST_QUERIES: i32 = 10_000;

fn refuse(message: String) -> ! {
    Problem::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).raise()
}

/// Measures how much effort searches need for a recall; returns efforts and the recall of each.
#[pg_extern(sql = false)]
fn vdb_calibrate(
    index: pg_sys::Oid,
    queries: i32,
) -> TableIterator<'static, (name!(effort, i32), name!(recall, f64))> {
    if queries < 1 {
        refuse(format!("a calibration needs at least one query, not {queries}"));
    }
    if queries > MOST_QUERIES {
        refuse(format!("a calibration takes {MOST_QUERIES} queries at most, not {queries}"));
    }
    let index = OpenIndex::of_owner(index, c"vdb_calibrate()");
    let curve = am::calibrate(index.relation(), queries as usize);
    let points: Vec<_> = curve.points().map(|(effort, recall)| (effort as i32, recall)).collect();
    TableIterator::new(points)
}
