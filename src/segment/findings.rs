//! What a check finds wrong with an index.

use super::Tid;
use crate::structure::PageKind;

/// A violated invariant, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub segment: Option<u32>,
    pub part: Option<PageKind>,
    pub block: Option<u32>,
    pub text: String,
}

/// Says what is wrong with a live row, given its heap tuple, its vector if the index has it, and
/// its attributes.
pub type RowVisitor<'a> = dyn FnMut(Tid, Option<&[u8]>, &[u64]) -> Option<String> + 'a;

/// Everything found so far.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

/// The most findings about one part of one segment.
const MOST_ALIKE: usize = 20;

impl Findings {
    /// Adds a finding about a page without an owner or with several: all of them, for each is
    /// another.
    pub fn of_page(&mut self, block: u32, text: String) {
        self.0.push(Finding { segment: None, part: None, block: Some(block), text });
    }

    /// Adds a finding, unless there are enough like it.
    pub fn add(&mut self, segment: Option<u32>, part: Option<PageKind>, block: Option<u32>, text: String) {
        let alike = self.0.iter().filter(|found| (found.segment, found.part) == (segment, part));
        let alike = alike.filter(|found| segment.is_some() || found.block.is_none()).count();
        if alike < MOST_ALIKE {
            self.0.push(Finding { segment, part, block, text });
        }
    }

    /// Adds a finding about a part of a segment.
    pub fn of_part(&mut self, segment: u32, part: PageKind, text: impl Into<String>) {
        self.add(Some(segment), Some(part), None, text.into());
    }

    /// Adds a finding about a segment.
    pub fn of_segment(&mut self, segment: u32, text: impl Into<String>) {
        self.add(Some(segment), None, None, text.into());
    }

    /// Whether something is wrong with a segment or a codebook.
    pub fn are_of(&self, segment: u32) -> bool {
        self.0.iter().any(|found| found.segment == Some(segment))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}
