//! The meta page, block 0: what never changes about an index, and the root of what does.

use super::extent::Extents;
use super::page::{self, Stamp};
use crate::distance::Space;
use crate::filter;
use crate::memory;
use crate::pg::buffer::{PAGE_SIZE, Page, Pinned};
use crate::pg::error::{OrRaise, Problem};
use crate::pg::relation::Relation;
use crate::structure::PageKind;
use crate::structure::{Quantizer, Structure};
use serde::{Deserialize, Serialize};

/// Block of the meta page.
pub const BLOCK: u32 = 0;
/// Version of everything on an index's pages; a change that older code cannot read raises it.
const FORMAT: u32 = 9;

/// A segment that rows are appended to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growing {
    pub segment: u32,
    /// Block of each lane's root page.
    pub lanes: Vec<u32>,
    /// When it was opened: microseconds since 1970.
    pub opened: u64,
}

/// Where the manifest lies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRoot {
    pub pages: Extents,
    pub bytes: u32,
    pub crc: u32,
}

/// Content of the meta page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    format: u32,
    pub space: Space,
    pub structure: Structure,
    pub quantizer: Quantizer,
    /// The filter columns.
    pub filters: Vec<filter::key::KeyKind>,
    /// Makes node levels and rotations reproducible.
    pub seed: u64,
    /// Distinguishes this build from an earlier one in the same file.
    pub build: u64,
    /// Counts the changes of the manifest.
    pub generation: u64,
    pub manifest: ManifestRoot,
    /// Next transaction id when this generation was published (see
    /// [`super::extent::Freed::since`]).
    pub published_at: u64,
    pub next_segment: u32,
    pub growing: Growing,
}

impl Meta {
    /// The meta data of an index without segments, not yet published.
    pub fn new(
        space: Space,
        structure: Structure,
        quantizer: Quantizer,
        filters: Vec<filter::key::KeyKind>,
        seed: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            space,
            structure,
            quantizer,
            filters,
            seed,
            build: seed,
            generation: 0,
            manifest: ManifestRoot::default(),
            published_at: 0,
            next_segment: 1,
            growing: Growing { segment: 0, lanes: Vec::new(), opened: 0 },
        }
    }

    /// Reads the meta page; raises an error if it is corrupt or of another format.
    pub fn read(relation: Relation) -> Self {
        // Every use of an index begins here.
        memory::arm();
        let page = *Pinned::read(relation, BLOCK).share();
        Self::decode(&page, &relation.name()).or_raise()
    }

    fn decode(page: &Page, index: &str) -> Result<Self, Problem> {
        if !page::is(page, PageKind::Meta, 0) {
            return Err(page::mismatch(index, BLOCK, PageKind::Meta, 0));
        }
        let corrupt = || Problem::corrupt(format!("the meta page of index \"{index}\" is corrupted"));
        let payload = page::payload(page);
        let bytes = u32::from_ne_bytes(payload[..4].try_into().expect("four bytes")) as usize;
        let crc = u32::from_ne_bytes(payload[4..8].try_into().expect("four bytes"));
        let content = payload[8..].get(..bytes).ok_or_else(corrupt)?;
        if crc32fast::hash(content) != crc {
            return Err(corrupt());
        }
        // The format comes first and says whether the rest can be read.
        let (format, _): (u32, usize) =
            bincode::serde::decode_from_slice(content, bincode::config::standard()).map_err(|_| corrupt())?;
        if format != FORMAT {
            return Err(Problem::new(
                pgrx::PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "index \"{index}\" has format {format}, but this version of vdb reads format {FORMAT}"
                ),
            )
            .hint("Rebuild the index with REINDEX."));
        }
        decode(content).ok_or_else(corrupt)
    }

    /// The whole meta page; an error if the content does not fit.
    pub fn to_page(&self) -> Result<Page, Problem> {
        let mut page = [0; PAGE_SIZE];
        page::format(
            &mut page,
            Stamp { kind: PageKind::Meta, segment: 0, generation: self.generation as u32 },
        );
        let content = encode(self);
        let payload = page::payload_mut(&mut page);
        let Some(target) = payload[8..].get_mut(..content.len()) else {
            return Err(Problem::new(
                pgrx::PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                format!("the meta page cannot hold {} bytes", content.len()),
            )
            .hint("Rebuild the index with REINDEX."));
        };
        target.copy_from_slice(&content);
        payload[..4].copy_from_slice(&(content.len() as u32).to_ne_bytes());
        payload[4..8].copy_from_slice(&crc32fast::hash(&content).to_ne_bytes());
        Ok(page)
    }
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("plain data serialises")
}

/// `None` unless the bytes are exactly one encoding of a `T`.
pub(super) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    // A length field cannot make the decoder allocate more than this.
    let config = bincode::config::standard().with_limit::<{ 1 << 30 }>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (read == bytes.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::{ElementKind, Metric};
    use crate::structure::{GraphLayout, GraphOptions, Rerank};

    #[test]
    fn a_damaged_meta_page_is_refused() {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: 3 };
        let meta = Meta::new(
            space,
            Structure::Graph(GraphOptions {
                m: 16,
                ef_construction: 64,
                layout: GraphLayout::Wide,
                rerank: Rerank::Index,
            }),
            Quantizer::None,
            vec![filter::key::KeyKind::Int4],
            42,
        );
        let page = meta.to_page().unwrap();
        assert_eq!(Meta::decode(&page, "i").unwrap(), meta);
        for at in 24..32 + encode(&meta).len() {
            let mut damaged = page;
            damaged[at] ^= 0x40;
            assert!(Meta::decode(&damaged, "i").is_err(), "byte {at}");
        }
    }
}
