//! Rows of a part that threads look at together, where there are many and processors are idle.

use super::page;
use super::part::Layout;
use crate::pg::buffer::{PAGE_SIZE, count_pages};
use crate::pg::helpers::{self, Helpers};
use crate::pg::optimistic_read::BufferHint;
use crate::pg::relation::{FileTag, Relation};
use crate::storage::part_reader::PartReader;

/// Least bytes that are worth waking helpers.
const LEAST_BYTES: usize = 1 << 21;

/// Pages that a thread looks at before it takes the next.
const PIECE: usize = 16;

/// Pages between two checks for interrupts, which threads cannot make.
const PAGES_PER_POLL: usize = 1 << 13;

/// Slots of one page, the position of the first of them, and where the page was seen.
struct OnPage<'a> {
    first_position: usize,
    slots: &'a [u32],
    hint: BufferHint,
}

/// What a thread holds.
struct Share<S> {
    state: S,
    words: Box<[u64]>,
    /// Pages that were looked at, and the numbers of those that must be pinned.
    looked_at: usize,
    missed: Vec<usize>,
}

impl PartReader<'_> {
    /// Visits rows as [`Self::for_each_row`] does, but in any order, by their positions in
    /// `indices`. At best several threads do it, each with a state of its own. Rows are read
    /// without pins (see [`crate::pg::optimistic_read`]), so they may rarely be wrong.
    ///
    /// Returns the states. `None`, and nothing is done, if there is little to do or no helper.
    pub fn share_rows<S: Send>(
        &mut self,
        indices: &[u32],
        bytes: usize,
        begin: impl Fn() -> S + Sync,
        visit: impl Fn(&mut S, usize, &[u8]) + Sync,
    ) -> Option<Vec<S>> {
        if self.layout() == Layout::Tape || indices.len() * bytes < LEAST_BYTES {
            return None;
        }
        let relation = self.pages().unpinned()?;
        self.share_with(helpers::idle()?, relation, indices, bytes, begin, visit)
    }

    fn share_with<S: Send>(
        &mut self,
        helpers: Helpers,
        relation: Relation,
        indices: &[u32],
        bytes: usize,
        begin: impl Fn() -> S + Sync,
        visit: impl Fn(&mut S, usize, &[u8]) + Sync,
    ) -> Option<Vec<S>> {
        let (layout, file) = (self.layout(), relation.file_tag());
        let pages = self.sight(relation, indices);
        // The main thread must pin pages that were not seen, and maybe read them from disk.
        if 2 * pages.iter().filter(|page| page.hint.is_known()).count() < pages.len() {
            return None;
        }
        let mut states = Vec::new();
        for pages in pages.chunks(PAGES_PER_POLL) {
            pgrx::check_for_interrupts!();
            let begin = || {
                let words = vec![0; PAGE_SIZE / size_of::<u64>()].into_boxed_slice();
                Share { state: begin(), words, looked_at: 0, missed: Vec::new() }
            };
            let optimistic = |share: &mut Share<S>, piece: usize| {
                let first = piece * PIECE;
                for (number, page) in (first..).zip(&pages[first..pages.len().min(first + PIECE)]) {
                    match page.optimistic(layout, bytes, file, share, &visit) {
                        true => share.looked_at += 1,
                        false => share.missed.push(number),
                    }
                }
            };
            let mut shares = helpers.share(pages.len().div_ceil(PIECE), begin, optimistic);
            count_pages(shares.iter().map(|share| share.looked_at).sum());
            let missed: Vec<usize> = shares.iter_mut().flat_map(|share| share.missed.drain(..)).collect();
            let own = &mut shares[0].state;
            for OnPage { first_position, slots, .. } in missed.into_iter().map(|number| &pages[number]) {
                let mut positions = *first_position..;
                self.for_each_slot(slots, bytes, |_, row| {
                    visit(own, positions.next().expect("endless"), row);
                });
            }
            states.extend(shares.into_iter().map(|share| share.state));
        }
        Some(states)
    }

    /// Where the pages of slots were seen.
    fn sight<'s>(&self, relation: Relation, indices: &'s [u32]) -> Vec<OnPage<'s>> {
        let layout = self.layout();
        let by_page = || indices.chunk_by(|&a, &b| layout.slot(a.into()).0 == layout.slot(b.into()).0);
        let blocks = by_page().map(|slots| self.block_of(slots[0]));
        let mut hints = Vec::new();
        BufferHint::all(relation, blocks, &mut hints);
        let mut position = 0;
        by_page()
            .zip(hints)
            .map(|(slots, hint)| {
                let first_position = position;
                position += slots.len();
                OnPage { first_position, slots, hint }
            })
            .collect()
    }
}

impl OnPage<'_> {
    /// Visits the slots; `false` if the page must be pinned for that.
    fn optimistic<S>(
        &self,
        layout: Layout,
        bytes: usize,
        file: FileTag,
        share: &mut Share<S>,
        visit: impl Fn(&mut S, usize, &[u8]),
    ) -> bool {
        const WORD: usize = size_of::<u64>();
        let offset_of = |slot: u32| page::HEADER + layout.slot(slot.into()).1;
        let offsets = || self.slots.iter().map(|&slot| offset_of(slot));
        let (Some(from), Some(to)) = (offsets().min(), offsets().max()) else { return true };
        let from = from / WORD * WORD;
        let words = &mut share.words[..(to + bytes - from).div_ceil(WORD)];
        if !self.hint.copy(file, from, words) {
            return false;
        }
        let copied: &[u8] = bytemuck::cast_slice(words);
        for (position, offset) in (self.first_position..).zip(offsets()) {
            visit(&mut share.state, position, &copied[offset - from..][..bytes]);
        }
        true
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use crate::pg::open::OpenIndex;
    use crate::storage::parts::Parts;
    use crate::storage::snapshot::Snapshot;
    use crate::structure::PageKind;
    use pgrx::{Spi, pg_sys, pg_test};

    #[pg_test]
    fn threads_see_every_row_once() {
        Spi::run(
            "CREATE TABLE items AS SELECT array[sin(i), cos(i), i]::vector(3) v FROM generate_series(1, 50000) i;
             CREATE INDEX items_v ON items USING vdb_ivf (v vector_l2_ops)",
        )
        .unwrap();
        let index = Spi::get_one::<pg_sys::Oid>("SELECT 'items_v'::regclass::oid").unwrap().unwrap();
        let index = OpenIndex::try_to_read(index).expect("no session holds a lock");
        let relation = index.relation();
        let snapshot = Snapshot::read(relation);
        let segment = &snapshot.manifest.sealed[0];
        let Parts::Lists(parts) = &segment.parts else { panic!("it has lists") };
        let vectors = parts.vectors.as_ref().expect("it has vectors");
        let mut reader = PartReader::new(&relation, vectors, PageKind::Vectors, segment.id);
        const BYTES: usize = 12;
        // Pages of which one slot is looked at and such with many, some not in order, some twice.
        let indices: Vec<u32> =
            (0..50_000).filter(|i| i % 7 < 3 || i % 1000 == 0).rev().chain([5, 5]).collect();
        let mut expected = Vec::new();
        let mut see = |reader: &mut PartReader| {
            expected.clear();
            reader.for_each_row(&indices, BYTES, |_, row| expected.push(row.to_vec()));
        };
        // The first look makes the pages known, and further ones raise their use, so that they may
        // be read without pins.
        (0..3).for_each(|_| see(&mut reader));
        let helpers = Helpers::new(2).expect("room for two threads");
        let keep =
            |rows: &mut Vec<(usize, Vec<u8>)>, position, row: &[u8]| rows.push((position, row.to_vec()));
        let shares = reader.share_with(helpers, relation, &indices, BYTES, Vec::new, keep);
        let shares = shares.expect("pages were seen");
        assert_eq!(shares.len(), 3, "the main thread's share and the helpers'");
        let mut seen: Vec<(usize, Vec<u8>)> = shares.into_iter().flatten().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(expected.into_iter().enumerate()));
    }

    #[pg_test(error = "as it should")]
    fn a_panic_of_a_thread_becomes_an_error() {
        let helpers = Helpers::new(1).expect("room for a thread");
        helpers.share(2, || (), |(), _| panic!("as it should"));
    }
}
