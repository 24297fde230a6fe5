//! Where the pages of an index are read and written: PostgreSQL's buffers, or memory in unit tests.

#![forbid(unsafe_code)]

use crate::pg::buffer::{Page, PageCopy, Pinned};
use crate::pg::interrupts;
use crate::pg::optimistic_read::BufferHint;
use crate::pg::relation::{Relation, in_recovery};
use crate::pg::wal::log_new_pages;
use std::ops::Deref;

/// The pages of one index, as readers of sealed segments see them.
pub trait Pages {
    /// The index's name, for messages.
    fn name(&self) -> String;

    /// A page that stays as it is while it is held.
    fn hold(&self, block: u32) -> Held;

    /// Begins to load bytes of a page: pairs of an offset in the page and a length.
    fn announce(&self, block: u32, bytes: &[(usize, usize)]);

    /// The relation in whose shared buffers the pages lie, if they may be read without a pin
    /// (see [`crate::pg::optimistic_read`]).
    fn unpinned(&self) -> Option<Relation>;

    /// Whether replay of WAL may replace a page that a reader is about to read.
    fn are_replayed(&self) -> bool;

    /// Raises an error if the work must end.
    fn poll(&self);

    /// As [`Self::poll`], also if another process waits for the index: for long work.
    fn give_way(&self);
}

/// A page that stays as it is: pinned on a primary, copied on a standby, where replay may rewrite a
/// recycled page.
pub enum Held {
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

impl Pages for Relation {
    fn name(&self) -> String {
        Relation::name(*self)
    }

    fn hold(&self, block: u32) -> Held {
        let pinned = Pinned::read_recent(*self, block);
        match in_recovery() {
            true => Held::Copied(pinned.share().copy()),
            false => Held::Pinned(pinned),
        }
    }

    fn announce(&self, block: u32, bytes: &[(usize, usize)]) {
        BufferHint::of(*self, block).announce(*self, bytes);
    }

    fn unpinned(&self) -> Option<Relation> {
        (!in_recovery()).then_some(*self)
    }

    fn are_replayed(&self) -> bool {
        in_recovery()
    }

    fn poll(&self) {
        pgrx::check_for_interrupts!();
    }

    fn give_way(&self) {
        interrupts::check();
    }
}

/// Where the pages of a new segment are written.
pub trait PageSink {
    /// Replaces the content of a page.
    fn write(&self, block: u32, page: &Page);

    /// Makes `pages` pages from `first` on durable: all were written since they were allocated.
    fn log(&self, first: u32, pages: u32);

    /// Raises an error if the work must end.
    fn give_way(&self);
}

impl PageSink for Relation {
    fn write(&self, block: u32, page: &Page) {
        Pinned::overwrite(*self, block).fill(|target| target.copy_from_slice(page));
    }

    fn log(&self, first: u32, pages: u32) {
        log_new_pages(*self, first, pages);
    }

    fn give_way(&self) {
        interrupts::check();
    }
}

/// Pages in memory: what unit tests write segments to and read them from, without a server.
#[cfg(test)]
pub mod memory {
    use super::*;
    use crate::pg::buffer::PAGE_SIZE;
    use crate::storage::page;
    use std::cell::RefCell;

    #[derive(Default)]
    pub struct MemoryPages(RefCell<Vec<Page>>);

    impl MemoryPages {
        /// Appends blank pages; returns the number of the first.
        pub fn extend(&self, pages: u32) -> u32 {
            let mut all = self.0.borrow_mut();
            let first = all.len();
            all.resize(first + pages as usize, [0; PAGE_SIZE]);
            first as u32
        }

        pub fn len(&self) -> usize {
            self.0.borrow().len()
        }

        pub fn page(&self, block: u32) -> Page {
            self.0.borrow()[block as usize]
        }

        pub fn replace(&self, block: u32, page: &Page) {
            self.0.borrow_mut()[block as usize] = *page;
        }

        /// Changes the content of a page in place.
        pub fn change(&self, block: u32, change: impl FnOnce(&mut [u8])) {
            change(page::payload_mut(&mut self.0.borrow_mut()[block as usize]));
        }
    }

    impl Pages for MemoryPages {
        fn name(&self) -> String {
            "pages in memory".into()
        }

        fn hold(&self, block: u32) -> Held {
            let mut copy = PageCopy::blank();
            copy.0.copy_from_slice(&self.0.borrow()[block as usize]);
            Held::Copied(copy)
        }

        fn announce(&self, block: u32, bytes: &[(usize, usize)]) {
            assert!((block as usize) < self.len() && bytes.iter().all(|(at, len)| at + len <= PAGE_SIZE));
        }

        fn unpinned(&self) -> Option<Relation> {
            None
        }

        fn are_replayed(&self) -> bool {
            false
        }

        fn poll(&self) {}

        fn give_way(&self) {}
    }

    impl PageSink for MemoryPages {
        fn write(&self, block: u32, page: &Page) {
            self.replace(block, page);
        }

        fn log(&self, first: u32, pages: u32) {
            assert!((first + pages) as usize <= self.len(), "only pages that exist are logged");
        }

        fn give_way(&self) {}
    }
}
