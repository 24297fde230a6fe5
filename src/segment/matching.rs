//! Which rows of a segment a search looks for.

use super::{columns, rows};
use crate::filter::{Bitset, Condition};
use crate::pg::relation::{FileId, Relation};
use crate::storage::manifest::Sealed;
use crate::storage::meta::Meta;
use crate::storage::sealed::SealedRef;
use std::cell::RefCell;
use std::rc::Rc;

/// The matches of one segment under some conditions.
struct Remembered {
    file: FileId,
    build: u64,
    segment: u32,
    /// The segment's tombstones at that time.
    dead: u32,
    conditions: Vec<Condition>,
    rows: Rc<Bitset>,
}

thread_local! {
    /// The latest sets of rows, the newest at the end.
    static REMEMBERED: RefCell<Vec<Remembered>> = RefCell::default();
}

/// The most sets of rows that a backend remembers, and their most bytes.
const REMEMBERED_SETS: usize = 64;
const REMEMBERED_BYTES: usize = 8 << 20;

/// The matching rows of a segment; `None` for all, if there are no conditions and few rows are
/// dead. A row matches if it may meet the conditions and, where many rows are dead, was alive. So
/// some dead rows may match.
pub fn matching(
    relation: Relation,
    meta: &Meta,
    segment: &Sealed,
    conditions: &[Condition],
) -> Option<Rc<Bitset>> {
    let is_partial = !conditions.is_empty() || segment.is_thinned();
    is_partial.then(|| remembered(relation, meta, segment, conditions))
}

/// The rows found last are remembered: they change only when more rows are dead.
fn remembered(relation: Relation, meta: &Meta, segment: &Sealed, conditions: &[Condition]) -> Rc<Bitset> {
    let (file, build) = (relation.file_id(), meta.build);
    let is_same = |other: &Remembered| {
        (other.file, other.build, other.segment, other.dead) == (file, build, segment.id, segment.tombstones)
            && other.conditions == conditions
    };
    let found = REMEMBERED.with_borrow_mut(|remembered| {
        let found = remembered.iter().rposition(is_same)?;
        let found = remembered.remove(found);
        let rows = found.rows.clone();
        remembered.push(found);
        Some(rows)
    });
    found.unwrap_or_else(|| {
        let sealed = SealedRef::new(&relation, segment);
        let mut rows = columns::matches(sealed, conditions);
        if segment.is_thinned() {
            rows.intersect(&rows::live(sealed));
        }
        let rows = Rc::new(rows);
        let (segment, dead, conditions) = (segment.id, segment.tombstones, conditions.to_vec());
        let new = Remembered { file, build, segment, dead, conditions, rows: rows.clone() };
        REMEMBERED.with_borrow_mut(|remembered| {
            remembered.push(new);
            let bytes = |all: &[Remembered]| -> usize { all.iter().map(|one| one.rows.bytes()).sum() };
            while remembered.len() > REMEMBERED_SETS || bytes(remembered) > REMEMBERED_BYTES {
                remembered.remove(0);
            }
        });
        rows
    })
}
