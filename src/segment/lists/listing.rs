//! The rows of a segment with lists in no particular order, list by list.

use super::scan::{Codes, Entries, Scan, Scanned, Scans, Seen};
use crate::codec::encoder::CodedQuery;
use crate::codec::layout::block::Centre;
use crate::distance::PreparedQuery;
use crate::filter::Bitset;
use crate::memory;
use crate::search::rerank::Work;
use crate::segment::lists::codebook::CentroidReader;
use crate::segment::request::HeapRows;
use crate::segment::rows::SealedRows;
use crate::segment::threshold::{Listed, ROWS, Threshold, Verdict};
use crate::segment::vectors::{Place, Vectors};
use crate::storage::manifest::ListParts;
use crate::storage::page::Kind;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;

/// What a listing reads.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub sealed: SealedRef<'a>,
    pub snapshot: &'a Snapshot,
    pub parts: &'a ListParts,
    pub query: &'a PreparedQuery,
    /// The query's numbers.
    pub vector: &'a [f32],
    /// The query for the segment's codes.
    pub coded: &'a CodedQuery,
    /// The rows that are wanted, if not all are.
    pub wanted: Option<&'a Bitset>,
}

impl Source<'_> {
    /// The entries of a list, and whether it is the segment's last.
    fn entries(self, list: u32) -> (std::ops::Range<u32>, bool) {
        let lists = self.snapshot.lists_of(self.parts);
        let mut starts = self.sealed.part(&self.parts.starts, Kind::Starts);
        let mut start = |list: u32| {
            let slot = starts.slot(list.into()).first_chunk();
            slot.map_or(u32::MAX, |&bytes| u32::from_ne_bytes(bytes))
        };
        let range = start(list)..start(list + 1);
        if range.end > self.sealed.rows || range.start > range.end {
            let detail = format!("List {list} would be entries {range:?} of {}.", self.sealed.rows);
            self.sealed.corrupt(detail);
        }
        (range, list + 1 == lists)
    }

    /// What the query knows of a list's centre.
    fn centre(self, list: u32) -> Centre {
        let metric = self.snapshot.meta.space.metric;
        match CentroidReader::of(self.sealed.pages(), self.snapshot, self.parts) {
            Some(mut centroids) => Centre::new(metric, self.vector, centroids.vector(list)),
            None => Centre::origin(metric, self.vector),
        }
    }
}

/// Calls `visit` with the rows of a list that are wanted and lie within a score, and with some
/// beyond it unless scores are asked for.
pub fn list(
    source: Source,
    list: u32,
    threshold: Threshold,
    heap: &mut HeapRows,
    visit: &mut dyn FnMut(u32, f64),
) -> Listed {
    let Source { sealed, snapshot, parts, coded, .. } = source;
    let (range, is_last) = source.entries(list);
    let mut work = Work::default();
    let mut unknown = Vec::new();
    if parts.codes.is_none() {
        let is_wanted = |row: &u32| source.wanted.is_none_or(|wanted| wanted.has(*row as usize));
        memory::reserve(&mut unknown, range.len(), ROWS);
        unknown.extend(range.filter(is_wanted));
    } else if !range.is_empty() {
        let meta = &snapshot.meta;
        let centre = source.centre(list);
        let scan = Scan { segment: 0, entries: Entries::Own, range, centre: 0, limits: Vec::new() };
        let scanned = Scanned { sealed, parts, wanted: source.wanted };
        let scans = Scans { scanned, scans: &[scan], centres: &[centre] };
        let codes = Codes::new(meta.space, meta.quantizer, source.vector);
        scans.for_each_block(&codes, &coded.tables, |Seen { scores, errors, wanted: bits, row, .. }| {
            work.estimated += scores.len() as u64;
            threshold.sort_out(scores, errors, bits, |place, verdict| match verdict {
                Verdict::Within => visit(row(place).row, f64::NAN),
                Verdict::Beyond => {}
                Verdict::Unknown => memory::push(&mut unknown, row(place).row, ROWS),
            });
        });
    }
    if parts.vectors.is_none() && !threshold.exact {
        unknown.into_iter().for_each(|row| visit(row, f64::NAN));
        return Listed { is_last, work };
    }
    work.compared += unknown.len() as u64;
    compare(source, &unknown, heap, |row, score| {
        if threshold.admits(score) {
            visit(row, score);
        }
    });
    Listed { is_last, work }
}

/// Calls `visit` with rows' exact scores.
fn compare(source: Source, rows: &[u32], heap: &mut HeapRows, mut visit: impl FnMut(u32, f64)) {
    let Source { sealed, parts, query, .. } = source;
    let mut visit = |row: u32, bytes: &[u8]| {
        let Some(score) = query.score(bytes) else {
            sealed.corrupt(format!("The vector of row {row} is invalid."))
        };
        visit(row, score);
    };
    match &parts.vectors {
        Some(vectors) => {
            let place = Place::Rows { part: vectors, offsets: None };
            Vectors::new(sealed, query.row_bytes(), place).for_each(rows, visit);
        }
        None => {
            let mut tids = SealedRows::new(sealed);
            for &row in rows {
                if let Some(tid) = tids.live_tid(row) {
                    heap(tid, &mut |bytes| visit(row, bytes));
                }
            }
        }
    }
}
