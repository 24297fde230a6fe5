//! Building a graph on several threads.

use super::Candidate;
use super::levels::InsertionOrder;
use crate::memory;
use crate::util::random::mix;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Nodes that can be compared with one another.
pub trait Nodes: Sync {
    /// A number that orders as the distance of two nodes does.
    fn score(&self, a: u32, b: u32) -> f32;
    /// The node will be compared soon: its row may be loaded into the processor's caches.
    fn prefetch(&self, _node: u32) {}
}

/// `m`: neighbours of a node on upper layers. `ef_construction`: candidates for each new node.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub m: usize,
    pub ef_construction: usize,
}

/// Neighbour lists of the nodes of one layer, read without locks while other threads replace them.
pub struct Layer {
    /// Most neighbours of a node.
    pub(super) degree: usize,
    /// For each node its number of neighbours, then room for `degree` of them.
    slots: Vec<AtomicU32>,
}

impl Layer {
    fn new(nodes: u32, degree: usize) -> Self {
        let mut slots = memory::with_capacity(nodes as usize * (degree + 1), "neighbours of a graph");
        slots.resize_with(nodes as usize * (degree + 1), AtomicU32::default);
        Self { degree, slots }
    }

    fn slot(&self, node: u32) -> &[AtomicU32] {
        let stride = self.degree + 1;
        &self.slots[node as usize * stride..][..stride]
    }

    /// The neighbours of a node at this moment.
    ///
    /// While other threads write, the list may mix an old and a new state. Every entry is still
    /// some node of the layer.
    pub fn neighbours(&self, node: u32) -> impl Iterator<Item = u32> {
        let slot = self.slot(node);
        let count = slot[0].load(Ordering::Acquire) as usize;
        slot[1..=count].iter().map(|neighbour| neighbour.load(Ordering::Relaxed))
    }

    /// Replaces a node's neighbours; the caller holds its lock.
    pub(super) fn set(&self, node: u32, neighbours: impl Iterator<Item = u32>) {
        let slot = self.slot(node);
        let mut count = 0;
        for neighbour in neighbours {
            count += 1;
            slot[count].store(neighbour, Ordering::Relaxed);
        }
        slot[0].store(count as u32, Ordering::Release);
    }

    /// Nodes of the layer.
    pub fn nodes(&self) -> u32 {
        (self.slots.len() / (self.degree + 1)) as u32
    }
}

impl Layer {
    /// The same with other numbers: `old[i]` becomes node `i`.
    fn renumbered(&self, old: &[u32], new_of_old: &[u32]) -> Self {
        let layer = Self::new(self.nodes(), self.degree);
        for (node, &old) in (0..self.nodes()).zip(old) {
            layer.set(node, self.neighbours(old).map(|neighbour| new_of_old[neighbour as usize]));
        }
        layer
    }
}

/// A built graph.
pub struct Graph {
    /// The base layer, then the layers above it.
    pub layers: Vec<Layer>,
}

impl Graph {
    /// Nodes without neighbours, `layers[l]` of them on layer `l + 1`.
    pub(super) fn new(nodes: u32, layers: &[u32], m: usize) -> Self {
        let base = Layer::new(nodes, 2 * m);
        let upper = layers.iter().map(|&count| Layer::new(count, m));
        Self { layers: std::iter::once(base).chain(upper).collect() }
    }

    /// The same graph with other numbers: `old[i]`, a node of the same layers, becomes node `i`.
    pub fn renumbered(self, old: &[u32]) -> Self {
        let mut new_of_old = memory::zeros(old.len(), "nodes of a graph");
        for (new, &old) in (0..).zip(old) {
            new_of_old[old as usize] = new;
        }
        // One layer after another, so that only one is there twice.
        let layers = self.layers.into_iter().map(|layer| layer.renumbered(old, &new_of_old));
        Self { layers: layers.collect() }
    }

    /// Bytes for each node of a graph while `threads` threads build it.
    pub fn bytes_per_node(m: usize, threads: usize) -> usize {
        // Upper layers together hold about 1 / (m - 1) of the nodes.
        let base = (2 * m + 1) * 4;
        let upper = (m + 1) * 4 / (m - 1).max(1);
        base + upper + threads * size_of::<u16>()
    }
}

/// Most neighbours by which a node leads away.
const AWAY: usize = 8;

/// Locks of nodes' neighbour lists; several nodes may share one.
const LOCKS: usize = 1 << 14;

/// An older graph, some of whose nodes are taken over with their neighbours.
pub trait PriorGraph: Sync {
    /// What is known of a node on one of its layers; `None` if the node is new.
    fn known(&self, layer: usize, node: u32) -> Option<PriorNeighbours>;
}

/// What is known of a node that was in an older graph.
pub enum PriorNeighbours {
    /// Its neighbours, all of which are still there.
    Neighbours(Vec<u32>),
    /// Some neighbours are gone. These are the others, and the neighbours of those that are gone,
    /// to choose from.
    Candidates(Vec<u32>),
}

/// Builds the graph of nodes `0..nodes`, of which `layers[l]` are on layer `l + 1`, on the current
/// rayon pool.
///
/// Nodes of an older graph keep their neighbours. Where some are gone, the neighbours of those take
/// their place (as in FreshDiskANN: Singh et al. 2021). New nodes are inserted after that; each
/// also leads to one drawn at random. `done` counts finished nodes. Returns early, with an
/// unfinished graph, once `cancel` is set.
pub fn build(
    source: &impl Nodes,
    nodes: u32,
    layers: &[u32],
    options: Options,
    prior: &impl PriorGraph,
    cancel: &AtomicBool,
    done: &AtomicU64,
) -> Graph {
    let graph = Graph::new(nodes, layers, options.m);
    let builder = Builder::new(source, &graph, options);
    let is_old: Vec<bool> =
        (0..nodes).into_par_iter().map(|node| builder.take_over(node, prior, cancel)).collect();
    let first_old = is_old.iter().position(|&old| old);
    done.fetch_add(is_old.iter().filter(|&&old| old).count() as u64, Ordering::Relaxed);
    // Node 0, the entry point, comes first. If all nodes are new, it has no neighbour yet.
    if let Some(entry) = first_old.filter(|&old| old > 0) {
        builder.insert(0, entry as u32, 0, &mut Scratch::new(nodes));
    }
    let order = InsertionOrder::new(nodes, layers);
    builder.insert_all(&order, 0, |node| is_old[node as usize], cancel, done);
    // Nodes between two clusters lose their neighbours in one when they get nearer ones in the
    // other. Edges that lead anywhere, and stay, keep the graph in one piece.
    let anywhere = |node: u32| (mix(node.into()) % u64::from(nodes)) as u32;
    builder.add_long_edges(nodes, |node| (!is_old[node as usize]).then(|| anywhere(node)), cancel);
    graph
}

/// A graph in the making.
pub(super) struct Builder<'a, N> {
    pub source: &'a N,
    pub graph: &'a Graph,
    locks: Vec<Mutex<()>>,
    pub options: Options,
}

/// A thread's own memory.
pub(super) struct Scratch {
    /// The round in which each node was seen last.
    seen: Vec<u16>,
    round: u16,
}

impl Scratch {
    pub fn new(nodes: u32) -> Self {
        Self { seen: memory::zeros(nodes as usize, "nodes that a search has seen"), round: 0 }
    }

    fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.seen.fill(0);
            self.round = 1;
        }
    }

    /// Marks a node; false if it was marked in this round.
    fn visit(&mut self, node: u32) -> bool {
        std::mem::replace(&mut self.seen[node as usize], self.round) != self.round
    }
}

impl<'a, N: Nodes> Builder<'a, N> {
    pub fn new(source: &'a N, graph: &'a Graph, options: Options) -> Self {
        let mut locks = Vec::new();
        locks.resize_with(LOCKS, Mutex::default);
        Self { source, graph, locks, options }
    }

    /// Inserts all nodes except the entry point and those that are there, on layers from `lowest`
    /// up.
    pub fn insert_all(
        &self,
        order: &InsertionOrder,
        lowest: usize,
        is_there: impl Fn(u32) -> bool + Sync,
        cancel: &AtomicBool,
        done: &AtomicU64,
    ) {
        let next = AtomicU32::new(1);
        rayon::broadcast(|_| {
            let mut scratch = Scratch::new(self.graph.layers[lowest].nodes());
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(node) = order.node(position).filter(|_| !cancel.load(Ordering::Relaxed)) else {
                    return;
                };
                if !is_there(node) {
                    self.insert(node, 0, lowest, &mut scratch);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Adds farther neighbours to nodes on the base layer: the first few that `away` returns. They
    /// replace a node's last neighbours if there is no room.
    pub fn add_long_edges<A: IntoIterator<Item = u32>>(
        &self,
        nodes: u32,
        away: impl Fn(u32) -> A + Sync,
        cancel: &AtomicBool,
    ) {
        let base = &self.graph.layers[0];
        (0..nodes).into_par_iter().filter(|_| !cancel.load(Ordering::Relaxed)).for_each(|node| {
            let mut others = away(node).into_iter().filter(|&other| other != node).peekable();
            if others.peek().is_none() {
                return;
            }
            let _held = self.lock(node);
            let mut neighbours: Vec<u32> = base.neighbours(node).collect();
            let away: Vec<u32> = others.filter(|other| !neighbours.contains(other)).take(AWAY).collect();
            neighbours.truncate(base.degree - away.len());
            base.set(node, neighbours.into_iter().chain(away));
        });
    }

    pub fn candidate(&self, from: u32, node: u32) -> Candidate {
        let score = f64::from(self.source.score(from, node));
        // NaN sorts last, whatever its sign.
        Candidate { score: if score.is_nan() { f64::NAN } else { score }, node }
    }

    /// The highest layer of a node.
    fn level(&self, node: u32) -> usize {
        let upper = self.graph.layers.iter().skip(1);
        upper.take_while(|layer| node < layer.nodes()).count()
    }

    /// Links a node as an older graph did; `false` if that graph lacks it, or nothing of its
    /// neighbourhood is left.
    fn take_over(&self, node: u32, prior: &impl PriorGraph, cancel: &AtomicBool) -> bool {
        if cancel.load(Ordering::Relaxed) {
            return false;
        }
        for layer in 0..=self.level(node) {
            let lists = &self.graph.layers[layer];
            match prior.known(layer, node) {
                None => return false,
                Some(PriorNeighbours::Neighbours(neighbours)) => lists.set(node, neighbours.into_iter()),
                Some(PriorNeighbours::Candidates(others)) if others.is_empty() && layer == 0 => return false,
                Some(PriorNeighbours::Candidates(others)) => {
                    let mut candidates: Vec<Candidate> =
                        others.into_iter().map(|other| self.candidate(node, other)).collect();
                    candidates.sort_unstable();
                    candidates.dedup();
                    let chosen = self.select(&candidates, lists.degree);
                    lists.set(node, chosen.iter().map(|candidate| candidate.node));
                }
            }
        }
        true
    }

    /// Links a new node, on its layers from `lowest` up, to the nearest nodes that searches from
    /// `entry` find.
    pub fn insert(&self, node: u32, entry: u32, lowest: usize, scratch: &mut Scratch) {
        let (level, top) = (self.level(node), self.level(entry));
        let mut nearest = self.candidate(node, entry);
        for layer in (level + 1..=top).rev() {
            nearest = self.descend(node, nearest, &self.graph.layers[layer]);
        }
        // No search may find the node until its lists are complete on every layer: it would be a
        // dead end.
        let mut entries = vec![nearest];
        let mut chosen = Vec::with_capacity(level + 1);
        // Layers above the entry's have no other node yet.
        chosen.resize(level.saturating_sub(top), Vec::new());
        for layer in (lowest..=level.min(top)).rev() {
            let layer = &self.graph.layers[layer];
            entries = self.search(node, &entries, layer, scratch);
            chosen.push(self.select(&entries, layer.degree));
        }
        chosen.reverse();
        for (layer, neighbours) in (lowest..).zip(&chosen) {
            let _held = self.lock(node);
            self.graph.layers[layer].set(node, neighbours.iter().map(|neighbour| neighbour.node));
        }
        for (layer, neighbours) in (lowest..).zip(&chosen) {
            for neighbour in neighbours {
                self.link_back(&self.graph.layers[layer], neighbour.node, node, neighbour.score);
            }
        }
    }

    pub fn lock(&self, node: u32) -> std::sync::MutexGuard<'_, ()> {
        // A poisoned lock means that another thread has panicked: the build is lost anyway.
        self.locks[node as usize % LOCKS].lock().expect("no thread has panicked")
    }

    /// Walks to the locally nearest node of a layer.
    fn descend(&self, node: u32, mut nearest: Candidate, layer: &Layer) -> Candidate {
        loop {
            let next = layer.neighbours(nearest.node).map(|other| self.candidate(node, other)).min();
            match next {
                Some(next) if next < nearest => nearest = next,
                _ => return nearest,
            }
        }
    }

    /// The `ef_construction` nearest nodes that a walk over a layer finds, in ascending order.
    fn search(
        &self,
        node: u32,
        entries: &[Candidate],
        layer: &Layer,
        scratch: &mut Scratch,
    ) -> Vec<Candidate> {
        // Rows that are prefetched while one is compared.
        const AHEAD: usize = 4;
        let mut fresh = Vec::new();
        let ef = self.options.ef_construction;
        scratch.begin();
        scratch.visit(node);
        let mut best: BinaryHeap<Candidate> = entries.iter().copied().collect();
        let mut frontier: BinaryHeap<Reverse<Candidate>> = entries.iter().copied().map(Reverse).collect();
        for entry in entries {
            scratch.visit(entry.node);
        }
        while let Some(Reverse(nearest)) = frontier.pop() {
            if best.len() >= ef && best.peek().is_some_and(|worst| nearest > *worst) {
                break;
            }
            fresh.clear();
            fresh.extend(layer.neighbours(nearest.node).filter(|&other| scratch.visit(other)));
            for node in fresh.iter().take(AHEAD) {
                self.source.prefetch(*node);
            }
            for (i, &other) in fresh.iter().enumerate() {
                if let Some(&coming) = fresh.get(i + AHEAD) {
                    self.source.prefetch(coming);
                }
                let candidate = self.candidate(node, other);
                if best.len() < ef {
                    best.push(candidate);
                } else if let Some(mut worst) = best.peek_mut()
                    && candidate < *worst
                {
                    *worst = candidate;
                } else {
                    continue;
                }
                frontier.push(Reverse(candidate));
            }
        }
        best.into_sorted_vec()
    }

    /// Splits candidates in ascending order into chosen ones, at most `degree`, and the others. A
    /// chosen one is nearer to the node than to any chosen before (the paper's algorithm 4).
    pub fn split(&self, candidates: &[Candidate], degree: usize) -> (Vec<Candidate>, Vec<Candidate>) {
        let (mut chosen, mut others): (Vec<Candidate>, Vec<Candidate>) = (Vec::with_capacity(degree), vec![]);
        for &candidate in candidates {
            let apart = |other: &Candidate| {
                f64::from(self.source.score(candidate.node, other.node)) > candidate.score
            };
            if chosen.len() < degree && chosen.iter().all(apart) {
                chosen.push(candidate);
            } else {
                others.push(candidate);
            }
        }
        (chosen, others)
    }

    /// Neighbours of a new node: the chosen ones, then the nearest of the others as far as there is
    /// room.
    ///
    /// A new node's list is filled up, a list that overflows later is not. On GloVe (100k × 100,
    /// `m = 16`) a build that fills up both took 2.5 times as long. The time that a search takes to
    /// a given recall was the same.
    fn select(&self, candidates: &[Candidate], degree: usize) -> Vec<Candidate> {
        if candidates.len() <= degree {
            return candidates.to_vec();
        }
        let (mut chosen, others) = self.split(candidates, degree);
        let room = degree - chosen.len();
        chosen.extend(others.into_iter().take(room));
        chosen
    }

    /// Adds `node` to the neighbours of `to`, choosing anew if there are too many.
    fn link_back(&self, layer: &Layer, to: u32, node: u32, score: f64) {
        let _held = self.lock(to);
        let neighbours: Vec<u32> = layer.neighbours(to).collect();
        if neighbours.contains(&node) {
            return;
        }
        if neighbours.len() < layer.degree {
            layer.set(to, neighbours.into_iter().chain([node]));
            return;
        }
        let mut candidates: Vec<Candidate> =
            neighbours.into_iter().map(|other| self.candidate(to, other)).collect();
        candidates.push(Candidate { score, node });
        candidates.sort_unstable();
        let (chosen, _) = self.split(&candidates, layer.degree);
        layer.set(to, chosen.iter().map(|candidate| candidate.node));
    }
}

#[cfg(test)]
mod tests;
