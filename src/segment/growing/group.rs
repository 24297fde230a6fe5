//! Groups of 32 rows: their heap tuples, and their codes in one block.
//!
//! A group: `u32` bits of dead rows, `u32` whether the codes are packed, 32 heap tuples' addresses.
//! Then, for rows of varying length, 32 `u64`s: where each begins on the tape. Then the rows'
//! attributes (see [`crate::filter`]), if there are filter columns, and a [`BlockLayout`] for rows
//! with codes. While a group fills, its codes lie one after another in the room of the packed ones;
//! the writer of the last one packs them.

use crate::codec::encoder::{self, Code};
use crate::codec::fastscan::{self, BLOCK};
use crate::codec::layout::CodeLayout;
use crate::codec::layout::block::{BlockLayout, Centre, Estimates};
use crate::codec::rabitq::Query;
use crate::distance::Space;
use crate::filter;
use crate::segment::{Entry, TID_BYTES, Tid};
use crate::storage::meta::Meta;
use crate::storage::page::PAYLOAD;
use crate::structure::Quantizer;

/// Rows of a group.
pub const ROWS: usize = BLOCK;

const PACKED: usize = 4;
const TIDS: usize = 8;
const OFFSETS: usize = TIDS + ROWS * TID_BYTES as usize;

/// Where things are in a group of an index.
#[derive(Clone, Copy, Debug)]
pub struct GroupLayout {
    has_offsets: bool,
    /// Words of a row's attributes.
    attributes: usize,
    codes: Option<BlockLayout>,
}

impl GroupLayout {
    /// Groups have codes of single bits if the index has any codes, unless a block of them is
    /// longer than a page.
    pub fn new(space: Space, quantizer: Quantizer, columns: usize) -> Self {
        let has_offsets = space.row_bytes().is_none();
        let codes = BlockLayout::new(space.dims as usize);
        let is_coded = quantizer.has_codes() && encoder::is_supported(space);
        let bare = Self { has_offsets, attributes: filter::stride(columns), codes: None };
        let fits = bare.bytes() + codes.bytes() <= PAYLOAD;
        Self { codes: (is_coded && fits).then_some(codes), ..bare }
    }

    /// For the growing segments of an index.
    pub fn of(meta: &Meta) -> Self {
        Self::new(meta.space, meta.quantizer, meta.filters.len())
    }

    pub fn has_codes(self) -> bool {
        self.codes.is_some()
    }

    fn attributes(self) -> usize {
        OFFSETS + if self.has_offsets { ROWS * size_of::<u64>() } else { 0 }
    }

    fn block(self) -> usize {
        self.attributes() + ROWS * self.attributes * size_of::<u64>()
    }

    pub fn bytes(self) -> usize {
        self.block() + self.codes.map_or(0, |codes| codes.bytes())
    }

    /// Bytes of a group in use once the row at `place` is in: codes come last, one after another.
    pub fn used(self, place: usize) -> usize {
        self.bytes() - self.codes.map_or(0, |codes| (ROWS - 1 - place) * codes.code_bytes())
    }

    pub fn groups_per_page(self) -> usize {
        PAYLOAD / self.bytes()
    }

    /// The page of a row's group, the byte where the group begins, and the row's place in it.
    pub fn place(self, row: usize) -> (usize, usize, usize) {
        let (group, place) = (row / ROWS, row % ROWS);
        let per_page = self.groups_per_page();
        (group / per_page, group % per_page * self.bytes(), place)
    }

    /// Writes a row into its group: its heap tuple and attributes, where it begins on the tape, and
    /// its code if the layout has codes.
    pub fn put(self, group: &mut [u8], place: usize, entry: Entry, offset: u64, code: Option<&Code>) {
        let at = TIDS + place * TID_BYTES as usize;
        group[at..][..entry.tid.len()].copy_from_slice(&entry.tid);
        let words = &entry.attributes[..self.attributes];
        for (number, word) in words.iter().enumerate() {
            let at = self.attributes() + (place * self.attributes + number) * size_of::<u64>();
            group[at..][..size_of::<u64>()].copy_from_slice(&word.to_ne_bytes());
        }
        if self.has_offsets {
            group[OFFSETS + place * 8..][..8].copy_from_slice(&offset.to_ne_bytes());
        }
        let (Some(layout), Some(code)) = (self.codes, code) else { return };
        let block = &mut group[self.block()..][..layout.bytes()];
        layout.put_factors(block, place, code.factors);
        let codes = layout.codes_mut(block);
        codes[place * layout.code_bytes()..][..layout.code_bytes()].copy_from_slice(&code.bits);
        if place + 1 == ROWS {
            let packed = pack(layout, codes);
            codes.copy_from_slice(&packed);
            group[PACKED] = 1;
        }
    }

    pub fn tid(self, group: &[u8], place: usize) -> Tid {
        let at = TIDS + place * TID_BYTES as usize;
        group[at..][..TID_BYTES as usize].try_into().expect("as many bytes as an address has")
    }

    /// A row's attributes.
    pub fn attributes_of(self, group: &[u8], place: usize) -> &[u64] {
        let bytes = self.attributes * size_of::<u64>();
        // Groups on a page and what is in them begin at multiples of eight bytes.
        bytemuck::cast_slice(&group[self.attributes() + place * bytes..][..bytes])
    }

    pub fn is_dead(self, group: &[u8], place: usize) -> bool {
        group[place / 8] >> (place % 8) & 1 == 1
    }

    pub fn mark_dead(self, group: &mut [u8], place: usize) {
        group[place / 8] |= 1 << (place % 8);
    }

    /// Where a row begins on the tape, if rows differ in length.
    pub fn offset(self, group: &[u8], place: usize) -> Option<u64> {
        self.has_offsets.then(|| {
            let bytes = &group[OFFSETS + place * 8..][..8];
            u64::from_ne_bytes(bytes.try_into().expect("eight bytes"))
        })
    }

    /// Estimates of all rows of a group, if it has codes.
    pub fn estimate(self, group: &[u8], query: &Query, centre: Centre) -> Option<Estimates> {
        let layout = self.codes?;
        let block = &group[self.block()..][..layout.bytes()];
        if group[PACKED] != 0 {
            return layout.estimate(block, query, centre);
        }
        // Words, so that the numbers are aligned.
        let mut words = vec![0u64; block.len().div_ceil(size_of::<u64>())];
        let copy: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[..block.len()];
        copy.copy_from_slice(block);
        let codes = layout.codes_mut(copy);
        let packed = pack(layout, codes);
        codes.copy_from_slice(&packed);
        layout.estimate(copy, query, centre)
    }
}

fn pack(layout: BlockLayout, codes: &[u8]) -> Vec<u8> {
    let codes: Vec<&[u8]> = codes.chunks_exact(layout.code_bytes()).collect();
    fastscan::pack(&codes, layout.code_bytes() * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encoder::{CodedQuery, Encoder};
    use crate::distance::{ElementKind, Metric};

    #[test]
    fn estimates_are_the_same_before_and_after_packing() {
        let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims: 100 };
        let layout = GroupLayout::new(space, Quantizer::Rabitq, 2);
        let encoder = Encoder::new(space, 5).unwrap();
        let row = |i: usize| -> Vec<f32> { (0..100).map(|d| ((i * 17 + d * d) as f32).sin()).collect() };
        let query: Vec<u8> = bytemuck::cast_slice(&row(99)).to_vec();
        let query = CodedQuery::new(space, 5, &query);
        let (tables, centre) = (query.tables, Centre::origin(Metric::L2, &query.vector));
        let mut words = vec![0u64; layout.bytes().div_ceil(8)];
        let mut before = None;
        for i in 0..ROWS {
            let code = encoder.encode_row(bytemuck::cast_slice(&row(i)));
            let group = &mut bytemuck::cast_slice_mut(&mut words)[..layout.bytes()];
            let attributes = [0, i as u64, 7];
            let entry = Entry { tid: [i as u8; 6], row: &[], attributes: &attributes };
            layout.put(group, i, entry, 0, Some(&code));
            let estimates = layout.estimate(group, &tables, centre).unwrap();
            let exact: f32 = row(i).iter().zip(row(99)).map(|(x, y)| (x - y).powi(2)).sum();
            assert!((estimates.scores[i] - exact).abs() < 3.0 * estimates.errors[i]);
            if i + 2 == ROWS {
                before = Some(estimates.scores[..i].to_vec());
            } else if i + 1 == ROWS {
                assert_eq!(before.take().unwrap(), estimates.scores[..i - 1]);
            }
        }
        let group: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        layout.mark_dead(group, 9);
        assert!(layout.is_dead(group, 9) && !layout.is_dead(group, 8));
        assert_eq!(layout.tid(group, 31), [31; 6]);
        assert_eq!(layout.attributes_of(group, 31), [0, 31, 7]);
    }

    #[test]
    fn long_codes_are_left_out() {
        let layout = |dims| {
            let space = Space { kind: ElementKind::F32, metric: Metric::L2, dims };
            GroupLayout::new(space, Quantizer::Rabitq, 0)
        };
        assert!(layout(1536).has_codes());
        assert!(!layout(16_000).has_codes());
        assert!(layout(16_000).groups_per_page() > 1);
    }
}
