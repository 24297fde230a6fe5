//! The growing segment: rows are appended, searched by scan, and one day sealed.
//!
//! Writers are spread over several *lanes*, so that they do not queue on one page. A lane has a root page, pages of
//! [`group`]s (heap tuples and codes) and pages of rows. Invariants:
//! - A row is published by the record that raises the root's `rows`; what it says then is never changed, only its
//!   tombstone is set.
//! - Every page that a root lists exists after a crash and on a standby: the record that lists a page writes it, or a
//!   later page of the same run, so that replay extends the file at least as far.
//! - A lane is written under its root's exclusive lock, and never after the root was frozen.

mod append;
mod group;
mod read;
pub mod search;

pub use append::{Append, append, encoder};
pub use read::{bury, for_each_row, for_each_tid};

use crate::pg::buffer::{Page, Pinned};
use crate::pg::error::Problem;
use crate::pg::process::now;
use crate::pg::relation::Relation;
use crate::pg::wal::{Record, log_new_pages};
use crate::storage::edit::Edit;
use crate::storage::extent::Extent;
use crate::storage::meta::Growing;
use crate::storage::page::{self, Kind, PAYLOAD, Stamp};
use crate::storage::part::lost;
use bytemuck::{Pod, Zeroable};

/// Lanes of a growing segment; a temporary table has one writer only.
pub(super) const LANES: usize = 4;
/// Pages by which a lane grows.
const RUN_PAGES: u32 = 16;
/// Rows on a tape begin at multiples of so many bytes.
const TAPE_ALIGNMENT: usize = 8;
const MAX_GROUP_RUNS: usize = 256;
const MAX_ROW_RUNS: usize = 880;
const MAX_SPARE_RUNS: usize = 880;

/// Content of a lane's root page.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Root {
    /// Not zero: the segment is being sealed, nothing may be appended.
    frozen: u32,
    rows: u32,
    /// Bytes used of the tape, for rows that lie on one.
    tape: u64,
    group_run_count: u32,
    row_run_count: u32,
    spare_run_count: u32,
    _reserved: u32,
    /// First block of each run of pages.
    group_runs: [u32; MAX_GROUP_RUNS],
    row_runs: [u32; MAX_ROW_RUNS],
    /// Runs that an earlier segment has left: they are used up before the relation is extended.
    spare_runs: [u32; MAX_SPARE_RUNS],
}

const _: () = assert!(size_of::<Root>() <= PAYLOAD);

impl Root {
    fn group_runs(&self) -> &[u32] {
        &self.group_runs[..self.group_run_count as usize]
    }

    fn row_runs(&self) -> &[u32] {
        &self.row_runs[..self.row_run_count as usize]
    }

    fn spare_runs(&self) -> &[u32] {
        &self.spare_runs[..self.spare_run_count as usize]
    }

    /// Counts within bounds, as everything else relies on.
    fn is_sane(&self) -> bool {
        self.group_run_count as usize <= MAX_GROUP_RUNS
            && self.row_run_count as usize <= MAX_ROW_RUNS
            && self.spare_run_count as usize <= MAX_SPARE_RUNS
    }
}

/// The block of a page that lies in runs; `None` if there is no such page.
fn block_in(runs: &[u32], page: usize) -> Option<u32> {
    let run = runs.get(page / RUN_PAGES as usize)?;
    Some(run + (page % RUN_PAGES as usize) as u32)
}

fn root_of(relation: Relation, block: u32, segment: u32, page: &Page) -> Box<Root> {
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

/// Runs of pages that the fullest lane of a segment uses.
pub fn runs(relation: Relation, growing: &Growing) -> usize {
    let used = |&block| {
        let root = read_root(relation, block, growing.segment);
        (root.group_run_count + root.row_run_count) as usize
    };
    growing.lanes.iter().map(used).max().unwrap_or(0)
}

/// Opens a new growing segment in the next generation, with up to `spare` runs of free pages for each lane.
pub fn open(edit: &mut Edit, spare: usize) -> Growing {
    let relation = edit.relation();
    let segment = edit.new_segment();
    let stamp = Stamp { kind: Kind::Lane, segment, generation: edit.generation() as u32 };
    let count = if relation.is_temporary() { 1 } else { LANES };
    let pages = edit.allocate(count as u64);
    for block in pages.blocks() {
        let mut root = Box::<Root>::new(Zeroable::zeroed());
        let runs = std::iter::from_fn(|| edit.allocate_run(RUN_PAGES));
        for (slot, run) in root.spare_runs.iter_mut().zip(runs.take(spare)) {
            *slot = run;
            root.spare_run_count += 1;
        }
        Pinned::overwrite(relation, block).fill(|page| {
            page::format(page, stamp);
            put_root(page, &root);
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

fn put_root(page: &mut Page, root: &Root) {
    page::payload_mut(page)[..size_of::<Root>()].copy_from_slice(bytemuck::bytes_of(root));
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
        extents.push(Extent { start: block, pages: 1 });
        let runs = root.group_runs().iter().chain(root.row_runs()).chain(root.spare_runs());
        extents.extend(runs.map(|&start| Extent { start, pages: RUN_PAGES }));
    }
    extents
}
