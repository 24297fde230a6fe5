//! Codes one after another, each with three `f32`s before it: what the codec adds, what it
//! multiplies by, how far it may be off.

use crate::codec::rabitq::Factors;

const NUMBERS: usize = 3;

/// Where the code begins.
pub const CODE: usize = NUMBERS * size_of::<f32>();

/// Writes the numbers before a code.
pub fn put_factors(bytes: &mut [u8], factors: Factors) {
    let numbers = [factors.add, factors.rescale, factors.error];
    bytes[..CODE].copy_from_slice(bytemuck::cast_slice(&numbers));
}

/// The numbers and the code in the first `len` bytes; `None` if there are fewer.
pub fn split(bytes: &[u8], len: usize) -> Option<(Factors, &[u8])> {
    let (numbers, code) = bytes.get(..len)?.split_at_checked(CODE)?;
    let &[add, rescale, error] = bytemuck::try_cast_slice(numbers).ok()? else { return None };
    Some((Factors { add, rescale, error }, code))
}
