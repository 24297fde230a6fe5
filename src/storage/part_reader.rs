//! Reading the parts of a segment.

use super::page::{self, PAYLOAD};
use super::pages::{Held, Pages};
use super::part::{Layout, Part, checked_block};
use crate::memory;
use crate::pg::buffer::{Exclusive, Page, Pinned, count_pages};
use crate::pg::optimistic_read::BufferHint;
use crate::pg::relation::Relation;
use crate::structure::PageKind;
use std::collections::VecDeque;

/// Reads one part of a sealed segment.
///
/// Holds a pin on the page read last, so it must not outlive the callback in which it was made.
pub struct PartReader<'a> {
    pages: &'a dyn Pages,
    part: &'a Part,
    kind: PageKind,
    segment: u32,
    current: Option<(u32, Held)>,
    /// `u64`s keep copied numbers aligned.
    scratch: Vec<u64>,
    hints: Vec<BufferHint>,
}

impl<'a> PartReader<'a> {
    pub fn new(pages: &'a dyn Pages, part: &'a Part, kind: PageKind, segment: u32) -> Self {
        Self { pages, part, kind, segment, current: None, scratch: Vec::new(), hints: Vec::new() }
    }

    fn hold(&self, index: u64) -> (u32, Held) {
        let block = checked_block(self.pages, &self.part.pages, index);
        (block, self.pages.hold(block))
    }

    fn check(&self, block: u32, held: &Held) {
        require(held, self.pages, block, self.kind, self.segment);
    }

    /// The payload of a page.
    fn payload(&mut self, index: u64) -> &[u8] {
        let block = checked_block(self.pages, &self.part.pages, index);
        if self.current.as_ref().is_none_or(|(current, _)| *current != block) {
            self.current = None;
            let (block, held) = self.hold(index);
            self.check(block, &held);
            self.current = Some((block, held));
        }
        page::payload(&self.current.as_ref().expect("just set").1)
    }

    /// The pages that it reads.
    pub fn pages(&self) -> &'a dyn Pages {
        self.pages
    }

    pub fn layout(&self) -> Layout {
        self.part.layout
    }

    /// The block where a slot lies.
    pub(super) fn block_of(&self, slot: u32) -> u32 {
        let (page, _) = self.part.layout.slot(slot.into());
        checked_block(self.pages, &self.part.pages, page)
    }

    /// Visits the first `bytes` bytes of slots in the order of `indices`. While one is visited, the
    /// next ones load from memory. A page is held once for all consecutive slots on it.
    pub fn for_each_slot(&mut self, indices: &[u32], bytes: usize, mut visit: impl FnMut(u32, &[u8])) {
        // PostgreSQL keeps the first eight pins of a backend in a fast array.
        const AHEAD: usize = 5;
        const ANNOUNCED: usize = AHEAD + 4;
        let layout = self.part.layout;
        let mut window = VecDeque::with_capacity(AHEAD);
        let by_page = || indices.chunk_by(|&a, &b| layout.slot(a.into()).0 == layout.slot(b.into()).0);
        let announce = |slots: &[u32]| {
            let (page, at) = layout.slot(slots[0].into());
            self.announce_page(page, &[(page::HEADER + at, bytes), (page::SPECIAL_AT, page::SPECIAL)]);
        };
        let (mut coming, mut announced) = (by_page(), by_page());
        announced.by_ref().take(ANNOUNCED).for_each(announce);
        loop {
            while window.len() < AHEAD
                && let Some(slots) = coming.next()
            {
                announced.next().into_iter().for_each(announce);
                let (page, _) = layout.slot(slots[0].into());
                window.push_back((slots, self.hold(page)));
            }
            let Some((slots, (block, held))) = window.pop_front() else { return };
            self.check(block, &held);
            let payload = page::payload(&held);
            for (number, &slot) in slots.iter().enumerate() {
                if let Some(&next) = slots.get(number + 1) {
                    crate::util::cpu::prefetch(&payload[layout.slot(next.into()).1..][..bytes]);
                }
                visit(slot, &payload[layout.slot(slot.into()).1..][..bytes]);
            }
        }
    }

    /// Visits rows of a part laid out by [`Layout::for_rows`] for rows of `bytes` bytes, as
    /// [`Self::for_each_slot`] does.
    pub fn for_each_row(&mut self, indices: &[u32], bytes: usize, mut visit: impl FnMut(u32, &[u8])) {
        match self.part.layout {
            Layout::Slots { .. } => self.for_each_slot(indices, bytes, visit),
            Layout::Tape => {
                const AHEAD: usize = 5;
                let start = |index: u32| u64::from(index) * bytes as u64;
                let mut announced = indices.iter();
                for (number, &index) in indices.iter().enumerate() {
                    let ahead = if number == 0 { AHEAD } else { 1 };
                    announced.by_ref().take(ahead).for_each(|&next| self.announce_tape(start(next), bytes));
                    visit(index, self.tape(start(index), bytes));
                }
            }
        }
    }

    /// Begins to load `len` bytes of a tape from byte `at` on.
    fn announce_tape(&self, at: u64, len: usize) {
        let end = at + len as u64;
        let mut at = at;
        while at < end {
            let (page, from) = Layout::tape(at);
            let now = (PAYLOAD - from).min((end - at) as usize);
            self.announce_page(page, &[(page::HEADER + from, now)]);
            at += now as u64;
        }
    }

    fn announce_page(&self, page: u64, bytes: &[(usize, usize)]) {
        if let Some(block) = self.part.pages.block(page) {
            self.pages.announce(block, bytes);
        }
    }

    /// Begins to load the first `bytes` bytes of slot `index`.
    pub fn announce(&self, index: u32, bytes: usize) {
        let (page, at) = self.part.layout.slot(index.into());
        self.announce_page(page, &[(page::HEADER + at, bytes)]);
    }

    /// Visits the first `bytes` bytes of slots in the order of `indices` as [`Self::for_each_slot`]
    /// does, but without pins. It is for short slots, read at random; bytes may rarely be wrong
    /// (see [`crate::pg::optimistic_read`]).
    pub fn read_each_optimistically(
        &mut self,
        indices: &[u32],
        bytes: usize,
        mut visit: impl FnMut(u32, &[u8]),
    ) {
        const WORD: usize = size_of::<u64>();
        let layout = self.part.layout;
        let Some(relation) = self.pages.unpinned().filter(|_| layout != Layout::Tape) else {
            return self.for_each_row(indices, bytes, visit);
        };
        let mut hints = std::mem::take(&mut self.hints);
        hints.clear();
        BufferHint::all(relation, indices.iter().map(|&index| self.block_of(index)), &mut hints);
        let offset_of = |index: u32| page::HEADER + layout.slot(index.into()).1;
        for (hint, &index) in hints.iter().zip(indices) {
            hint.announce(relation, &[(offset_of(index), bytes)]);
        }
        let (mut words, file) = (std::mem::take(&mut self.scratch), relation.file_tag());
        for (hint, &index) in hints.iter().zip(indices) {
            let offset = offset_of(index);
            let (first, skipped) = (offset / WORD * WORD, offset % WORD);
            words.resize((skipped + bytes).div_ceil(WORD), 0);
            if hint.copy(file, first, &mut words) {
                count_pages(1);
                visit(index, &bytemuck::cast_slice(&words)[skipped..][..bytes]);
            } else {
                visit(index, &self.slot(index.into())[..bytes]);
            }
        }
        (self.scratch, self.hints) = (words, hints);
    }

    /// The bytes of slot `index`.
    pub fn slot(&mut self, index: u64) -> &[u8] {
        let Layout::Slots { bytes } = self.part.layout else { unreachable!("a tape has no slots") };
        let (page, at) = self.part.layout.slot(index);
        &self.payload(page)[at..at + bytes as usize]
    }

    /// The numbers of a part of `count` slots of four bytes.
    pub fn numbers(&mut self, count: u64) -> Vec<u32> {
        let per_page = self.part.layout.slots_per_page().max(1);
        let mut numbers = memory::with_capacity(count as usize, "starts of lists");
        for first in (0..count).step_by(per_page as usize) {
            let (page, _) = self.part.layout.slot(first);
            let (slots, _) = self.payload(page).as_chunks::<4>();
            let here = slots.iter().take((count - first).min(per_page) as usize);
            numbers.extend(here.map(|&slot| u32::from_ne_bytes(slot)));
        }
        numbers
    }

    /// The first `bytes` bytes of row `index` of a part laid out by [`Layout::for_rows`] for rows
    /// of `bytes` bytes.
    pub fn row(&mut self, index: u64, bytes: usize) -> &[u8] {
        match self.part.layout {
            Layout::Slots { .. } => self.slot(index).get(..bytes).unwrap_or_default(),
            Layout::Tape => self.tape(index * bytes as u64, bytes),
        }
    }

    /// `len` bytes of a tape from byte `at` on.
    pub fn tape(&mut self, at: u64, len: usize) -> &[u8] {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(len.div_ceil(8), 0);
        let target: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut scratch)[..len];
        let mut done = 0;
        while done < len {
            let (page, from) = Layout::tape(at + done as u64);
            let payload = &self.payload(page)[from..];
            let now = payload.len().min(len - done);
            target[done..done + now].copy_from_slice(&payload[..now]);
            done += now;
        }
        self.scratch = scratch;
        &bytemuck::cast_slice(&self.scratch)[..len]
    }
}

/// Raises an error unless a page is of this kind and segment.
pub fn require(page: &Page, pages: &dyn Pages, block: u32, kind: PageKind, segment: u32) {
    if !page::is(page, kind, segment) {
        lost(pages, block, kind, segment);
    }
}

/// Locks a page to change it. Raises an error unless the page is of this kind and segment.
///
/// PostgreSQL writes beyond a page that was never formatted when it logs a change of it.
pub fn page_to_change(relation: Relation, block: u32, kind: PageKind, segment: u32) -> Exclusive {
    let buffer = Pinned::read(relation, block).exclusive();
    require(&buffer, &relation, block, kind, segment);
    buffer
}

/// Raises the error for a page that is not what the manifest says. On a standby, replay has
/// overtaken the reader; elsewhere the page is corrupt.
fn lost(pages: &dyn Pages, block: u32, kind: PageKind, segment: u32) -> ! {
    if pages.are_replayed() {
        crate::pg::error::Problem::new(
            pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("a segment of index \"{}\" was replaced while it was read", pages.name()),
        )
        .hint("Repeat the query.")
        .raise();
    }
    page::mismatch(&pages.name(), block, kind, segment).raise()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::draft::Draft;
    use crate::storage::pages::memory::MemoryPages;
    use crate::storage::part_writer::{PartWriter, write_rows};
    use crate::util::random::Random;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    const SEGMENT: u32 = 7;

    /// A part of `count` rows of `bytes` bytes, and the rows.
    fn part_of(pages: &Rc<MemoryPages>, bytes: usize, count: usize) -> (Part, Vec<Vec<u8>>) {
        let mut random = Random::new(bytes as u64);
        let mut row = || (0..bytes).map(|_| random.next() as u8).collect();
        let rows: Vec<Vec<u8>> = (0..count).map(|_| row()).collect();
        let mut draft = Draft::in_memory(pages, SEGMENT);
        (write_rows(&mut draft, PageKind::Vectors, bytes, count as u64, rows.iter()), rows)
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        // Slots of every alignment, one slot a page, rows across pages.
        for bytes in [1, 4, 6, 12, 100, 3000, PAYLOAD, PAYLOAD + 4, 20_000] {
            let pages = Rc::new(MemoryPages::default());
            let (part, rows) = part_of(&pages, bytes, 70);
            let mut reader = PartReader::new(&*pages, &part, PageKind::Vectors, SEGMENT);
            for (index, row) in rows.iter().enumerate() {
                assert_eq!(reader.row(index as u64, bytes), row);
            }
            // Out of order, some twice, many on one page.
            let indices: Vec<u32> = (0..70).rev().chain([5, 5, 69, 0]).chain(0..70).collect();
            let mut seen = Vec::new();
            reader.for_each_row(&indices, bytes, |index, row| seen.push((index, row.to_vec())));
            let expected: Vec<_> =
                indices.iter().map(|&index| (index, rows[index as usize].clone())).collect();
            assert_eq!(seen, expected, "{bytes}");
            let mut again = Vec::new();
            reader.read_each_optimistically(&indices, bytes, |index, row| again.push((index, row.to_vec())));
            assert_eq!(again, expected, "{bytes}");
        }
    }

    #[test]
    fn a_tape_is_read_from_any_byte() {
        let pages = Rc::new(MemoryPages::default());
        let bytes: Vec<u8> = (0..50_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut draft = Draft::in_memory(&pages, SEGMENT);
        let mut writer = PartWriter::new(&mut draft, PageKind::Vectors, Layout::Tape, bytes.len() as u64);
        bytes.chunks(777).for_each(|chunk| writer.push(chunk));
        let part = writer.finish();
        let mut reader = PartReader::new(&*pages, &part, PageKind::Vectors, SEGMENT);
        for (at, len) in [(0, 1), (PAYLOAD - 3, 7), (100, 30_000), (49_999, 1), (8191, 0)] {
            assert_eq!(reader.tape(at as u64, len), &bytes[at..at + len]);
        }
    }

    #[test]
    fn numbers_are_read_across_pages() {
        let pages = Rc::new(MemoryPages::default());
        let numbers: Vec<u32> = (0..5000).map(|i| i * 3).collect();
        let mut draft = Draft::in_memory(&pages, SEGMENT);
        let rows = numbers.iter().map(|number| number.to_ne_bytes());
        let part = write_rows(&mut draft, PageKind::ListStarts, 4, 5000, rows);
        let mut reader = PartReader::new(&*pages, &part, PageKind::ListStarts, SEGMENT);
        assert_eq!(reader.numbers(5000), numbers);
        assert_eq!(reader.numbers(1), [0]);
    }

    #[test]
    fn a_page_of_another_kind_or_segment_and_a_page_that_is_missing_are_refused() {
        let pages = Rc::new(MemoryPages::default());
        let (part, _) = part_of(&pages, 100, 200);
        let is_refused = |kind, segment, index| {
            let read = || PartReader::new(&*pages, &part, kind, segment).row(index, 100).to_vec();
            catch_unwind(AssertUnwindSafe(read)).is_err()
        };
        assert!(!is_refused(PageKind::Vectors, SEGMENT, 199));
        assert!(is_refused(PageKind::ListCodes, SEGMENT, 199));
        assert!(is_refused(PageKind::Vectors, SEGMENT + 1, 199));
        assert!(is_refused(PageKind::Vectors, SEGMENT, 10_000));
    }
}
