//! Pages that are read one after another, each once. From PostgreSQL 17 on neighbours are read from disk together, and before
//! they are asked for; before that the operating system sees to it.

use super::buffer::Pinned;
use super::relation::Relation;

/// Calls `visit` with pages of the main fork, pinned, in the order of `blocks`.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
pub fn for_each_page(
    relation: Relation,
    blocks: impl Iterator<Item = u32>,
    mut visit: impl FnMut(u32, Pinned),
) {
    blocks.for_each(|block| visit(block, Pinned::read(relation, block)));
}

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
pub use stream::for_each_page;

#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
mod stream {
    use super::{Pinned, Relation};
    use pgrx::pg_sys;
    use std::collections::VecDeque;

    /// Blocks that the stream asks for, and those that it has asked for and not given yet.
    struct Blocks<'a> {
        coming: &'a mut dyn Iterator<Item = u32>,
        asked: VecDeque<u32>,
    }

    /// PostgreSQL's stream, which may have pins of its own.
    struct Stream(*mut pg_sys::ReadStream);

    impl Drop for Stream {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                // SAFETY: begun by `for_each_page`.
                unsafe { pg_sys::read_stream_end(self.0) };
            }
        }
    }

    /// Calls `visit` with pages of the main fork, pinned, in the order of `blocks`.
    pub fn for_each_page(
        relation: Relation,
        mut blocks: impl Iterator<Item = u32>,
        mut visit: impl FnMut(u32, Pinned),
    ) {
        let mut blocks = Blocks { coming: &mut blocks, asked: VecDeque::new() };
        // The stream's callback and the loop below take turns.
        let blocks = &raw mut blocks;
        // SAFETY: the relation is open; the callback gets back what is passed here, which outlives the stream.
        let stream = Stream(unsafe {
            pg_sys::read_stream_begin_relation(
                (pg_sys::READ_STREAM_MAINTENANCE | pg_sys::READ_STREAM_FULL) as i32,
                std::ptr::null_mut(),
                relation.raw(),
                pg_sys::ForkNumber::MAIN_FORKNUM,
                Some(next_block),
                blocks.cast(),
                0,
            )
        });
        loop {
            // SAFETY: the stream was begun above, and nothing else refers to the blocks meanwhile.
            let buffer = unsafe { pg_sys::read_stream_next_buffer(stream.0, std::ptr::null_mut()) };
            if buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                return;
            }
            let page = Pinned::of_stream(buffer);
            // SAFETY: no callback is under way.
            let block = unsafe { (*blocks).asked.pop_front() };
            visit(block.expect("buffers come in the order in which they were asked for"), page);
        }
    }

    #[pgrx::pg_guard]
    unsafe extern "C-unwind" fn next_block(
        _stream: *mut pg_sys::ReadStream,
        blocks: *mut std::ffi::c_void,
        _of_buffer: *mut std::ffi::c_void,
    ) -> pg_sys::BlockNumber {
        // SAFETY: what `for_each_page` has passed.
        let Blocks { coming, asked } = unsafe { &mut *blocks.cast::<Blocks>() };
        let block = coming.next();
        asked.extend(block);
        block.unwrap_or(pg_sys::InvalidBlockNumber)
    }
}
