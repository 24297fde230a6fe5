//! The types of a search: its query, its effort, and its hits.

use super::Tid;
use crate::distance::PreparedQuery;
use crate::filter::Condition;
use crate::search::rerank::IterativeScan;
use std::cmp::Ordering;

/// A row's exact score and its heap tuple.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub score: f64,
    pub tid: Tid,
}

/// Fetches a row's bytes from the table: calls the visitor if the scan's snapshot sees the row.
pub type HeapRows<'a> = dyn FnMut(Tid, &mut dyn FnMut(&[u8])) + 'a;

/// The share of fetched rows that the snapshot sees; the others are dead and not yet vacuumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeenShare {
    fetched: u64,
    seen: u64,
}

impl SeenShare {
    /// The fewest rows fetched by which the share is estimated.
    const LEAST: u64 = 16;

    pub fn note(&mut self, fetched: u64, seen: u64) {
        self.fetched += fetched;
        self.seen += seen;
    }

    /// How many of `rows` rows are seen, by estimate.
    pub fn of(self, rows: u64) -> u64 {
        if self.fetched < Self::LEAST { rows } else { rows * self.seen.max(1) / self.fetched }
    }
}

/// How hard a search tries before it returns its first row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Candidates of a graph.
    pub ef: usize,
    /// Lists probed.
    pub probes: usize,
    /// What happens after the first rows.
    pub iterative_scan: IterativeScan,
    /// The most rows that a search returns, and the memory in bytes beyond which a search in strict
    /// order goes on in passes.
    pub rows: u64,
    pub bytes: usize,
}

impl Eq for Hit {}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(self.tid.cmp(&other.tid))
    }
}

/// What is looked for.
pub struct Request {
    pub query: PreparedQuery,
    /// What rows must meet; some that do not may be found nevertheless.
    pub conditions: Vec<Condition>,
    pub limits: SearchLimits,
}

/// The limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchLimits {
    pub effort: Effort,
    /// The greatest score requested, if there is one.
    pub within: Option<f64>,
    /// A segment's id, and the node of its graph or the row of its lists that a search leaves out.
    pub leave_out: Option<(u32, u32)>,
}
