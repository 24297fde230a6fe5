//! Reads pages that do not change, without pinning them.
//!
//! A pin takes longer than reading the few hundred bytes that it is for. A [`BufferHint`] copies
//! bytes from the buffer where this backend saw a page last. It checks the buffer's header before
//! and after: PostgreSQL changes the header, under the header's lock, before it gives a buffer to
//! another page. So the bytes are the page's, with one exception. The buffer may go to another page
//! and come back, two reads from disk, while a few hundred bytes are copied. So readers must accept
//! wrong bytes, as from a damaged page.
//!
//! A pin also marks the page as used. Only pages of the greatest usage count are read without one;
//! others are pinned, which raises the count. So a page that is read keeps its place in the buffers
//! as a btree's page does.

use crate::pg::buffer::{MOST_USED, PAGE_SIZE, header, recent_buffers};
use crate::pg::relation::{FileTag, Relation};
use crate::util::cpu;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A page, and the buffer where this backend saw it last.
#[derive(Clone, Copy)]
pub struct BufferHint {
    block: u32,
    buffer: pg_sys::Buffer,
}

impl BufferHint {
    /// The hint for a page.
    pub fn of(relation: Relation, block: u32) -> Self {
        let mut hint = Self { block, buffer: pg_sys::InvalidBuffer as pg_sys::Buffer };
        recent_buffers(relation, std::iter::once(block), |_, buffer| hint.buffer = buffer);
        hint
    }

    /// Appends the hints for some pages to `hints`.
    pub fn all(relation: Relation, blocks: impl Iterator<Item = u32>, hints: &mut Vec<Self>) {
        recent_buffers(relation, blocks, |block, buffer| hints.push(Self { block, buffer }));
    }

    /// The number of the shared buffer; `None` if the page was not seen, or is a temporary table's.
    fn number(self) -> Option<usize> {
        usize::try_from(self.buffer).ok()?.checked_sub(1)
    }

    /// Prefetches `len` bytes of the page at each `(offset, len)`, and the buffer's header.
    ///
    /// What was not seen may be on disk: the operating system begins to read it then.
    pub fn announce(self, relation: Relation, bytes: &[(usize, usize)]) {
        let Some(number) = self.number() else {
            if self.buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                // SAFETY: a [`Relation`] is open, and the call only asks for a block to be read
                // ahead.
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

    /// Copies words of the page from `offset` on, a multiple of eight bytes, until `words` is full.
    /// It returns `false` if they may not be the page's; then the page must be pinned. Any thread
    /// may call it; the main thread counts the page ([`super::buffer::count_pages`]).
    pub fn copy(self, file: FileTag, offset: usize, words: &mut [u64]) -> bool {
        assert!(offset.is_multiple_of(size_of::<u64>()) && offset + size_of_val(words) <= PAGE_SIZE);
        let Some(number) = self.number() else { return false };
        let header = header(number);
        if !holds(header, file, self.block, Ordering::Acquire) {
            return false;
        }
        let page = page(number).wrapping_add(offset).cast::<u64>();
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: the buffer's number is one that PostgreSQL returned, and the assertion keeps
            // the words within its page. Shared buffers are aligned and never unmapped. Others may
            // write there meanwhile: a relaxed load may then see any value, which the second check
            // rejects.
            *word = unsafe { AtomicU64::from_ptr(page.wrapping_add(i).cast_mut()) }.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        holds(header, file, self.block, Ordering::Relaxed)
    }
}

fn page(number: usize) -> *const u8 {
    // SAFETY: a plain read of an address that PostgreSQL sets at server start.
    unsafe { pg_sys::BufferBlocks }.cast::<u8>().cast_const().wrapping_add(number * PAGE_SIZE)
}

/// Whether a buffer holds the page, at the greatest usage count.
fn holds(header: *const pg_sys::BufferDesc, file: FileTag, block: u32, order: Ordering) -> bool {
    const VALID: u32 = pg_sys::BM_VALID | pg_sys::BM_TAG_VALID;
    // SAFETY: `header` points into the array of descriptors, as its number is a shared buffer's.
    // The state is an atomic number. The tag is plain memory: if it is written meanwhile, the state
    // or the second check shows it.
    let (state, tag) = unsafe {
        let state = AtomicU32::from_ptr((&raw const (*header).state.value).cast_mut()).load(order);
        (state, (&raw const (*header).tag).read_volatile())
    };
    state & VALID == VALID && state & pg_sys::BUF_USAGECOUNT_MASK >= MOST_USED && file.is_of(&tag, block)
}
