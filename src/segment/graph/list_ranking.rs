//! Ranking of lists by the distance of their centroids from a row: all lists, or of very many those
//! in the nearest groups.
//!
//! Every row of a build ranks lists, whose number grows with the rows: ranking all of them would be
//! most of a large build.

use crate::cluster::centroids::Centroids;
use crate::cluster::{self, Matrix};
use crate::codec::rabitq::Query;
use crate::codec::rotation::Rotation;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Lists ranked for a row where lists are in groups, approximately.
const RANKED: usize = 2048;
/// Fewer lists are not worth grouping.
const GROUPED: usize = 2 * RANKED;

/// Lists that can be ranked.
pub struct Ranking {
    /// Of all lists; those of a group are adjacent.
    centroids: Centroids,
    groups: Option<Groups>,
}

struct Groups {
    heads: Centroids,
    /// Of each group the number of its first list, and the lists.
    lists: Vec<(u32, Centroids)>,
    /// Groups whose lists are ranked.
    probes: usize,
}

impl Ranking {
    /// Takes the centroids of lists and renumbers them: lists of a group are adjacent.
    pub fn new(vectors: Matrix, options: cluster::Options, rotation: &Rotation, cancel: &AtomicBool) -> Self {
        Self::grouped_from(GROUPED, vectors, options, rotation, cancel)
    }

    fn grouped_from(
        least: usize,
        vectors: Matrix,
        options: cluster::Options,
        rotation: &Rotation,
        cancel: &AtomicBool,
    ) -> Self {
        let count = vectors.rows();
        if count < least {
            return Self { centroids: Centroids::unshifted(vectors, rotation), groups: None };
        }
        let options = cluster::Options { count: count.isqrt(), ..options };
        let heads = cluster::centroids(&vectors, options, cancel, &AtomicU64::new(0));
        let heads = Centroids::unshifted(heads, rotation);
        let mut members = vec![Matrix::new(vectors.dims); heads.count()];
        for list in 0..count {
            let vector = vectors.row(list);
            let head = heads.nearest(vector, &Query::new(&rotation.rotate(vector)));
            members[head as usize].numbers.extend_from_slice(vector);
        }
        let all = Matrix {
            dims: vectors.dims,
            numbers: members.iter().flat_map(|m| &m.numbers).copied().collect(),
        };
        let mut first = 0;
        let lists = members.into_iter().map(|members| {
            let group = (first, Centroids::unshifted(members, rotation));
            first += group.1.count() as u32;
            group
        });
        let lists: Vec<_> = lists.collect();
        let probes = (RANKED * lists.len()).div_ceil(count).min(lists.len());
        Self { centroids: Centroids::unshifted(all, rotation), groups: Some(Groups { heads, lists, probes }) }
    }

    pub fn centroids(&self) -> &Centroids {
        &self.centroids
    }

    /// Fills `best` with the lists estimated to be nearest to `vector`, ascending; `tables` are the
    /// vector's.
    pub fn rank(&self, vector: &[f32], tables: &Query, best: &mut [(f32, u32)]) {
        let Some(Groups { heads, lists, probes }) = &self.groups else {
            return self.centroids.rank(vector, tables, best);
        };
        let mut groups = vec![(f32::INFINITY, 0); *probes];
        heads.rank(vector, tables, &mut groups);
        for (_, group) in groups {
            let (first, lists) = &lists[group as usize];
            lists.rank_more(*first, vector, tables, best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Element;
    use crate::util::random::Random;

    #[test]
    fn groups_lead_to_the_nearest_lists() {
        let (dims, count, probes) = (40, 5000, 20);
        let mut random = Random::new(5);
        let mut row = || -> Vec<f32> { (0..dims).map(|_| random.fraction() as f32).collect() };
        // Around fifty places.
        let places: Vec<Vec<f32>> = (0..50).map(|_| row()).collect();
        let near = |place: usize, noise: Vec<f32>| -> Vec<f32> {
            places[place].iter().zip(noise).map(|(x, noise)| x + 0.5 * noise).collect()
        };
        let vectors = Matrix { dims, numbers: (0..count).flat_map(|i| near(i % 50, row())).collect() };
        let rotation = Rotation::new(3, dims);
        let options = cluster::Options { count: 0, spherical: false, seed: 1 };
        let ranking = |least| {
            Ranking::grouped_from(least, vectors.clone(), options, &rotation, &AtomicBool::new(false))
        };
        let (flat, grouped) = (ranking(count + 1), ranking(count));
        assert_eq!(grouped.centroids().count(), count);
        let mut hits = [0; 2];
        for place in (0..50).chain(0..50) {
            let query = near(place, row());
            let tables = Query::new(&rotation.rotate(&query));
            let distance = |vector: &[f32]| f32::l2_squared(vector, &query);
            let mut exact: Vec<f64> = (0..count).map(|list| distance(vectors.row(list))).collect();
            exact.sort_by(f64::total_cmp);
            for (ranking, hits) in [&flat, &grouped].into_iter().zip(&mut hits) {
                let mut best = vec![(f32::INFINITY, 0); probes];
                ranking.rank(&query, &tables, &mut best);
                assert!(best.is_sorted_by_key(|&(key, _)| key));
                let mut lists: Vec<u32> = best.iter().map(|&(_, list)| list).collect();
                let nearest = ranking.centroids().nearest_of(&query, &best);
                assert!(lists[..8].contains(&nearest));
                lists.sort();
                lists.dedup();
                assert_eq!(lists.len(), probes, "no list twice");
                let near = |&&list: &&u32| distance(ranking.centroids().vector(list)) <= exact[probes - 1];
                *hits += lists.iter().filter(near).count();
            }
        }
        let [all, some] = hits;
        assert!(all > 100 * probes / 3, "{all} of {} lists by all", 100 * probes);
        assert!(some >= all * 9 / 10, "{some} by groups, {all} by all");
    }
}
