//! Rows of any size brought to numbers near one around zero, so that squares and their differences
//! fit an `f32`.

use super::Matrix;
use crate::memory;

/// Greatest numbers beyond which, and below which, rows are scaled.
const LARGE: f32 = 1e12;
const SMALL: f32 = 1e-12;
/// Rows are moved if the norm of their mean exceeds this multiple of their deviation.
const FAR: f64 = 30.0;

/// How rows are moved and scaled.
#[derive(Debug)]
pub struct Frame {
    shift: Vec<f64>,
    scale: f64,
}

impl Frame {
    /// The frame that rows need, if they need one. With `keeps_directions` they are scaled only.
    pub fn of(rows: &Matrix, keeps_directions: bool) -> Option<Self> {
        let count = rows.rows().max(1) as f64;
        let mut shift = vec![0f64; rows.dims];
        if !keeps_directions {
            for row in rows.numbers.chunks_exact(rows.dims) {
                shift.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / count);
            }
            let mut width = 0.0;
            for row in rows.numbers.chunks_exact(rows.dims) {
                width += row.iter().zip(&shift).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>();
            }
            let length = shift.iter().map(|mean| mean * mean).sum::<f64>();
            if length <= FAR * FAR * width / count {
                shift.fill(0.0);
            }
        }
        let offset = |(x, shift): (&f32, &f64)| (f64::from(*x) - shift).abs();
        let rows = rows.numbers.chunks_exact(rows.dims);
        let greatest = rows.flat_map(|row| row.iter().zip(&shift).map(offset)).fold(0.0, f64::max);
        let is_moved = shift.iter().any(|&shift| shift != 0.0);
        let is_scaled = greatest > 0.0 && !(f64::from(SMALL)..=f64::from(LARGE)).contains(&greatest);
        let scale = if is_scaled { 1.0 / greatest } else { 1.0 };
        (is_moved || is_scaled).then_some(Self { shift, scale })
    }

    /// The rows within the frame.
    pub fn enter(&self, rows: &Matrix) -> Matrix {
        self.map(rows, |x, shift| (x - shift) * self.scale)
    }

    /// Rows of the frame as they are outside.
    pub fn leave(&self, rows: &Matrix) -> Matrix {
        self.map(rows, |x, shift| x / self.scale + shift)
    }

    fn map(&self, rows: &Matrix, number: impl Fn(f64, f64) -> f64) -> Matrix {
        let numbers = rows.numbers.iter().zip(self.shift.iter().cycle());
        let numbers = numbers.map(|(&x, &shift)| number(x.into(), shift) as f32);
        let mut moved = memory::with_capacity(rows.numbers.len(), "rows of clusters");
        moved.extend(numbers);
        Matrix { dims: rows.dims, numbers: moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_near_one_need_no_frame() {
        let rows = Matrix { dims: 2, numbers: vec![1.0, -2.0, 3.0, 0.5] };
        assert!(Frame::of(&rows, false).is_none());
        assert!(Frame::of(&Matrix { dims: 3, numbers: vec![0.0; 9] }, false).is_none());
    }

    #[test]
    fn rows_of_any_size_are_brought_near_one() {
        for size in [1e37f32, 1e-42, 1e19] {
            let rows = Matrix { dims: 2, numbers: vec![size, -size, size / 2.0, size] };
            let frame = Frame::of(&rows, true).expect("a frame");
            let inside = frame.enter(&rows);
            assert!(inside.numbers.iter().all(|x| (0.4..=1.0).contains(&x.abs())), "{size}: {inside:?}");
            let back = frame.leave(&inside);
            assert!(back.numbers.iter().zip(&rows.numbers).all(|(a, b)| (a - b).abs() <= b.abs() * 1e-3));
        }
    }

    #[test]
    fn rows_far_from_the_origin_are_moved_to_it() {
        let rows = Matrix { dims: 1, numbers: vec![1e6, 1e6 + 0.25, 1e6 - 0.25] };
        let frame = Frame::of(&rows, false).expect("a frame");
        assert!(frame.enter(&rows).numbers.iter().all(|x| x.abs() <= 0.5));
        assert!(Frame::of(&rows, true).is_none(), "directions stay");
    }
}
