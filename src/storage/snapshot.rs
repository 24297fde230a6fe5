//! One generation of an index, as a reader sees it.

use super::manifest::{Codebook, Manifest};
use super::meta::{self, Meta};
use super::page;
use crate::pg::buffer::Pinned;
use crate::pg::error::Problem;
use crate::pg::relation::{FileId, Relation};
use crate::storage::parts::ListParts;
use crate::structure::PageKind;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// What a reader works with: one generation of the index.
#[derive(Clone)]
pub struct Snapshot {
    pub meta: Rc<Meta>,
    pub manifest: Rc<Manifest>,
}

thread_local! {
    /// The last generation of each index that this backend has read.
    static CACHE: RefCell<HashMap<FileId, Snapshot>> = RefCell::default();
}

/// Indexes whose manifests a backend remembers.
const CACHED_INDEXES: usize = 64;
/// Attempts to read a generation. On a standby, replay may overtake a reader between two pages;
/// this many times in a row is no coincidence.
const ATTEMPTS: usize = 100;

impl Snapshot {
    /// The codebook of a segment, unless all its rows are in one list.
    pub fn codebook_of(&self, parts: &ListParts) -> Option<&Codebook> {
        self.manifest.codebooks.iter().find(|codebook| codebook.id == parts.codebook)
    }

    /// Lists that a segment's rows may be in: those of its codebook.
    pub fn lists_of(&self, parts: &ListParts) -> u32 {
        self.codebook_of(parts).map_or(1, |codebook| codebook.lists)
    }

    /// The current generation; raises an error if its pages are corrupt.
    pub fn read(relation: Relation) -> Self {
        for _ in 0..ATTEMPTS {
            let meta = Meta::read(relation);
            let file = relation.file_id();
            let cached = CACHE.with_borrow(|cache| cache.get(&file).cloned());
            if let Some(cached) = cached
                && (cached.meta.build, cached.meta.generation) == (meta.build, meta.generation)
            {
                return cached;
            }
            if let Some(manifest) = read_pages(relation, &meta) {
                let snapshot = Self { meta: Rc::new(meta), manifest: Rc::new(manifest) };
                CACHE.with_borrow_mut(|cache| {
                    if cache.len() >= CACHED_INDEXES {
                        cache.clear();
                    }
                    cache.insert(file, snapshot.clone());
                });
                return snapshot;
            }
            pgrx::check_for_interrupts!();
        }
        if crate::pg::relation::in_recovery() {
            Problem::new(
                pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
                format!("index \"{}\" changes faster than it can be read", relation.name()),
            )
            .hint("Repeat the query.")
            .raise();
        }
        Problem::corrupt(format!("the manifest of index \"{}\" is corrupted", relation.name())).raise();
    }
}

/// `None` if the pages are not those of the generation that the meta page names.
fn read_pages(relation: Relation, meta: &Meta) -> Option<Manifest> {
    let root = &meta.manifest;
    let mut content = Vec::with_capacity(root.bytes as usize);
    for block in root.pages.blocks() {
        let page = Pinned::read(relation, block).share();
        if !page::is(&page, PageKind::Manifest, 0) || page::generation(&page) != meta.generation as u32 {
            return None;
        }
        content.extend_from_slice(page::payload(&page));
    }
    let content = content.get(..root.bytes as usize)?;
    if crc32fast::hash(content) != root.crc {
        return None;
    }
    meta::decode(content)
}
