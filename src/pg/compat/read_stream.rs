//! Reads pages one after another. From version 17 on, PostgreSQL reads neighbours together and
//! ahead. Before, the operating system reads ahead.

#[cfg(pg_ge_17)]
pub use stream::for_each_buffer;

/// Calls `visit` with buffers of the main fork, in the order of `blocks`. Their pins become the
/// callee's.
///
/// The relation must be open; a block beyond its end raises an error.
#[cfg(not(pg_ge_17))]
pub fn for_each_buffer(
    relation: pgrx::pg_sys::Relation,
    blocks: impl Iterator<Item = u32>,
    mut visit: impl FnMut(u32, pgrx::pg_sys::Buffer),
) {
    // SAFETY: the relation is open, as this function requires; a block beyond its end raises an
    // error.
    blocks.for_each(|block| visit(block, unsafe { pgrx::pg_sys::ReadBuffer(relation, block) }));
}

#[cfg(pg_ge_17)]
mod stream {
    use pgrx::pg_sys;
    use std::collections::VecDeque;

    /// The blocks still to be requested, and those requested whose buffers have not come yet.
    struct Blocks<'a> {
        coming: &'a mut dyn Iterator<Item = u32>,
        asked: VecDeque<u32>,
    }

    /// PostgreSQL's stream, which may hold pins of its own.
    struct Stream(*mut pg_sys::ReadStream);

    impl Drop for Stream {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                // SAFETY: `for_each_buffer` began the stream, and only this value ends it.
                unsafe { pg_sys::read_stream_end(self.0) };
            }
        }
    }

    /// Calls `visit` with buffers of the main fork, in the order of `blocks`. Their pins become the
    /// callee's.
    ///
    /// The relation must be open; a block beyond its end raises an error.
    pub fn for_each_buffer(
        relation: pg_sys::Relation,
        mut blocks: impl Iterator<Item = u32>,
        mut visit: impl FnMut(u32, pg_sys::Buffer),
    ) {
        let mut blocks = Blocks { coming: &mut blocks, asked: VecDeque::new() };
        // The stream's callback and the loop below use it in turn.
        let blocks = &raw mut blocks;
        // SAFETY: the relation is open, as this function requires. The callback gets the pointer
        // passed here. `blocks` is declared before the stream, so it outlives it.
        let stream = Stream(unsafe {
            pg_sys::read_stream_begin_relation(
                (pg_sys::READ_STREAM_MAINTENANCE | pg_sys::READ_STREAM_FULL) as i32,
                std::ptr::null_mut(),
                relation,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                Some(next_block),
                blocks.cast(),
                0,
            )
        });
        loop {
            // SAFETY: the stream is the one begun above. No reference to the blocks is live, so the
            // callback may have the only one.
            let buffer = unsafe { pg_sys::read_stream_next_buffer(stream.0, std::ptr::null_mut()) };
            if buffer == pg_sys::InvalidBuffer as pg_sys::Buffer {
                return;
            }
            // SAFETY: `blocks` is valid, and its only other user, the callback, runs within the
            // call above only.
            let block = unsafe { (*blocks).asked.pop_front() };
            visit(block.expect("buffers come in the order in which they were asked for"), buffer);
        }
    }

    #[pgrx::pg_guard]
    unsafe extern "C-unwind" fn next_block(
        _stream: *mut pg_sys::ReadStream,
        blocks: *mut std::ffi::c_void,
        _of_buffer: *mut std::ffi::c_void,
    ) -> pg_sys::BlockNumber {
        // SAFETY: the pointer is that of the `Blocks` in `for_each_buffer`, which holds no
        // reference to it while the stream runs this callback.
        let Blocks { coming, asked } = unsafe { &mut *blocks.cast::<Blocks>() };
        let block = coming.next();
        asked.extend(block);
        block.unwrap_or(pg_sys::InvalidBlockNumber)
    }
}
