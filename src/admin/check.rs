//! `vdb_check`: whether an index is what it should be.

use super::stats::part_name;
use crate::am;
use crate::pg::open::require_owner;
use crate::pg::relation::Relation;
use crate::segment::Tid;
use crate::segment::check::Check;
use pgrx::iter::TableIterator;
use pgrx::{PgRelation, name, pg_extern};
use std::collections::HashMap;

/// What is wrong with an index: no rows if nothing is.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_check(
    index: PgRelation,
    deep: bool,
) -> TableIterator<
    'static,
    (
        name!(segment, Option<i64>),
        name!(part, Option<&'static str>),
        name!(block, Option<i64>),
        name!(finding, String),
    ),
> {
    // SAFETY: the argument keeps the index open and locked.
    let relation = unsafe { Relation::from_raw(index.as_ptr()) };
    am::require_own(relation);
    require_owner(relation);
    // Before the index is read: what the table has now, the index has then.
    let table = deep.then(|| rows_of_table(&index));
    let mut check = Check::pages(relation);
    check.segments(deep);
    if let Some(table) = table {
        compare(&mut check, table);
    }
    let rows = check.findings.into_iter().map(|finding| {
        let part = finding.part.map(part_name);
        (finding.segment.map(i64::from), part, finding.block.map(i64::from), finding.text)
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Of every row of the table that the transaction sees and the index has a place for, a checksum of its value.
fn rows_of_table(index: &PgRelation) -> HashMap<Tid, u32> {
    let mut rows = HashMap::new();
    // SAFETY: the argument keeps the index open and locked.
    unsafe {
        am::for_each_visible_row(index.as_ptr(), &mut |tid, row| _ = rows.insert(tid, crc32fast::hash(row)))
    };
    rows
}

fn compare(check: &mut Check, table: HashMap<Tid, u32>) {
    let mut missing = table;
    let mut seen = std::collections::HashSet::new();
    check.for_each_live_row(|tid, vector| {
        let (block, offset) = place(tid);
        if !seen.insert(tid) {
            return Some(format!("heap tuple ({block},{offset}) is there twice"));
        }
        let checksum = missing.remove(&tid)?;
        let differs = vector.is_some_and(|vector| crc32fast::hash(vector) != checksum);
        differs.then(|| format!("heap tuple ({block},{offset}) has another vector"))
    });
    for tid in missing.into_keys() {
        let (block, offset) = place(tid);
        check.find(format!("heap tuple ({block},{offset}) is missing"));
    }
}

/// Block and offset of a heap tuple.
fn place(tid: Tid) -> (u32, u16) {
    let word = |at: usize| u16::from_ne_bytes([tid[at], tid[at + 1]]);
    (u32::from(word(0)) << 16 | u32::from(word(2)), word(4))
}
