//! The owners of an index's pages.

use super::growing;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::Relation;
use crate::storage::edit::Edit;
use crate::storage::extent::{Extent, gaps};
use crate::storage::manifest::Manifest;
use crate::storage::meta::{self, Meta};

/// An owner of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Meta,
    Manifest,
    Segment(u32),
    Codebook(u32),
    FreeList,
}

/// Every run of pages that the current generation knows of, with its owner; the caller holds the
/// manifest's lock.
///
/// The caller takes the [`settled_blocks`] before. Pages appended while the lanes are read may be
/// missing.
pub fn owned(relation: Relation, meta: &Meta, manifest: &Manifest) -> Vec<(Owner, Extent)> {
    let mut owned = vec![(Owner::Meta, Extent { start: meta::BLOCK, pages: 1 })];
    let mut add = |owner, extents: &mut dyn Iterator<Item = Extent>| {
        owned.extend(extents.map(|extent| (owner, extent)));
    };
    add(Owner::Manifest, &mut meta.manifest.pages.iter());
    for segment in manifest.unsealed(meta) {
        add(Owner::Segment(segment.segment), &mut growing::extents(relation, segment).into_iter());
    }
    for segment in &manifest.sealed {
        add(Owner::Segment(segment.id), &mut segment.extents());
    }
    for segment in &manifest.creating {
        add(Owner::Segment(segment.id), &mut segment.pages.iter().copied());
    }
    for codebook in &manifest.codebooks {
        add(Owner::Codebook(codebook.id), &mut codebook.extents());
    }
    add(Owner::FreeList, &mut manifest.free.iter().map(|freed| freed.extent));
    add(Owner::FreeList, &mut manifest.freed_now.iter().map(|given| given.extent));
    owned
}

/// The index's length in pages. A lane lists those of them that writers have appended.
pub fn settled_blocks(relation: Relation) -> u32 {
    let _lock = IndexLock::wait(relation, Purpose::Extend);
    relation.blocks()
}

/// Frees pages without an owner, which an error or a crash between appending and listing has left.
/// Returns whether there were any.
pub fn sweep(edit: &mut Edit) -> bool {
    let relation = edit.relation();
    let blocks = settled_blocks(relation);
    let owned = owned(relation, &edit.meta, &edit.manifest);
    let mut extents: Vec<Extent> = owned.into_iter().map(|(_, extent)| extent).collect();
    let (lost, _) = gaps(&mut extents, blocks);
    let found = !lost.is_empty();
    edit.free_at_once(lost);
    found
}

/// Frees lost pages, if there are any.
pub fn sweep_now(relation: Relation) {
    let mut edit = Edit::open(relation);
    if sweep(&mut edit) {
        edit.publish();
    }
}
