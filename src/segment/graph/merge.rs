//! Merging segments with graphs. The largest graph is taken over without its dead nodes, and the
//! other rows are inserted. If that is better, all rows get a new graph instead.

use super::seal::{GraphRows, PriorGraphLists, is_bulky};
use super::stored::StoredGraph;
use crate::segment::columns::StoredColumns;
use crate::segment::rows::NodeRows;
use crate::segment::{Entry, Plan};
use crate::storage::draft::Draft;
use crate::storage::manifest::Sealed;
use crate::storage::meta::Meta;
use crate::storage::sealed::SealedRef;
use crate::structure::GraphOptions;

/// The greatest share of dead rows of a graph that is taken over.
const MOST_DEAD: f64 = 0.5;

/// The greatest share of new rows with which a graph is taken over, if all rows can be linked in
/// bulk instead. A link in bulk takes a third of the time of an insertion, and is better.
const MOST_NEW: f64 = 0.25;

/// Makes one segment of the live rows of `sources`; `None` if there are none.
pub fn merge(
    meta: &Meta,
    sources: &[SealedRef],
    plan: Plan,
    options: GraphOptions,
    draft: &mut dyn FnMut() -> Draft<'static>,
) -> Option<Sealed> {
    let mut batch = GraphRows::new(meta.space, plan.columns, options);
    let mut sources = sources.to_vec();
    sources.sort_by_key(|segment| std::cmp::Reverse(segment.live()));
    let largest = sources.first()?;
    let all: u32 = sources.iter().map(|segment| segment.live()).sum();
    let is_worth_more =
        is_bulky(meta.space, all) && f64::from(all - largest.live()) > MOST_NEW * f64::from(all);
    let take_over = !is_worth_more && f64::from(largest.tombstones) <= MOST_DEAD * f64::from(largest.rows);
    let mut taken = PriorGraphLists::default();
    for (number, segment) in sources.iter().enumerate() {
        let is_taken = number == 0 && take_over;
        add(meta, options, *segment, &mut batch, is_taken.then_some(&mut taken));
    }
    (batch.rows() > 0).then(|| batch.seal_after(&mut draft(), plan, taken))
}

/// Adds the live rows of a segment to a batch, with its graph if that is taken over.
fn add(
    meta: &Meta,
    options: GraphOptions,
    sealed: SealedRef,
    batch: &mut GraphRows,
    mut taken: Option<&mut PriorGraphLists>,
) {
    let parts = sealed.graph();
    let mut graph = StoredGraph::new(sealed, meta, options);
    let mut rows = NodeRows::new(sealed, parts);
    let mut columns = StoredColumns::new(sealed);
    let mut live = Vec::new();
    for node in 0..parts.nodes {
        sealed.give_way();
        live.clear();
        rows.for_each_live(node, |row, tid| live.push((row, tid)));
        let mut arena_row = None;
        if !live.is_empty() {
            let mut is_row = true;
            let nodes_before = batch.nodes();
            graph.vector(node, |row| {
                for &(number, tid) in &live {
                    let entry = Entry { tid, row, attributes: &columns.attributes(number) };
                    match (&taken, arena_row) {
                        (None, _) => is_row &= batch.push(entry),
                        (Some(_), Some(first)) => batch.push_duplicate(first, entry),
                        (Some(_), None) => {
                            arena_row = batch.push_node(entry);
                            is_row &= arena_row.is_some();
                        }
                    }
                }
            });
            if !is_row {
                sealed.corrupt(format!("The vector of node {node} is invalid."));
            }
            // A decoded row keeps its code: another one would encode the decoded vector, not the
            // row.
            if !graph.has_vectors()
                && batch.nodes() > nodes_before
                && let Some(code) = graph.code(node)
            {
                batch.push_code(code);
            }
        }
        if let Some(taken) = &mut taken {
            let lists = (0..=graph.level(node)).map(|layer| graph.neighbours(layer, node));
            taken.add(lists.collect(), arena_row);
        }
    }
}
