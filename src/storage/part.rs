//! Parts of a segment: arrays of slots, or tapes of bytes, over runs of pages.

use super::extent::Extents;
use super::page::PAYLOAD;
use super::pages::Pages;
use crate::pg::error::Problem;
use serde::{Deserialize, Serialize};

/// How content is laid over pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Slots of equal size, none across a page boundary.
    Slots { bytes: u32 },
    /// Bytes in a row, across page boundaries.
    Tape,
}

impl Layout {
    /// For rows of `bytes` bytes, or of varying length (`None`). Slots keep numbers aligned.
    pub fn for_rows(bytes: Option<usize>) -> Self {
        match bytes {
            Some(bytes) if bytes <= PAYLOAD => Layout::Slots { bytes: bytes.next_multiple_of(4) as u32 },
            _ => Layout::Tape,
        }
    }

    /// The size of a part of `count` rows of `bytes` bytes each: slots, or bytes of tape.
    pub fn size(self, count: u64, bytes: usize) -> u64 {
        match self {
            Layout::Slots { .. } => count,
            Layout::Tape => count * bytes as u64,
        }
    }

    /// Pages of a part of `count` slots, or of `count` bytes of tape.
    pub fn pages(self, count: u64) -> u64 {
        match self {
            Layout::Slots { .. } => count.div_ceil(self.slots_per_page().max(1)),
            Layout::Tape => count.div_ceil(PAYLOAD as u64),
        }
    }

    /// Slots of a page; a tape has none.
    pub fn slots_per_page(self) -> u64 {
        match self {
            Layout::Slots { bytes } => PAYLOAD as u64 / u64::from(bytes.max(1)),
            Layout::Tape => 0,
        }
    }

    /// Page and byte within its payload where slot `index` begins.
    pub fn slot(self, index: u64) -> (u64, usize) {
        let per_page = self.slots_per_page().max(1);
        let Layout::Slots { bytes } = self else { unreachable!("a tape has no slots") };
        (index / per_page, (index % per_page) as usize * bytes as usize)
    }

    /// Page and byte within its payload of byte `at` of a tape.
    pub fn tape(at: u64) -> (u64, usize) {
        (at / PAYLOAD as u64, (at % PAYLOAD as u64) as usize)
    }
}

/// A written part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub layout: Layout,
    pub pages: Extents,
    /// CRC-32 over the pages' payloads as they were written.
    pub crc: u32,
}

/// The block of page `index` of a part; raises an error if the part has no such page.
pub fn checked_block(pages: &dyn Pages, extents: &Extents, index: u64) -> u32 {
    extents.block(index).unwrap_or_else(|| {
        Problem::corrupt(format!("index \"{}\" is corrupted", pages.name()))
            .detail(format!(
                "The manifest lists {} pages of the part, page {index} was requested.",
                extents.pages()
            ))
            .raise()
    })
}
