//! Estimates of a list's rows, block by block.

use crate::codec::fastscan::BLOCK;
use crate::codec::layout::RowQuery;
use crate::codec::layout::block::{BlockLayout, Centre};
use crate::codec::layout::spill::SpillBlocks;
use crate::codec::quantizer::ListCodes;
use crate::codec::rabitq::Query;
use crate::distance::Space;
use crate::filter::Bitset;
use crate::segment::estimates::for_each_estimate;
use crate::storage::part_reader::PartReader;
use crate::storage::parts::ListParts;
use crate::storage::sealed::SealedRef;
use crate::structure::PageKind;
use crate::structure::Quantizer;
use std::ops::Range;

/// A row of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedRow {
    /// The segment's number in the manifest.
    pub segment: u32,
    pub row: u32,
    /// Its own list's centre, among those that this search has met, if it was met in its own list.
    pub centre: Option<u32>,
    /// Whether its fine code was used, or there is none.
    pub is_refined: bool,
}

/// In which of its lists a row is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entries {
    /// In its own: entries are rows.
    Own,
    /// In its second one.
    Second,
}

/// A segment as a scan sees it.
#[derive(Clone, Copy)]
pub struct Scanned<'a> {
    pub sealed: SealedRef<'a>,
    pub parts: &'a ListParts,
    /// The matching rows; `None` for all.
    pub matching: Option<&'a Bitset>,
}

/// A list that was scanned in one segment.
pub struct Scan {
    /// The segment's number in the manifest.
    pub segment: u32,
    pub entries: Entries,
    pub range: Range<u32>,
    pub centre: u32,
    /// For each block the limit under which its rows were offered (see
    /// [`crate::search::rerank::Reranker::offer`]).
    pub limits: Vec<f32>,
}

/// A query for the codes of rows in lists.
pub enum ListQuery {
    None,
    /// In blocks of single bits, which the query's tables are for.
    Blocks(BlockLayout, SpillBlocks),
    /// Of `bytes` bytes for each row.
    Rows {
        bytes: usize,
        query: Box<dyn RowQuery>,
    },
}

impl ListQuery {
    /// `vector` is the query (see [`crate::codec::encoder::widen`]).
    pub fn new(space: Space, quantizer: Quantizer, vector: &[f32]) -> Self {
        match ListCodes::new(space, quantizer) {
            ListCodes::None => ListQuery::None,
            ListCodes::Blocks(layout) => ListQuery::Blocks(layout, SpillBlocks::new(space.dims as usize)),
            ListCodes::Rows(code) => ListQuery::Rows { bytes: code.bytes(), query: code.query(vector) },
        }
    }
}

/// Estimates of 32 entries or fewer that follow one another.
pub struct Seen<'a> {
    /// Which of the scans they are of.
    pub scan: usize,
    pub scores: &'a [f32],
    pub errors: &'a [f32],
    /// The bits of those whose rows match.
    pub matching: u32,
    /// Returns the row at a place.
    pub row: &'a dyn Fn(usize) -> ListedRow,
}

/// Lists of one segment that are scanned one after another, all in their own entries or all in
/// their second ones. The next blocks are loaded from memory while one is estimated.
#[derive(Clone, Copy)]
pub struct Scans<'a> {
    pub scanned: Scanned<'a>,
    pub scans: &'a [Scan],
    /// Of all scans of the search.
    pub centres: &'a [Centre],
}

impl Scans<'_> {
    /// Calls `visit` with all entries, block by block. Blocks without matching rows may be left
    /// out.
    pub fn for_each_block(self, codes: &ListQuery, tables: &Query, visit: impl FnMut(Seen)) {
        let Some(Scan { entries, .. }) = self.scans.first() else { return };
        match (codes, entries) {
            (ListQuery::None, _) => self.scanned.sealed.corrupt("It has codes, but the index has none."),
            (ListQuery::Blocks(layout, _), Entries::Own) => self.for_each_own(*layout, tables, visit),
            (ListQuery::Blocks(_, layout), Entries::Second) => self.for_each_spilled(*layout, tables, visit),
            (ListQuery::Rows { bytes, query }, _) => self.for_each_row(*bytes, &**query, visit),
        }
    }

    fn codes(&self) -> PartReader<'_> {
        let Scanned { sealed, parts, .. } = self.scanned;
        let codes = parts.codes.as_ref().expect("what has no codes is not scanned by them");
        sealed.part(codes, PageKind::ListCodes)
    }

    /// The blocks with entries that are scanned: the number of the scan, and the block.
    fn blocks(&self) -> impl Iterator<Item = (usize, u32)> {
        let of_scan = |scan: &Scan| scan.range.start / BLOCK as u32..scan.range.end.div_ceil(BLOCK as u32);
        self.scans
            .iter()
            .enumerate()
            .flat_map(move |(number, scan)| of_scan(scan).map(move |block| (number, block)))
    }

    fn for_each_own(self, layout: BlockLayout, tables: &Query, mut visit: impl FnMut(Seen)) {
        let has_matching = |&(number, block): &(usize, u32)| {
            let entries = self.scans[number].of_block(block);
            self.scanned.has_matching(entries.start, entries.end)
        };
        let (numbers, blocks): (Vec<usize>, Vec<u32>) = self.blocks().filter(has_matching).unzip();
        let centre_of = |place: usize| self.centres[self.scans[numbers[place]].centre as usize];
        let mut reader = self.codes();
        for_each_estimate(&mut reader, layout, &blocks, tables, centre_of, |place, _, estimates| {
            self.scanned.sealed.poll();
            let (number, block) = (numbers[place], blocks[place]);
            let scan = &self.scans[number];
            let entries = scan.of_block(block);
            let places = places(&entries);
            visit(Seen {
                scan: number,
                scores: &estimates.scores[places.clone()],
                errors: &estimates.errors[places],
                matching: self.scanned.bits(entries.start),
                row: &self.own_row(scan, entries.start),
            });
        });
    }

    fn for_each_spilled(self, layout: SpillBlocks, tables: &Query, mut visit: impl FnMut(Seen)) {
        let Scanned { sealed, parts, .. } = self.scanned;
        let spill = parts.spill.as_ref().expect("its rows are in second lists");
        let is_refined = parts.fine.is_none();
        let (numbers, blocks): (Vec<usize>, Vec<u32>) = self.blocks().unzip();
        let centre_of = |place: usize| self.centres[self.scans[numbers[place]].centre as usize];
        let mut reader = sealed.part(&spill.codes, PageKind::SpillCodes);
        for_each_estimate(&mut reader, layout, &blocks, tables, centre_of, |place, bytes, estimates| {
            self.scanned.sealed.poll();
            let (number, block) = (numbers[place], blocks[place]);
            let scan = &self.scans[number];
            let ordinals = layout.ordinals(bytes).expect("a block of as many bytes as were asked for");
            let places = places(&scan.of_block(block));
            let ordinals = &ordinals[places.clone()];
            if let Some(row) = ordinals.iter().find(|&&row| row >= sealed.rows) {
                sealed.corrupt(format!("Block {block} of the second lists has an entry of row {row}."));
            }
            let row = |place: usize| ListedRow {
                segment: scan.segment,
                row: ordinals[place],
                centre: None,
                is_refined,
            };
            visit(Seen {
                scan: number,
                scores: &estimates.scores[places.clone()],
                errors: &estimates.errors[places],
                matching: self.scanned.bits_of(ordinals),
                row: &row,
            });
        });
    }

    fn for_each_row(self, bytes: usize, query: &dyn RowQuery, mut visit: impl FnMut(Seen)) {
        let mut reader = self.codes();
        for (number, scan) in self.scans.iter().enumerate() {
            for from in scan.range.clone().step_by(BLOCK) {
                self.scanned.sealed.poll();
                let to = scan.range.end.min(from + BLOCK as u32);
                if !self.scanned.has_matching(from, to) {
                    continue;
                }
                let (mut scores, mut errors) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
                for row in from..to {
                    let estimate = query.estimate(reader.row(row.into(), bytes));
                    let (score, error) = estimate.expect("a row of as many bytes as were asked for");
                    scores.push(score);
                    errors.push(error);
                }
                let (matching, row) = (self.scanned.bits(from), &self.own_row(scan, from));
                visit(Seen { scan: number, scores: &scores, errors: &errors, matching, row });
            }
        }
    }

    /// Returns the row of a scan at a distance from row `from`.
    fn own_row(&self, scan: &Scan, from: u32) -> impl Fn(usize) -> ListedRow + use<> {
        let (segment, centre) = (scan.segment, Some(scan.centre));
        let is_refined = self.scanned.parts.fine.is_none();
        move |place: usize| ListedRow { segment, row: from + place as u32, centre, is_refined }
    }
}

impl Scan {
    /// The entries of a block that are of the list.
    fn of_block(&self, block: u32) -> Range<u32> {
        let first = block * BLOCK as u32;
        self.range.start.max(first)..self.range.end.min(first + BLOCK as u32)
    }
}

/// Where entries are in their block.
fn places(entries: &Range<u32>) -> Range<usize> {
    let first = entries.start as usize % BLOCK;
    first..first + entries.len()
}

impl Scanned<'_> {
    fn has_matching(&self, from: u32, to: u32) -> bool {
        self.matching.is_none_or(|matching| matching.has_any_in(from as usize..to as usize))
    }

    /// The bits of the matching rows among 32 from `from` on.
    fn bits(&self, from: u32) -> u32 {
        self.matching.map_or(u32::MAX, |matching| matching.bits_from(from as usize))
    }

    /// The bits of the matching rows among 32 or fewer.
    fn bits_of(&self, rows: &[u32]) -> u32 {
        let bit = |matching: &Bitset, row: u32| u32::from(matching.has(row as usize));
        self.matching.map_or(u32::MAX, |matching| {
            rows.iter().zip(0..).fold(0, |bits, (&row, place)| bits | bit(matching, row) << place)
        })
    }
}
