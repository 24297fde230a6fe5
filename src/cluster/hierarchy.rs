//! Many centroids at the cost of few: the rows are cut into coarse clusters, and each of these into
//! its share of centroids.

use super::Matrix;
use super::flat::{self, Lloyd};
use crate::util::random::{Random, Spread};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the caller decides.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Centroids requested.
    pub count: usize,
    /// Centroids are scaled to unit length, as the rows are.
    pub spherical: bool,
    pub seed: u64,
}

/// Up to this many centroids are found at once.
const FLAT: usize = 48;
/// Rows for each coarse centroid; more would not move it.
const COARSE_ROWS: usize = 256;
const ITERATIONS: usize = 10;

/// Maximum depth. Ordinary data need three levels; below the last, sampled rows are the centroids.
const LEVELS: u32 = 6;

/// See [`super::centroids()`].
pub fn centroids(rows: &Matrix, options: Options, cancel: &AtomicBool, done: &AtomicU64) -> Matrix {
    centroids_of_level(rows, options, LEVELS, cancel, done)
}

fn centroids_of_level(
    rows: &Matrix,
    options: Options,
    levels: u32,
    cancel: &AtomicBool,
    done: &AtomicU64,
) -> Matrix {
    let Options { count, spherical, seed } = options;
    let lloyd = Lloyd { iterations: ITERATIONS, spherical };
    let mut random = Random::new(seed);
    if rows.rows() <= count {
        done.fetch_add(count as u64, Ordering::Relaxed);
        return rows.clone();
    }
    if count <= FLAT {
        let found = flat::centroids(rows, count, lloyd, &mut random, cancel);
        done.fetch_add(count as u64, Ordering::Relaxed);
        return found;
    }
    let coarse_count = (count as f64).sqrt().ceil() as usize;
    let sampled = rows.rows().min(coarse_count * COARSE_ROWS);
    let step = rows.rows() as f64 / sampled as f64;
    let sample = rows.select((0..sampled).map(|i| (i as f64 * step) as usize));
    let coarse = flat::centroids(&sample, coarse_count, lloyd, &mut random, cancel);
    if cancel.load(Ordering::Relaxed) {
        return coarse;
    }

    let mut members = vec![Vec::new(); coarse.rows()];
    for (row, (cluster, _)) in flat::assign(rows, &coarse, cancel).into_iter().enumerate() {
        members[cluster as usize].push(row);
    }
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let is_split = sizes.iter().all(|&size| size < rows.rows());
    if !is_split || levels == 0 {
        done.fetch_add(count as u64, Ordering::Relaxed);
        return distinct_rows(rows, count);
    }
    let shares = shares(&sizes, count);
    let work: Vec<_> = members.into_iter().zip(shares).filter(|(_, share)| *share > 0).enumerate().collect();
    let parts: Vec<Matrix> = work
        .into_par_iter()
        .map(|(cluster, (members, share))| {
            let rows = rows.select(members.into_iter());
            let options = Options { count: share, spherical, seed: seed ^ (cluster as u64 + 1) << 32 };
            centroids_of_level(&rows, options, levels - 1, cancel, done)
        })
        .collect();
    let mut all = Matrix::new(rows.dims);
    parts.iter().for_each(|part| all.numbers.extend_from_slice(&part.numbers));
    all
}

/// Of `count` evenly spread rows, sorted, those that differ from the one before.
fn distinct_rows(rows: &Matrix, count: usize) -> Matrix {
    let spread = Spread::new(rows.rows() as u32);
    let mut numbers: Vec<usize> =
        (0..count.min(rows.rows()) as u32).map(|place| spread.at(place) as usize).collect();
    numbers.sort_unstable_by(|&a, &b| {
        rows.row(a)
            .iter()
            .zip(rows.row(b))
            .map(|(a, b)| a.total_cmp(b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    numbers.dedup_by(|a, b| rows.row(*a) == rows.row(*b));
    rows.select(numbers.into_iter())
}

/// Cuts `total` into shares in proportion to the sizes, none greater than its size; `total` is at
/// most their sum.
fn shares(sizes: &[usize], total: usize) -> Vec<usize> {
    let sum: usize = sizes.iter().sum();
    let exact = |size: usize| size as f64 * total as f64 / sum as f64;
    let mut shares: Vec<usize> = sizes.iter().map(|&size| (exact(size) as usize).min(size)).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).filter(|&i| shares[i] < sizes[i]).collect();
    by_remainder.sort_by(|&a, &b| exact(sizes[b]).fract().total_cmp(&exact(sizes[a]).fract()));
    let mut missing = total.saturating_sub(shares.iter().sum());
    for &i in by_remainder.iter().cycle() {
        if missing == 0 || by_remainder.iter().all(|&i| shares[i] == sizes[i]) {
            break;
        }
        if shares[i] < sizes[i] {
            shares[i] += 1;
            missing -= 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(rows: &Matrix, count: usize, spherical: bool) -> Matrix {
        let options = Options { count, spherical, seed: 5 };
        centroids(rows, options, &AtomicBool::new(false), &AtomicU64::new(0))
    }

    /// Rows around `count` points of a lattice.
    fn crowds(count: usize, each: usize) -> Matrix {
        let mut random = Random::new(9);
        let mut rows = Matrix::new(4);
        for i in 0..count * each {
            let place = i % count;
            let at = |digit: u32| (place / 4usize.pow(digit) % 4) as f32 * 10.0;
            rows.numbers.extend((0..4).map(|d| at(d) + random.fraction() as f32));
        }
        rows
    }

    #[test]
    fn crowds_get_centroids_of_their_own() {
        for count in [5, 40, 200] {
            let rows = crowds(count, 60);
            let found = find(&rows, count, false);
            assert_eq!(found.rows(), count);
            let assigned = flat::assign(&rows, &found, &AtomicBool::new(false));
            let error = assigned.iter().map(|(_, distance)| distance).sum::<f32>() / rows.rows() as f32;
            // Within a crowd the mean squared distance to its middle is 4/12; between crowds 100 or
            // more.
            assert!(error < 20.0, "{count}: {error}");
            let mut sizes = vec![0; count];
            assigned.iter().for_each(|(cluster, _)| sizes[*cluster as usize] += 1);
            assert!(sizes.iter().filter(|&&size| size == 0).count() * 10 <= count, "{count}: {sizes:?}");
        }
    }

    #[test]
    fn spherical_centroids_have_unit_length() {
        let mut rows = crowds(64, 20);
        for row in rows.numbers.chunks_exact_mut(4) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        let found = find(&rows, 64, true);
        for centroid in 0..found.rows() {
            let norm: f32 = found.row(centroid).iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-4, "{norm}");
        }
    }

    #[test]
    fn there_are_no_more_centroids_than_rows() {
        assert_eq!(find(&crowds(3, 1), 100, false).rows(), 3);
        assert_eq!(find(&crowds(60, 1), 50, false).rows(), 50);
        // One crowd is far greater than the others, whose share of centroids is none.
        let mut rows = crowds(1, 5000);
        rows.numbers.extend(crowds(50, 1).numbers);
        assert_eq!(find(&rows, 60, false).rows(), 60);
    }

    proptest! {
        #[test]
        fn shares_add_up(sizes in prop::collection::vec(0usize..50, 1..30), part in 0f64..=1.0) {
            let sum: usize = sizes.iter().sum();
            let total = (sum as f64 * part) as usize;
            let shares = shares(&sizes, total);
            prop_assert_eq!(shares.iter().sum::<usize>(), total);
            prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share <= size));
        }
    }

    #[test]
    fn rows_that_cannot_be_told_apart_end_the_search() {
        let equal = Matrix { dims: 16, numbers: vec![0.5; 16 * 2000] };
        assert_eq!(find(&equal, 100, false).rows(), 1);
        let two = Matrix { dims: 1, numbers: [0.0, 1.0].repeat(1000) };
        let found = find(&two, 100, false);
        assert!((2..=100).contains(&found.rows()), "{}", found.rows());
        assert!([0.0, 1.0].iter().all(|value| found.numbers.contains(value)));
        let zero = Matrix { dims: 3, numbers: vec![0.0; 3 * 500] };
        assert!(find(&zero, 60, true).numbers.iter().all(|x| x.is_finite()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_rows_end_in_centroids(
            powers in prop::collection::vec(-44i32..38, 1..40),
            dims in 1usize..5,
            spherical: bool
        ) {
            let mut random = Random::new(powers.len() as u64);
            let numbers = (0..700 * dims).map(|i| {
                let sign = if random.fraction() < 0.5 { -1.0 } else { 1.0 };
                (sign * 10f64.powi(powers[i / dims % powers.len()])) as f32
            });
            let rows = Matrix { dims, numbers: numbers.collect() };
            let found = crate::cluster::centroids(
                &rows,
                Options { count: 80, spherical, seed: 5 },
                &AtomicBool::new(false),
                &AtomicU64::new(0),
            );
            prop_assert!((1..=80).contains(&found.rows()));
            prop_assert!(found.numbers.iter().all(|x| !x.is_nan()));
        }
    }
}
