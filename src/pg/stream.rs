//! Reads pages one after another, each once.

use super::buffer::Pinned;
use super::compat;
use super::relation::Relation;

/// Calls `visit` with pinned pages of the main fork, in the order of `blocks`.
pub fn for_each_page(
    relation: Relation,
    blocks: impl Iterator<Item = u32>,
    mut visit: impl FnMut(u32, Pinned),
) {
    compat::for_each_buffer(relation.raw(), blocks, |block, buffer| visit(block, Pinned::of_stream(buffer)));
}
