//! Search of one graph: nodes in ascending order of distance, as many as the caller asks for.

use super::Candidate;
use crate::memory;
use crate::util::random::GOLDEN;
use crate::util::scored::Scored;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A stored graph and the distances from one query to its nodes.
///
/// An implementation that meets a corrupt graph does not return. Node numbers that it returns are
/// below `nodes`.
pub trait GraphReader {
    fn nodes(&self) -> u32;
    /// Number of layers above the base layer.
    fn upper_layers(&self) -> usize;
    /// Replaces `neighbours` by those of `node` on `layer`; the base layer is 0. Not called if
    /// there are estimates.
    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>);
    /// Announces a node whose base-layer neighbours will most likely be asked for soon.
    fn announce(&mut self, _node: u32) {}
    /// The distance of each node, in the order of `nodes`, appended to `scores`.
    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>);
    /// Whether neighbours come with estimates of their distances.
    fn has_estimates(&self) -> bool {
        false
    }
    /// Appends to `found` the distances of some nodes, and to `estimated` their base-layer
    /// neighbours with estimates.
    ///
    /// Called only if there are estimates.
    fn visit(&mut self, _nodes: &[u32], _found: &mut Vec<Candidate>, _estimated: &mut Vec<Scored>) {}
    /// Appends to `estimated` the neighbours on an upper layer of a node whose distance is known,
    /// with estimates.
    ///
    /// Called only if there are estimates.
    fn estimate_upper(&mut self, _layer: usize, _found: Candidate, _estimated: &mut Vec<Scored>) {}
    /// Called when the search reaches the base layer, with the nearest nodes that it compared. Not
    /// called if there are estimates.
    fn entered(&mut self, _nearest: &[Candidate]) {}
    /// Whether a node may be returned; others only lead the way.
    fn matches(&self, _node: u32) -> bool {
        true
    }
    /// Called between hops. To end a cancelled search, it does not return.
    fn poll(&mut self) {}
}

/// Candidates for each node by which a search enters the base layer, at [`MOST_ENTRIES`] at most.
/// Rows in clusters are linked to one another there, and seldom to those of another cluster. What
/// looks nearest from above may be in the wrong one.
const CANDIDATES_PER_ENTRY: usize = 8;
const MOST_ENTRIES: usize = 16;

/// What the memory is for, in messages.
const CANDIDATES: &str = "candidates of a search";

/// Nodes visited together, so that the memory of one is on its way while another is looked at.
const TOGETHER: usize = 4;

pub use crate::search::rerank::{IterativeScan, Work};
use crate::search::strategy::WalkBudget;

/// Nodes compared before the share of matching ones means anything. [`FEWER`] times fewer than
/// expected are too few.
const FIRST_LOOK: usize = 128;
const FEWER: f64 = 4.0;

/// The state of a search between two calls.
///
/// Results come in ascending order. When `ef` of them are used up, the search resumes with `ef`
/// doubled. A node that is found only then may be nearer than one already returned:
/// [`IterativeScan`] decides what becomes of it. When the graph is exhausted, nodes that cannot be
/// reached are compared one by one: no node is lost.
pub struct Search {
    ef: usize,
    visited: Vec<u64>,
    /// Nodes not expanded, by their scores or estimates.
    frontier: BinaryHeap<Reverse<Scored>>,
    /// The same, of nodes that were farther than the `ef` best.
    deferred: Vec<Scored>,
    /// Buffer for the entries that [`Self::sort_out`] finds near.
    near: Vec<Scored>,
    /// Scored, not returned.
    pool: BinaryHeap<Reverse<Candidate>>,
    /// The `ef` best of this round.
    best: BinaryHeap<Candidate>,
    returned: usize,
    /// Every node returned.
    returned_nodes: Vec<u32>,
    /// Nodes compared by the walk over the base layer, nodes kept, and estimates. The descent and
    /// the sweep do not count.
    compared: usize,
    matching: usize,
    estimated: usize,
    budget: WalkBudget,
    last: Option<Candidate>,
    leave_out: Option<LeftOut>,
    within: Option<f64>,
    state: State,
}

/// A node that the search leaves out.
///
/// Had the graph been built without it, the nodes that lead to it would lead to others in its
/// direction: its neighbours. So each edge to it leads to the next of those.
struct LeftOut {
    node: u32,
    /// Its neighbours that no edge leads to yet, in no particular order, with estimates if there
    /// are any. `None` until the first is needed.
    detours: Option<Vec<Scored>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Fresh,
    Paused,
    /// The frontier is empty and every other node has been compared.
    Exhausted,
    GivenUp,
}

impl Search {
    /// A search that looks at `ef` candidates before it returns its first result.
    pub fn new(ef: usize, budget: WalkBudget) -> Self {
        Self {
            ef: ef.max(1),
            visited: Vec::new(),
            frontier: BinaryHeap::new(),
            deferred: Vec::new(),
            near: Vec::new(),
            pool: BinaryHeap::new(),
            best: BinaryHeap::new(),
            returned: 0,
            returned_nodes: Vec::new(),
            compared: 0,
            matching: 0,
            estimated: 0,
            budget,
            last: None,
            leave_out: None,
            within: None,
            state: State::Fresh,
        }
    }

    /// Searches as if `node`, which is on the base layer only, were not there.
    pub fn leave_out(mut self, node: Option<u32>) -> Self {
        self.leave_out = node.map(|node| LeftOut { node, detours: None });
        self
    }

    /// Whether the search leaves this node out.
    fn is_left_out(&self, node: u32) -> bool {
        self.leave_out.as_ref().is_some_and(|leave_out| leave_out.node == node)
    }

    /// Where an edge to the node that is left out leads; `None` if nowhere.
    fn detour<G: GraphReader>(&mut self, graph: &mut G) -> Option<Scored> {
        let leave_out = self.leave_out.as_mut()?;
        let node = leave_out.node;
        let detours = leave_out.detours.get_or_insert_with(|| {
            let mut ahead = Vec::new();
            if graph.has_estimates() {
                graph.visit(&[node], &mut Vec::new(), &mut ahead);
            } else {
                let mut neighbours = Vec::new();
                graph.neighbours(0, node, &mut neighbours);
                ahead.extend(neighbours.into_iter().map(|neighbour| Scored::new(0.0, neighbour)));
            }
            ahead.sort_unstable_by_key(|ahead| ahead.node().wrapping_mul(GOLDEN));
            ahead
        });
        detours.pop()
    }

    /// Gives up at nodes beyond a score, and after the first `ef`. Another search finds what else
    /// is within the score.
    pub fn within(mut self, score: Option<f64>) -> Self {
        self.within = score;
        self
    }

    /// Whether it has given up before the next result: by its budget, by [`Self::within`], or
    /// because too few nodes match.
    pub fn has_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// Every node that was returned, and the greatest score of them.
    pub fn returned_nodes(&mut self) -> (Vec<u32>, f64) {
        (std::mem::take(&mut self.returned_nodes), self.last.map_or(f64::NEG_INFINITY, |last| last.score))
    }

    pub fn work(&self) -> Work {
        Work { estimated: self.estimated as u64, compared: self.compared as u64 }
    }

    /// Whether the next node is known to have this score, too.
    pub fn has_tie(&self, score: f64) -> bool {
        self.returned < self.ef && self.pool.peek().is_some_and(|Reverse(next)| next.score == score)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let ahead = self.frontier.capacity() + self.deferred.capacity() + self.visited.capacity();
        ahead * size_of::<u64>() + self.pool.capacity() * size_of::<Candidate>()
    }

    /// Goes on until there are `ef` more candidates, twice as many each time. Does not return them:
    /// the graph has scored them. `false` if there are none left, or if the search gives up.
    pub fn round<G: GraphReader>(&mut self, graph: &mut G) -> bool {
        match self.state {
            State::Fresh => self.enter(graph),
            State::Paused => {
                self.ef *= 2;
                self.resume();
            }
            State::Exhausted | State::GivenUp => return false,
        }
        self.expand(graph);
        self.pool.clear();
        self.state != State::GivenUp
    }

    /// Candidates of a round.
    pub fn ef(&self) -> usize {
        self.ef
    }

    /// The next nearest node. `None` when every node was returned, when the search gives up, or
    /// when it would have to go on against `iterative_scan`.
    pub fn next<G: GraphReader>(
        &mut self,
        graph: &mut G,
        iterative_scan: IterativeScan,
    ) -> Option<Candidate> {
        loop {
            if self.state == State::Fresh {
                self.enter(graph);
                self.expand(graph);
            } else if self.returned >= self.ef && self.state == State::Paused {
                if iterative_scan == IterativeScan::Off {
                    return None;
                }
                if self.within.is_some() {
                    self.state = State::GivenUp;
                    return None;
                }
                self.ef *= 2;
                self.resume();
                self.expand(graph);
            }
            if self.state == State::GivenUp {
                return None;
            }
            let is_beyond = |score: f64| self.within.is_some_and(|within| score > within);
            if self.pool.peek().is_some_and(|Reverse(next)| is_beyond(next.score)) {
                self.state = State::GivenUp;
                return None;
            }
            match self.pool.pop() {
                None if self.state == State::Exhausted => return None,
                None => self.returned = self.ef,
                Some(Reverse(candidate)) => {
                    let is_late =
                        self.last.is_some_and(|last| candidate.score.total_cmp(&last.score).is_lt());
                    if is_late && iterative_scan == IterativeScan::Strict {
                        continue;
                    }
                    self.returned += 1;
                    self.last = self.last.max(Some(candidate));
                    memory::push(&mut self.returned_nodes, candidate.node, CANDIDATES);
                    return Some(candidate);
                }
            }
        }
    }

    /// Descends from the entry point to the base layer.
    fn enter<G: GraphReader>(&mut self, graph: &mut G) {
        self.visited = memory::zeros((graph.nodes() as usize).div_ceil(64), CANDIDATES);
        self.state = State::Paused;
        if graph.nodes() == 0 {
            return;
        }
        let mut scores = Vec::new();
        graph.score(&[0], &mut scores);
        let mut nearest = vec![Candidate { score: scores[0], node: 0 }];
        let mut compared = vec![0];
        self.visit(0);
        let entries = (self.ef / CANDIDATES_PER_ENTRY).clamp(1, MOST_ENTRIES);
        for layer in (1..=graph.upper_layers()).rev() {
            self.descend(graph, layer, if layer == 1 { entries } else { 1 }, &mut nearest, &mut compared);
        }
        // Nodes compared on the way were not visited on the base layer.
        for node in compared {
            self.visited[node as usize / 64] = 0;
        }
        if graph.has_estimates() {
            let ahead = nearest.iter().map(|nearest| Scored::new(nearest.score as f32, nearest.node));
            self.frontier.extend(ahead.map(Reverse));
        } else {
            graph.entered(&nearest);
            for nearest in nearest {
                self.visit(nearest.node);
                self.add(nearest, graph.matches(nearest.node));
            }
        }
    }

    /// Replaces the nodes where the search enters an upper layer by the nearest that it finds
    /// there, at most `width`, in ascending order. Ends when it finds no nearer ones.
    fn descend<G: GraphReader>(
        &mut self,
        graph: &mut G,
        layer: usize,
        width: usize,
        nearest: &mut Vec<Candidate>,
        compared: &mut Vec<u32>,
    ) {
        let (mut nodes, mut scores) = (Vec::new(), Vec::new());
        let (mut neighbours, mut estimated) = (Vec::new(), Vec::new());
        let mut frontier = BinaryHeap::new();
        let mut fresh = nearest.clone();
        loop {
            // With estimates only the most promising nodes are compared, else all neighbours.
            nodes.clear();
            for &found in &fresh {
                if graph.has_estimates() {
                    estimated.clear();
                    graph.estimate_upper(layer, found, &mut estimated);
                    frontier.extend(estimated.iter().map(|&ahead| Reverse(ahead)));
                } else {
                    graph.neighbours(layer, found.node, &mut neighbours);
                    nodes.extend(neighbours.iter().filter(|&&node| self.visit(node)));
                }
            }
            while graph.has_estimates()
                && nodes.len() < width.min(TOGETHER)
                && let Some(Reverse(ahead)) = frontier.pop()
            {
                nodes.extend(Some(ahead.node()).filter(|&node| self.visit(node)));
            }
            compared.extend_from_slice(&nodes);
            scores.clear();
            graph.score(&nodes, &mut scores);
            fresh.clear();
            for (&node, &score) in nodes.iter().zip(&scores) {
                let candidate = Candidate { score, node };
                let place = nearest.partition_point(|other| *other < candidate);
                if place < width {
                    nearest.insert(place, candidate);
                    nearest.truncate(width);
                    fresh.push(candidate);
                }
            }
            fresh.retain(|fresh| nearest.contains(fresh));
            if fresh.is_empty() {
                return;
            }
        }
    }

    /// Whether it is time to give up.
    fn gives_up(&mut self) -> bool {
        let WalkBudget { nodes, share } = self.budget;
        let are_few =
            self.compared >= FIRST_LOOK && (self.matching as f64) < self.compared as f64 * share / FEWER;
        if self.compared > nodes || are_few {
            self.state = State::GivenUp;
        }
        self.state == State::GivenUp
    }

    /// Marks a node; false if it was marked before.
    fn visit(&mut self, node: u32) -> bool {
        let word = &mut self.visited[node as usize / 64];
        let bit = 1 << (node % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Keeps a node that was compared, and lets it lead the way unless it is too far.
    fn add(&mut self, candidate: Candidate, matches: bool) {
        let is_near = self.best.len() < self.ef || self.best.peek().is_some_and(|worst| candidate < *worst);
        if matches {
            self.keep(candidate);
        }
        let ahead = Scored::new(candidate.score as f32, candidate.node);
        if is_near {
            memory::push_to_heap(&mut self.frontier, Reverse(ahead), CANDIDATES);
        } else {
            memory::push(&mut self.deferred, ahead, CANDIDATES);
        }
    }

    /// The end of the `ef` best, once there are as many: entries beyond it are farther.
    fn limit(&self) -> Option<Scored> {
        let worst = self.best.peek().filter(|_| self.best.len() == self.ef);
        worst.map(|worst| Scored::new((worst.score as f32).next_up(), 0))
    }

    /// Keeps a node that may be returned.
    fn keep(&mut self, candidate: Candidate) {
        self.matching += 1;
        memory::push_to_heap(&mut self.pool, Reverse(candidate), CANDIDATES);
        if self.best.len() < self.ef {
            self.best.push(candidate);
        } else if let Some(mut worst) = self.best.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// Takes up again what a smaller `ef` put aside.
    fn resume(&mut self) {
        self.frontier.extend(self.deferred.drain(..).map(Reverse));
        self.returned = 0;
        let mut pool = std::mem::take(&mut self.pool).into_vec();
        pool.sort_unstable_by(|a, b| b.cmp(a));
        self.best = pool.iter().take(self.ef).map(|candidate| candidate.0).collect();
        self.pool = pool.into();
    }

    fn expand<G: GraphReader>(&mut self, graph: &mut G) {
        if graph.has_estimates() { self.walk_by_estimates(graph) } else { self.walk_by_distances(graph) }
    }

    /// Compares a node exactly when it is visited; until then it has estimates only.
    ///
    /// A node may wait in the frontier several times, with the estimates of several neighbours. The
    /// nearest neighbour's is the best, as the error grows with the distance to the neighbour.
    fn walk_by_estimates<G: GraphReader>(&mut self, graph: &mut G) {
        let (mut nodes, mut found, mut estimated) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            nodes.clear();
            let limit = self.limit();
            while nodes.len() < TOGETHER
                && let Some(Reverse(nearest)) = self.frontier.pop()
            {
                if limit.is_some_and(|limit| nearest > limit) {
                    memory::push(&mut self.deferred, nearest, CANDIDATES);
                    break;
                }
                if self.is_left_out(nearest.node()) {
                    let detour = self.detour(graph);
                    self.frontier.extend(detour.map(Reverse));
                } else if self.visit(nearest.node()) {
                    nodes.push(nearest.node());
                }
            }
            if nodes.is_empty() {
                break;
            }
            if self.gives_up() {
                return;
            }
            graph.poll();
            found.clear();
            estimated.clear();
            graph.visit(&nodes, &mut found, &mut estimated);
            self.compared += found.len();
            self.estimated += estimated.len();
            for &found in found.iter().filter(|found| graph.matches(found.node)) {
                self.keep(found);
            }
            self.sort_out(&estimated);
        }
        let is_done = |ahead: &Scored| self.is_visited(ahead.node()) || self.is_left_out(ahead.node());
        if self.frontier.is_empty() && self.deferred.iter().all(is_done) {
            self.sweep(graph);
        }
    }

    /// Moves nodes to the frontier, or puts them aside if they are too far. Some of those put aside
    /// were visited before.
    fn sort_out(&mut self, estimated: &[Scored]) {
        let limit = self.limit().unwrap_or(Scored::FARTHEST);
        // Each goes to both ends and stays at one of them: a branch would be unpredictable.
        let first = self.deferred.len();
        self.deferred.resize(first + estimated.len(), Scored::FARTHEST);
        let (mut near, mut far) = (0, first);
        self.near.resize(estimated.len(), Scored::FARTHEST);
        for &ahead in estimated {
            let is_near = ahead <= limit;
            self.near[near] = ahead;
            near += usize::from(is_near);
            self.deferred[far] = ahead;
            far += usize::from(!is_near);
        }
        self.deferred.truncate(far);
        for place in 0..near {
            let ahead = self.near[place];
            if !self.is_visited(ahead.node()) {
                memory::push_to_heap(&mut self.frontier, Reverse(ahead), CANDIDATES);
            }
        }
    }

    fn is_visited(&self, node: u32) -> bool {
        self.visited[node as usize / 64] >> (node % 64) & 1 == 1
    }

    fn walk_by_distances<G: GraphReader>(&mut self, graph: &mut G) {
        let (mut neighbours, mut scores) = (Vec::new(), Vec::new());
        while let Some(Reverse(nearest)) = self.frontier.pop() {
            if self.limit().is_some_and(|limit| nearest > limit) {
                memory::push(&mut self.deferred, nearest, CANDIDATES);
                return;
            }
            if self.gives_up() {
                return;
            }
            graph.poll();
            graph.neighbours(0, nearest.node(), &mut neighbours);
            if let Some(place) = neighbours.iter().position(|&node| self.is_left_out(node)) {
                match self.detour(graph) {
                    Some(detour) => neighbours[place] = detour.node(),
                    None => drop(neighbours.swap_remove(place)),
                }
            }
            neighbours.retain(|&node| self.visit(node));
            if let Some(Reverse(next)) = self.frontier.peek() {
                graph.announce(next.node());
            }
            scores.clear();
            graph.score(&neighbours, &mut scores);
            self.compared += scores.len();
            for (&node, &score) in neighbours.iter().zip(&scores) {
                self.add(Candidate { score, node }, graph.matches(node));
            }
        }
        if self.deferred.is_empty() {
            self.sweep(graph);
        }
    }

    /// Compares every node that may be returned and that the graph did not lead to.
    fn sweep<G: GraphReader>(&mut self, graph: &mut G) {
        const BATCH: usize = 256;
        let is_missed = |&node: &u32| !self.is_left_out(node) && self.visit(node) && graph.matches(node);
        let missed: Vec<u32> = (0..graph.nodes()).filter(is_missed).collect();
        let mut scores = Vec::new();
        for nodes in missed.chunks(BATCH) {
            graph.poll();
            scores.clear();
            graph.score(nodes, &mut scores);
            let candidates = nodes.iter().zip(&scores).map(|(&node, &score)| Candidate { score, node });
            self.pool.extend(candidates.map(Reverse));
        }
        self.state = State::Exhausted;
    }
}
