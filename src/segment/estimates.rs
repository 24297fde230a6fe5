//! Estimates by codes on pages, whatever their layout.

use crate::codec::layout::CodeLayout;
use crate::storage::part_reader::PartReader;

/// Calls `visit` with each item's place in `items`, its bytes, and the estimates of its codes; the
/// next items load meanwhile.
///
/// `reader` is of a part laid out by [`crate::storage::part::Layout::for_rows`] for items of the
/// layout. `centre_of` gives the centre of an item by its place.
pub fn for_each_estimate<L: CodeLayout>(
    reader: &mut PartReader,
    layout: L,
    items: &[u32],
    query: &L::Query,
    mut centre_of: impl FnMut(usize) -> L::Centre,
    mut visit: impl FnMut(usize, &[u8], L::Estimate<'_>),
) {
    let mut places = 0..;
    reader.for_each_row(items, layout.bytes(), |_, bytes| {
        let place = places.next().expect("a place for each item");
        let estimate = layout.estimate(bytes, query, centre_of(place));
        visit(place, bytes, estimate.expect("an item of as many bytes as were asked for"));
    });
}
