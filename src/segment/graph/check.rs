//! What must hold of a segment with a graph: neighbours, duplicates and, if requested, the codes of
//! nodes or neighbours.

use super::layout::NodeLayout;
use super::stored::StoredGraph;
use super::wide::SlotLayout;
use crate::codec::encoder::Encoder;
use crate::codec::layout::CodeLayout;
use crate::segment::columns::StoredColumns;
use crate::segment::findings::{Findings, RowVisitor};
use crate::segment::graph::node_codes::NodeCodes;
use crate::segment::rows::NodeRows;
use crate::storage::meta::Meta;
use crate::storage::parts::{GraphParts, Parts};
use crate::storage::sealed::SealedRef;
use crate::structure::GraphOptions;
use crate::structure::PageKind;
use std::collections::HashSet;

/// Adds what is wrong with a segment to the findings; `deep` also computes those codes again.
pub fn check(options: GraphOptions, findings: &mut Findings, sealed: SealedRef, meta: &Meta, deep: bool) {
    let Parts::Graph(parts) = &sealed.segment().parts else {
        return findings.of_segment(sealed.id, "it has another structure than the index");
    };
    let mut graph = StoredGraph::new(sealed, meta, options);
    for node in 0..parts.nodes {
        sealed.poll();
        for layer in 0..=graph.level(node) {
            let (kind, degree) = if layer == 0 {
                (PageKind::GraphBase, 2 * options.m)
            } else {
                (PageKind::GraphUpper, options.m)
            };
            let neighbours = graph.try_neighbours(layer, node).filter(|n| n.len() <= degree.into());
            let unique: Option<HashSet<u32>> = neighbours.as_ref().map(|n| n.iter().copied().collect());
            let are_valid = unique.zip(neighbours).is_some_and(|(unique, neighbours)| {
                unique.len() == neighbours.len() && !unique.contains(&node)
            });
            if !are_valid {
                let text = format!("the neighbours of node {node} on layer {layer} are invalid");
                findings.of_part(sealed.id, kind, text);
            }
        }
    }
    check_duplicates(findings, sealed, parts);
    if deep && let Some(encoder) = Encoder::new(meta.space, meta.seed) {
        match NodeLayout::new(meta.space, options, meta.quantizer) {
            NodeLayout::Wide { base, upper } => {
                check_slots(findings, sealed, parts, &mut graph, [base, upper], &encoder);
            }
            NodeLayout::Compact { codes, .. } => {
                check_node_codes(findings, sealed, parts, &mut graph, codes, &encoder);
            }
            NodeLayout::Plain => {}
        }
    }
}

fn check_duplicates(findings: &mut Findings, sealed: SealedRef, parts: &GraphParts) {
    let mut duplicates = sealed.part(&parts.duplicates, PageKind::Duplicates);
    let mut last = 0;
    for row in 0..sealed.rows.saturating_sub(parts.nodes) {
        let node = u32::from_ne_bytes(duplicates.slot(row.into()).try_into().unwrap_or_default());
        if node < last || node >= parts.nodes {
            let text = format!("row {} cannot be a duplicate of node {node}", row + parts.nodes);
            findings.of_part(sealed.id, PageKind::Duplicates, text);
        }
        last = node;
    }
}

/// Encodes the neighbours of every node again.
fn check_slots(
    findings: &mut Findings,
    sealed: SealedRef,
    parts: &GraphParts,
    graph: &mut StoredGraph,
    [base, upper]: [SlotLayout; 2],
    encoder: &Encoder,
) {
    for node in 0..parts.nodes {
        sealed.poll();
        for layer in 0..=graph.level(node) {
            let (kind, layout) =
                if layer == 0 { (PageKind::GraphBase, base) } else { (PageKind::GraphUpper, upper) };
            let Some(neighbours) = graph.try_neighbours(layer, node) else { continue };
            let stored = graph.slot(layer, node).to_vec();
            let mut vector = |node: u32| {
                let mut copy = Vec::new();
                graph.vector(node, |row| copy.extend_from_slice(row));
                copy
            };
            let row = vector(node);
            let rotated = neighbours.iter().map(|&other| (other, encoder.rotate(&vector(other))));
            let mut encoded = vec![0; layout.bytes()];
            encoder.encode_slot(layout, &row, &encoder.rotate(&row), rotated, &mut encoded);
            if !layout.equals_up_to_rounding(&stored, &encoded) {
                let text = format!("the codes of node {node} on layer {layer} are not its neighbours'");
                findings.of_part(sealed.id, kind, text);
            }
        }
    }
}

/// Encodes every node again whose vector is in the index.
fn check_node_codes(
    findings: &mut Findings,
    sealed: SealedRef,
    parts: &GraphParts,
    graph: &mut StoredGraph,
    codes: NodeCodes,
    encoder: &Encoder,
) {
    let nodes = if graph.has_vectors() { parts.nodes } else { 0 };
    let mut encoded = vec![0; codes.bytes()];
    for node in 0..nodes {
        sealed.poll();
        graph.vector(node, |row| codes.encode(encoder, &encoder.rotate(row), &mut encoded));
        if !graph.code(node).is_some_and(|code| codes.equals_up_to_rounding(code, &encoded)) {
            findings.of_part(
                sealed.id,
                PageKind::NodeCodes,
                format!("the code of node {node} is not its vector's"),
            );
        }
    }
}

/// Calls `visit` with every live row, and returns what it finds wrong.
pub fn visit_rows(
    options: GraphOptions,
    sealed: SealedRef,
    meta: &Meta,
    visit: &mut RowVisitor,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut columns = StoredColumns::new(sealed);
    let mut graph = StoredGraph::new(sealed, meta, options);
    let mut rows = NodeRows::new(sealed, sealed.graph());
    for node in 0..sealed.graph().nodes {
        sealed.poll();
        let mut live = Vec::new();
        rows.for_each_live(node, |row, tid| live.push((tid, columns.attributes(row))));
        let mut visit_all = |row: Option<&[u8]>| {
            for (tid, attributes) in &live {
                wrong.extend(visit(*tid, row, attributes));
            }
        };
        if graph.has_vectors() {
            graph.vector(node, |row| visit_all(Some(row)));
        } else {
            visit_all(None);
        }
    }
    wrong
}
