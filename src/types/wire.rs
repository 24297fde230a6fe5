//! The binary protocol's messages: big-endian numbers, read with PostgreSQL's own bound checks.

use pgrx::datum::Internal;
use pgrx::pg_sys;

/// A client's message, as a receive function reads it.
pub struct Reader {
    buffer: pg_sys::StringInfo,
}

impl Reader {
    /// `buffer` is the `StringInfo` that PostgreSQL passes to a receive function.
    pub fn new(buffer: Internal) -> Self {
        let datum = buffer.unwrap().expect("receive functions are STRICT");
        Self { buffer: datum.cast_mut_ptr() }
    }

    pub fn u16(&mut self) -> u16 {
        // SAFETY: `buffer` is PostgreSQL's StringInfo, valid during the call. Reading past its end
        // raises a protocol error.
        unsafe { pg_sys::pq_getmsgint(self.buffer, 2) as u16 }
    }

    pub fn u32(&mut self) -> u32 {
        // SAFETY: the buffer is valid, and its end is checked, as in `u16`.
        unsafe { pg_sys::pq_getmsgint(self.buffer, 4) }
    }

    pub fn i32(&mut self) -> i32 {
        self.u32() as i32
    }
}

/// A message to a client, returned as `bytea`.
pub struct Message(Vec<u8>);

impl Message {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn i32(&mut self, n: i32) {
        self.u32(n as u32);
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
