//! A segment in the making: pages for its parts, before any reader can find them.

use super::edit::Edit;
use super::extent::Extents;
use super::manifest::Creating;
use super::tasks::TaskKind;
use crate::pg::relation::Relation;

/// A number for a segment or codebook, and pages to write it to.
///
/// Each allocation takes the manifest's lock for a moment; filling the pages does not.
pub struct Draft<'a> {
    id: u32,
    generation: u64,
    pages: Pages<'a>,
}

/// Where the pages come from.
enum Pages<'a> {
    /// An index that is being created: no other session sees it.
    Own(&'a mut Edit),
    /// The manifest lists what was taken until the segment is published, so that the pages of an
    /// interrupted task are found again.
    Listed(Relation),
}

impl<'a> Draft<'a> {
    /// Begins a segment of an index that is being created.
    pub fn within(edit: &'a mut Edit) -> Self {
        Self { id: edit.new_segment(), generation: edit.generation(), pages: Pages::Own(edit) }
    }

    /// Begins a segment on behalf of a task, whose lock the caller holds.
    pub fn begin(relation: Relation, task: TaskKind) -> Draft<'static> {
        let mut edit = Edit::open(relation);
        let id = edit.new_segment();
        edit.manifest.creating.push(Creating { id, task, pages: Vec::new() });
        edit.publish();
        Draft { id, generation: edit.meta.generation, pages: Pages::Listed(relation) }
    }

    /// The segment's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn relation(&self) -> Relation {
        match &self.pages {
            Pages::Own(edit) => edit.relation(),
            Pages::Listed(relation) => *relation,
        }
    }

    /// Appends pages to an index that is being created, for [`Self::allocate`] to take later, while
    /// threads compute. Does nothing for other indexes.
    pub fn prepare(&mut self, pages: u32) {
        if let Pages::Own(edit) = &mut self.pages
            && pages > 0
        {
            edit.append(pages);
        }
    }

    /// `pages` pages of the segment's own.
    pub fn allocate(&mut self, pages: u64) -> Extents {
        match &mut self.pages {
            Pages::Own(edit) => edit.allocate(pages),
            Pages::Listed(_) if pages == 0 => Extents::default(),
            Pages::Listed(relation) => {
                let mut edit = Edit::open(*relation);
                let extents = edit.allocate(pages);
                let creating = edit.manifest.creating.iter_mut().find(|creating| creating.id == self.id);
                creating.expect("only its task removes it").pages.extend(extents.iter());
                edit.publish();
                extents
            }
        }
    }
}
