//! Lloyd's iterations, seeded by k-means++ (Arthur, Vassilvitskii 2007).

use super::Matrix;
use crate::distance::Element;
use crate::memory;
use crate::util::random::Random;
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows whose products with all centroids are computed at once: they and the products stay in the
/// processor's caches.
const CHUNK: usize = 256;

/// What the memory is for, in messages.
const CENTROIDS: &str = "centroids and their rows";

/// The nearest centroid of each row, and the squared distance to it.
pub fn assign(rows: &Matrix, centroids: &Matrix, cancel: &AtomicBool) -> Vec<(u32, f32)> {
    let (dims, count) = (rows.dims, centroids.rows());
    let norms: Vec<f32> = (0..count).map(|c| squared_norm(centroids.row(c))).collect();
    let chunks = rows.numbers.par_chunks(CHUNK * dims);
    let nearest = chunks.flat_map_iter(|chunk| {
        let rows = chunk.len() / dims;
        let mut products = memory::zeros::<f32>(rows * count, CENTROIDS);
        if !cancel.load(Ordering::Relaxed) {
            multiply(chunk, &centroids.numbers, dims, &mut products);
        }
        let mut nearest = Vec::with_capacity(rows);
        for (row, products) in chunk.chunks_exact(dims).zip(products.chunks_exact(count)) {
            let (best, score) = least(products, &norms);
            nearest.push((best, (score + squared_norm(row)).max(0.0)));
        }
        nearest
    });
    nearest.collect()
}

/// `products[i][j]` = inner product of row `i` of `a` and row `j` of `b`.
fn multiply(a: &[f32], b: &[f32], dims: usize, products: &mut [f32]) {
    let (rows, columns) = (a.len() / dims, b.len() / dims);
    assert_eq!(products.len(), rows * columns);
    let (dims_stride, columns_stride) = (dims as isize, columns as isize);
    // SAFETY: the strides keep within the slices, whose lengths are `rows · dims`, `columns · dims`
    // and `rows · columns`.
    unsafe {
        matrixmultiply::sgemm(
            rows,
            dims,
            columns,
            1.0,
            a.as_ptr(),
            dims_stride,
            1,
            b.as_ptr(),
            1,
            dims_stride,
            0.0,
            products.as_mut_ptr(),
            columns_stride,
            1,
        );
    }
}

/// The number and score of the nearest centroid: the squared distance without the row's own squared
/// norm, which is the same for all.
fn least(products: &[f32], norms: &[f32]) -> (u32, f32) {
    // In lanes, so that the comparisons run on vector registers.
    const LANES: usize = 8;
    let (mut scores, mut numbers) = ([f32::INFINITY; LANES], [0u32; LANES]);
    let mut first = 0;
    for (products, norms) in products.chunks(LANES).zip(norms.chunks(LANES)) {
        for (lane, (product, norm)) in products.iter().zip(norms).enumerate() {
            let score = norm - 2.0 * product;
            let is_less = score < scores[lane];
            scores[lane] = if is_less { score } else { scores[lane] };
            numbers[lane] = if is_less { first + lane as u32 } else { numbers[lane] };
        }
        first += LANES as u32;
    }
    let lanes = numbers.into_iter().zip(scores);
    lanes.min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are lanes")
}

fn squared_norm(row: &[f32]) -> f32 {
    f32::dot(row, row) as f32
}

/// How centroids are found.
#[derive(Clone, Copy, Debug)]
pub struct Lloyd {
    pub iterations: usize,
    /// Centroids are scaled to unit length, as the rows are: what counts is the direction.
    pub spherical: bool,
}

/// `count` centroids of the rows; as many as there are rows if these are fewer.
pub fn centroids(
    rows: &Matrix,
    count: usize,
    lloyd: Lloyd,
    random: &mut Random,
    cancel: &AtomicBool,
) -> Matrix {
    let mut centroids = seed(rows, count.min(rows.rows()), random, cancel);
    let mut before: Vec<u32> = Vec::new();
    for _ in 0..lloyd.iterations {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let nearest = assign(rows, &centroids, cancel);
        update(rows, &nearest, &mut centroids, lloyd.spherical);
        // Moves of one row in a thousand change nothing that a search would notice.
        const SETTLED: usize = 1000;
        let moved = nearest.iter().zip(&before).filter(|((now, _), before)| now != *before).count();
        if before.len() == nearest.len() && moved * SETTLED < nearest.len() {
            break;
        }
        before = nearest.into_iter().map(|(nearest, _)| nearest).collect();
    }
    centroids
}

/// First centroids (k-means++): rows drawn with a probability proportional to the squared distance
/// to the nearest of those drawn before.
fn seed(rows: &Matrix, count: usize, random: &mut Random, cancel: &AtomicBool) -> Matrix {
    let mut seeds = Matrix::new(rows.dims);
    let mut distances = memory::filled(f32::INFINITY, rows.rows(), CENTROIDS);
    let norms: Vec<f32> = (0..rows.rows()).map(|row| squared_norm(rows.row(row))).collect();
    for _ in 0..count {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let total: f64 = distances.iter().map(|&d| f64::from(d.min(f32::MAX))).sum();
        let mut left = random.fraction() * total;
        let drawn = distances.iter().position(|&distance| {
            left -= f64::from(distance.min(f32::MAX));
            left < 0.0
        });
        // If no distance is left, the rows are copies of one another: any will do.
        let drawn = drawn.unwrap_or((random.fraction() * rows.rows() as f64) as usize);
        let seed = rows.row(drawn);
        let norm = squared_norm(seed);
        distances.par_iter_mut().enumerate().with_min_len(CHUNK).for_each(|(row, distance)| {
            let product = f32::dot(rows.row(row), seed) as f32;
            *distance = distance.min((norms[row] + norm - 2.0 * product).max(0.0));
        });
        memory::extend(&mut seeds.numbers, seed, CENTROIDS);
    }
    seeds
}

/// Moves each centroid to the mean of its rows; one without rows goes to a row that is far from its
/// own centroid.
fn update(rows: &Matrix, nearest: &[(u32, f32)], centroids: &mut Matrix, spherical: bool) {
    let dims = rows.dims;
    let mut counts = vec![0u32; centroids.rows()];
    centroids.numbers.fill(0.0);
    for (row, &(cluster, _)) in nearest.iter().enumerate() {
        counts[cluster as usize] += 1;
        let sum = &mut centroids.numbers[cluster as usize * dims..][..dims];
        sum.iter_mut().zip(rows.row(row)).for_each(|(sum, x)| *sum += x);
    }
    let mut farthest: Vec<usize> = Vec::new();
    if counts.contains(&0) {
        farthest = (0..nearest.len()).collect();
        farthest.sort_unstable_by(|&a, &b| nearest[b].1.total_cmp(&nearest[a].1));
    }
    let mut farthest = farthest.into_iter();
    for (count, centroid) in counts.into_iter().zip(centroids.numbers.chunks_exact_mut(dims)) {
        if count == 0 {
            if let Some(row) = farthest.next() {
                centroid.copy_from_slice(rows.row(row));
            }
            continue;
        }
        let scale = if spherical { 1.0 / squared_norm(centroid).sqrt() } else { 1.0 / count as f32 };
        // The directions of a cluster may cancel out.
        if scale.is_finite() {
            centroid.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLOYD: Lloyd = Lloyd { iterations: 10, spherical: false };

    #[test]
    fn rows_go_to_the_nearest_centroid() {
        let mut random = Random::new(1);
        let mut matrix = |rows: usize| Matrix {
            dims: 37,
            numbers: (0..rows * 37).map(|_| random.fraction() as f32).collect(),
        };
        let (rows, centroids) = (matrix(700), matrix(19));
        let distance = |row: usize, c: usize| -> f32 {
            rows.row(row).iter().zip(centroids.row(c)).map(|(x, y)| (x - y).powi(2)).sum()
        };
        for (row, (nearest, found)) in
            assign(&rows, &centroids, &AtomicBool::new(false)).into_iter().enumerate()
        {
            let least = (0..19).map(|c| distance(row, c)).fold(f32::INFINITY, f32::min);
            assert!((distance(row, nearest as usize) - least).abs() < 1e-4);
            assert!((found - least).abs() < 1e-4, "{found} is not {least}");
        }
    }

    #[test]
    fn empty_clusters_are_repaired() {
        let rows = Matrix { dims: 1, numbers: vec![0.0, 1.0, 2.0, 100.0] };
        let mut centroids = Matrix { dims: 1, numbers: vec![1.0, -50.0] };
        let nearest = assign(&rows, &centroids, &AtomicBool::new(false));
        assert!(nearest.iter().all(|(cluster, _)| *cluster == 0));
        update(&rows, &nearest, &mut centroids, false);
        assert_eq!(centroids.numbers[1], 100.0, "the row farthest from its centroid");
    }

    #[test]
    fn copies_of_one_row_do_no_harm() {
        let rows = Matrix { dims: 3, numbers: [1.0, 2.0, 3.0].repeat(50) };
        let found = centroids(&rows, 7, LLOYD, &mut Random::new(3), &AtomicBool::new(false));
        assert_eq!(found.rows(), 7);
        assert!(found.numbers.iter().all(|x| x.is_finite()));
    }
}
