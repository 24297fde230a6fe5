//! Rough neighbourhoods of all rows of a segment in the making. Rows are put into lists around
//! centroids. Codes of one bit a dimension estimate each row against the rows of the lists nearest
//! to it.

use crate::cluster::{self, Matrix};
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::{BlockLayout, Centre};
use crate::codec::rabitq::{Factors, Query};
use crate::codec::rotation::rotated_dims;
use crate::distance::Geometry;
use crate::graph::bulk::Near;
use crate::memory;
use crate::segment::graph::list_ranking::Ranking;
use crate::segment::graph::rotated::Rotated;
use crate::util::bits;
use crate::util::random::{Random, Spread};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The purpose that errors about memory name.
const LISTS: &str = "lists of near nodes";

/// Rows of a list, on average.
const LIST_ROWS: usize = 192;
/// Rows sampled for each list.
const SAMPLED: usize = 24;
/// Rows that each row is estimated against, on average.
const SCANNED: usize = 4096;
/// Lists that those are in.
const PROBES: usize = SCANNED / LIST_ROWS;

/// Bytes in memory for each row of `dims` dimensions: of its code, its list, and the share of the
/// rows that is sampled.
pub fn bytes_per_row(dims: usize) -> usize {
    const NUMBERS: usize = 32;
    let lists = PROBES * size_of::<u32>();
    dims * size_of::<f32>() * SAMPLED / LIST_ROWS + rotated_dims(dims) / 8 + lists + NUMBERS
}

/// Rows in lists, with codes.
pub struct Neighbourhoods<'a> {
    rotated: &'a Rotated<'a>,
    ranking: Ranking,
    /// For each node the numbers of the lists nearest to it, [`Self::probes`] of them.
    near_lists: Vec<u32>,
    /// The nodes of each list.
    members: Vec<Vec<u32>>,
    /// Blocks of their codes against the list's centroid.
    blocks: Vec<Vec<u8>>,
    layout: BlockLayout,
    probes: usize,
}

impl<'a> Neighbourhoods<'a> {
    /// Puts rows into lists, on the current rayon pool.
    ///
    /// Returns early, with an arbitrary result, once `cancel` is set.
    pub fn new(rotated: &'a Rotated<'a>, seed: u64, cancel: &AtomicBool) -> Self {
        let (rows, encoder) = (rotated.rows(), rotated.encoder());
        let space = rows.space();
        let dims = space.dims as usize;
        let count = rows.nodes() as usize;
        let lists = count.div_ceil(LIST_ROWS);
        let spread = Spread::new(count as u32);
        let sampled = (0..count.min(lists * SAMPLED) as u32).into_par_iter();
        let mut sample = Matrix { dims, numbers: memory::zeros(sampled.len() * dims, LISTS) };
        let places = sample.numbers.par_chunks_exact_mut(dims).zip(sampled);
        places.for_each(|(place, i)| place.copy_from_slice(&rows.vector(spread.at(i))));
        let options =
            cluster::Options { count: lists, spherical: space.metric.geometry() == Geometry::Angle, seed };
        let centroids = cluster::centroids(&sample, options, cancel, &AtomicU64::new(0));
        let ranking = Ranking::new(centroids, options, encoder.rotation(), cancel);
        let centroids = ranking.centroids();
        let probes = PROBES.min(centroids.count());
        let mut near_lists = memory::zeros(count * probes, LISTS);
        let assign = |(node, near_lists): (usize, &mut [u32])| {
            if cancel.load(Ordering::Relaxed) {
                return 0;
            }
            let vector = rows.vector(node as u32);
            let mut ranked = [(f32::INFINITY, 0); PROBES];
            let ranked = &mut ranked[..probes];
            ranking.rank(&vector, &Query::new(&rotated.vector(node as u32)), ranked);
            near_lists.iter_mut().zip(&*ranked).for_each(|(near, &(_, list))| *near = list);
            centroids.nearest_of(&vector, ranked)
        };
        let list_of_node: Vec<u32> = near_lists.par_chunks_mut(probes).enumerate().map(assign).collect();
        let mut members = vec![Vec::new(); centroids.count()];
        for (node, list) in (0..).zip(list_of_node) {
            memory::push(&mut members[list as usize], node, LISTS);
        }
        let layout = BlockLayout::new(dims);
        let encode = |(list, members): (usize, &Vec<u32>)| -> Vec<u8> {
            let centre = centroids.rotated(list as u32);
            let pack = |nodes: &[u32]| {
                let codes: Vec<(Factors, Vec<u8>)> = nodes
                    .iter()
                    .map(|&node| {
                        let mut code = vec![0; layout.code_bytes()];
                        (encoder.encode(&rotated.vector(node), centre, &mut code), code)
                    })
                    .collect();
                let codes: Vec<(Factors, &[u8])> =
                    codes.iter().map(|(factors, code)| (*factors, &code[..])).collect();
                layout.pack(&codes)
            };
            members.chunks(BLOCK).filter(|_| !cancel.load(Ordering::Relaxed)).flat_map(pack).collect()
        };
        let blocks = members.par_iter().enumerate().map(encode).collect();
        Self { rotated, ranking, near_lists, members, blocks, layout, probes }
    }

    /// The lists nearest to a node.
    fn near_lists(&self, node: u32) -> &[u32] {
        &self.near_lists[node as usize * self.probes..][..self.probes]
    }
}

impl Near for Neighbourhoods<'_> {
    fn groups(&self) -> &[Vec<u32>] {
        &self.members
    }

    fn candidates(&self, node: u32, count: usize, found: &mut Vec<u32>) {
        let rows = self.rotated.rows();
        let (vector, tables) = (rows.vector(node), Query::new(&self.rotated.vector(node)));
        let mut nearest = Least::new(count);
        let near_lists = self.near_lists(node);
        for (place, &list) in near_lists.iter().enumerate() {
            // Lists at NaN distances are all the first one.
            if near_lists[..place].contains(&list) {
                continue;
            }
            let centroid = self.ranking.centroids().vector(list);
            let centre_score = Centre::score_of(rows.space().metric, &vector, centroid);
            let blocks = self.blocks[list as usize].chunks_exact(self.layout.bytes());
            let blocks = blocks.zip(self.members[list as usize].chunks(BLOCK));
            let window = window(blocks.len(), node as usize, rows.nodes() as usize);
            for (block, members) in blocks.skip(window.start).take(window.len()) {
                let scores = self.layout.scores(block, &tables, centre_score);
                nearest.offer(&scores.expect("a block of this layout"), members);
            }
        }
        found.clear();
        found.extend(nearest.into_nodes().filter(|&other| other != node));
    }

    fn away(&self, node: u32) -> Option<u32> {
        // Any member of the near lists, each with the same chance. A member of the nearest list
        // would be of the nearest cluster. Clusters that share a list must be led to as often as
        // one with a list of its own.
        let lists = || self.near_lists(node).iter().map(|&list| &self.members[list as usize]);
        let members = lists().map(Vec::len).sum::<usize>().max(1);
        let place = Random::new(node.into()).next() % members as u64;
        lists().flatten().nth(place as usize).copied().filter(|&other| other != node)
    }
}

/// The blocks of a list that a node is estimated against: all, except in a list of far more rows
/// than average, all alike. A list's nodes ascend, so that the window is around the node's own
/// place.
fn window(blocks: usize, node: usize, nodes: usize) -> Range<usize> {
    const MOST: usize = SCANNED / BLOCK;
    let first = (node * blocks / nodes.max(1)).saturating_sub(MOST / 2);
    let first = first.min(blocks.saturating_sub(MOST));
    first..blocks.min(first + MOST)
}

/// The nodes of the least scores.
struct Least {
    count: usize,
    /// Up to `2 * count`.
    nodes: Vec<(f32, u32)>,
    /// No score among the least is greater.
    limit: f32,
}

impl Least {
    fn new(count: usize) -> Self {
        Self { count, nodes: Vec::with_capacity(2 * count), limit: f32::INFINITY }
    }

    fn offer(&mut self, scores: &[f32; BLOCK], nodes: &[u32]) {
        let missing = BLOCK.saturating_sub(nodes.len()) as u32;
        for place in bits::places(bits::below(scores, self.limit) & (u32::MAX >> missing)) {
            self.nodes.push((scores[place], nodes[place]));
            if self.nodes.len() == 2 * self.count {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.nodes.len() > self.count {
            let (_, worst, _) = self.nodes.select_nth_unstable_by(self.count - 1, |a, b| a.0.total_cmp(&b.0));
            self.limit = worst.0;
            self.nodes.truncate(self.count);
        }
    }

    fn into_nodes(mut self) -> impl Iterator<Item = u32> {
        self.cut();
        self.nodes.into_iter().map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encoder::Encoder;
    use crate::distance::{Arena, ElementKind, Metric, Space};
    use crate::segment::graph::rotated::Rows;

    #[test]
    fn every_cluster_is_led_to_however_many_share_a_list() {
        const DIMS: u32 = 20;
        const CLUSTERS: usize = 40;
        const ROWS: usize = 3000;
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: DIMS };
        let (mut arena, mut random) = (Arena::new(space), Random::new(8));
        let mut vector =
            |scale: f64| -> Vec<f32> { (0..DIMS).map(|_| (scale * random.fraction()) as f32).collect() };
        let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| vector(8.0)).collect();
        for row in 0..ROWS {
            let centre = &centres[row % CLUSTERS];
            let numbers: Vec<f32> = centre.iter().zip(vector(1.0)).map(|(x, off)| x + off).collect();
            assert!(arena.push(bytemuck::cast_slice(&numbers)));
        }
        let row_of_node: Vec<u32> = (0..ROWS as u32).collect();
        let encoder = Encoder::new(space, 1).expect("an encoder");
        let (rows, cancel) = (Rows { arena: &arena, row_of_node: &row_of_node }, AtomicBool::new(false));
        let rotated = Rotated::new(rows, &encoder, 1 << 30, &cancel);
        let near = Neighbourhoods::new(&rotated, 1, &cancel);
        let mut led_to = [0; CLUSTERS];
        for node in 0..ROWS {
            let other = near.away(node as u32).map(|other| other as usize % CLUSTERS);
            other.into_iter().filter(|&other| other != node % CLUSTERS).for_each(|other| led_to[other] += 1);
        }
        // 73 on average.
        assert!(led_to.iter().all(|&count| count > 40), "{led_to:?}");
    }
}
