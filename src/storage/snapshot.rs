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
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// The last generation of each index that this backend has read, as far as they fit.
#[derive(Default)]
struct Cache {
    entries: HashMap<FileId, Cached>,
    bytes: usize,
    /// Counts the uses of all entries.
    uses: u64,
}

struct Cached {
    snapshot: Snapshot,
    bytes: usize,
    /// The count of uses when this one was used last.
    used: u64,
}

/// Most bytes of manifests that a backend remembers: those of two thousand small indexes.
const CACHED_BYTES: usize = 16 << 20;
/// Estimated bytes in memory for each byte of an encoded manifest.
const BYTES_PER_ENCODED: usize = 6;
/// Estimated bytes of an entry beside its manifest.
const BYTES_PER_INDEX: usize = 1 << 10;

impl Cache {
    /// The snapshot of an index, if it is of this build and generation.
    fn get(&mut self, file: FileId, meta: &Meta) -> Option<Snapshot> {
        self.uses += 1;
        let cached = self.entries.get_mut(&file)?;
        let known = &cached.snapshot.meta;
        if (known.build, known.generation) != (meta.build, meta.generation) {
            return None;
        }
        cached.used = self.uses;
        Some(cached.snapshot.clone())
    }

    /// Remembers a snapshot, and forgets the least recently used ones if there is no room.
    fn put(&mut self, file: FileId, snapshot: Snapshot) {
        let bytes = snapshot.meta.manifest.bytes as usize * BYTES_PER_ENCODED + BYTES_PER_INDEX;
        self.forget(file);
        while self.bytes + bytes > CACHED_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, cached)| cached.used);
            let Some(oldest) = oldest.map(|(&file, _)| file) else { break };
            self.forget(oldest);
        }
        self.bytes += bytes;
        self.entries.insert(file, Cached { snapshot, bytes, used: self.uses });
    }

    fn forget(&mut self, file: FileId) {
        self.bytes -= self.entries.remove(&file).map_or(0, |cached| cached.bytes);
    }
}

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
            if let Some(cached) = CACHE.with_borrow_mut(|cache| cache.get(file, &meta)) {
                return cached;
            }
            if let Some(manifest) = read_pages(relation, &meta) {
                let snapshot = Self { meta: Rc::new(meta), manifest: Rc::new(manifest) };
                CACHE.with_borrow_mut(|cache| cache.put(file, snapshot.clone()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::{ElementKind, Metric, Space};
    use crate::structure::{ListOptions, Quantizer, Rerank, Structure};

    fn snapshot(build: u64, bytes: u32) -> Snapshot {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: 3 };
        let structure = Structure::Lists(ListOptions { lists: 0, bits: 1, rerank: Rerank::Index });
        let mut meta = Meta::new(space, structure, Quantizer::None, Vec::new(), build);
        meta.manifest.bytes = bytes;
        Snapshot { meta: Rc::new(meta), manifest: Rc::default() }
    }

    #[test]
    fn the_least_recently_used_snapshots_are_forgotten() {
        let file = |relation| FileId { relation, file: relation };
        let mut cache = Cache::default();
        for relation in 0..2000 {
            cache.put(file(relation), snapshot(relation.into(), 1 << 10));
            assert!(cache.bytes <= CACHED_BYTES);
            // The first is used all the time.
            assert!(cache.get(file(0), &snapshot(0, 0).meta).is_some(), "{relation}");
        }
        assert!(cache.get(file(1), &snapshot(1, 0).meta).is_some(), "2,000 small ones fit");
        let big = (CACHED_BYTES / BYTES_PER_ENCODED / 2) as u32;
        cache.put(file(5000), snapshot(5000, big));
        assert!(cache.bytes <= CACHED_BYTES && cache.entries.len() < 2000);
        assert!(cache.get(file(2), &snapshot(2, 0).meta).is_none(), "the oldest went");
        assert!(cache.get(file(0), &snapshot(0, 0).meta).is_some());
        assert!(cache.get(file(5000), &snapshot(5001, 0).meta).is_none(), "another build");
        cache.put(file(5000), snapshot(5000, 10 * big));
        assert_eq!(cache.entries.len(), 1, "one that is larger than the room stands alone");
    }
}
