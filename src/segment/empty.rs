//! The pages of an index without rows, laid out by hand for an unlogged index's init fork.

use super::growing::LANES;
use crate::pg::buffer::{PAGE_SIZE, Page};
use crate::pg::error::Problem;
use crate::pg::process::now;
use crate::storage::extent::{Extent, Extents};
use crate::storage::manifest::{self, Manifest};
use crate::storage::meta::{Growing, ManifestRoot, Meta};
use crate::storage::page::{self, Stamp};
use crate::structure::PageKind;

/// The whole relation: meta page, manifest page, lanes.
pub fn pages(mut meta: Meta) -> Result<Vec<Page>, Problem> {
    const MANIFEST_BLOCK: u32 = 1;
    const FIRST_LANE: u32 = 2;
    let segment = meta.next_segment;
    meta.next_segment += 1;
    meta.generation = 1;
    meta.growing =
        Growing { segment, lanes: (FIRST_LANE..FIRST_LANE + LANES as u32).collect(), opened: now() };
    let content = manifest::encode(&Manifest::default());
    meta.manifest = ManifestRoot {
        pages: Extents::from(vec![Extent { start: MANIFEST_BLOCK, pages: 1 }]),
        bytes: content.len() as u32,
        crc: crc32fast::hash(&content),
    };
    let blank = |kind, segment| {
        let mut page = [0; PAGE_SIZE];
        page::format(&mut page, Stamp { kind, segment, generation: 1 });
        page
    };
    let mut manifest_page = blank(PageKind::Manifest, 0);
    page::payload_mut(&mut manifest_page)[..content.len()].copy_from_slice(&content);
    let lanes = std::iter::repeat_n(blank(PageKind::Lane, segment), LANES);
    Ok([meta.to_page()?, manifest_page].into_iter().chain(lanes).collect())
}
