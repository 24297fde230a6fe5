//! `vdb_check`: whether an index is sound.

use crate::am;
use crate::memory;
use crate::pg::open::OpenIndex;
use crate::pg::relation::Relation;
use crate::segment::check::Check;
use crate::segment::{Entry, Tid};
use crate::structure::PageKind;
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use std::collections::{HashMap, HashSet};

/// The faults of an index; no rows if there are none.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // The columns of the SQL function.
fn vdb_check(
    index: pg_sys::Oid,
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
    let index = OpenIndex::of_owner_to_read(index);
    let relation = index.relation();
    // Before the index is read: the rows that the table has now, the index has then.
    let mut table = deep.then(|| Table { missing: rows_of_table(relation), seen: HashSet::new() });
    let mut compare = |tid: Tid, vector: Option<&[u8]>, attributes: &[u64]| {
        table.as_mut()?.compare(tid, vector, attributes)
    };
    let mut check = Check::begin(relation, &mut compare);
    check.segments(deep);
    if deep {
        check.sealed_rows(&mut compare);
    }
    // Rows of segments that were not read would seem to be missing.
    let has_damage = check.has_damage();
    let missing = table.into_iter().flat_map(|table| table.missing.into_keys());
    for tid in missing.filter(|_| !has_damage) {
        check.find(format!("heap tuple {} is missing", place(tid)));
    }
    let rows = check.into_findings().into_iter().map(|finding| {
        let part = finding.part.map(PageKind::name);
        (finding.segment.map(i64::from), part, finding.block.map(i64::from), finding.text)
    });
    TableIterator::new(rows.collect::<Vec<_>>())
}

/// Checksums of a row's vector and of its attributes, to compare it by.
type Checksums = (u32, u32);

fn checksum_of(attributes: &[u64]) -> u32 {
    crc32fast::hash(bytemuck::cast_slice(attributes))
}

/// The checksums of every row of the table that the transaction sees and the index has a place for.
fn rows_of_table(index: Relation) -> HashMap<Tid, Checksums> {
    let mut rows = HashMap::new();
    let mut add = |entry: Entry| {
        memory::reserve_map(&mut rows, 1, "rows of a table");
        rows.insert(entry.tid, (crc32fast::hash(entry.row), checksum_of(entry.attributes)));
    };
    am::for_each_visible_row(index, &mut add);
    rows
}

/// The table's rows, compared with those of the index.
struct Table {
    /// Checksums of the rows that the index has not shown yet.
    missing: HashMap<Tid, Checksums>,
    seen: HashSet<Tid>,
}

impl Table {
    /// The fault of a row of the index.
    fn compare(&mut self, tid: Tid, vector: Option<&[u8]>, attributes: &[u64]) -> Option<String> {
        memory::reserve_set(&mut self.seen, 1, "rows of an index");
        if !self.seen.insert(tid) {
            return Some(format!("heap tuple {} is indexed twice", place(tid)));
        }
        let (of_vector, of_attributes) = self.missing.remove(&tid)?;
        if vector.is_some_and(|vector| crc32fast::hash(vector) != of_vector) {
            return Some(format!("heap tuple {} has another vector", place(tid)));
        }
        let differs = checksum_of(attributes) != of_attributes;
        differs.then(|| format!("heap tuple {} has other filter values", place(tid)))
    }
}

/// Block and offset of a heap tuple, as PostgreSQL shows them.
fn place(tid: Tid) -> String {
    let word = |at: usize| u16::from_ne_bytes([tid[at], tid[at + 1]]);
    format!("({},{})", u32::from(word(0)) << 16 | u32::from(word(2)), word(4))
}
