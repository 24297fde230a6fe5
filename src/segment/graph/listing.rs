//! The rows of a segment with a graph in no particular order.

use super::flat::{Blocks, NodeEstimates, wanted_rows};
use super::source::Source;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::block::Estimates;
use crate::memory;
use crate::search::rerank::Work;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::request::HeapRows;
use crate::segment::threshold::{Listed, ROWS, Threshold, Verdict};
use std::ops::Range;

/// Calls `visit` with the rows of a stretch that are wanted and lie within a score, and with some
/// beyond it unless scores are asked for.
pub fn list(
    source: Source,
    stretch: Range<u32>,
    threshold: Threshold,
    heap: &mut HeapRows,
    visit: &mut dyn FnMut(u32, f64),
) -> Listed {
    let is_last = stretch.end == source.sealed.rows;
    let mut work = Work::default();
    let mut unknown = Vec::new();
    match source.coded {
        None => unknown = wanted_rows(source, stretch),
        Some(_) => {
            let mut sort_out = |row: u32, verdict: Verdict| match verdict {
                Verdict::Within => visit(row, f64::NAN),
                Verdict::Beyond => {}
                Verdict::Unknown => memory::push(&mut unknown, row, ROWS),
            };
            if let Some(query) = source.node_query {
                let mut nodes = NodeEstimates::new(source, query);
                for rows in wanted_rows(source, stretch).chunks(BLOCK) {
                    work.estimated += rows.len() as u64;
                    let Estimates { scores, errors } = nodes.estimate(rows);
                    let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                    threshold.sort_out(scores, errors, u32::MAX, |place, verdict| {
                        sort_out(rows[place], verdict);
                    });
                }
            } else {
                let (blocks, mut reader) = Blocks::of(source, stretch);
                blocks.for_each(&mut reader, |Estimates { scores, errors }, rows, wanted| {
                    work.estimated += rows.len() as u64;
                    let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                    threshold.sort_out(scores, errors, wanted, |place, verdict| {
                        sort_out((rows.start + place) as u32, verdict);
                    });
                });
            }
        }
    }
    if NodeLayout::of(source.meta).vectors(source.parts).is_none() && !threshold.exact {
        unknown.into_iter().for_each(|row| visit(row, f64::NAN));
        return Listed { is_last, work };
    }
    work.compared += unknown.len() as u64;
    let mut node_rows = source.rows();
    let unknown: Vec<(u32, u32)> = unknown.into_iter().map(|row| (row, node_rows.node(row))).collect();
    source.compare(heap, &unknown, |row, score| {
        if threshold.admits(score) {
            visit(row, score);
        }
    });
    Listed { is_last, work }
}
