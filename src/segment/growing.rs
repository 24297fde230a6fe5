//! The growing segment: rows are appended, searched by scan, and one day sealed.
//!
//! Writers are spread over several *lanes*, so that they do not queue on one page. A lane has a root page, pages of
//! TIDs and pages of rows. Invariants:
//! - A row is published by the record that raises the root's `rows`; what it says then is never changed, only its
//!   tombstone is set.
//! - Every page that a root lists exists after a crash and on a standby: the record that lists a page writes it, or a
//!   later page of the same run, so that replay extends the file at least as far.
//! - A lane is written under its root's exclusive lock, and never after the root was frozen.

use super::{Tid, row_layout};
use crate::distance::Space;
use crate::pg::buffer::{PageCopy, Pinned};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::pg::wal::{RECORD_PAGES, Record, log_new_pages};
use crate::storage::edit::Edit;
use crate::storage::extent::Extent;
use crate::storage::meta::Growing;
use crate::storage::page::{self, Kind, PAYLOAD, Stamp};
use crate::storage::part::{Layout, lost};
use bytemuck::{Pod, Zeroable};

/// Lanes of a growing segment; a temporary table has one writer only.
pub(super) const LANES: usize = 4;
/// Pages by which a lane grows.
const RUN_PAGES: u32 = 16;
const MAX_TID_PAGES: usize = 256;
const MAX_RUNS: usize = 880;

/// Content of a lane's root page.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Root {
    /// Not zero: the segment is being sealed, nothing may be appended.
    frozen: u32,
    rows: u32,
    /// Bytes used of the tape, for rows that lie on one.
    tape: u64,
    tid_pages: u32,
    runs: u32,
    tid_blocks: [u32; MAX_TID_PAGES],
    row_runs: [[u32; 2]; MAX_RUNS],
}

const _: () = assert!(size_of::<Root>() <= PAYLOAD);

/// A row's heap tuple and where its bytes begin on the tape.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Entry {
    tid: Tid,
    /// Not zero: a tombstone.
    dead: u16,
    offset: u64,
}

const ENTRIES_PER_PAGE: usize = PAYLOAD / size_of::<Entry>();

impl Root {
    fn row_pages(&self) -> u64 {
        self.row_runs[..self.runs as usize].iter().map(|[_, pages]| u64::from(*pages)).sum()
    }

    /// Block of a page of rows; the caller has checked that there is one.
    fn row_block(&self, mut index: u64) -> Option<u32> {
        for [start, pages] in &self.row_runs[..self.runs as usize] {
            if index < u64::from(*pages) {
                return Some(start + index as u32);
            }
            index -= u64::from(*pages);
        }
        None
    }

    /// Counts within bounds, as everything else relies on.
    fn is_sane(&self) -> bool {
        self.tid_pages as usize <= MAX_TID_PAGES
            && self.runs as usize <= MAX_RUNS
            && self.rows as usize <= self.tid_pages as usize * ENTRIES_PER_PAGE
    }
}

fn root_of(relation: Relation, block: u32, segment: u32, page: &crate::pg::buffer::Page) -> Box<Root> {
    if !page::is(page, Kind::Lane, segment) {
        lost(relation, block, Kind::Lane, segment);
    }
    let mut root = Box::<Root>::new(Zeroable::zeroed());
    bytemuck::bytes_of_mut(&mut *root).copy_from_slice(&page::payload(page)[..size_of::<Root>()]);
    if !root.is_sane() {
        Problem::corrupt(format!("index \"{}\" is corrupted at block {block}", relation.name())).raise();
    }
    root
}

fn read_root(relation: Relation, block: u32, segment: u32) -> Box<Root> {
    let page = Pinned::read(relation, block).share().copy();
    root_of(relation, block, segment, &page.0)
}

/// Opens a new growing segment in the next generation.
pub fn open(edit: &mut Edit) -> Growing {
    let relation = edit.relation();
    let segment = edit.new_segment();
    let stamp = Stamp { kind: Kind::Lane, segment, generation: edit.generation() as u32 };
    let count = if relation.is_temporary() { 1 } else { LANES };
    let pages = edit.allocate(count as u64);
    for block in pages.blocks() {
        Pinned::overwrite(relation, block).fill(|page| page::format(page, stamp));
    }
    for extent in pages.iter() {
        log_new_pages(relation, extent.start, extent.pages);
    }
    Growing { segment, lanes: pages.blocks().collect() }
}

/// What became of a row.
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
pub fn append(
    relation: Relation,
    space: Space,
    growing: &Growing,
    lane: usize,
    tid: Tid,
    row: &[u8],
) -> Append {
    let layout = row_layout(space);
    let segment = growing.segment;
    let root_block = growing.lanes[lane % growing.lanes.len()];
    let root_buffer = Pinned::read(relation, root_block).exclusive();
    let mut root = root_of(relation, root_block, segment, &root_buffer);
    if root.frozen != 0 {
        return Append::Frozen;
    }
    let stamp = |kind| Stamp { kind, segment, generation: 0 };
    let index = root.rows as usize;
    let (tid_page, tid_slot) = (index / ENTRIES_PER_PAGE, index % ENTRIES_PER_PAGE);
    let (first_page, at, after) = match layout {
        Layout::Slots { .. } => {
            let (page, at) = layout.slot(index as u64);
            (page, at, page)
        }
        Layout::Tape => {
            let (page, at) = Layout::tape(root.tape);
            (page, at, Layout::tape(root.tape + row.len() as u64 - 1).0)
        }
    };

    // The pages that the row needs, each listed and written by one record.
    if tid_page == root.tid_pages as usize {
        if tid_page == MAX_TID_PAGES {
            return Append::Full;
        }
        root.tid_blocks[tid_page] = relation.extend(1);
        root.tid_pages += 1;
        let buffer = Pinned::read(relation, root.tid_blocks[tid_page]).exclusive();
        let mut record = Record::begin(relation);
        record.edit(&buffer, true, |page| page::format(page, stamp(Kind::GrowingTids)));
        record.edit(&root_buffer, false, |page| put_root(page, &root));
        record.commit();
    }
    while root.row_pages() <= after {
        if root.runs as usize == MAX_RUNS {
            return Append::Full;
        }
        let start = relation.extend(RUN_PAGES);
        root.row_runs[root.runs as usize] = [start, RUN_PAGES];
        root.runs += 1;
        let last = Pinned::read(relation, start + RUN_PAGES - 1).exclusive();
        let mut record = Record::begin(relation);
        record.edit(&last, true, |page| page::format(page, stamp(Kind::GrowingRows)));
        record.edit(&root_buffer, false, |page| put_root(page, &root));
        record.commit();
    }

    // The row's bytes, page by page; all but what fits into the publishing record goes ahead of it.
    let mut pieces = Vec::new();
    let (mut rest, mut at) = (row, at);
    for page in first_page..=after {
        let (now, later) = rest.split_at(rest.len().min(PAYLOAD - at));
        let block = root.row_block(page).expect("the run was just made sure of");
        pieces.push((block, at, now));
        (rest, at) = (later, 0);
    }
    let entry = Entry { tid, dead: 0, offset: root.tape };
    if layout == Layout::Tape {
        // The next row begins aligned.
        root.tape += row.len().next_multiple_of(8) as u64;
    }
    root.rows += 1;
    let write_piece =
        |record: &mut Record, buffer: &crate::pg::buffer::Exclusive, at: usize, bytes: &[u8]| {
            record.edit(buffer, false, |page| {
                if !page::is(page, Kind::GrowingRows, segment) {
                    page::format(page, stamp(Kind::GrowingRows));
                }
                page::payload_mut(page)[at..][..bytes.len()].copy_from_slice(bytes);
            });
        };
    const OTHER_PAGES: usize = 2;
    let ahead = pieces.len().saturating_sub(RECORD_PAGES - OTHER_PAGES);
    let (ahead, with_root) = pieces.split_at(ahead);
    for pieces in ahead.chunks(RECORD_PAGES) {
        let buffers: Vec<_> =
            pieces.iter().map(|(block, ..)| Pinned::read(relation, *block).exclusive()).collect();
        let mut record = Record::begin(relation);
        for (buffer, (_, at, bytes)) in buffers.iter().zip(pieces) {
            write_piece(&mut record, buffer, *at, bytes);
        }
        record.commit();
    }
    let tid_buffer = Pinned::read(relation, root.tid_blocks[tid_page]).exclusive();
    let buffers: Vec<_> =
        with_root.iter().map(|(block, ..)| Pinned::read(relation, *block).exclusive()).collect();
    let mut record = Record::begin(relation);
    for (buffer, (_, at, bytes)) in buffers.iter().zip(with_root) {
        write_piece(&mut record, buffer, *at, bytes);
    }
    record.edit(&tid_buffer, false, |page| {
        let at = tid_slot * size_of::<Entry>();
        page::payload_mut(page)[at..][..size_of::<Entry>()].copy_from_slice(bytemuck::bytes_of(&entry));
    });
    record.edit(&root_buffer, false, |page| put_root(page, &root));
    record.commit();
    Append::Done { rows: root.rows }
}

fn put_root(page: &mut crate::pg::buffer::Page, root: &Root) {
    page::payload_mut(page)[..size_of::<Root>()].copy_from_slice(bytemuck::bytes_of(root));
}

/// Rows in all lanes, dead ones included.
pub fn rows(relation: Relation, growing: &Growing) -> u64 {
    growing.lanes.iter().map(|&block| u64::from(read_root(relation, block, growing.segment).rows)).sum()
}

/// Bars every lane to writers. Who holds a lane's lock finishes first.
pub fn freeze(relation: Relation, growing: &Growing) {
    for &block in &growing.lanes {
        let buffer = Pinned::read(relation, block).exclusive();
        let mut root = root_of(relation, block, growing.segment, &buffer);
        root.frozen = 1;
        let mut record = Record::begin(relation);
        record.edit(&buffer, false, |page| put_root(page, &root));
        record.commit();
    }
}

/// Every page of the segment.
pub fn extents(relation: Relation, growing: &Growing) -> Vec<Extent> {
    let mut extents = Vec::new();
    for &block in &growing.lanes {
        let root = read_root(relation, block, growing.segment);
        let single = |start| Extent { start, pages: 1 };
        extents.push(single(block));
        extents.extend(root.tid_blocks[..root.tid_pages as usize].iter().copied().map(single));
        extents.extend(
            root.row_runs[..root.runs as usize].iter().map(|&[start, pages]| Extent { start, pages }),
        );
    }
    extents
}

fn copy_page(relation: Relation, block: u32, kind: Kind, segment: u32) -> Box<PageCopy> {
    let page = Pinned::read(relation, block).share().copy();
    if !page::is(&page.0, kind, segment) {
        lost(relation, block, kind, segment);
    }
    page
}

/// Reads the rows of one lane, keeping a copy of the page read last.
struct RowCursor {
    relation: Relation,
    segment: u32,
    root: Box<Root>,
    current: Option<(u64, Box<PageCopy>)>,
    /// `u64`s keep rows that cross pages aligned.
    scratch: Vec<u64>,
}

impl RowCursor {
    fn payload(&mut self, page: u64) -> &[u8] {
        if self.current.as_ref().is_none_or(|(current, _)| *current != page) {
            let block = self.root.row_block(page).unwrap_or_else(|| {
                Problem::corrupt(format!("index \"{}\" is corrupted", self.relation.name()))
                    .detail(format!("A row lies beyond the pages of growing segment {}.", self.segment))
                    .raise()
            });
            self.current = Some((page, copy_page(self.relation, block, Kind::GrowingRows, self.segment)));
        }
        page::payload(&self.current.as_ref().expect("just set").1.0)
    }

    /// Copies tape bytes `done..wanted` of the row at `offset` into the scratch memory.
    fn fill(&mut self, offset: u64, mut done: usize, wanted: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(wanted.div_ceil(8), 0);
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut scratch);
        while done < wanted {
            let (page, at) = Layout::tape(offset + done as u64);
            let available = &self.payload(page)[at..];
            let now = available.len().min(wanted - done);
            target[done..done + now].copy_from_slice(&available[..now]);
            done += now;
        }
        self.scratch = scratch;
    }

    /// The bytes of row `index`, whose entry says that it begins at `offset` if it lies on a tape.
    fn row(&mut self, layout: Layout, row_bytes: Option<usize>, index: usize, offset: u64) -> &[u8] {
        match (layout, row_bytes) {
            (Layout::Slots { .. }, Some(len)) => {
                let (page, at) = layout.slot(index as u64);
                &self.payload(page)[at..at + len]
            }
            (_, Some(len)) => {
                self.fill(offset, 0, len);
                &bytemuck::cast_slice(&self.scratch)[..len]
            }
            (_, None) => {
                self.fill(offset, 0, SPARSE_COUNT_BYTES);
                let len = sparse_row_bytes(self.relation, bytemuck::cast_slice(&self.scratch));
                self.fill(offset, SPARSE_COUNT_BYTES, len);
                &bytemuck::cast_slice(&self.scratch)[..len]
            }
        }
    }
}

/// Calls `visit` with every live row that was published when its lane was read.
///
/// No lock is held while `visit` runs.
pub fn for_each_row(relation: Relation, space: Space, growing: &Growing, mut visit: impl FnMut(Tid, &[u8])) {
    let (layout, row_bytes) = (row_layout(space), space.row_bytes());
    let segment = growing.segment;
    for &block in &growing.lanes {
        let root = read_root(relation, block, segment);
        let mut cursor = RowCursor { relation, segment, root, current: None, scratch: Vec::new() };
        for (first, page) in entry_pages(relation, segment, &cursor.root.clone()) {
            for (slot, entry) in page.iter().enumerate() {
                if entry.dead == 0 {
                    visit(entry.tid, cursor.row(layout, row_bytes, first + slot, entry.offset));
                }
            }
        }
    }
}

/// The lane's pages of entries: the number of each page's first row, and its entries.
fn entry_pages(relation: Relation, segment: u32, root: &Root) -> impl Iterator<Item = (usize, Vec<Entry>)> {
    let rows = root.rows as usize;
    (0..rows.div_ceil(ENTRIES_PER_PAGE)).map(move |index| {
        pgrx::check_for_interrupts!();
        let page = copy_page(relation, root.tid_blocks[index], Kind::GrowingTids, segment);
        let first = index * ENTRIES_PER_PAGE;
        let count = ENTRIES_PER_PAGE.min(rows - first);
        let bytes = &page::payload(&page.0)[..count * size_of::<Entry>()];
        (first, bytes.chunks_exact(size_of::<Entry>()).map(bytemuck::pod_read_unaligned).collect())
    })
}

/// A sparse row begins with the number of its values.
const SPARSE_COUNT_BYTES: usize = 4;

fn sparse_row_bytes(relation: Relation, row: &[u8]) -> usize {
    let count = u32::from_ne_bytes([row[0], row[1], row[2], row[3]]) as usize;
    if count > crate::types::MAX_NON_ZEROS {
        Problem::corrupt(format!("index \"{}\" is corrupted", relation.name()))
            .detail(format!("A sparse row claims {count} values."))
            .raise();
    }
    SPARSE_COUNT_BYTES + 8 * count
}

/// Sets the tombstones of rows whose heap tuples `is_dead`; returns (live rows left, rows newly dead).
pub fn bury(relation: Relation, growing: &Growing, mut is_dead: impl FnMut(Tid) -> bool) -> (u64, u64) {
    let segment = growing.segment;
    let (mut live, mut buried) = (0, 0);
    for &block in &growing.lanes {
        let root = read_root(relation, block, segment);
        for (first, entries) in entry_pages(relation, segment, &root) {
            let block = root.tid_blocks[first / ENTRIES_PER_PAGE];
            let mut dead = Vec::new();
            for (slot, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.dead == 0) {
                if is_dead(entry.tid) {
                    dead.push(slot * size_of::<Entry>() + std::mem::offset_of!(Entry, dead));
                } else {
                    live += 1;
                }
            }
            buried += dead.len() as u64;
            if !dead.is_empty() {
                let buffer = Pinned::read(relation, block).exclusive();
                let mut record = Record::begin(relation);
                record.edit(&buffer, false, |page| {
                    for at in dead {
                        page::payload_mut(page)[at] = 1;
                    }
                });
                record.commit();
            }
        }
    }
    (live, buried)
}
