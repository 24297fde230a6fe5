//! The rows of a segment with a graph in no particular order.

use super::flat::{Blocks, NodeEstimates, matching_rows};
use super::view::GraphView;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::block::Estimates;
use crate::memory;
use crate::search::rerank::Work;
use crate::segment::graph::layout::NodeLayout;
use crate::segment::graph::node_codes::NodeQuery;
use crate::segment::request::HeapRows;
use crate::segment::structures::{RangeView, SegmentListing};
use crate::segment::threshold::{Listed, ROWS, STRETCH, Threshold, Verdict};
use crate::structure::GraphOptions;
use std::ops::Range;

/// A listing of one segment.
pub struct GraphListing {
    layout: NodeLayout,
    node_query: Option<NodeQuery>,
    next: u32,
}

impl GraphListing {
    pub fn new(options: GraphOptions, view: RangeView) -> Self {
        let meta = &view.snapshot.meta;
        let layout = NodeLayout::new(meta.space, options, meta.quantizer);
        Self { layout, node_query: layout.node_query(meta.space, view.coded), next: 0 }
    }
}

impl SegmentListing for GraphListing {
    fn next(&mut self, view: RangeView, heap: &mut HeapRows, visit: &mut dyn FnMut(u32, f64)) -> Listed {
        let RangeView { sealed, snapshot, query, coded, matching, threshold } = view;
        let graph = GraphView {
            sealed,
            space: snapshot.meta.space,
            layout: self.layout,
            parts: sealed.graph(),
            query,
            coded,
            node_query: self.node_query.as_ref(),
            matching,
        };
        let stretch = self.next..sealed.rows.min(self.next.saturating_add(STRETCH));
        self.next = stretch.end;
        list(graph, stretch, threshold, heap, visit)
    }
}

/// Calls `visit` with the matching rows of a stretch within a score, and with some beyond it unless
/// scores are requested.
fn list(
    view: GraphView,
    stretch: Range<u32>,
    threshold: Threshold,
    heap: &mut HeapRows,
    visit: &mut dyn FnMut(u32, f64),
) -> Listed {
    let is_last = stretch.end == view.sealed.rows;
    let mut work = Work::default();
    let mut unknown = Vec::new();
    match view.coded {
        None => unknown = matching_rows(view, stretch),
        Some(_) => {
            let mut sort_out = |row: u32, verdict: Verdict| match verdict {
                Verdict::Within => visit(row, f64::NAN),
                Verdict::Beyond => {}
                Verdict::Unknown => memory::push(&mut unknown, row, ROWS),
            };
            if let Some(query) = view.node_query {
                let mut nodes = NodeEstimates::new(view, query);
                for rows in matching_rows(view, stretch).chunks(BLOCK) {
                    work.estimated += rows.len() as u64;
                    let Estimates { scores, errors } = nodes.estimate(rows);
                    let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                    threshold.sort_out(scores, errors, u32::MAX, |place, verdict| {
                        sort_out(rows[place], verdict);
                    });
                }
            } else {
                let (blocks, mut reader) = Blocks::of(view, stretch);
                blocks.for_each(&mut reader, |Estimates { scores, errors }, rows, matching| {
                    work.estimated += rows.len() as u64;
                    let (scores, errors) = (&scores[..rows.len()], &errors[..rows.len()]);
                    threshold.sort_out(scores, errors, matching, |place, verdict| {
                        sort_out((rows.start + place) as u32, verdict);
                    });
                });
            }
        }
    }
    if view.layout.vectors(view.parts).is_none() && !threshold.exact {
        unknown.into_iter().for_each(|row| visit(row, f64::NAN));
        return Listed { is_last, work };
    }
    work.compared += unknown.len() as u64;
    let mut node_rows = view.rows();
    let unknown: Vec<(u32, u32)> = unknown.into_iter().map(|row| (row, node_rows.node(row))).collect();
    view.compare(heap, &unknown, |row, score| {
        if threshold.admits(score) {
            visit(row, score);
        }
    });
    Listed { is_last, work }
}
