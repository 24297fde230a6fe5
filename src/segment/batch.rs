//! Rows on their way into a sealed segment of either structure.

use super::{Entry, Plan, graph, lists};
use crate::distance::Space;
use crate::segment::lists::codebook::Lists;
use crate::storage::draft::Draft;
use crate::storage::manifest::Sealed;
use crate::structure::{GraphOptions, ListOptions};

/// What rows are sealed into.
pub enum Target {
    Graph(GraphOptions),
    /// With the lists that rows are assigned to.
    Lists(ListOptions, Lists),
}

pub enum Batch {
    Graph(Box<graph::seal::Batch>, Plan),
    Lists(Box<lists::seal::Batch>),
}

impl Batch {
    pub fn new(space: Space, plan: Plan, target: &Target) -> Self {
        match target {
            Target::Graph(options) => {
                Batch::Graph(Box::new(graph::seal::Batch::new(space, plan.columns, *options)), plan)
            }
            Target::Lists(options, lists) => {
                Batch::Lists(Box::new(lists::seal::Batch::new(space, plan, *options, lists.clone())))
            }
        }
    }

    /// Adds a row; `false` if the bytes are no row of the space.
    pub fn push(&mut self, entry: Entry) -> bool {
        match self {
            Batch::Graph(batch, _) => batch.push(entry),
            Batch::Lists(batch) => batch.push(entry),
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Batch::Graph(batch, _) => batch.rows(),
            Batch::Lists(batch) => batch.rows(),
        }
    }

    /// Bytes that the rows take, and that sealing them will take.
    pub fn bytes(&self) -> usize {
        match self {
            Batch::Graph(batch, plan) => batch.bytes(plan.threads),
            Batch::Lists(batch) => batch.bytes(),
        }
    }

    /// Writes the segment's pages; the caller adds it to the manifest.
    pub fn seal(self, draft: &mut Draft) -> Sealed {
        match self {
            Batch::Graph(batch, plan) => batch.seal(draft, plan),
            Batch::Lists(batch) => batch.seal(draft),
        }
    }
}
