//! A greatest score, and how estimates compare with it.

use crate::codec::fastscan::BLOCK;
use crate::search::rerank::Work;
use crate::util::bits;

/// Which rows are listed.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// The greatest score.
    pub within: f64,
    /// Whether every row's exact score is requested.
    pub exact: bool,
}

/// Multiple of its error that an estimate may be off. 99 rows in 100 keep to the error; fewer than
/// one in 10^13 exceed three times it.
const ALLOWANCE: f32 = 3.0;

/// What an estimate says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Within,
    Beyond,
    Unknown,
}

impl Threshold {
    /// Calls `visit` with the places of the estimates, 32 at most, that may be within, and their
    /// verdicts. Only places whose bit in `matching` is set count.
    pub fn sort_out(
        self,
        scores: &[f32],
        errors: &[f32],
        matching: u32,
        mut visit: impl FnMut(usize, Verdict),
    ) {
        let [mut all_scores, mut all_errors] = [[0f32; BLOCK]; 2];
        all_scores[..scores.len()].copy_from_slice(scores);
        all_errors[..errors.len()].copy_from_slice(errors);
        let there = u32::MAX >> (BLOCK - scores.len());
        // Rounded up, so that a row on the threshold is kept.
        let within = (self.within as f32).next_up();
        let places = bits::not_beyond(&all_scores, &all_errors, ALLOWANCE, within);
        for place in bits::places(places & matching & there) {
            visit(place, self.judge(scores[place], errors[place]));
        }
    }

    /// The verdict on an estimate with the bound on its error.
    pub fn judge(self, estimate: f32, error: f32) -> Verdict {
        let allowed = ALLOWANCE * error;
        let (lower, upper) = (f64::from(estimate - allowed), f64::from(estimate + allowed));
        // NaN decides nothing.
        if lower > self.within {
            Verdict::Beyond
        } else if upper <= self.within && !self.exact {
            Verdict::Within
        } else {
            Verdict::Unknown
        }
    }

    /// Whether a row with this exact score is listed. NaN is left to the executor.
    pub fn admits(self, score: f64) -> bool {
        score.is_nan() || score <= self.within
    }
}

/// The purpose that errors about memory name.
pub const ROWS: &str = "rows of a range";

/// Rows of a segment listed together; a multiple of those of a block of codes.
pub const STRETCH: u32 = 4096;

/// The result of listing a stretch.
pub struct Listed {
    /// Whether the segment has no further one.
    pub is_last: bool,
    pub work: Work,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_decide_where_their_errors_leave_no_doubt() {
        let near = |within| Threshold { within, exact: false };
        assert_eq!(near(5.5).judge(5.0, 0.1), Verdict::Within);
        assert_eq!(near(5.2).judge(5.0, 0.1), Verdict::Unknown);
        assert_eq!(near(4.5).judge(5.0, 0.1), Verdict::Beyond);
        let scored = Threshold { within: 5.5, exact: true };
        assert_eq!(scored.judge(5.0, 0.1), Verdict::Unknown, "its score is requested");
        for nothing in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_ne!(near(5.0).judge(nothing, f32::INFINITY), Verdict::Beyond, "{nothing}");
        }
        assert!(scored.admits(f64::NAN) && scored.admits(5.5) && !scored.admits(5.6));
    }
}
