//! Parts of a segment: arrays of slots, or tapes of bytes, over a run of pages.

use super::draft::Draft;
use super::extent::Extents;
use super::manifest::checked_block;
use super::page::{self, Kind, PAYLOAD, Stamp};
use crate::memory;
use crate::pg::buffer::{PAGE_SIZE, Page, PageCopy, Pinned, count_pages};
use crate::pg::glance::Sighting;
use crate::pg::relation::{Relation, in_recovery};
use crate::pg::wal::log_new_pages;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::Deref;

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

    /// The size of a part of `count` rows of `bytes` bytes each, as [`PartWriter::new`] wants it.
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

/// Writes a part's pages in order, and logs them as it goes.
pub struct PartWriter {
    relation: Relation,
    stamp: Stamp,
    layout: Layout,
    pages: Extents,
    written: u64,
    /// Pages logged: the first ones.
    logged: u64,
    page: Box<Page>,
    used: usize,
    crc: crc32fast::Hasher,
}

/// Pages between two looks for interrupts.
const PAGES_PER_POLL: u64 = 256;

impl PartWriter {
    /// Begins a part of `count` slots, or of `count` bytes of tape.
    pub fn new(draft: &mut Draft, kind: Kind, layout: Layout, count: u64) -> Self {
        let stamp = Stamp { kind, segment: draft.id(), generation: draft.generation() as u32 };
        let pages = draft.allocate(layout.pages(count));
        let mut page = Box::new([0; PAGE_SIZE]);
        page::format(&mut page, stamp);
        Self {
            relation: draft.relation(),
            stamp,
            layout,
            pages,
            written: 0,
            logged: 0,
            page,
            used: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Begins a part of `count` rows of `bytes` bytes.
    pub fn for_rows(draft: &mut Draft, kind: Kind, bytes: usize, count: u64) -> Self {
        let layout = Layout::for_rows(Some(bytes));
        Self::new(draft, kind, layout, layout.size(count, bytes))
    }

    /// Appends one slot, whose bytes beyond `content` stay zero, or bytes of tape.
    pub fn push(&mut self, mut content: &[u8]) {
        match self.layout {
            Layout::Slots { bytes } => {
                let bytes = bytes as usize;
                debug_assert!(content.len() <= bytes);
                if self.used + bytes > PAYLOAD {
                    self.write_page();
                }
                page::payload_mut(&mut self.page)[self.used..][..content.len()].copy_from_slice(content);
                self.used += bytes;
            }
            Layout::Tape => {
                while !content.is_empty() {
                    if self.used == PAYLOAD {
                        self.write_page();
                    }
                    let (now, later) = content.split_at(content.len().min(PAYLOAD - self.used));
                    page::payload_mut(&mut self.page)[self.used..][..now.len()].copy_from_slice(now);
                    self.used += now.len();
                    content = later;
                }
            }
        }
    }

    fn write_page(&mut self) {
        let relation = self.relation;
        let block = checked_block(relation, &self.pages, self.written);
        Pinned::overwrite(relation, block).fill(|page| page.copy_from_slice(&*self.page));
        self.crc.update(page::payload(&self.page));
        self.written += 1;
        self.used = 0;
        page::format(&mut self.page, self.stamp);
        if self.written.is_multiple_of(PAGES_PER_POLL) {
            crate::pg::interrupts::check();
            self.log();
        }
    }

    /// Logs what was written and is not logged yet. Whoever makes the pages' content on threads goes on meanwhile.
    fn log(&mut self) {
        let mut first = 0;
        for extent in self.pages.iter() {
            let end = first + u64::from(extent.pages);
            let (from, to) = (self.logged.max(first), self.written.min(end));
            if from < to {
                log_new_pages(self.relation, extent.start + (from - first) as u32, (to - from) as u32);
            }
            first = end;
        }
        self.logged = self.written;
    }

    /// Writes what is left, fills up with empty pages, and logs everything.
    pub fn finish(mut self) -> Part {
        while self.written < self.pages.pages() {
            self.write_page();
        }
        self.log();
        Part { layout: self.layout, pages: self.pages, crc: self.crc.finalize() }
    }
}

/// Writes a part of `count` rows of `bytes` bytes each, laid out by [`Layout::for_rows`].
pub fn write_rows<T: AsRef<[u8]>>(
    draft: &mut Draft,
    kind: Kind,
    bytes: usize,
    count: u64,
    rows: impl Iterator<Item = T>,
) -> Part {
    let mut writer = PartWriter::for_rows(draft, kind, bytes, count);
    rows.for_each(|row| writer.push(row.as_ref()));
    writer.finish()
}

/// Reads one part of a sealed segment.
///
/// Holds a pin on the page read last, so it must not outlive the callback in which it was made.
pub struct PartReader<'a> {
    pub(super) relation: Relation,
    part: &'a Part,
    kind: Kind,
    segment: u32,
    current: Option<(u32, Held)>,
    /// `u64`s keep copied numbers aligned.
    scratch: Vec<u64>,
    sightings: Vec<Sighting>,
}

/// A page that stays as it is: pinned on a primary, copied on a standby, where replay may rewrite a recycled page.
enum Held {
    Pinned(Pinned),
    Copied(Box<PageCopy>),
}

impl Deref for Held {
    type Target = Page;

    fn deref(&self) -> &Page {
        match self {
            Held::Pinned(pinned) => pinned.frozen(),
            Held::Copied(page) => &page.0,
        }
    }
}

impl<'a> PartReader<'a> {
    pub fn new(relation: Relation, part: &'a Part, kind: Kind, segment: u32) -> Self {
        Self { relation, part, kind, segment, current: None, scratch: Vec::new(), sightings: Vec::new() }
    }

    fn hold(&self, index: u64) -> (u32, Held) {
        let block = checked_block(self.relation, &self.part.pages, index);
        let pinned = Pinned::read_recent(self.relation, block);
        if in_recovery() {
            return (block, Held::Copied(pinned.share().copy()));
        }
        (block, Held::Pinned(pinned))
    }

    fn check(&self, block: u32, held: &Held) {
        if !page::is(held, self.kind, self.segment) {
            lost(self.relation, block, self.kind, self.segment);
        }
    }

    /// The payload of a page.
    fn payload(&mut self, index: u64) -> &[u8] {
        let block = checked_block(self.relation, &self.part.pages, index);
        if self.current.as_ref().is_none_or(|(current, _)| *current != block) {
            self.current = None;
            let (block, held) = self.hold(index);
            self.check(block, &held);
            self.current = Some((block, held));
        }
        page::payload(&self.current.as_ref().expect("just set").1)
    }

    pub fn layout(&self) -> Layout {
        self.part.layout
    }

    /// The block where a slot lies.
    pub(super) fn block_of(&self, slot: u32) -> u32 {
        let (page, _) = self.part.layout.slot(slot.into());
        checked_block(self.relation, &self.part.pages, page)
    }

    /// Visits the first `bytes` bytes of slots in the order of `indices`; while one is looked at, the next ones are on
    /// their way from memory. A page is held once for all that follow one another on it.
    pub fn for_each_slot(&mut self, indices: &[u32], bytes: usize, mut visit: impl FnMut(u32, &[u8])) {
        // PostgreSQL keeps the first eight pins of a backend in a fast array.
        const AHEAD: usize = 5;
        const ANNOUNCED: usize = AHEAD + 4;
        let layout = self.part.layout;
        let mut window = VecDeque::with_capacity(AHEAD);
        let by_page = || indices.chunk_by(|&a, &b| layout.slot(a.into()).0 == layout.slot(b.into()).0);
        let announce = |slots: &[u32]| {
            let (page, at) = layout.slot(slots[0].into());
            self.announce_page(page, [(page::HEADER + at, bytes), (page::SPECIAL_AT, page::SPECIAL)]);
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

    /// Visits rows of a part laid out by [`Layout::for_rows`] for rows of `bytes` bytes, as [`Self::for_each_slot`] does.
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
            self.announce_page(page, [(page::HEADER + from, now)]);
            at += now as u64;
        }
    }

    fn announce_page<const N: usize>(&self, page: u64, bytes: [(usize, usize); N]) {
        if let Some(block) = self.part.pages.block(page) {
            Sighting::of(self.relation, block).announce(self.relation, bytes);
        }
    }

    /// Begins to load the first `bytes` bytes of slot `index`.
    pub fn announce(&self, index: u32, bytes: usize) {
        let (page, at) = self.part.layout.slot(index.into());
        self.announce_page(page, [(page::HEADER + at, bytes)]);
    }

    /// Visits the first `bytes` bytes of slots in the order of `indices` as [`Self::for_each_slot`] does, but glances at
    /// them: for short slots, asked for at random, that may be wrong once in a blue moon (see [`crate::pg::glance`]).
    pub fn glance_at_each(&mut self, indices: &[u32], bytes: usize, mut visit: impl FnMut(u32, &[u8])) {
        const WORD: usize = size_of::<u64>();
        let (layout, relation) = (self.part.layout, self.relation);
        if layout == Layout::Tape || in_recovery() {
            return self.for_each_row(indices, bytes, visit);
        }
        let mut sightings = std::mem::take(&mut self.sightings);
        sightings.clear();
        Sighting::all(relation, indices.iter().map(|&index| self.block_of(index)), &mut sightings);
        let offset_of = |index: u32| page::HEADER + layout.slot(index.into()).1;
        for (sighting, &index) in sightings.iter().zip(indices) {
            sighting.announce(relation, [(offset_of(index), bytes)]);
        }
        let (mut words, file) = (std::mem::take(&mut self.scratch), relation.file_tag());
        for (sighting, &index) in sightings.iter().zip(indices) {
            let offset = offset_of(index);
            let (first, skipped) = (offset / WORD * WORD, offset % WORD);
            words.resize((skipped + bytes).div_ceil(WORD), 0);
            if sighting.copy(file, first, &mut words) {
                count_pages(1);
                visit(index, &bytemuck::cast_slice(&words)[skipped..][..bytes]);
            } else {
                visit(index, &self.slot(index.into())[..bytes]);
            }
        }
        (self.scratch, self.sightings) = (words, sightings);
    }

    /// The bytes of slot `index`.
    pub fn slot(&mut self, index: u64) -> &[u8] {
        let Layout::Slots { bytes } = self.part.layout else { unreachable!("a tape has no slots") };
        let (page, at) = self.part.layout.slot(index);
        &self.payload(page)[at..at + bytes as usize]
    }

    /// The numbers of a part of so many slots of four bytes.
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

    /// The first `bytes` bytes of row `index` of a part laid out by [`Layout::for_rows`] for rows of so many bytes.
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

/// A page is not what the manifest says: on a standby replay has overtaken the reader, elsewhere it is corruption.
pub fn lost(relation: Relation, block: u32, kind: Kind, segment: u32) -> ! {
    if in_recovery() {
        crate::pg::error::Problem::new(
            pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("a segment of index \"{}\" was replaced while it was read", relation.name()),
        )
        .hint("Repeat the query.")
        .raise();
    }
    page::mismatch(&relation.name(), block, kind, segment).raise()
}
