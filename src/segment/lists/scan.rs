//! Estimates of a list's rows, block by block.

use super::bytes::ByteLayout;
use crate::codec::fastscan::BLOCK;
use crate::codec::rabitq::Query;
use crate::codec::scalar;
use crate::distance::Space;
use crate::filter::Bitset;
use crate::segment::block::{BlockLayout, Centre};
use crate::storage::meta::Quantizer;
use crate::storage::part::PartReader;
use std::ops::Range;

/// A row of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The segment's number in the manifest.
    pub segment: u32,
    pub row: u32,
    /// What it was encoded against, among those that this search has met.
    pub centre: u32,
    /// Whether its fine code was looked at, or there is none.
    pub is_refined: bool,
}

/// A list that was scanned in one segment.
pub struct Scan {
    /// The segment's number in the manifest.
    pub segment: u32,
    pub rows: Range<u32>,
    pub centre: u32,
    /// Whether its rows have no fine codes.
    pub is_refined: bool,
    /// For each block the limit under which its rows were offered (see [`crate::rerank::Reranker::offer`]).
    pub limits: Vec<f32>,
}

/// How a segment's rows are encoded.
pub enum Codes {
    /// In blocks of single bits, which the query's tables are for.
    Bits(BlockLayout),
    /// In a byte a dimension, row by row.
    Bytes(ByteLayout, scalar::Query),
}

impl Codes {
    /// `vector` is the query (see [`crate::segment::encoder::widen`]).
    pub fn new(space: Space, quantizer: Quantizer, vector: &[f32]) -> Self {
        match (quantizer, ByteLayout::new(space)) {
            (Quantizer::Sq8, Some(layout)) => Codes::Bytes(layout, scalar::Query::new(vector)),
            _ => Codes::Bits(BlockLayout::new(space.dims as usize)),
        }
    }
}

impl Scan {
    /// Calls `visit` with estimates and errors of 32 rows or fewer at a time, the bits of those that are `wanted`, if not
    /// all are, and what tells the rows by their place. Blocks without rows that are wanted are left out.
    pub fn for_each_block(
        &self,
        reader: &mut PartReader,
        codes: &Codes,
        tables: &Query,
        centre: Centre,
        wanted: Option<&Bitset>,
        mut visit: impl FnMut(&[f32], &[f32], u32, &dyn Fn(usize) -> Row),
    ) {
        let row_at = |from: u32| {
            let (segment, centre, is_refined) = (self.segment, self.centre, self.is_refined);
            move |place: usize| Row { segment, row: from + place as u32, centre, is_refined }
        };
        let bits = |from: u32| wanted.map_or(u32::MAX, |wanted| wanted.bits_from(from as usize));
        let has_wanted =
            |from: u32, to: u32| wanted.is_none_or(|wanted| wanted.has_any_in(from as usize..to as usize));
        let block_rows = BLOCK as u32;
        match codes {
            Codes::Bits(layout) => {
                let blocks =
                    (self.rows.start / block_rows..self.rows.end.div_ceil(block_rows)).filter(|block| {
                        let first = block * block_rows;
                        has_wanted(self.rows.start.max(first), self.rows.end.min(first + block_rows))
                    });
                reader.for_each_row(&blocks.collect::<Vec<_>>(), layout.bytes(), |block, bytes| {
                    pgrx::check_for_interrupts!();
                    let first = block * block_rows;
                    let estimates = layout.estimate(bytes, tables, centre);
                    let estimates = estimates.expect("a row of as many bytes as were asked for");
                    let from = self.rows.start.max(first);
                    let places = (from - first) as usize..(self.rows.end - first).min(block_rows) as usize;
                    visit(
                        &estimates.scores[places.clone()],
                        &estimates.errors[places],
                        bits(from),
                        &row_at(from),
                    );
                });
            }
            Codes::Bytes(layout, query) => {
                for from in self.rows.clone().step_by(BLOCK) {
                    pgrx::check_for_interrupts!();
                    if !has_wanted(from, self.rows.end.min(from + block_rows)) {
                        continue;
                    }
                    let (mut scores, mut errors) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
                    for row in from..self.rows.end.min(from + block_rows) {
                        let estimate = layout.estimate(reader.row(row.into(), layout.bytes()), query);
                        let (score, error) = estimate.expect("a row of as many bytes as were asked for");
                        scores.push(score);
                        errors.push(error);
                    }
                    visit(&scores, &errors, bits(from), &row_at(from));
                }
            }
        }
    }
}
