//! Which layers a node is on.

use crate::memory;
use crate::util::random::{Spread, fraction, mix};

/// Highest level of a node. From `m = 3` on, a higher one takes more nodes than a `u32` numbers. At
/// `m = 2`, where `2^25` nodes suffice, levels stay at this one.
const MAX_LEVEL: u8 = 24;

/// The level of row `row`: geometric with ratio `1 / m`, reproducible from the seed.
pub fn level(seed: u64, row: u32, m: usize) -> u8 {
    let uniform = fraction(mix(seed ^ mix(u64::from(row))));
    let level = -(1.0 - uniform).ln() / (m as f64).ln();
    (level as u64).min(u64::from(MAX_LEVEL)) as u8
}

/// Rows in the order of their nodes, and the number of nodes on layer 1, 2, ….
///
/// Higher levels come first; rows of one level keep their order.
pub fn order(rows: u32, level: impl Fn(u32) -> u8) -> (Vec<u32>, Vec<u32>) {
    let levels: Vec<u8> = memory::collect((0..rows).map(level), "levels of nodes");
    let mut order: Vec<u32> = memory::collect(0..rows, "nodes of a graph");
    order.sort_by_key(|&row| std::cmp::Reverse(levels[row as usize]));
    let top = order.first().map_or(0, |&row| levels[row as usize]);
    let layers =
        (1..=top).map(|layer| order.partition_point(|&row| levels[row as usize] >= layer) as u32).collect();
    (order, layers)
}

/// Nodes in the order of `groups`, except that higher levels come first; `layers[l]` nodes are on
/// layer `l + 1`.
pub fn regroup(groups: &[Vec<u32>], layers: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = groups.iter().flatten().copied().collect();
    order.sort_by_key(|&node| layers.iter().filter(|&&nodes| node >= nodes).count());
    order
}

/// The order in which nodes are inserted: level by level from the top, within a level in steps of
/// the golden ratio.
///
/// Rows that follow one another are often alike. If two threads inserted them at the same time,
/// neither would find the other. Rows that come sorted make worse graphs than shuffled ones.
pub struct InsertionOrder {
    /// First node and number of nodes of each level, from the top, and the order within it.
    levels: Vec<(u32, u32, Spread)>,
}

impl InsertionOrder {
    /// For `nodes` nodes, of which `layers[l]` are on layer `l + 1`.
    pub fn new(nodes: u32, layers: &[u32]) -> Self {
        let mut first = 0;
        let levels = layers.iter().rev().chain([&nodes]).map(|&end| {
            let level = (first, end - first, Spread::new(end - first));
            first = end;
            level
        });
        Self { levels: levels.collect() }
    }

    /// The node inserted at a position; `None` past the end.
    pub fn node(&self, position: u32) -> Option<u32> {
        let &(first, _, order) = self.levels.iter().find(|&&(first, count, _)| position < first + count)?;
        Some(first + order.at(position - first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_a_prefix_about_m_times_smaller() {
        let (order, layers) = order(100_000, |row| level(7, row, 16));
        let mut rows = order.clone();
        rows.sort();
        assert!(rows.into_iter().eq(0..100_000), "every row once");
        assert!((5_500..7_000).contains(&layers[0]), "{layers:?}");
        assert!(layers.windows(2).all(|pair| pair[1] < pair[0]), "{layers:?}");
        assert!(order[..layers[0] as usize].iter().all(|&row| level(7, row, 16) >= 1));
        assert!(order[layers[0] as usize..].is_sorted(), "the rest keeps its order");
    }

    #[test]
    fn every_node_is_inserted_once_and_after_those_of_higher_levels() {
        for nodes in [0, 1, 2, 3, 10, 1000, 65_537] {
            let (_, layers) = order(nodes, |row| level(3, row, 8));
            let order = InsertionOrder::new(nodes, &layers);
            let inserted: Vec<u32> = (0..).map_while(|position| order.node(position)).collect();
            for layer in layers.iter().chain([&nodes]) {
                let mut first = inserted[..*layer as usize].to_vec();
                first.sort();
                assert!(first.into_iter().eq(0..*layer), "{nodes} nodes, layer of {layer}");
            }
            assert_eq!(inserted.first().copied().unwrap_or(0), 0, "the entry point comes first");
        }
        let order = InsertionOrder::new(10_000, &[]);
        let apart = (0..9_999).map(|p| order.node(p).unwrap().abs_diff(order.node(p + 1).unwrap())).min();
        assert!(apart > Some(3000), "{apart:?}");
    }
}
