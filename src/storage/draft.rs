//! A segment in the making: pages for its parts, before any reader can find them.

use super::edit::Edit;
use super::extent::Extents;
use super::manifest::Creating;
use super::pages::PageSink;
use super::tasks::TaskKind;
use crate::pg::relation::Relation;
use std::rc::Rc;

/// Where the pages of a draft come from.
trait Allocator {
    /// `pages` pages of the segment's own.
    fn allocate(&mut self, pages: u64) -> Extents;

    /// Appends pages that [`Self::allocate`] takes later, where that can be done ahead.
    fn prepare(&mut self, _pages: u32) {}

    /// Where the pages are written.
    fn sink(&self) -> Rc<dyn PageSink>;
}

/// A number for a segment or codebook, and pages to write it to.
///
/// Allocating pages takes the manifest's lock for a moment each time. Filling them needs no lock.
pub struct Draft<'a> {
    id: u32,
    generation: u64,
    pages: Box<dyn Allocator + 'a>,
}

impl<'a> Draft<'a> {
    /// Begins a segment of an index that is being created.
    pub fn within(edit: &'a mut Edit) -> Self {
        Self { id: edit.new_segment(), generation: edit.generation(), pages: Box::new(edit) }
    }

    /// Begins a segment on behalf of a task, whose lock the caller holds.
    pub fn begin(relation: Relation, task: TaskKind) -> Draft<'static> {
        let mut edit = Edit::open(relation);
        let id = edit.new_segment();
        edit.manifest.creating.push(Creating { id, task, pages: Vec::new() });
        edit.publish();
        Draft { id, generation: edit.meta.generation, pages: Box::new(Listed { relation, id }) }
    }

    /// The segment's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Appends pages that [`Self::allocate`] takes later to an index that is being created: for the
    /// time while threads compute. Other drafts do nothing.
    pub fn prepare(&mut self, pages: u32) {
        self.pages.prepare(pages);
    }

    /// `pages` pages of the segment's own.
    pub fn allocate(&mut self, pages: u64) -> Extents {
        self.pages.allocate(pages)
    }

    /// Where the pages are written.
    pub fn sink(&self) -> Rc<dyn PageSink> {
        self.pages.sink()
    }
}

/// An index that is being created: no other process sees it.
impl Allocator for &mut Edit {
    fn allocate(&mut self, pages: u64) -> Extents {
        Edit::allocate(self, pages)
    }

    fn prepare(&mut self, pages: u32) {
        if pages > 0 {
            self.append(pages);
        }
    }

    fn sink(&self) -> Rc<dyn PageSink> {
        Rc::new(self.relation())
    }
}

/// The manifest lists what was allocated until the segment is published, so that the pages of an
/// interrupted task are found again.
struct Listed {
    relation: Relation,
    id: u32,
}

impl Allocator for Listed {
    fn allocate(&mut self, pages: u64) -> Extents {
        if pages == 0 {
            return Extents::default();
        }
        let mut edit = Edit::open(self.relation);
        let extents = edit.allocate(pages);
        let creating = edit.manifest.creating.iter_mut().find(|creating| creating.id == self.id);
        creating.expect("only its task removes it").pages.extend(extents.iter());
        edit.publish();
        extents
    }

    fn sink(&self) -> Rc<dyn PageSink> {
        Rc::new(self.relation)
    }
}

#[cfg(test)]
mod in_memory {
    use super::*;
    use crate::storage::extent::Extent;
    use crate::storage::pages::memory::MemoryPages;

    impl Draft<'static> {
        /// Begins a segment on pages in memory.
        pub fn in_memory(pages: &Rc<MemoryPages>, id: u32) -> Self {
            Self { id, generation: 1, pages: Box::new(Rc::clone(pages)) }
        }
    }

    impl Allocator for Rc<MemoryPages> {
        /// In runs of a few pages with a gap after each, so that readers meet several extents.
        fn allocate(&mut self, pages: u64) -> Extents {
            const RUN: u32 = 3;
            let mut left = pages as u32;
            let mut extents = Vec::new();
            while left > 0 {
                let pages = left.min(RUN);
                extents.push(Extent { start: self.extend(pages + 1), pages });
                left -= pages;
            }
            Extents::from(extents)
        }

        fn sink(&self) -> Rc<dyn PageSink> {
            Rc::<MemoryPages>::clone(self)
        }
    }
}
