//! Vacuum: rows whose heap tuples are gone get tombstones.
//!
//! Vacuum reads TIDs and tombstones only. It works in steps, each under the manifest's lock, so
//! that flushes and compactions publish between them. Vacuum has not seen the segments that they
//! publish, so it goes on until it has seen every segment that there is. Each of those tasks marks
//! what has died since it copied its rows ([`mark_dead_but`]) before it releases the lock: no dead
//! row comes back.

use super::{TID_BYTES, Tid, growing};
use crate::pg::buffer::Pinned;
use crate::pg::relation::Relation;
use crate::pg::stream::for_each_page;
use crate::pg::wal::Record;
use crate::storage::edit::Edit;
use crate::storage::manifest::Sealed;
use crate::storage::meta::Growing;
use crate::storage::page;
use crate::storage::part::Layout;
use crate::storage::part::checked_block;
use crate::storage::part_reader::{page_to_change, require};
use crate::structure::PageKind;
use std::collections::HashMap;

/// Rows left and rows newly dead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub live: u64,
    pub marked: u64,
}

/// Pages of TIDs that a step reads: some ten milliseconds. In tests most segments take several.
const STEP_PAGES: usize = if cfg!(feature = "pg_test") { 1 } else { 64 };

/// Marks the rows for which `is_dead` returns true; calls it for every row not marked yet.
///
/// `pause` is called between steps, while no lock is held.
pub fn vacuum(relation: Relation, mut is_dead: impl FnMut(Tid) -> bool, pause: impl Fn()) -> Outcome {
    let mut marked = 0;
    // The live rows of each segment that was seen.
    let mut live_of: HashMap<u32, u64> = HashMap::new();
    let mut pass = Pass::default();
    loop {
        let mut edit = Edit::open(relation);
        let is_left = |segment: &&Growing| !live_of.contains_key(&segment.segment);
        let left = edit.manifest.unsealed(&edit.meta).find(is_left).cloned();
        if let Some(segment) = left {
            let (live, dead) = growing::mark_dead(relation, &edit.meta, &segment, &mut is_dead);
            live_of.insert(segment.segment, live);
            marked += dead;
        } else if let Some(segment) = edit.manifest.sealed.iter_mut().find(|s| !live_of.contains_key(&s.id)) {
            if pass.segment != segment.id {
                pass = Pass { segment: segment.id, ..Pass::default() };
            }
            marked += u64::from(mark_dead(relation, segment, &mut pass, STEP_PAGES, &mut is_dead));
            if pass.rows == segment.rows {
                live_of.insert(segment.id, (segment.rows - pass.dead).into());
                // Counted again: a killed vacuum may have set bits without counting them.
                if std::mem::replace(&mut segment.tombstones, pass.dead) != pass.dead {
                    edit.publish();
                }
            }
        } else {
            let ids = edit.manifest.sealed.iter().map(|segment| segment.id);
            let live = edit
                .manifest
                .unsealed(&edit.meta)
                .map(|segment| segment.segment)
                .chain(ids)
                .map(|id| live_of[&id])
                .sum();
            return Outcome { live, marked };
        }
        drop(edit);
        pause();
    }
}

/// How far a segment's rows were checked.
#[derive(Default)]
struct Pass {
    segment: u32,
    rows: u32,
    /// Those of them that are dead.
    dead: u32,
}

/// Marks the rows of a segment about to be published whose heap tuples are not in `live`, which
/// ascends.
pub fn mark_dead_but(relation: Relation, segment: &mut Sealed, live: &[Tid]) {
    let mut pass = Pass::default();
    let is_dead = &mut |tid: Tid| live.binary_search(&tid).is_err();
    mark_dead(relation, segment, &mut pass, usize::MAX, is_dead);
    segment.tombstones = pass.dead;
}

/// Goes on with a pass for `pages` pages of TIDs; returns the number of rows newly dead.
fn mark_dead(
    relation: Relation,
    segment: &Sealed,
    pass: &mut Pass,
    pages: usize,
    is_dead: &mut impl FnMut(Tid) -> bool,
) -> u32 {
    let per_page = segment.tids.layout.slots_per_page().max(1) as usize;
    let mut marked = 0;
    let mut firsts = (pass.rows as usize..segment.rows as usize).step_by(per_page).take(pages);
    let first_page = pass.rows as usize / per_page;
    let extents = &segment.tids.pages;
    let blocks = (first_page..).take(firsts.len()).map(|page| checked_block(&relation, extents, page as u64));
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
            pass.dead += before + now;
            marked += now;
            row = end;
        }
        pass.rows = last as u32;
    });
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
