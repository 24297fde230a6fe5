//! The manifest: every segment and where its parts lie.

use super::extent::{Extents, Freed};
use super::meta::{self, Growing, Meta};
use super::page::{self, Kind};
use super::part::Part;
use crate::pg::buffer::Pinned;
use crate::pg::error::{OrRaise, Problem};
use crate::pg::relation::{FileId, Relation};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A sealed segment: rows with ordinals `0..rows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub id: u32,
    /// How often its rows went through a compaction.
    pub level: u32,
    pub rows: u32,
    pub tombstones: u32,
    /// Six bytes a row: the heap tuple's address.
    pub tids: Part,
    /// One bit a row, set by VACUUM.
    pub tombstone_bits: Part,
    /// What the rows are searched by.
    pub parts: Parts,
    /// CRC-32 over the parts' content, tombstones aside, in the order in which they are written.
    pub crc: u32,
    /// Seconds since 1970.
    pub created: u64,
}

impl Sealed {
    /// A segment that was just written; `tids` and `tombstone_bits` are its [`Sealed::tids`] and
    /// [`Sealed::tombstone_bits`].
    pub fn new(
        id: u32,
        rows: u32,
        (tids, tombstone_bits): (Part, Part),
        parts: Parts,
        crc: crc32fast::Hasher,
    ) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { id, level: 0, rows, tombstones: 0, tids, tombstone_bits, parts, crc: crc.finalize(), created }
    }
}

/// The parts that depend on a segment's structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parts {
    Graph(GraphParts),
    Lists(ListParts),
}

/// A graph: its nodes are the first rows; the rest are duplicates of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphParts {
    pub nodes: u32,
    /// Nodes of layer 1, 2, …: nodes are ordered by descending level, so each layer is a prefix of the ordinals.
    pub layers: Vec<u32>,
    /// The exact vectors of the nodes, as [`crate::distance::Space`] lays them out.
    pub vectors: Part,
    /// Where each node's vector begins and ends in the tape, for rows of varying length.
    pub offsets: Option<Part>,
    /// Neighbours on the base layer.
    pub base: Part,
    /// Neighbours on the upper layers, layer after layer.
    pub upper: Part,
    /// For each row that is no node, its node, ascending.
    pub duplicates: Part,
}

/// Posting lists: rows are ordered by list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParts {
    /// Id of the codebook whose lists these are.
    pub codebook: u32,
    /// Four bytes a list: its first row; then once more the number of rows.
    pub starts: Part,
    /// A block for every 32 rows, if the index has codes.
    pub codes: Option<Part>,
    /// A code of several bits a dimension for every row, if the index has such.
    pub fine: Option<Part>,
    /// The exact vectors of the rows, unless the heap's are used.
    pub vectors: Option<Part>,
}

/// The centroids of an index with lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codebook {
    pub id: u32,
    pub lists: u32,
    /// Vectors of `f32`.
    pub centroids: Part,
    /// A block for every 32 centroids.
    pub codes: Part,
}

/// All segments but the growing one, and the free pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Frozen segments that wait to be sealed.
    pub flushing: Vec<Growing>,
    pub sealed: Vec<Sealed>,
    /// The lists that rows are assigned to, once there are any.
    pub codebook: Option<Codebook>,
    pub free: Vec<Freed>,
    /// Given up by this very generation, as of [`Meta::published_at`].
    pub freed_now: Vec<super::extent::Extent>,
}

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
/// On a standby, replay may overtake a reader between two pages; more often than this in a row is no coincidence.
const ATTEMPTS: usize = 100;

impl Snapshot {
    /// The current generation.
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
        if !page::is(&page, Kind::Manifest, 0) || page::generation(&page) != meta.generation as u32 {
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

/// The bytes of a manifest as they are cut into pages.
pub fn encode(manifest: &Manifest) -> Vec<u8> {
    meta::encode(manifest)
}

/// Checks a block number from a page before it is used; corruption raises an error.
pub fn checked_block(relation: Relation, pages: &Extents, index: u64) -> u32 {
    pages
        .block(index)
        .ok_or_else(|| {
            Problem::corrupt(format!("index \"{}\" is corrupted", relation.name()))
                .detail(format!("Page {index} of a part with {} pages was asked for.", pages.pages()))
        })
        .or_raise()
}
