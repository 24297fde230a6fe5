//! Writing the parts of a segment.

use super::draft::Draft;
use super::extent::Extents;
use super::page::{self, PAYLOAD, Stamp};
use super::pages::PageSink;
use super::part::{Layout, Part};
use crate::pg::buffer::{PAGE_SIZE, Page};
use crate::structure::PageKind;
use std::rc::Rc;

/// Writes a part's pages in order, and logs them as it goes.
pub struct PartWriter {
    sink: Rc<dyn PageSink>,
    stamp: Stamp,
    layout: Layout,
    pages: Extents,
    written: u64,
    /// Number of pages logged, from the first on.
    logged: u64,
    page: Box<Page>,
    used: usize,
    crc: crc32fast::Hasher,
}

/// Pages between two checks for interrupts; what was written is logged then.
const PAGES_PER_POLL: u64 = 256;

impl PartWriter {
    /// Begins a part of `count` slots, or of `count` bytes of tape.
    pub fn new(draft: &mut Draft, kind: PageKind, layout: Layout, count: u64) -> Self {
        let stamp = Stamp { kind, segment: draft.id(), generation: draft.generation() as u32 };
        let pages = draft.allocate(layout.pages(count));
        let mut page = Box::new([0; PAGE_SIZE]);
        page::format(&mut page, stamp);
        Self {
            sink: draft.sink(),
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
    pub fn for_rows(draft: &mut Draft, kind: PageKind, bytes: usize, count: u64) -> Self {
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
        let block = self.pages.block(self.written).expect("no more is pushed than the part has room for");
        self.sink.write(block, &self.page);
        self.crc.update(page::payload(&self.page));
        self.written += 1;
        self.used = 0;
        page::format(&mut self.page, self.stamp);
        if self.written.is_multiple_of(PAGES_PER_POLL) {
            self.sink.give_way();
            self.log();
        }
    }

    /// Logs what was written and is not logged yet. Threads that make the pages' content go on
    /// meanwhile.
    fn log(&mut self) {
        let mut first = 0;
        for extent in self.pages.iter() {
            let end = first + u64::from(extent.pages);
            let (from, to) = (self.logged.max(first), self.written.min(end));
            if from < to {
                self.sink.log(extent.start + (from - first) as u32, (to - from) as u32);
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
    kind: PageKind,
    bytes: usize,
    count: u64,
    rows: impl Iterator<Item = T>,
) -> Part {
    let mut writer = PartWriter::for_rows(draft, kind, bytes, count);
    rows.for_each(|row| writer.push(row.as_ref()));
    writer.finish()
}
