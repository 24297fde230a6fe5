//! The rows of a segment with lists in no particular order, list by list.

use super::scan::{Entries, ListQuery, Scan, Scanned, Scans, Seen};
use crate::codec::encoder::CodedQuery;
use crate::codec::layout::block::Centre;
use crate::memory;
use crate::search::rerank::Work;
use crate::segment::lists::codebook::CentroidReader;
use crate::segment::request::HeapRows;
use crate::segment::structures::{RangeView, SegmentListing};
use crate::segment::threshold::{Listed, ROWS, Verdict};
use crate::segment::vectors::{self, VectorPlace};
use crate::storage::parts::ListParts;
use crate::structure::PageKind;

/// A list of a segment that is listed, and what the query knows of it.
#[derive(Clone, Copy)]
struct ListView<'a> {
    view: RangeView<'a>,
    parts: &'a ListParts,
    /// The query's numbers.
    vector: &'a [f32],
    /// The query for the segment's codes.
    coded: &'a CodedQuery,
}

/// A listing of one segment, list by list.
pub struct ListListing {
    /// The query for the segment's codes, if these have a shift.
    shifted: Option<CodedQuery>,
    next: u32,
}

impl ListListing {
    pub fn new(view: RangeView) -> Self {
        let RangeView { sealed, snapshot, .. } = view;
        let parts = sealed.lists();
        let shifted = view.coded.filter(|_| parts.codes.is_some()).and_then(|coded| {
            CentroidReader::of(sealed.pages(), snapshot, parts)?.shifted(&snapshot.meta, coded)
        });
        Self { shifted, next: 0 }
    }
}

impl SegmentListing for ListListing {
    fn next(&mut self, view: RangeView, heap: &mut HeapRows, visit: &mut dyn FnMut(u32, f64)) -> Listed {
        let coded = view.coded.expect("an index with lists has it");
        let parts = view.sealed.lists();
        let shifted = self.shifted.as_ref().unwrap_or(coded);
        let list = self.next;
        self.next += 1;
        self::list(ListView { view, parts, vector: &coded.vector, coded: shifted }, list, heap, visit)
    }
}

impl ListView<'_> {
    /// The entries of a list, and whether it is the segment's last.
    fn entries(self, list: u32) -> (std::ops::Range<u32>, bool) {
        let RangeView { sealed, snapshot, .. } = self.view;
        let lists = snapshot.lists_of(self.parts);
        let mut starts = sealed.part(&self.parts.starts, PageKind::ListStarts);
        let mut start = |list: u32| {
            let slot = starts.slot(list.into()).first_chunk();
            slot.map_or(u32::MAX, |&bytes| u32::from_ne_bytes(bytes))
        };
        let range = start(list)..start(list + 1);
        if range.end > sealed.rows || range.start > range.end {
            let detail =
                format!("List {list} has entries {range:?}, but the segment has {} rows.", sealed.rows);
            sealed.corrupt(detail);
        }
        (range, list + 1 == lists)
    }

    /// What the query knows of a list's centre.
    fn centre(self, list: u32) -> Centre {
        let RangeView { sealed, snapshot, .. } = self.view;
        let metric = snapshot.meta.space.metric;
        match CentroidReader::of(sealed.pages(), snapshot, self.parts) {
            Some(mut centroids) => Centre::new(metric, self.vector, centroids.vector(list)),
            None => Centre::origin(metric, self.vector),
        }
    }
}

/// Calls `visit` with the matching rows of a list within a score, and with some beyond it unless
/// scores are requested.
fn list(source: ListView, list: u32, heap: &mut HeapRows, visit: &mut dyn FnMut(u32, f64)) -> Listed {
    let ListView { view, parts, coded, .. } = source;
    let RangeView { sealed, snapshot, matching, threshold, .. } = view;
    let (range, is_last) = source.entries(list);
    let mut work = Work::default();
    let mut unknown = Vec::new();
    if parts.codes.is_none() {
        let matches = |row: &u32| matching.is_none_or(|matching| matching.has(*row as usize));
        memory::reserve(&mut unknown, range.len(), ROWS);
        unknown.extend(range.filter(matches));
    } else if !range.is_empty() {
        let meta = &snapshot.meta;
        let centre = source.centre(list);
        let scan = Scan { segment: 0, entries: Entries::Own, range, centre: 0, limits: Vec::new() };
        let scanned = Scanned { sealed, parts, matching };
        let scans = Scans { scanned, scans: &[scan], centres: &[centre] };
        let codes = ListQuery::new(meta.space, meta.quantizer, source.vector);
        scans.for_each_block(
            &codes,
            &coded.tables,
            |Seen { scores, errors, matching: bits, row, .. }| {
                work.estimated += scores.len() as u64;
                threshold.sort_out(scores, errors, bits, |place, verdict| match verdict {
                    Verdict::Within => visit(row(place).row, f64::NAN),
                    Verdict::Beyond => {}
                    Verdict::Unknown => memory::push(&mut unknown, row(place).row, ROWS),
                });
            },
        );
    }
    if parts.vectors.is_none() && !threshold.exact {
        unknown.into_iter().for_each(|row| visit(row, f64::NAN));
        return Listed { is_last, work };
    }
    work.compared += unknown.len() as u64;
    let unknown: Vec<(u32, u32)> = unknown.into_iter().map(|row| (row, row)).collect();
    let place = parts.vectors.as_ref().map(|part| VectorPlace::Rows { part, offsets: None });
    vectors::compare(sealed, view.query, place, &unknown, heap, |position, score| {
        if threshold.admits(score) {
            visit(unknown[position].0, score);
        }
    });
    Listed { is_last, work }
}
