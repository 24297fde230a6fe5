//! Appending a row to a lane.

use super::group::GroupLayout;
use super::{
    MAX_GROUP_RUNS, MAX_ROW_RUNS, MAX_SPARE_RUNS, RUN_PAGES, Root, TAPE_ALIGNMENT, block_in, root_of,
};
use crate::codec::encoder::{Code, Encoder};
use crate::pg::buffer::{self, Exclusive, Pinned};
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::Relation;
use crate::pg::wal::{RECORD_PAGES, Record, log_new_pages};
use crate::segment::{Entry, row_layout};
use crate::storage::edit::{Edit, may_be_reused};
use crate::storage::extent::{Extent, Freed};
use crate::storage::meta::{self, Growing, Meta};
use crate::storage::page::{self, Stamp};
use crate::storage::part::Layout;
use crate::storage::part_reader::page_to_change;
use crate::storage::snapshot::Snapshot;
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
    /// The lane needs this many more spare runs (see [`add_spare_runs`]).
    NeedsRuns(usize),
    /// The lane has no room: the segment must be sealed first.
    Full,
}

/// Free runs that a lane gets at least, because each request writes the whole manifest.
const RUNS_AT_ONCE: usize = 4;

/// Gives a lane at least `count` spare runs: the index's free pages, else new ones. The lane's lock
/// is held for a moment only, after the pages are there.
pub fn add_spare_runs(relation: Relation, growing: &Growing, lane: usize, count: usize) {
    let is_run = |freed: &Freed| freed.extent.pages >= RUN_PAGES && may_be_reused(freed);
    let mut left = count;
    if Snapshot::read(relation).manifest.free.iter().any(is_run)
        // A vacuum or a publication is not waited for.
        && let Some(mut edit) = Edit::try_open(relation)
    {
        let runs = std::iter::from_fn(|| edit.allocate_run(RUN_PAGES));
        let runs: Vec<u32> = runs.take(count.max(RUNS_AT_ONCE)).collect();
        if !runs.is_empty() {
            // Publishes before the lane lists the runs. After a crash between, a sweep finds pages
            // without an owner; nothing repairs pages with two. A check waits for this edit's lock.
            edit.publish();
            if !put_spare_runs(relation, growing, lane, &runs) {
                edit.free_at_once(runs.iter().map(|&start| Extent { start, pages: RUN_PAGES }));
                edit.publish();
                return;
            }
            left = left.saturating_sub(runs.len());
        }
    }
    if left > 0 {
        let _lock = IndexLock::share(relation, Purpose::Extend);
        let start = buffer::extend(relation, left as u32 * RUN_PAGES);
        let runs: Vec<u32> = (0..left as u32).map(|run| start + run * RUN_PAGES).collect();
        let stamp = Stamp { kind: PageKind::GrowingRows, segment: growing.segment, generation: 0 };
        for &start in &runs {
            // Replay extends the file this far, too.
            let last = start + RUN_PAGES - 1;
            Pinned::overwrite(relation, last).fill(|page| page::format(page, stamp));
            log_new_pages(relation, last, 1);
        }
        // The next sweep frees what the lane does not take, as it is frozen or full.
        put_spare_runs(relation, growing, lane, &runs);
    }
}

/// Lists runs as a lane's spare ones; `false` if the lane is frozen or has room for no more.
fn put_spare_runs(relation: Relation, growing: &Growing, lane: usize, runs: &[u32]) -> bool {
    let block = growing.lanes[lane % growing.lanes.len()];
    let buffer = Pinned::read(relation, block).exclusive();
    let mut root = root_of(relation, block, growing.segment, &buffer);
    if root.is_frozen || root.spare_runs.len() + runs.len() > MAX_SPARE_RUNS {
        return false;
    }
    root.spare_runs.extend(runs);
    let mut record = Record::begin(relation);
    record.edit(&buffer, false, |page| root.write(page));
    record.commit();
    true
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
    match lane.make_room(group_page, last as usize) {
        Room::Ready => {}
        Room::NeedsRuns(runs) => return Append::NeedsRuns(runs),
        Room::Full => return Append::Full,
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

/// Whether a lane has room for a row.
enum Room {
    Ready,
    /// It needs this many more spare runs.
    NeedsRuns(usize),
    Full,
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

    /// Adds the runs that the lane needs for these pages of groups and of rows from its spare ones.
    fn make_room(&mut self, group_page: usize, row_page: usize) -> Room {
        let runs_up_to = |page: usize| page / RUN_PAGES as usize + 1;
        let (groups, rows) = (runs_up_to(group_page), runs_up_to(row_page));
        if groups > MAX_GROUP_RUNS || rows > MAX_ROW_RUNS {
            return Room::Full;
        }
        let needed =
            groups.saturating_sub(self.root.group_runs.len()) + rows.saturating_sub(self.root.row_runs.len());
        if needed > self.root.spare_runs.len() {
            return Room::NeedsRuns(needed - self.root.spare_runs.len());
        }
        while self.root.group_runs.len() < groups {
            self.add_run(PageKind::GrowingGroups);
        }
        while self.root.row_runs.len() < rows {
            self.add_run(PageKind::GrowingRows);
        }
        Room::Ready
    }

    /// Adds a spare run of pages, listed by the record that writes the last of them.
    fn add_run(&mut self, kind: PageKind) {
        let Self { root, .. } = self;
        let start = root.spare_runs.pop().expect("as many spare runs as are added");
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
