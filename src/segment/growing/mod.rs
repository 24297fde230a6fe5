//! The growing segment: rows are appended, searched by scan, and sealed later.
//!
//! Writers are spread over several *lanes*, so that they do not queue on one page. A lane has a
//! root page, pages of [`group`]s (heap tuples and codes) and pages of rows. Invariants:
//! - The record that raises the root's `rows` publishes a row. From then on only the row's
//!   tombstone changes.
//! - Every page that a root lists exists after a crash and on a standby. The last page of an
//!   appended run is logged before the lane lists the run: replay extends the file as far.
//! - A writer appends pages under [`crate::pg::lock::Purpose::Extend`], which it holds until its
//!   lane lists them.
//! - A lane is written under its root's exclusive lock, and never after the root was frozen.

mod append;
mod group;
pub mod listing;
mod read;
pub mod search;
pub mod stream;

pub use append::{Append, add_spare_runs, append, encoder};
pub use read::{for_each_row, for_each_tid, mark_dead};

use crate::pg::buffer::{Page, Pinned};
use crate::pg::error::Problem;
use crate::pg::process::now;
use crate::pg::relation::Relation;
use crate::pg::wal::{Record, log_new_pages};
use crate::storage::edit::Edit;
use crate::storage::extent::Extent;
use crate::storage::meta::Growing;
use crate::storage::page::{self, PAYLOAD, Stamp};
use crate::storage::part_reader::require;
use crate::structure::PageKind;
use bytemuck::{Pod, Zeroable};

/// Lanes of a growing segment; a temporary table, which has one writer, has one lane.
pub(super) const LANES: usize = 4;
/// Pages by which a lane grows.
const RUN_PAGES: u32 = 16;
/// Rows on a tape begin at multiples of this number of bytes.
const TAPE_ALIGNMENT: usize = 8;
const MAX_GROUP_RUNS: usize = 256;
const MAX_ROW_RUNS: usize = 880;
const MAX_SPARE_RUNS: usize = 880;

/// What a lane's root page says: a [`RootHeader`], then the first blocks of its runs.
struct Root {
    /// The segment is being sealed, nothing may be appended.
    is_frozen: bool,
    rows: u32,
    /// Bytes used of the tape, for rows that lie on one.
    tape: u64,
    /// First block of each run of pages.
    group_runs: Vec<u32>,
    row_runs: Vec<u32>,
    /// Runs that the lane may use. Their content is arbitrary.
    spare_runs: Vec<u32>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RootHeader {
    is_frozen: u32,
    rows: u32,
    tape: u64,
    /// Group runs, row runs, spare runs.
    runs: [u32; 3],
    _reserved: u32,
}

const MAX_RUNS: [usize; 3] = [MAX_GROUP_RUNS, MAX_ROW_RUNS, MAX_SPARE_RUNS];
const _: () = assert!(
    size_of::<RootHeader>() + (MAX_GROUP_RUNS + MAX_ROW_RUNS + MAX_SPARE_RUNS) * size_of::<u32>() <= PAYLOAD
);

impl Root {
    fn new(spare_runs: Vec<u32>) -> Self {
        let (group_runs, row_runs) = (Vec::new(), Vec::new());
        Self { is_frozen: false, rows: 0, tape: 0, group_runs, row_runs, spare_runs }
    }

    /// `None` if the payload is no root's.
    fn read(payload: &[u8]) -> Option<Self> {
        let (header, rest) = payload.split_at_checked(size_of::<RootHeader>())?;
        let header: &RootHeader = bytemuck::try_from_bytes(header).ok()?;
        let mut numbers: &[u32] = bytemuck::try_cast_slice(rest).ok()?;
        let mut take = |kind: usize| {
            let count = header.runs[kind] as usize;
            let (runs, others) = numbers.split_at_checked(count).filter(|_| count <= MAX_RUNS[kind])?;
            numbers = others;
            Some(runs.to_vec())
        };
        let (group_runs, row_runs, spare_runs) = (take(0)?, take(1)?, take(2)?);
        let RootHeader { is_frozen, rows, tape, .. } = *header;
        Some(Self { is_frozen: is_frozen != 0, rows, tape, group_runs, row_runs, spare_runs })
    }

    /// Writes the root to its page.
    fn write(&self, page: &mut Page) {
        let runs = [&self.group_runs, &self.row_runs, &self.spare_runs];
        let header = RootHeader {
            is_frozen: self.is_frozen.into(),
            rows: self.rows,
            tape: self.tape,
            runs: runs.map(|runs| runs.len() as u32),
            _reserved: 0,
        };
        let payload = page::payload_mut(page);
        let mut used = 0;
        let lists = runs.map(|runs| bytemuck::cast_slice(runs));
        for bytes in std::iter::once(bytemuck::bytes_of(&header)).chain(lists) {
            payload[used..][..bytes.len()].copy_from_slice(bytes);
            used += bytes.len();
        }
        page::set_used(page, used);
    }
}

/// The block of a page that lies in runs; `None` if there is no such page.
fn block_in(runs: &[u32], page: usize) -> Option<u32> {
    let run = runs.get(page / RUN_PAGES as usize)?;
    run.checked_add((page % RUN_PAGES as usize) as u32)
}

fn root_of(relation: Relation, block: u32, segment: u32, page: &Page) -> Root {
    require(page, &relation, block, PageKind::Lane, segment);
    Root::read(page::payload(page)).unwrap_or_else(|| {
        Problem::corrupt(format!("index \"{}\" is corrupted at block {block}", relation.name())).raise()
    })
}

fn read_root(relation: Relation, block: u32, segment: u32) -> Root {
    let page = Pinned::read(relation, block).share().copy();
    root_of(relation, block, segment, &page.0)
}

/// Runs of pages that each lane of a segment uses.
pub fn used_runs(relation: Relation, growing: &Growing) -> Vec<usize> {
    let used = |&block| {
        let root = read_root(relation, block, growing.segment);
        root.group_runs.len() + root.row_runs.len()
    };
    growing.lanes.iter().map(used).collect()
}

/// Opens a new growing segment in the next generation. Lane *i* gets up to `runs_per_lane[i]` runs
/// of free pages; other lanes get none.
pub fn open(edit: &mut Edit, runs_per_lane: &[usize]) -> Growing {
    let relation = edit.relation();
    let segment = edit.new_segment();
    let stamp = Stamp { kind: PageKind::Lane, segment, generation: edit.generation() as u32 };
    let count = if relation.is_temporary() { 1 } else { LANES };
    let pages = edit.allocate(count as u64);
    let mut runs_per_lane = runs_per_lane.iter();
    for block in pages.blocks() {
        let runs = std::iter::from_fn(|| edit.allocate_run(RUN_PAGES));
        let most = runs_per_lane.next().map_or(0, |&runs| runs.min(MAX_SPARE_RUNS));
        let root = Root::new(runs.take(most).collect());
        Pinned::overwrite(relation, block).fill(|page| {
            page::format(page, stamp);
            root.write(page);
        });
    }
    for extent in pages.iter() {
        log_new_pages(relation, extent.start, extent.pages);
    }
    Growing { segment, lanes: pages.blocks().collect(), opened: now() }
}

/// Rows in all lanes, dead ones included.
pub fn rows(relation: Relation, growing: &Growing) -> u64 {
    growing.lanes.iter().map(|&block| u64::from(read_root(relation, block, growing.segment).rows)).sum()
}

/// Whether nothing was ever written to a page of a growing segment but its stamp. An error leaves
/// such a page: a lane's root before its segment was published, or the last one of an appended run
/// before the lane listed it.
pub fn is_unused(page: &Page) -> bool {
    let is_unused_root = |root: Root| {
        !root.is_frozen && root.rows == 0 && root.group_runs.is_empty() && root.row_runs.is_empty()
    };
    page::is_of(page, PageKind::Lane) && Root::read(page::payload(page)).is_some_and(is_unused_root)
        || page::is_of(page, PageKind::GrowingRows) && page::payload(page).iter().all(|&byte| byte == 0)
}

/// Closes every lane to writers. A writer that holds a lane's lock finishes first.
pub fn freeze(relation: Relation, growing: &Growing) {
    for &block in &growing.lanes {
        let buffer = Pinned::read(relation, block).exclusive();
        let mut root = root_of(relation, block, growing.segment, &buffer);
        root.is_frozen = true;
        let mut record = Record::begin(relation);
        record.edit(&buffer, false, |page| root.write(page));
        record.commit();
    }
}

/// Every page of the segment.
pub fn extents(relation: Relation, growing: &Growing) -> Vec<Extent> {
    let mut extents = Vec::new();
    for &block in &growing.lanes {
        let root = read_root(relation, block, growing.segment);
        extents.push(Extent { start: block, pages: 1 });
        let runs = root.group_runs.iter().chain(&root.row_runs).chain(&root.spare_runs);
        extents.extend(runs.map(|&start| Extent { start, pages: RUN_PAGES }));
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::buffer::PAGE_SIZE;

    #[test]
    fn a_page_with_rows_or_runs_is_in_use() {
        let mut page = [0; PAGE_SIZE];
        assert!(!is_unused(&page), "a blank page");
        page::format(&mut page, Stamp { kind: PageKind::Lane, segment: 3, generation: 1 });
        let mut root = Root::new(vec![100]);
        root.write(&mut page);
        assert!(is_unused(&page));
        root.row_runs.push(116);
        root.write(&mut page);
        assert!(!is_unused(&page));
        page::format(&mut page, Stamp { kind: PageKind::Vectors, segment: 3, generation: 1 });
        assert!(!is_unused(&page), "a page of another kind");
        page::format(&mut page, Stamp { kind: PageKind::GrowingRows, segment: 3, generation: 0 });
        assert!(is_unused(&page));
        page::payload_mut(&mut page)[9] = 1;
        assert!(!is_unused(&page), "a page with rows");
    }
}
