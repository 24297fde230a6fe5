//! Distances on PostgreSQL's `bit` and `bit varying`.
//!
//! Layout (PostgreSQL's): length word, `i32` number of bits, then the bits, most significant first.

use super::varlena::{VARLENA_HEADER, Varlena, sql_varlena_type};
use crate::distance::bits;
use crate::pg::error::Problem;
use pgrx::PgSqlErrorCode::ERRCODE_DATA_EXCEPTION;
use pgrx::{pg_extern, pg_sys};

const HEADER: usize = VARLENA_HEADER + 4;

/// A bit string.
pub struct Bits(Varlena);

sql_varlena_type!(Bits, "bit");

impl Bits {
    fn wrap(varlena: Varlena) -> Self {
        Self(varlena)
    }

    /// # Safety
    /// `datum` is a non-null value of type `bit` or `bit varying` that outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Self {
        // SAFETY: `datum` is a non-null bit string that outlives the result, by this function's
        // contract, and a bit string is a varlena.
        Self::wrap(unsafe { Varlena::from_datum(datum) })
    }

    pub fn into_datum(self) -> pg_sys::Datum {
        self.0.into_datum()
    }

    pub fn collect(bits: impl ExactSizeIterator<Item = bool>) -> Self {
        let len = bits.len();
        let mut varlena = Varlena::alloc(HEADER + len.div_ceil(8));
        let bytes = varlena.bytes_mut();
        bytes[4..8].copy_from_slice(&(len as i32).to_ne_bytes());
        for (i, _) in bits.enumerate().filter(|(_, bit)| *bit) {
            bytes[HEADER + i / 8] |= 0x80 >> (i % 8);
        }
        Self(varlena)
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        let bytes = self.0.bytes();
        i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize
    }

    /// The packed bits, padded with zero bits to whole bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes()[HEADER..]
    }

    fn pair<'a>(&'a self, other: &'a Self) -> (&'a [u8], &'a [u8]) {
        if self.len() != other.len() {
            let (a, b) = (self.len(), other.len());
            Problem::new(ERRCODE_DATA_EXCEPTION, format!("different bit lengths {a} and {b}")).raise();
        }
        (self.bytes(), other.bytes())
    }
}

#[pg_extern(sql = false)]
pub(super) fn bit_hamming_distance(a: Bits, b: Bits) -> f64 {
    let (a, b) = a.pair(&b);
    bits::hamming(a, b)
}

#[pg_extern(sql = false)]
pub(super) fn bit_jaccard_distance(a: Bits, b: Bits) -> f64 {
    let (a, b) = a.pair(&b);
    bits::jaccard(a, b)
}
