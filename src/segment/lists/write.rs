//! Writing a segment with lists from rows of any source: ordered by list, one pass for each part.

use super::assign::Formats;
use crate::codec::fastscan::BLOCK;
use crate::codec::layout::CodeLayout;
use crate::codec::layout::spill::SpillBlocks;
use crate::codec::quantizer::ListCodes;
use crate::codec::rabitq::Factors;
use crate::distance::Space;
use crate::memory;
use crate::segment::lists::codebook::Lists;
use crate::segment::{Tid, rows};
use crate::storage::draft::Draft;
use crate::storage::manifest::Sealed;
use crate::storage::part::Part;
use crate::storage::part_writer::{PartWriter, write_rows};
use crate::storage::parts::{ListParts, Parts, Spill};
use crate::structure::PageKind;
use crate::structure::Rerank;
use std::borrow::Cow;

/// A code of single bits with its numbers.
pub type Bits<'a> = (Factors, Cow<'a, [u8]>);

/// Where rows and their codes come from.
pub trait RowSource {
    fn tid(&mut self, row: u32) -> Tid;
    fn attributes(&mut self, row: u32) -> Vec<u64>;
    /// The code of single bits, of `bytes` bytes.
    fn bits(&mut self, row: u32, bytes: usize) -> Bits<'_>;
    /// The row's second list, if rows are in two.
    fn spill_list(&mut self, row: u32) -> Option<u32>;
    /// The code of single bits against the second list's centroid, of `bytes` bytes.
    fn spill_bits(&mut self, row: u32, bytes: usize) -> Bits<'_>;
    /// The row's own code, of `bytes` bytes.
    fn code(&mut self, row: u32, bytes: usize) -> &[u8];
    /// The fine code, of `bytes` bytes.
    fn fine(&mut self, row: u32, bytes: usize) -> &[u8];
    /// The exact vector, of `bytes` bytes.
    fn vector(&mut self, row: u32, bytes: usize) -> &[u8];
}

/// A row of one of several sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowPlace {
    pub source: u32,
    pub row: u32,
}

/// Bytes that ordering takes for each row.
pub const BYTES_PER_ROW: usize = size_of::<RowPlace>() + 3 * size_of::<u32>();

/// What a segment consists of.
pub struct Format {
    /// Filter columns.
    columns: usize,
    formats: Formats,
    /// Bytes of a vector, unless the heap's are used.
    vector: Option<usize>,
    codebook: u32,
    lists: usize,
    /// If rows are in two lists.
    spill: Option<SpillBlocks>,
}

impl Format {
    pub fn new(space: Space, columns: usize, formats: Formats, rerank: Rerank, lists: &Lists) -> Self {
        let vector = (rerank == Rerank::Index).then(|| space.row_bytes().unwrap_or_default());
        let (codebook, lists) = (lists.codebook, lists.centroids.count());
        let spill = (formats.blocks().is_some() && lists > 1).then(|| SpillBlocks::new(space.dims as usize));
        Self { columns, formats, vector, codebook, lists, spill }
    }
}

/// Writes the pages of a segment that has the rows given with their lists; the caller adds it to
/// the manifest.
pub fn write<S: RowSource>(
    draft: &mut Draft,
    format: &Format,
    placed: impl Iterator<Item = (u32, RowPlace)> + Clone,
    sources: &mut [S],
) -> Sealed {
    let (starts, order) = order_by_list(placed, format.lists);
    let rows = order.len() as u32;
    let count = u64::from(rows);
    let entry = |place: &RowPlace| {
        let source = &mut sources[place.source as usize];
        (source.tid(place.row), source.attributes(place.row))
    };
    let row_parts = rows::write(draft, format.columns, rows, order.iter().map(entry));

    let starts = write_starts(draft, PageKind::ListStarts, &starts);

    let mut pass = |kind, bytes: usize, read: fn(&mut S, u32, usize) -> &[u8]| {
        let mut writer = PartWriter::for_rows(draft, kind, bytes, count);
        for place in &order {
            crate::pg::interrupts::check();
            writer.push(read(&mut sources[place.source as usize], place.row, bytes));
        }
        writer.finish()
    };
    let codes = match &format.formats.codes {
        ListCodes::Rows(code) => Some(pass(PageKind::ListCodes, code.bytes(), S::code)),
        ListCodes::None | ListCodes::Blocks(_) => None,
    };
    let fine = format.formats.fine.map(|layout| pass(PageKind::FineCodes, layout.bytes(), S::fine));
    let vectors = format.vector.map(|bytes| pass(PageKind::Vectors, bytes, S::vector));
    let blocks = format.formats.blocks().map(|layout| {
        let blocks = order.chunks(BLOCK).map(|places| {
            let bits = gather(sources, places.iter(), layout.code_bytes(), S::bits);
            layout.pack(&borrowed(&bits))
        });
        write_rows(draft, PageKind::ListCodes, layout.bytes(), blocks.len() as u64, blocks)
    });
    let spill = format.spill.and_then(|layout| write_spill(draft, layout, format.lists, &order, sources));
    let parts =
        ListParts { codebook: format.codebook, starts, codes: codes.or(blocks), fine, vectors, spill };
    Sealed::new(draft.id(), row_parts, Parts::Lists(parts))
}

/// The first entry of each list, and one more for the end.
fn write_starts(draft: &mut Draft, kind: PageKind, starts: &[u32]) -> Part {
    write_rows(draft, kind, 4, starts.len() as u64, starts.iter().map(|start| start.to_ne_bytes()))
}

/// Codes of single bits, of `bytes` bytes each, of the rows of a block.
fn gather<'a, S: RowSource>(
    sources: &mut [S],
    places: impl Iterator<Item = &'a RowPlace>,
    bytes: usize,
    read: fn(&mut S, u32, usize) -> Bits<'_>,
) -> Vec<(Factors, Vec<u8>)> {
    crate::pg::interrupts::check();
    let code = |place: &RowPlace| {
        let (factors, code) = read(&mut sources[place.source as usize], place.row, bytes);
        (factors, code.into_owned())
    };
    places.map(code).collect()
}

fn borrowed(bits: &[(Factors, Vec<u8>)]) -> Vec<(Factors, &[u8])> {
    bits.iter().map(|(factors, code)| (*factors, &code[..])).collect()
}

/// Writes rows' entries in their second lists; `None` if rows are in one list. `order` has the rows
/// by ordinal.
fn write_spill<S: RowSource>(
    draft: &mut Draft,
    layout: SpillBlocks,
    lists: usize,
    order: &[RowPlace],
    sources: &mut [S],
) -> Option<Spill> {
    let spill_list = |(ordinal, place): (u32, &RowPlace)| {
        sources[place.source as usize].spill_list(place.row).map(|list| (list, ordinal))
    };
    let entered: Option<Vec<(u32, u32)>> = (0..).zip(order).map(spill_list).collect();
    let (starts, ordinals) = order_by_list(entered?.into_iter(), lists);
    let starts = write_starts(draft, PageKind::SpillStarts, &starts);
    let blocks = ordinals.chunks(BLOCK).map(|ordinals| {
        let places = ordinals.iter().map(|&ordinal| &order[ordinal as usize]);
        let bits = gather(sources, places, layout.code_bytes(), S::spill_bits);
        layout.pack(ordinals, &borrowed(&bits))
    });
    let codes = write_rows(draft, PageKind::SpillCodes, layout.bytes(), blocks.len() as u64, blocks);
    Some(Spill { starts, codes })
}

/// The first ordinal of each list, and one more for the end; the items in the order of their lists.
fn order_by_list<T: Copy + Default>(
    placed: impl Iterator<Item = (u32, T)> + Clone,
    lists: usize,
) -> (Vec<u32>, Vec<T>) {
    let mut starts = vec![0u32; lists + 1];
    for (list, _) in placed.clone() {
        starts[list as usize + 1] += 1;
    }
    for list in 0..lists {
        starts[list + 1] += starts[list];
    }
    let mut next = starts.clone();
    let mut order = memory::filled(T::default(), starts[lists] as usize, "rows of lists");
    for (list, place) in placed {
        let at = &mut next[list as usize];
        order[*at as usize] = place;
        *at += 1;
    }
    (starts, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_list() {
        let lists = [2, 0, 2, 3, 0];
        let placed = lists.iter().zip(0..).map(|(&list, row)| (list, RowPlace { source: row % 2, row }));
        let (starts, order) = order_by_list(placed, 5);
        assert_eq!(starts, [0, 2, 2, 4, 5, 5]);
        assert_eq!(order.iter().map(|place| place.row).collect::<Vec<_>>(), [1, 4, 0, 2, 3]);
        assert_eq!(order.iter().map(|place| place.source).collect::<Vec<_>>(), [1, 0, 0, 0, 1]);
    }
}
