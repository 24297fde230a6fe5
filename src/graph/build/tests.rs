use super::super::levels;
use super::super::search::{GraphReader, IterativeScan, Search};
use super::*;
use crate::search::strategy::WalkBudget;

/// No older graph: all nodes are new.
struct Nothing;

impl PriorGraph for Nothing {
    fn known(&self, _layer: usize, _node: u32) -> Option<PriorNeighbours> {
        None
    }
}

/// Points in the plane that fall into clusters.
struct Points(Vec<[f32; 2]>);

impl Points {
    fn new(count: usize) -> Self {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        Self(
            (0..count)
                .map(|i| {
                    let centre = (i % 13) as f32 * 10.0;
                    [centre + next(), next() * 3.0]
                })
                .collect(),
        )
    }

    fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
        (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
    }

    /// All nodes in the order of their distance.
    fn nearest(&self, query: [f32; 2]) -> Vec<(f32, u32)> {
        let mut exact: Vec<(f32, u32)> =
            self.0.iter().zip(0..).map(|(&p, n)| (Self::distance(p, query), n)).collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        exact
    }
}

impl Nodes for Points {
    fn score(&self, a: u32, b: u32) -> f32 {
        Self::distance(self.0[a as usize], self.0[b as usize])
    }
}

struct Query<'a> {
    points: &'a Points,
    graph: &'a Graph,
    query: [f32; 2],
}

impl GraphReader for Query<'_> {
    fn nodes(&self) -> u32 {
        self.points.0.len() as u32
    }

    fn upper_layers(&self) -> usize {
        self.graph.layers.len() - 1
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        neighbours.clear();
        neighbours.extend(self.graph.layers[layer].neighbours(node));
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        scores.extend(
            nodes.iter().map(|&n| f64::from(Points::distance(self.points.0[n as usize], self.query))),
        );
    }
}

fn graph_of(points: &Points) -> Graph {
    let (_, layers) = levels::order(points.0.len() as u32, |row| levels::level(3, row, 8));
    let options = Options { m: 8, ef_construction: 40 };
    let (cancel, done) = (AtomicBool::new(false), AtomicU64::new(0));
    build(points, points.0.len() as u32, &layers, options, &Nothing, &cancel, &done)
}

#[test]
fn a_search_finds_the_nearest_and_in_the_end_everything() {
    let points = Points::new(3000);
    let graph = graph_of(&points);
    let mut hits = 0;
    for i in 0..50 {
        let query = [i as f32 * 2.6, 1.5];
        let exact = points.nearest(query);
        let mut reader = Query { points: &points, graph: &graph, query };
        let mut search = Search::new(40, WalkBudget::ENDLESS);
        let found: Vec<Candidate> =
            std::iter::from_fn(|| search.next(&mut reader, IterativeScan::Strict)).collect();
        assert!(found.is_sorted_by_key(|candidate| candidate.score), "ascending");
        let nearest = exact[..10].iter().filter(|(_, n)| found[..10].iter().any(|c| c.node == *n));
        hits += nearest.count();
        // Far clusters are found late, and nodes found too late for the order are left out.
        assert!(found.len() > 2500, "{} of 3000 nodes", found.len());
        let mut nodes: Vec<u32> = found.iter().map(|candidate| candidate.node).collect();
        nodes.sort();
        nodes.dedup();
        assert_eq!(nodes.len(), found.len(), "no node twice");
    }
    assert!(hits >= 490, "{hits} of 500 nearest neighbours");
}

/// Remembers which nodes were compared on the base layer.
struct Recorder<'a> {
    query: Query<'a>,
    compared: Vec<u32>,
}

impl GraphReader for Recorder<'_> {
    fn nodes(&self) -> u32 {
        self.query.nodes()
    }

    fn upper_layers(&self) -> usize {
        self.query.upper_layers()
    }

    fn neighbours(&mut self, layer: usize, node: u32, neighbours: &mut Vec<u32>) {
        self.query.neighbours(layer, node, neighbours);
    }

    fn score(&mut self, nodes: &[u32], scores: &mut Vec<f64>) {
        self.compared.extend_from_slice(nodes);
        self.query.score(nodes, scores);
    }

    fn entered(&mut self, nearest: &[Candidate]) {
        self.compared = nearest.iter().map(|nearest| nearest.node).collect();
    }
}

#[test]
fn rounds_compare_the_nearest_first_and_in_the_end_everything_once() {
    let points = Points::new(3000);
    let graph = graph_of(&points);
    let query = [31.0, 1.5];
    let query = Query { points: &points, graph: &graph, query };
    let nearest = points.nearest(query.query);
    let mut reader = Recorder { query, compared: Vec::new() };
    let mut search = Search::new(20, WalkBudget::ENDLESS);
    let mut rounds = Vec::new();
    while search.round(&mut reader) {
        rounds.push(reader.compared.len());
    }
    assert!(rounds.len() > 3 && rounds[0] < 400 && rounds.is_sorted(), "{rounds:?}");
    let first = &reader.compared[..rounds[0]];
    let found = nearest[..10].iter().filter(|(_, node)| first.contains(node)).count();
    assert!(found >= 9, "{found} of 10 in the first round");
    let mut compared = reader.compared;
    compared.sort();
    assert!(compared.into_iter().eq(0..3000), "everybody once");
}

#[test]
fn a_node_is_left_out_and_edges_lead_past_it() {
    let points = Points::new(3000);
    let graph = graph_of(&points);
    let mut hits = 0;
    for left_out in (0..3000).rev().step_by(20).take(100) {
        let query = points.0[left_out as usize];
        let mut exact = points.nearest(query);
        exact.retain(|&(_, n)| n != left_out);
        let mut reader = Query { points: &points, graph: &graph, query };
        let mut search = Search::new(20, WalkBudget::ENDLESS).leave_out(Some(left_out));
        let found: Vec<Candidate> =
            std::iter::from_fn(|| search.next(&mut reader, IterativeScan::Strict)).collect();
        assert!(found.iter().all(|candidate| candidate.node != left_out));
        hits += exact[..10].iter().filter(|(_, n)| found[..10].iter().any(|c| c.node == *n)).count();
    }
    assert!(hits >= 970, "{hits} of 1000 nearest neighbours");
}

#[test]
fn lists_hold_nodes_of_their_layer_and_no_more_than_the_degree() {
    let points = Points::new(1000);
    let graph = graph_of(&points);
    for (l, layer) in graph.layers.iter().enumerate() {
        for node in 0..layer.nodes() {
            let neighbours: Vec<u32> = layer.neighbours(node).collect();
            assert!(neighbours.len() <= if l == 0 { 16 } else { 8 });
            assert!(neighbours.iter().all(|&other| other < layer.nodes() && other != node));
            assert!(layer.nodes() == 1 || !neighbours.is_empty(), "layer {l}, node {node}");
        }
    }
}

/// A graph of every second point, without every tenth of them.
struct Half<'a> {
    graph: &'a Graph,
    /// Node by point, point by node: of the older graph.
    points: &'a [u32],
    nodes: &'a [Option<u32>],
    /// The same of the new one.
    new_points: &'a [u32],
    new_nodes: &'a [Option<u32>],
}

impl PriorGraph for Half<'_> {
    fn known(&self, layer: usize, node: u32) -> Option<PriorNeighbours> {
        let old = self.nodes[self.new_points[node as usize] as usize]?;
        let kept = |old: u32| self.new_nodes[self.points[old as usize] as usize];
        let (mut candidates, mut complete) = (Vec::new(), true);
        for neighbour in self.graph.layers[layer].neighbours(old) {
            match kept(neighbour) {
                Some(new) => candidates.push(new),
                None => {
                    complete = false;
                    candidates.extend(self.graph.layers[layer].neighbours(neighbour).filter_map(kept));
                }
            }
        }
        candidates.retain(|&candidate| candidate != node);
        Some(if complete {
            PriorNeighbours::Neighbours(candidates)
        } else {
            PriorNeighbours::Candidates(candidates)
        })
    }
}

#[test]
fn an_older_graph_is_taken_over_without_its_dropped_nodes() {
    let all = Points::new(4000);
    let (order, layers) = levels::order(2000, |row| levels::level(3, row, 8));
    let old_points: Vec<u32> = order.iter().map(|row| row * 2).collect();
    let old = Points(old_points.iter().map(|&p| all.0[p as usize]).collect());
    let options = Options { m: 8, ef_construction: 40 };
    let (cancel, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let old_graph = build(&old, 2000, &layers, options, &Nothing, &cancel, &done);
    let mut old_nodes = vec![None; 4000];
    old_points.iter().zip(0..).for_each(|(&p, node)| old_nodes[p as usize] = Some(node));

    let level = |p: u32| match old_nodes[p as usize] {
        Some(node) => layers.iter().take_while(|&&count| node < count).count(),
        None => usize::from(levels::level(9, p, 8)),
    };
    let mut points: Vec<u32> = (0..4000).filter(|p| p % 20 != 0).collect();
    points.sort_by_key(|&p| (std::cmp::Reverse(level(p)), old_nodes[p as usize].is_none()));
    let new_layers: Vec<u32> = (1..=level(points[0]))
        .map(|layer| points.iter().filter(|&&p| level(p) >= layer).count() as u32)
        .collect();
    let mut nodes = vec![None; 4000];
    points.iter().zip(0..).for_each(|(&p, node)| nodes[p as usize] = Some(node));
    let source = Points(points.iter().map(|&p| all.0[p as usize]).collect());
    let prior = Half {
        graph: &old_graph,
        points: &old_points,
        nodes: &old_nodes,
        new_points: &points,
        new_nodes: &nodes,
    };
    let done = AtomicU64::new(0);
    let merged = build(&source, points.len() as u32, &new_layers, options, &prior, &cancel, &done);
    let scratch = build(&source, points.len() as u32, &new_layers, options, &Nothing, &cancel, &done);
    let recall = |graph: &Graph| {
        let mut hits = 0;
        for i in 0..100 {
            let query = [i as f32 * 1.3, 1.5];
            let exact = source.nearest(query);
            let mut reader = Query { points: &source, graph, query };
            let mut search = Search::new(10, WalkBudget::ENDLESS);
            let found: Vec<Candidate> =
                std::iter::from_fn(|| search.next(&mut reader, IterativeScan::Strict)).take(10).collect();
            hits += exact[..10].iter().filter(|(_, n)| found.iter().any(|c| c.node == *n)).count();
        }
        hits
    };
    let (merged, scratch) = (recall(&merged), recall(&scratch));
    assert!(merged + 30 >= scratch && scratch >= 900, "merged {merged}, from scratch {scratch} of 1000");
}

#[test]
fn edges_lead_out_of_every_cluster() {
    // Nine of them, on lines far from one another.
    let mut rows: Vec<[f32; 2]> = Vec::new();
    for i in 0..900 {
        rows.extend((0..9).map(|cluster| [cluster as f32 * 100_000.0 + i as f32, cluster as f32]));
    }
    let points = Points(rows);
    let graph = graph_of(&points);
    for first in [0, 4, 8] {
        let mut reader = Query { points: &points, graph: &graph, query: points.0[first] };
        let mut search = Search::new(20, WalkBudget::ENDLESS);
        let found = std::iter::from_fn(|| search.next(&mut reader, IterativeScan::Strict)).count();
        let compared = search.work().compared;
        assert!(compared >= 8000, "from cluster {first} edges lead to {compared} of 8100 nodes");
        assert!(found >= 7900, "from cluster {first} {found} of 8100 nodes are found in time");
    }
}

#[test]
fn a_cancelled_build_returns_at_once() {
    let points = Points::new(1000);
    let (cancel, done) = (AtomicBool::new(true), AtomicU64::new(0));
    build(&points, 1000, &[], Options { m: 8, ef_construction: 40 }, &Nothing, &cancel, &done);
    assert_eq!(done.into_inner(), 0);
}

#[test]
fn empty_and_tiny_graphs_are_searched() {
    for count in [0, 1, 2] {
        let points = Points::new(count);
        let graph = graph_of(&points);
        let mut reader = Query { points: &points, graph: &graph, query: [0.0, 0.0] };
        let mut search = Search::new(5, WalkBudget::ENDLESS);
        let found = std::iter::from_fn(|| search.next(&mut reader, IterativeScan::Strict)).count();
        assert_eq!(found, count);
    }
}
