//! Pages that are read one after another, each once.

use super::buffer::Pinned;
use super::compat;
use super::relation::Relation;

/// Calls `visit` with pages of the main fork, pinned, in the order of `blocks`.
pub fn for_each_page(
    relation: Relation,
    blocks: impl Iterator<Item = u32>,
    mut visit: impl FnMut(u32, Pinned),
) {
    compat::for_each_buffer(relation.raw(), blocks, |block, buffer| visit(block, Pinned::of_stream(buffer)));
}
