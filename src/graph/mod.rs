//! Hierarchical navigable small-world graphs: how they are built, and how they are searched.
//!
//! Malkov, Yashunin: "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs" (2016), with two changes. Nodes are numbered by descending level.
//! So a layer is a prefix of the node numbers, node 0 is the entry point, and upper layers are
//! plain arrays. And a search can be resumed: it yields nodes as long as the caller asks for more.
//!
//! Nothing here knows of PostgreSQL.

#![forbid(unsafe_code)]

pub mod build;
pub mod bulk;
pub mod levels;
pub mod packed;
pub mod search;

/// A distance with a total order, and the node it belongs to; NaN comes last.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub score: f64,
    pub node: u32,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(self.node.cmp(&other.node))
    }
}
