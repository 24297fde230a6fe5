//! Appending a row to a lane.

use super::group::GroupLayout;
use super::{MAX_GROUP_RUNS, MAX_ROW_RUNS, RUN_PAGES, Root, TAPE_ALIGNMENT, block_in, root_of};
use crate::codec::encoder::{Code, Encoder};
use crate::pg::buffer::{self, Exclusive, Pinned};
use crate::pg::relation::Relation;
use crate::pg::wal::{RECORD_PAGES, Record};
use crate::segment::{Entry, row_layout};
use crate::storage::meta::{self, Growing, Meta};
use crate::storage::page::{self, Stamp};
use crate::storage::part::Layout;
use crate::storage::part_reader::page_to_change;
use crate::structure::PageKind;
use std::ops::Range;

/// How rows of an index are encoded while they are in a growing segment, if they are.
pub fn encoder(meta: &Meta) -> Option<Encoder> {
    let has_codes = GroupLayout::of(meta).has_codes();
    if has_codes { Encoder::new(meta.space, meta.seed) } else { None }
}

/// The outcome of appending a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in; its lane now has this many rows.
    Done { rows: u32 },
    /// The segment is being sealed: read the meta page again.
    Frozen,
    /// The lane has no room: the segment must be sealed first.
    Full,
}

/// Appends a row to a lane, in WAL records of its own.
///
/// `code` is given if the index has an [`encoder`] for growing rows.
pub fn append(relation: Relation, meta: &Meta, lane: usize, entry: Entry, code: Option<&Code>) -> Append {
    let (layout, growing) = (row_layout(meta.space), &meta.growing);
    let block = growing.lanes[lane % growing.lanes.len()];
    let buffer = Pinned::read(relation, block).exclusive();
    let root = root_of(relation, block, growing.segment, &buffer);
    if root.is_frozen {
        return Append::Frozen;
    }
    let mut lane = Lane { relation, growing, groups: GroupLayout::of(meta), buffer, root };
    let (group_page, ..) = lane.groups.place(lane.root.rows as usize);
    let (first, at, last) = match layout {
        Layout::Slots { .. } => {
            let (page, at) = layout.slot(lane.root.rows.into());
            (page, at, page)
        }
        Layout::Tape => {
            let (page, at) = Layout::tape(lane.root.tape);
            let (last, _) = Layout::tape(lane.root.tape.saturating_add(entry.row.len() as u64 - 1));
            (page, at, last)
        }
    };
    if !lane.make_room(group_page, last as usize) {
        return Append::Full;
    }
    let pieces = lane.pieces(entry.row, first as usize..last as usize + 1, at);
    let group_block = lane.block(&lane.root.group_runs, group_page);
    lane.require_own_blocks(&pieces, group_block);
    // Pieces that do not fit into the publishing record are written before it.
    const OTHER_PAGES: usize = 2;
    let ahead = pieces.len().saturating_sub(RECORD_PAGES - OTHER_PAGES);
    let (ahead, with_root) = pieces.split_at(ahead);
    for pieces in ahead.chunks(RECORD_PAGES) {
        let buffers = lane.open_pieces(pieces);
        let mut record = Record::begin(relation);
        lane.write_pieces(&mut record, &buffers, pieces);
        record.commit();
    }
    lane.publish(with_root, group_block, layout, entry, code)
}

/// A lane while a row is appended to it, under the lock of its root.
struct Lane<'a> {
    relation: Relation,
    growing: &'a Growing,
    groups: GroupLayout,
    buffer: Exclusive,
    root: Root,
}

/// The bytes of a row that lie on one page.
struct Piece<'a> {
    block: u32,
    /// Where they begin in the page's payload.
    at: usize,
    bytes: &'a [u8],
}

impl Lane<'_> {
    fn stamp(&self, kind: PageKind) -> Stamp {
        Stamp { kind, segment: self.growing.segment, generation: 0 }
    }

    /// Extends the lane to these pages of groups and of rows; `false` if it has no room.
    fn make_room(&mut self, group_page: usize, row_page: usize) -> bool {
        while block_in(&self.root.group_runs, group_page).is_none() {
            if self.root.group_runs.len() == MAX_GROUP_RUNS {
                return false;
            }
            self.add_run(PageKind::GrowingGroups);
        }
        while block_in(&self.root.row_runs, row_page).is_none() {
            if self.root.row_runs.len() == MAX_ROW_RUNS {
                return false;
            }
            self.add_run(PageKind::GrowingRows);
        }
        true
    }

    /// Adds a run of pages, listed by the record that writes the last of them.
    fn add_run(&mut self, kind: PageKind) {
        let Self { relation, root, .. } = self;
        let start = root.spare_runs.pop().unwrap_or_else(|| buffer::extend(*relation, RUN_PAGES));
        let runs = if kind == PageKind::GrowingGroups { &mut root.group_runs } else { &mut root.row_runs };
        runs.push(start);
        let Some(end) = start.checked_add(RUN_PAGES) else { self.corrupt_runs() };
        self.require_own(start..end);
        let last = Pinned::overwrite(self.relation, end - 1);
        let mut record = Record::begin(self.relation);
        record.edit(&last, true, |page| {
            page::format(page, self.stamp(kind));
            page::set_used(page, 0);
        });
        record.edit(&self.buffer, false, |page| self.root.write(page));
        record.commit();
    }

    /// The block of a page that the lane has.
    fn block(&self, runs: &[u32], page: usize) -> u32 {
        block_in(runs, page).unwrap_or_else(|| self.corrupt_runs())
    }

    /// A row's bytes, page by page, from byte `at` of the first on.
    fn pieces<'r>(&self, row: &'r [u8], pages: Range<usize>, mut at: usize) -> Vec<Piece<'r>> {
        let mut rest = row;
        let piece = |page| {
            let (bytes, later) = rest.split_at(rest.len().min(page::PAYLOAD - at));
            let piece = Piece { block: self.block(&self.root.row_runs, page), at, bytes };
            (rest, at) = (later, 0);
            piece
        };
        pages.map(piece).collect()
    }

    /// Raises an error if a page cannot be the lane's, or is there twice: locking it again would
    /// wait forever.
    fn require_own_blocks(&self, pieces: &[Piece], group_block: u32) {
        let mut blocks: Vec<u32> = pieces.iter().map(|piece| piece.block).chain([group_block]).collect();
        blocks.iter().for_each(|&block| self.require_own(block..block.saturating_add(1)));
        blocks.sort_unstable();
        if blocks.windows(2).any(|pair| pair[0] == pair[1]) {
            self.corrupt_runs();
        }
    }

    /// Raises an error if pages are the meta page or the root of a lane.
    fn require_own(&self, blocks: Range<u32>) {
        if blocks.contains(&meta::BLOCK) || self.growing.lanes.iter().any(|lane| blocks.contains(lane)) {
            self.corrupt_runs();
        }
    }

    fn corrupt_runs(&self) -> ! {
        self.relation
            .corrupt()
            .detail(format!(
                "A lane of growing segment {} lists pages that are not its own.",
                self.growing.segment
            ))
            .raise()
    }

    /// Locks a page to write to it. A fresh page was free, or was appended before a crash: its
    /// content is arbitrary, or cannot be read. It is logged whole.
    fn open(&self, block: u32, kind: PageKind, is_fresh: bool) -> Exclusive {
        match is_fresh {
            true => Pinned::overwrite(self.relation, block),
            false => page_to_change(self.relation, block, kind, self.growing.segment),
        }
    }

    fn open_pieces(&self, pieces: &[Piece]) -> Vec<Exclusive> {
        let open = |piece: &Piece| self.open(piece.block, PageKind::GrowingRows, piece.at == 0);
        pieces.iter().map(open).collect()
    }

    fn write_pieces(&self, record: &mut Record, buffers: &[Exclusive], pieces: &[Piece]) {
        for (buffer, &Piece { at, bytes, .. }) in buffers.iter().zip(pieces) {
            record.edit(buffer, at == 0, |page| {
                if at == 0 {
                    page::format(page, self.stamp(PageKind::GrowingRows));
                }
                page::payload_mut(page)[at..][..bytes.len()].copy_from_slice(bytes);
                page::set_used(page, at + bytes.len());
            });
        }
    }

    /// Writes the row's entry in its group, what is left of its bytes, and the root, whose counter
    /// publishes the row.
    fn publish(
        mut self,
        pieces: &[Piece],
        group_block: u32,
        layout: Layout,
        entry: Entry,
        code: Option<&Code>,
    ) -> Append {
        let (_, group_at, place) = self.groups.place(self.root.rows as usize);
        let offset = self.root.tape;
        if layout == Layout::Tape {
            // The next row begins aligned.
            self.root.tape += entry.row.len().next_multiple_of(TAPE_ALIGNMENT) as u64;
        }
        self.root.rows += 1;
        let is_first = group_at == 0 && place == 0;
        let group_buffer = self.open(group_block, PageKind::GrowingGroups, is_first);
        let buffers = self.open_pieces(pieces);
        let mut record = Record::begin(self.relation);
        self.write_pieces(&mut record, &buffers, pieces);
        record.edit(&group_buffer, is_first, |page| {
            if is_first {
                page::format(page, self.stamp(PageKind::GrowingGroups));
            }
            let group = &mut page::payload_mut(page)[group_at..][..self.groups.bytes()];
            self.groups.put(group, place, entry, offset, code);
            page::set_used(page, group_at + self.groups.used(place));
        });
        record.edit(&self.buffer, false, |page| self.root.write(page));
        record.commit();
        Append::Done { rows: self.root.rows }
    }
}
