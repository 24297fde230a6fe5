//! Vacuum: rows whose heap tuples are gone get tombstones.
//!
//! Vacuum reads TIDs and tombstones only. It holds the manifest's lock throughout, so that no flush
//! or compaction publishes meanwhile. Each of those marks what has died since it copied its rows
//! ([`mark_dead_but`]) before it releases the lock: no dead row comes back.

use super::{TID_BYTES, Tid, growing};
use crate::pg::buffer::Pinned;
use crate::pg::relation::Relation;
use crate::pg::stream::for_each_page;
use crate::pg::wal::Record;
use crate::storage::edit::Edit;
use crate::storage::manifest::Sealed;
use crate::storage::page;
use crate::storage::part::Layout;
use crate::storage::part::checked_block;
use crate::storage::part_reader::{page_to_change, require};
use crate::structure::PageKind;

/// Rows left and rows newly dead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub live: u64,
    pub marked: u64,
}

/// Marks the rows for which `is_dead` returns true; calls it for every row not marked yet.
pub fn vacuum(relation: Relation, mut is_dead: impl FnMut(Tid) -> bool) -> Outcome {
    let mut edit = Edit::open(relation);
    let mut outcome = Outcome::default();
    for segment in edit.manifest.flushing.iter().chain([&edit.meta.growing]) {
        let (live, marked) = growing::mark_dead(relation, &edit.meta, segment, &mut is_dead);
        outcome.live += live;
        outcome.marked += marked;
    }
    let mut changed = false;
    for segment in &mut edit.manifest.sealed {
        let before = segment.tombstones;
        outcome.marked += u64::from(mark_dead(relation, segment, &mut is_dead));
        changed |= segment.tombstones != before;
        outcome.live += u64::from(segment.rows - segment.tombstones);
    }
    if changed {
        edit.publish();
    }
    outcome
}

/// Marks the rows of a segment about to be published whose heap tuples are not in `live`, which
/// ascends.
pub fn mark_dead_but(relation: Relation, segment: &mut Sealed, live: &[Tid]) {
    mark_dead(relation, segment, &mut |tid| live.binary_search(&tid).is_err());
}

/// Returns the number of rows newly dead.
fn mark_dead(relation: Relation, segment: &mut Sealed, is_dead: &mut impl FnMut(Tid) -> bool) -> u32 {
    let per_page = segment.tids.layout.slots_per_page() as usize;
    let (mut dead, mut marked) = (0, 0);
    let mut firsts = (0..segment.rows as usize).step_by(per_page.max(1));
    let pages = &segment.tids.pages;
    let blocks = (0..firsts.len() as u64).map(|page| checked_block(&relation, pages, page));
    for_each_page(relation, blocks, |block, page| {
        crate::pg::interrupts::check();
        let first = firsts.next().expect("as many as blocks");
        let last = (first + per_page).min(segment.rows as usize);
        let tids = page.share().copy();
        require(&tids.0, &relation, block, PageKind::Tids, segment.id);
        // The bits of one page of TIDs may lie on two pages of tombstones.
        let mut row = first;
        while row < last {
            let (index, _) = Layout::tape(row as u64 / 8);
            let end = last.min((index as usize + 1) * page::PAYLOAD * 8);
            let (before, now) = mark_rows(relation, segment, index, row..end, |row| {
                let at = (row - first) * TID_BYTES as usize;
                let tid = &page::payload(&tids.0)[at..at + TID_BYTES as usize];
                is_dead(tid.try_into().expect("six bytes"))
            });
            dead += before + now;
            marked += now;
            row = end;
        }
    });
    // Counted again: a killed vacuum may have set bits without counting them.
    segment.tombstones = dead;
    marked
}

/// Sets the bits of those `rows` that are dead and were not; all bits lie on page `index` of the
/// tombstones.
///
/// Returns how many were dead before, and how many are now in addition.
fn mark_rows(
    relation: Relation,
    segment: &Sealed,
    index: u64,
    rows: std::ops::Range<usize>,
    mut is_dead: impl FnMut(usize) -> bool,
) -> (u32, u32) {
    let block = checked_block(&relation, &segment.tombstone_bits.pages, index);
    let bits = Pinned::read(relation, block).share().copy();
    require(&bits.0, &relation, block, PageKind::Tombstones, segment.id);
    let byte_of = |row: usize| Layout::tape(row as u64 / 8).1;
    let was_dead = |&row: &usize| page::payload(&bits.0)[byte_of(row)] >> (row % 8) & 1 == 1;
    let (before, alive): (Vec<usize>, Vec<usize>) = rows.partition(was_dead);
    let dead: Vec<usize> = alive.into_iter().filter(|&row| is_dead(row)).collect();
    if !dead.is_empty() {
        let buffer = page_to_change(relation, block, PageKind::Tombstones, segment.id);
        let mut record = Record::begin(relation);
        record.edit(&buffer, false, |page| {
            for &row in &dead {
                page::payload_mut(page)[byte_of(row)] |= 1 << (row % 8);
            }
        });
        record.commit();
    }
    (before.len() as u32, dead.len() as u32)
}
