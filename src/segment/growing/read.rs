//! Reading the rows of a growing segment.

use super::group::{self, GroupLayout};
use super::{Root, TAPE_ALIGNMENT, block_in, read_root};
use crate::pg::buffer::{PageCopy, Pinned};
use crate::pg::relation::Relation;
use crate::pg::wal::Record;
use crate::segment::{Entry, Tid, row_layout};
use crate::storage::meta::{Growing, Meta};
use crate::storage::page;
use crate::storage::part::Layout;
use crate::storage::part_reader::{page_to_change, require};
use crate::structure::PageKind;

fn copy_page(relation: Relation, block: u32, kind: PageKind, segment: u32, copy: &mut PageCopy) {
    Pinned::read_recent(relation, block).share().copy_to(copy);
    require(&copy.0, &relation, block, kind, segment);
}

/// Reads the rows of one lane, keeping a copy of the page read last.
pub(super) struct RowCursor<'a> {
    relation: Relation,
    lane: &'a Lane,
    current: Option<u64>,
    page: Box<PageCopy>,
    /// `u64`s keep rows that cross pages aligned.
    scratch: Vec<u64>,
}

impl<'a> RowCursor<'a> {
    pub(super) fn new(relation: Relation, lane: &'a Lane) -> Self {
        Self { relation, lane, current: None, page: PageCopy::blank(), scratch: Vec::new() }
    }

    fn payload(&mut self, page: u64) -> &[u8] {
        if self.current != Some(page) {
            self.current = None;
            let block = block_in(&self.lane.root.row_runs, page as usize).unwrap_or_else(|| {
                self.relation
                    .corrupt()
                    .detail(format!("A row lies beyond the pages of growing segment {}.", self.lane.segment))
                    .raise()
            });
            copy_page(self.relation, block, PageKind::GrowingRows, self.lane.segment, &mut self.page);
            self.current = Some(page);
        }
        page::payload(&self.page.0)
    }

    /// Copies `count` tape bytes of the row at `offset` into the scratch memory.
    fn fill(&mut self, offset: u64, count: usize) {
        let mut done = 0;
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(count.div_ceil(8), 0);
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut scratch);
        while done < count {
            let (page, at) = Layout::tape(offset + done as u64);
            let available = &self.payload(page)[at..];
            let now = available.len().min(count - done);
            target[done..done + now].copy_from_slice(&available[..now]);
            done += now;
        }
        self.scratch = scratch;
    }

    /// The bytes of row `index`; `offset` is where it begins on the tape if rows differ in length.
    pub(super) fn row(
        &mut self,
        layout: Layout,
        row_bytes: Option<usize>,
        index: usize,
        offset: Option<u64>,
    ) -> &[u8] {
        let (offset, len) = match (layout, row_bytes) {
            (Layout::Slots { .. }, Some(len)) => {
                let (page, at) = layout.slot(index as u64);
                return &self.payload(page)[at..at + len];
            }
            (_, Some(len)) => (index as u64 * len.next_multiple_of(TAPE_ALIGNMENT) as u64, len),
            (_, None) => {
                let offset = offset.unwrap_or_default();
                self.fill(offset, SPARSE_COUNT_BYTES);
                (offset, sparse_row_bytes(self.relation, bytemuck::cast_slice(&self.scratch)))
            }
        };
        self.fill(offset, len);
        &bytemuck::cast_slice(&self.scratch)[..len]
    }
}

/// One lane as it was when its root was read.
pub(super) struct Lane {
    pub(super) segment: u32,
    pub(super) root: Root,
}

impl Lane {
    pub(super) fn read(relation: Relation, growing: &Growing, lane: usize) -> Self {
        let root = read_root(relation, growing.lanes[lane], growing.segment);
        Self { segment: growing.segment, root }
    }

    /// Rows that were published when the lane was read.
    pub(super) fn rows(&self) -> usize {
        self.root.rows as usize
    }

    fn group_block(&self, relation: Relation, page: usize) -> u32 {
        block_in(&self.root.group_runs, page).unwrap_or_else(|| {
            relation
                .corrupt()
                .detail(format!("Growing segment {} has fewer pages than its rows need.", self.segment))
                .raise()
        })
    }

    /// Copies a page of groups.
    pub(super) fn groups(&self, relation: Relation, page: usize, copy: &mut PageCopy) {
        copy_page(relation, self.group_block(relation, page), PageKind::GrowingGroups, self.segment, copy);
    }

    /// Calls `visit` with each page of groups, each group on it, its first row and its number of
    /// rows.
    pub(super) fn for_each_group(
        &self,
        relation: Relation,
        layout: GroupLayout,
        mut visit: impl FnMut(&[u8], usize, usize),
    ) {
        let rows = self.root.rows as usize;
        let per_page = layout.groups_per_page() * group::ROWS;
        let mut page = PageCopy::blank();
        for first in (0..rows).step_by(per_page) {
            pgrx::check_for_interrupts!();
            self.groups(relation, first / per_page, &mut page);
            let groups = page::payload(&page.0).chunks_exact(layout.bytes());
            for (group, first) in groups.zip((first..rows.min(first + per_page)).step_by(group::ROWS)) {
                visit(group, first, group::ROWS.min(rows - first));
            }
        }
    }
}

/// Calls `visit` with every live row that was published when its lane was read.
///
/// No lock is held while `visit` runs.
pub fn for_each_row(relation: Relation, meta: &Meta, growing: &Growing, mut visit: impl FnMut(Entry)) {
    let (layout, row_bytes) = (row_layout(meta.space), meta.space.row_bytes());
    let groups = GroupLayout::of(meta);
    for lane in 0..growing.lanes.len() {
        let lane = Lane::read(relation, growing, lane);
        let mut cursor = RowCursor::new(relation, &lane);
        lane.for_each_group(relation, groups, |group, first, count| {
            for place in (0..count).filter(|&place| !groups.is_dead(group, place)) {
                let row = cursor.row(layout, row_bytes, first + place, groups.offset(group, place));
                visit(Entry {
                    tid: groups.tid(group, place),
                    row,
                    attributes: groups.attributes_of(group, place),
                });
            }
        });
    }
}

/// Calls `visit` with the heap tuple of every live row.
pub fn for_each_tid(relation: Relation, meta: &Meta, growing: &Growing, mut visit: impl FnMut(Tid)) {
    let groups = GroupLayout::of(meta);
    for lane in 0..growing.lanes.len() {
        Lane::read(relation, growing, lane).for_each_group(relation, groups, |group, _, count| {
            let live = (0..count).filter(|&place| !groups.is_dead(group, place));
            live.for_each(|place| visit(groups.tid(group, place)));
        });
    }
}

/// A sparse row begins with the number of its values.
const SPARSE_COUNT_BYTES: usize = 4;

fn sparse_row_bytes(relation: Relation, row: &[u8]) -> usize {
    let count = u32::from_ne_bytes([row[0], row[1], row[2], row[3]]) as usize;
    if count > crate::types::MAX_NON_ZEROS {
        relation.corrupt().detail(format!("A sparse row claims {count} values.")).raise();
    }
    SPARSE_COUNT_BYTES + 8 * count
}

/// Sets the tombstones of rows whose heap tuples `is_dead`; returns (live rows left, rows newly
/// dead).
pub fn mark_dead(
    relation: Relation,
    meta: &Meta,
    growing: &Growing,
    mut is_dead: impl FnMut(Tid) -> bool,
) -> (u64, u64) {
    let groups = GroupLayout::of(meta);
    let (mut live, mut marked) = (0, 0);
    for lane in 0..growing.lanes.len() {
        let lane = Lane::read(relation, growing, lane);
        // Of each page the rows that died.
        let mut dead: Vec<(usize, Vec<usize>)> = Vec::new();
        lane.for_each_group(relation, groups, |group, first, count| {
            let (page, ..) = groups.place(first);
            for place in (0..count).filter(|&place| !groups.is_dead(group, place)) {
                if !is_dead(groups.tid(group, place)) {
                    live += 1;
                } else if let Some((_, rows)) = dead.last_mut().filter(|(last, _)| *last == page) {
                    rows.push(first + place);
                } else {
                    dead.push((page, vec![first + place]));
                }
            }
        });
        for (page, rows) in dead {
            marked += rows.len() as u64;
            let block = lane.group_block(relation, page);
            let buffer = page_to_change(relation, block, PageKind::GrowingGroups, growing.segment);
            let mut record = Record::begin(relation);
            record.edit(&buffer, false, |page| {
                for row in rows {
                    let (_, at, place) = groups.place(row);
                    groups.mark_dead(&mut page::payload_mut(page)[at..][..groups.bytes()], place);
                }
            });
            record.commit();
        }
    }
    (live, marked)
}
