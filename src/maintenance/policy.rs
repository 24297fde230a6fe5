//! What is due: when the growing segment is flushed, which segments are compacted, and how urgent
//! that is.
//!
//! Size-tiered compaction: segments of about the same size are merged once there are enough of
//! them. So a row is copied as many times as there are tiers. These are pure rules; applied to an
//! index's manifest, they give its queue.

#![forbid(unsafe_code)]

use crate::storage::tasks::Priority;

/// A sealed segment.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub id: u32,
    pub rows: u64,
    pub tombstones: u64,
}

impl Shape {
    pub fn live(self) -> u64 {
        self.rows - self.tombstones
    }

    fn dead_share(self) -> f64 {
        self.tombstones as f64 / self.rows.max(1) as f64
    }
}

/// The limits that users set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows at which the growing segment is flushed.
    pub flush_rows: u64,
    /// Age in seconds at which it is flushed however small it is; 0 for never.
    pub flush_age: u64,
    /// Segments of one tier that are merged.
    pub segments: usize,
    /// Share of dead rows at which a segment is rewritten.
    pub dead_share: f64,
    /// Most rows of a merged segment: as many as fit into memory.
    pub merged_rows: u64,
}

/// How urgent a flush is, if one is due; `seconds` is the age of the growing segment.
pub fn flush(rows: u64, seconds: u64, is_left_over: bool, limits: Limits) -> Option<Priority> {
    let times = rows / limits.flush_rows.max(1);
    match times {
        4.. => Some(Priority::Critical),
        2.. => Some(Priority::High),
        1 => Some(Priority::Medium),
        0 if is_left_over => Some(Priority::Medium),
        0 if limits.flush_age > 0 && seconds >= limits.flush_age && rows > 0 => Some(Priority::Low),
        0 => None,
    }
}

/// The tier of a segment: how many times segments of a flush's size were merged into it.
fn tier(live: u64, limits: Limits) -> u32 {
    let flushes = live as f64 / limits.flush_rows.max(1) as f64;
    // A segment with a few dead rows is still of the tier that it was merged for.
    let rounded = (flushes.max(1.0).ln() / (limits.segments.max(2) as f64).ln() + 0.25) as u32;
    if live < limits.flush_rows / 2 { 0 } else { rounded }
}

/// The segments to merge next, and how urgent that is.
pub fn compaction(shapes: &[Shape], limits: Limits) -> Option<(Vec<u32>, Priority)> {
    let holey: Vec<Shape> = shapes.iter().copied().filter(|s| s.dead_share() >= limits.dead_share).collect();
    if let Some((tier_of_many, many)) = crowded_tier(shapes, limits) {
        // Segments of no higher tier are merged as well, with holes or without.
        let mut chosen: Vec<Shape> =
            shapes.iter().copied().filter(|s| tier(s.live(), limits) <= tier_of_many).collect();
        chosen.sort_by_key(|shape| shape.live());
        let mut rows = 0;
        chosen.retain(|shape| {
            rows += shape.live();
            rows <= limits.merged_rows
        });
        if chosen.len() > 1 {
            let both = chosen.iter().any(|shape| shape.dead_share() >= limits.dead_share);
            let priority = match (both, many / limits.segments) {
                (_, 4..) => Priority::Critical,
                (true, _) | (_, 2..) => Priority::High,
                _ => Priority::Medium,
            };
            return Some((chosen.iter().map(|shape| shape.id).collect(), priority));
        }
    }
    // One at a time, the emptiest first.
    let fits = holey.into_iter().filter(|shape| shape.live() <= limits.merged_rows);
    let worst = fits.max_by(|a, b| a.dead_share().total_cmp(&b.dead_share()))?;
    Some((vec![worst.id], Priority::Low))
}

/// The lowest tier that has enough segments, and their number.
fn crowded_tier(shapes: &[Shape], limits: Limits) -> Option<(u32, usize)> {
    let tiers: Vec<u32> = shapes.iter().map(|shape| tier(shape.live(), limits)).collect();
    let count = |tier: u32| tiers.iter().filter(|&&other| other == tier).count();
    let crowded = tiers.iter().copied().filter(|&tier| count(tier) >= limits.segments.max(2)).min()?;
    Some((crowded, count(crowded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { flush_rows: 1000, flush_age: 60, segments: 4, dead_share: 0.2, merged_rows: 1_000_000 };

    fn shapes(segments: &[(u64, u64)]) -> Vec<Shape> {
        segments.iter().zip(0..).map(|(&(rows, tombstones), id)| Shape { id, rows, tombstones }).collect()
    }

    fn chosen(segments: &[(u64, u64)]) -> Option<(Vec<u32>, Priority)> {
        let mut chosen = compaction(&shapes(segments), LIMITS);
        chosen.iter_mut().for_each(|(ids, _)| ids.sort());
        chosen
    }

    #[test]
    fn flushes_are_due_by_rows_age_and_what_was_left() {
        assert_eq!(flush(999, 5, false, LIMITS), None);
        assert_eq!(flush(1000, 5, false, LIMITS), Some(Priority::Medium));
        assert_eq!(flush(2500, 5, false, LIMITS), Some(Priority::High));
        assert_eq!(flush(9000, 5, false, LIMITS), Some(Priority::Critical));
        assert_eq!(flush(0, 5, true, LIMITS), Some(Priority::Medium));
        assert_eq!(flush(1, 60, false, LIMITS), Some(Priority::Low));
        assert_eq!(flush(0, 60, false, LIMITS), None, "nothing to flush");
        assert_eq!(flush(1, 60, false, Limits { flush_age: 0, ..LIMITS }), None);
    }

    #[test]
    fn segments_of_a_tier_are_merged_once_there_are_enough() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(1000, 0); 3]), None);
        assert_eq!(chosen(&[(1000, 0); 4]), Some((vec![0, 1, 2, 3], Priority::Medium)));
        let large = [(1_000_000, 0), (1010, 0), (1000, 0), (1200, 0), (900, 0)];
        assert_eq!(chosen(&large), Some((vec![1, 2, 3, 4], Priority::Medium)), "the large one stays");
        assert_eq!(
            chosen(&[(1000, 0); 8]).map(|(ids, priority)| (ids.len(), priority)),
            Some((8, Priority::High))
        );
        assert_eq!(chosen(&[(1000, 0); 16]).map(|(_, priority)| priority), Some(Priority::Critical));
        let tiers = [(4000, 0), (4100, 0), (4050, 10), (1000, 0), (1000, 0), (3900, 0)];
        assert_eq!(chosen(&tiers).map(|(ids, _)| ids.len()), Some(6), "smaller ones come along");
    }

    #[test]
    fn holes_are_closed() {
        assert_eq!(chosen(&[(1000, 199)]), None);
        assert_eq!(chosen(&[(1000, 200), (100_000, 90_000)]), Some((vec![1], Priority::Low)));
        let both = [(1000, 0), (1000, 300), (1000, 0), (1000, 0)];
        assert_eq!(chosen(&both), Some((vec![0, 1, 2, 3], Priority::High)));
    }

    #[test]
    fn what_does_not_fit_into_memory_is_left() {
        let limits = Limits { merged_rows: 2500, ..LIMITS };
        let merged = compaction(&shapes(&[(1000, 0); 4]), limits).unwrap();
        assert_eq!(merged.0.len(), 2);
        assert_eq!(compaction(&shapes(&[(2000, 0); 4]), limits), None);
        assert_eq!(compaction(&shapes(&[(9000, 3000)]), limits), None);
    }

    /// Rows come in flushes, and their segments are merged: there are always few segments, and each
    /// row is copied seldom.
    #[test]
    fn merging_costs_a_logarithm() {
        let (mut segments, mut copied) = (Vec::<Shape>::new(), 0);
        for id in 0..1000 {
            segments.push(Shape { id, rows: 1000, tombstones: 0 });
            while let Some((ids, _)) = compaction(&segments, Limits { merged_rows: u64::MAX, ..LIMITS }) {
                let rows = segments.iter().filter(|s| ids.contains(&s.id)).map(|s| s.rows).sum();
                copied += rows;
                segments.retain(|segment| !ids.contains(&segment.id));
                segments.push(Shape { id: ids[0], rows, tombstones: 0 });
            }
            assert!(segments.len() <= 15, "{segments:?}");
        }
        assert!(copied <= 6 * 1_000_000, "{copied}");
    }
}
