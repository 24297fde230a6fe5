//! The frame of a page: PostgreSQL's header, our payload, and a special area that says what the
//! page is.

use crate::pg::buffer::{PAGE_SIZE, Page};
use crate::pg::error::Problem;
use crate::structure::PageKind;

/// PostgreSQL's page header.
pub(super) const HEADER: usize = 24;
/// Special area: `u16` magic, `u8` kind, `u8` format version, `u32` segment, `u32` generation,
/// `u32` zero.
pub(super) const SPECIAL: usize = 16;
pub(super) const SPECIAL_AT: usize = PAGE_SIZE - SPECIAL;
const MAGIC: u16 = 0x76DB;
const VERSION: u8 = 2;

/// Bytes of a page that hold content; they begin eight-byte aligned.
pub const PAYLOAD: usize = PAGE_SIZE - HEADER - SPECIAL;

/// The identity of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub kind: PageKind,
    /// Segment id; 0 for meta and manifest pages.
    pub segment: u32,
    /// Low 32 bits of the manifest generation that wrote the page.
    pub generation: u32,
}

/// Formats an empty page. Its header leaves no hole, so that full images keep every byte.
pub fn format(page: &mut Page, stamp: Stamp) {
    page.fill(0);
    let special = (SPECIAL_AT as u16).to_ne_bytes();
    page[12..14].copy_from_slice(&special); // pd_lower
    page[14..16].copy_from_slice(&special); // pd_upper
    page[16..18].copy_from_slice(&special); // pd_special
    let size_and_layout_version = PAGE_SIZE as u16 | 4;
    page[18..20].copy_from_slice(&size_and_layout_version.to_ne_bytes());
    let area = &mut page[SPECIAL_AT..];
    area[..2].copy_from_slice(&MAGIC.to_ne_bytes());
    area[2] = stamp.kind as u8;
    area[3] = VERSION;
    area[4..8].copy_from_slice(&stamp.segment.to_ne_bytes());
    area[8..12].copy_from_slice(&stamp.generation.to_ne_bytes());
}

/// Records that only the first `used` bytes of the payload hold content. The rest is a hole: it is
/// zero once the page was logged, and WAL records neither contain it nor look for changes in it.
pub fn set_used(page: &mut Page, used: usize) {
    debug_assert!(used <= PAYLOAD);
    page[12..14].copy_from_slice(&((HEADER + used) as u16).to_ne_bytes()); // pd_lower
}

/// Whether the page is of this format, kind and segment.
pub fn is(page: &Page, kind: PageKind, segment: u32) -> bool {
    is_of(page, kind) && page[SPECIAL_AT..][4..8] == segment.to_ne_bytes()
}

/// Whether the page is of this format and kind.
pub fn is_of(page: &Page, kind: PageKind) -> bool {
    let area = &page[SPECIAL_AT..];
    area[..2] == MAGIC.to_ne_bytes() && area[2] == kind as u8 && area[3] == VERSION
}

/// The generation in the page's stamp.
pub fn generation(page: &Page) -> u32 {
    let area = &page[SPECIAL_AT..];
    u32::from_ne_bytes([area[8], area[9], area[10], area[11]])
}

/// What the page's stamp says, for messages.
pub fn describe(page: &Page) -> String {
    let area = &page[SPECIAL_AT..];
    let segment = u32::from_ne_bytes([area[4], area[5], area[6], area[7]]);
    if area[..2] != MAGIC.to_ne_bytes() {
        return "without a stamp".into();
    }
    format!("of kind {}, segment {segment} and generation {}", area[2], generation(page))
}

/// The error for a page that is not what the manifest says.
pub fn mismatch(index: &str, block: u32, kind: PageKind, segment: u32) -> Problem {
    Problem::corrupt(format!("index \"{index}\" is corrupted at block {block}"))
        .detail(format!("Expected a page of kind {kind:?} of segment {segment}."))
}

pub fn payload(page: &Page) -> &[u8] {
    &page[HEADER..SPECIAL_AT]
}

pub fn payload_mut(page: &mut Page) -> &mut [u8] {
    &mut page[HEADER..SPECIAL_AT]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_its_stamp_says_and_nothing_else() {
        let mut page = [0xAAu8; PAGE_SIZE];
        format(&mut page, Stamp { kind: PageKind::Vectors, segment: 7, generation: 3 });
        assert!(is(&page, PageKind::Vectors, 7));
        assert!(!is(&page, PageKind::Tids, 7));
        assert!(!is(&page, PageKind::Vectors, 8));
        assert_eq!(generation(&page), 3);
        assert!(payload(&page).iter().all(|&b| b == 0));
        assert!(!is(&[0; PAGE_SIZE], PageKind::Vectors, 0), "a zeroed page has no owner");
    }
}
