//! Reading pages that nobody changes without pinning them.
//!
//! A pin takes longer than looking at the few hundred bytes that it is for. A [`BufferHint`] copies
//! bytes from the buffer where this backend saw a page last, and looks at the buffer's header
//! before and after: PostgreSQL gives a buffer to another page only after it has changed the
//! header, under the header's lock. So the bytes are the page's, unless the buffer went to another
//! page and came back, two reads from disk, while a few hundred bytes were copied. Readers must
//! bear that: bytes may be wrong as those of a damaged page are.
//!
//! A pin also tells PostgreSQL that the page is in use. Only pages of some usage count are read so;
//! with less they are pinned, which raises it. So a page that is looked at now and then keeps
//! its place in the buffers.

use crate::pg::buffer::{PAGE_SIZE, recent_buffers};
use crate::pg::relation::{FileTag, Relation};
use crate::util::cpu;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A page, and where this backend saw it last.
#[derive(Clone, Copy)]
pub struct BufferHint {
    block: u32,
    buffer: pg_sys::Buffer,
}

impl BufferHint {
    /// Where a page was seen last.
    pub fn of(relation: Relation, block: u32) -> Self {
        let mut hint = Self { block, buffer: pg_sys::InvalidBuffer as pg_sys::Buffer };
        recent_buffers(relation, std::iter::once(block), |_, buffer| hint.buffer = buffer);
        hint
    }

    /// Where some pages were seen last, appended to `hints`.
    pub fn all(relation: Relation, blocks: impl Iterator<Item = u32>, hints: &mut Vec<Self>) {
        recent_buffers(relation, blocks, |block, buffer| hints.push(Self { block, buffer }));
    }

    /// The number of the shared buffer; `None` if the page was not seen, or is a temporary table's.
    fn number(self) -> Option<usize> {
        usize::try_from(self.buffer).ok()?.checked_sub(1)
    }

    /// Begins to load what it takes to look at some bytes of the page: at each offset so many.
    ///
    /// What was not seen may be on disk: the operating system begins to read it then.
    pub fn announce(self, relation: Relation, bytes: &[(usize, usize)]) {
        let Some(number) = self.number() else {
            if self.buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                // SAFETY: the relation is open; nothing is read beyond its end, as this only asks.
                unsafe {
                    pg_sys::PrefetchBuffer(relation.raw(), pg_sys::ForkNumber::MAIN_FORKNUM, self.block)
                };
            }
            return;
        };
        let (header, page) = (header(number), page(number));
        cpu::prefetch_at(header.cast(), 1);
        bytes.iter().for_each(|&(offset, len)| cpu::prefetch_at(page.wrapping_add(offset), len));
    }

    /// Whether the page was seen, and is no temporary table's.
    pub fn is_known(self) -> bool {
        self.number().is_some()
    }

    /// Copies words of the page from `offset` on, a multiple of eight bytes, as many as there is
    /// room for. `false` if they may not be the page's; then it must be pinned. Any thread may do
    /// this; the main thread counts the page ([`super::buffer::count_pages`]).
    pub fn copy(self, file: FileTag, offset: usize, words: &mut [u64]) -> bool {
        assert!(offset.is_multiple_of(size_of::<u64>()) && offset + size_of_val(words) <= PAGE_SIZE);
        let Some(number) = self.number() else { return false };
        let header = header(number);
        if !holds(header, file, self.block, Ordering::Acquire) {
            return false;
        }
        let page = page(number).wrapping_add(offset).cast::<u64>();
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: within a buffer of shared memory, which is never unmapped, and aligned as
            // buffers are; others may write there meanwhile, which a relaxed load may see in any
            // state.
            *word = unsafe { AtomicU64::from_ptr(page.wrapping_add(i).cast_mut()) }.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        holds(header, file, self.block, Ordering::Relaxed)
    }
}

fn header(number: usize) -> *const pg_sys::BufferDesc {
    // SAFETY: a plain read of an address that is set at server start.
    unsafe { pg_sys::BufferDescriptors }.wrapping_add(number).cast()
}

fn page(number: usize) -> *const u8 {
    // SAFETY: as above.
    unsafe { pg_sys::BufferBlocks }.cast::<u8>().cast_const().wrapping_add(number * PAGE_SIZE)
}

/// The least usage count of pages that are read so: the clock that takes one from each page at
/// every round must pass twice before such a page's buffer is given away.
const LEAST_USED: u32 = 2;

/// Whether a buffer holds a page of enough use.
fn holds(header: *const pg_sys::BufferDesc, file: FileTag, block: u32, order: Ordering) -> bool {
    const VALID: u32 = pg_sys::BM_VALID | pg_sys::BM_TAG_VALID;
    // SAFETY: the header of a shared buffer, as its number was one; its state is an atomic number,
    // and its tag may be read at any time: if it is written meanwhile, the state or the second look
    // tells.
    let (state, tag) = unsafe {
        let state = AtomicU32::from_ptr((&raw const (*header).state.value).cast_mut()).load(order);
        (state, (&raw const (*header).tag).read_volatile())
    };
    state & VALID == VALID
        && state & pg_sys::BUF_USAGECOUNT_MASK >= LEAST_USED * pg_sys::BUF_USAGECOUNT_ONE
        && file.is_of(&tag, block)
}
