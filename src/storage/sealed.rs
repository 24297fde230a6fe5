//! A sealed segment as its readers use it: what the manifest says of it, and its pages.

#![forbid(unsafe_code)]

use super::manifest::Sealed;
use super::pages::Pages;
use super::part::Part;
use super::part_reader::PartReader;
use crate::pg::error::Problem;
use crate::storage::parts::{GraphParts, ListParts, Parts};
use crate::structure::PageKind;
use std::ops::Deref;

/// A sealed segment and the pages on which it lies.
#[derive(Clone, Copy)]
pub struct SealedRef<'a> {
    pages: &'a dyn Pages,
    segment: &'a Sealed,
}

impl Deref for SealedRef<'_> {
    type Target = Sealed;

    fn deref(&self) -> &Sealed {
        self.segment
    }
}

impl<'a> SealedRef<'a> {
    pub fn new(pages: &'a dyn Pages, segment: &'a Sealed) -> Self {
        Self { pages, segment }
    }

    pub fn pages(self) -> &'a dyn Pages {
        self.pages
    }

    /// What the manifest says, for as long as the manifest lives.
    pub fn segment(self) -> &'a Sealed {
        self.segment
    }

    /// A reader of one of the segment's parts.
    pub fn part(self, part: &'a Part, kind: PageKind) -> PartReader<'a> {
        PartReader::new(self.pages, part, kind, self.segment.id)
    }

    /// The parts of a graph; an error if the segment has another structure.
    pub fn graph(self) -> &'a GraphParts {
        let Parts::Graph(parts) = &self.segment.parts else { self.corrupt("It has no graph.") };
        parts
    }

    /// The parts of posting lists; an error if the segment has another structure.
    pub fn lists(self) -> &'a ListParts {
        let Parts::Lists(parts) = &self.segment.parts else { self.corrupt("It has no lists.") };
        parts
    }

    /// Raises the error that the segment holds what this extension cannot have written.
    pub fn corrupt(self, detail: impl Into<String>) -> ! {
        Problem::corrupt(format!("segment {} of index \"{}\" is corrupted", self.id, self.pages.name()))
            .detail(detail)
            .raise()
    }

    /// Raises an error if the work must end.
    pub fn poll(self) {
        self.pages.poll();
    }

    /// As [`Self::poll`], also if another process waits for the index: for long work.
    pub fn give_way(self) {
        self.pages.give_way();
    }
}
