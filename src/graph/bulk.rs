//! Building a graph of nodes that are all known at once: the base layer comes from rough
//! neighbourhoods, not from searches.
//!
//! Each node chooses its neighbours among candidates that a [`Near`] finds, by the same rule as in
//! an incremental build. Then the chosen ones are linked back. This takes a few distances for each
//! candidate, where a search takes as many for each node that it visits. Insertion builds the upper
//! layers, a small share of the nodes. It also adds nodes that the base layer does not lead to in
//! the end.

use super::Candidate;
use super::build::{Builder, Graph, Nodes, Options, Scratch};
use super::levels::InsertionOrder;
use crate::memory;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Finds the nodes near a node, roughly.
pub trait Near: Sync {
    /// All nodes, in groups that have many candidates in common.
    fn groups(&self) -> &[Vec<u32>];
    /// Replaces `found` by about `count` nodes near `node`, without itself.
    fn candidates(&self, node: u32, count: usize, found: &mut Vec<u32>);
    /// A node farther away, by which a search may leave a cluster for any of those around.
    fn away(&self, node: u32) -> Option<u32>;
}

/// Builds the graph of nodes `0..nodes`, of which `layers[l]` are on layer `l + 1`, on the current
/// rayon pool.
///
/// `done` counts finished nodes. Returns early, with an unfinished graph, once `cancel` is set.
pub fn build(
    source: &impl Nodes,
    nodes: u32,
    layers: &[u32],
    options: Options,
    near: &impl Near,
    cancel: &AtomicBool,
    done: &AtomicU64,
) -> Graph {
    let graph = Graph::new(nodes, layers, options.m);
    let builder = Builder::new(source, &graph, options);
    if let Some((&first, above)) = layers.split_first() {
        builder.insert_all(&InsertionOrder::new(first, above), 1, |_| false, cancel, &AtomicU64::new(0));
    }
    let mut chosen = Vec::new();
    chosen.resize_with(nodes as usize, AtomicU8::default);
    let base = Base { builder: &builder, chosen };
    near.groups().par_iter().for_each(|group| {
        let (mut found, mut candidates) = (Vec::new(), Vec::new());
        for &node in group.iter().take_while(|_| !cancel.load(Ordering::Relaxed)) {
            near.candidates(node, options.ef_construction, &mut found);
            base.choose(node, &found, &mut candidates);
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    near.groups().par_iter().for_each(|group| {
        for &node in group.iter().take_while(|_| !cancel.load(Ordering::Relaxed)) {
            base.link_back(node);
        }
    });
    base.add_long_edges(near, nodes, cancel);
    base.reach_all(nodes, cancel);
    graph
}

/// The base layer in the making.
struct Base<'a, 'b, N> {
    builder: &'a Builder<'b, N>,
    /// How many of each node's neighbours, the first ones, were chosen for their direction. The
    /// others fill the list up and give way to chosen ones.
    chosen: Vec<AtomicU8>,
}

impl<N: Nodes> Base<'_, '_, N> {
    /// Chooses a node's neighbours.
    fn choose(&self, node: u32, found: &[u32], candidates: &mut Vec<Candidate>) {
        // Rows that are prefetched while one is compared.
        const AHEAD: usize = 8;
        let (source, graph) = (self.builder.source, self.builder.graph);
        candidates.clear();
        found.iter().take(AHEAD).for_each(|&other| source.prefetch(other));
        for (i, &other) in found.iter().enumerate() {
            if let Some(&coming) = found.get(i + AHEAD) {
                source.prefetch(coming);
            }
            candidates.push(self.builder.candidate(node, other));
        }
        // Those of an upper layer lead farther.
        if let Some(upper) = graph.layers.get(1).filter(|upper| node < upper.nodes()) {
            candidates.extend(upper.neighbours(node).map(|other| self.builder.candidate(node, other)));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let degree = graph.layers[0].degree;
        let (chosen, others) = self.builder.split(candidates, degree);
        let count = chosen.len();
        let neighbours = chosen.into_iter().chain(others).take(degree).map(|candidate| candidate.node);
        let _held = self.builder.lock(node);
        graph.layers[0].set(node, neighbours);
        self.chosen[node as usize].store(count as u8, Ordering::Relaxed);
    }

    /// Adds a node to the lists of the neighbours that it has chosen.
    fn link_back(&self, node: u32) {
        let neighbours: Vec<u32> = {
            let _held = self.builder.lock(node);
            let chosen = self.chosen[node as usize].load(Ordering::Relaxed);
            self.builder.graph.layers[0].neighbours(node).take(chosen.into()).collect()
        };
        for to in neighbours {
            self.link(to, node);
        }
    }

    /// Adds `node` to the neighbours of `to`, in place of one that only fills the list up. If there
    /// is none, chooses anew.
    fn link(&self, to: u32, node: u32) {
        let base = &self.builder.graph.layers[0];
        let _held = self.builder.lock(to);
        let mut neighbours: Vec<u32> = base.neighbours(to).collect();
        let chosen = &self.chosen[to as usize];
        let count = chosen.load(Ordering::Relaxed) as usize;
        if neighbours[..count].contains(&node) {
            return;
        }
        if count < base.degree {
            // If it is among the others, it changes places with the first of them. Else that one,
            // the nearest, goes to the end, over the farthest if there is no room.
            match neighbours[count..].iter().position(|&other| other == node) {
                Some(at) => neighbours.swap(count, count + at),
                None if neighbours.len() < base.degree => {
                    neighbours.push(node);
                    let last = neighbours.len() - 1;
                    neighbours.swap(count, last);
                }
                None => {
                    let last = neighbours.len() - 1;
                    neighbours[last] = neighbours[count];
                    neighbours[count] = node;
                }
            }
            base.set(to, neighbours.into_iter());
            chosen.store(count as u8 + 1, Ordering::Relaxed);
            return;
        }
        let candidates = neighbours.into_iter().chain([node]);
        let mut candidates: Vec<Candidate> =
            candidates.map(|other| self.builder.candidate(to, other)).collect();
        candidates.sort_unstable();
        let (kept, others) = self.builder.split(&candidates, base.degree);
        chosen.store(kept.len() as u8, Ordering::Relaxed);
        base.set(to, kept.into_iter().chain(others).take(base.degree).map(|candidate| candidate.node));
    }

    /// Adds neighbours that lead away, such as an incremental build gives to the nodes that it
    /// inserts early. Candidates are all near: of clustered rows, those of one cluster. A search
    /// that enters the wrong cluster would not get out of it.
    fn add_long_edges(&self, near: &impl Near, nodes: u32, cancel: &AtomicBool) {
        let upper = self.builder.graph.layers.get(1);
        let away = |node| -> Vec<u32> {
            match upper.filter(|upper| node < upper.nodes()) {
                // The farthest first.
                Some(upper) => {
                    let mut neighbours: Vec<u32> = upper.neighbours(node).collect();
                    neighbours.reverse();
                    neighbours
                }
                None => near.away(node).into_iter().collect(),
            }
        };
        self.builder.add_long_edges(nodes, away, cancel);
    }

    /// Inserts, by a search, every node that cannot be reached from the entry point.
    fn reach_all(&self, nodes: u32, cancel: &AtomicBool) {
        if nodes == 0 {
            return;
        }
        let base = &self.builder.graph.layers[0];
        let mut reached = memory::filled(false, nodes as usize, "nodes of a graph");
        let mut scratch = Scratch::new(nodes);
        let mut ahead = Vec::new();
        for node in 0..nodes {
            if reached[node as usize] {
                continue;
            }
            if cancel.load(Ordering::Relaxed) {
                return;
            }
            if node > 0 {
                self.builder.insert(node, 0, 0, &mut scratch);
            }
            reached[node as usize] = true;
            ahead.push(node);
            while let Some(node) = ahead.pop() {
                for other in base.neighbours(node) {
                    if !std::mem::replace(&mut reached[other as usize], true) {
                        ahead.push(other);
                    }
                }
            }
        }
    }
}
