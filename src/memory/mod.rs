//! Allocations that may fail: with an error in place of an abort.
//!
//! Large requests go through this module. A refused one panics with its size and purpose;
//! `pg::memory` turns that into an error. Small allocations go through Rust's usual paths. Where
//! one fails, a reserve steps in (see [`allocator`]), and the next call of [`check`] ends the work.

mod allocator;

use bytemuck::Zeroable;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::OnceLock;

/// A refused request: the payload of the panic that ends the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    pub what: &'static str,
    pub bytes: usize,
}

static RAISE: OnceLock<fn(OutOfMemory) -> !> = OnceLock::new();

/// Declares the function that ends the work on the thread of a refused request; called once when
/// the library is loaded.
pub fn register(raise: fn(OutOfMemory) -> !) {
    let _ = RAISE.set(raise);
}

fn refuse(what: &'static str, bytes: usize) -> ! {
    let error = OutOfMemory { what, bytes };
    match RAISE.get() {
        Some(raise) => raise(error),
        None => std::panic::resume_unwind(Box::new(error)),
    }
}

/// Sets the reserve aside for small allocations, before work that may take much memory.
pub fn arm() {
    if !allocator::arm() {
        refuse("a reserve", allocator::RESERVE);
    }
}

/// Ends the work if the reserve was released.
pub fn check() {
    if allocator::is_exhausted() {
        allocator::forget_exhaustion();
        refuse("small allocations", allocator::RESERVE);
    }
}

/// Room for `count` more elements.
pub fn reserve<T>(vector: &mut Vec<T>, count: usize, what: &'static str) {
    check();
    if vector.try_reserve(count).is_err() {
        refuse(what, count.saturating_mul(size_of::<T>()));
    }
}

/// Room for exactly `count` elements.
pub fn with_capacity<T>(count: usize, what: &'static str) -> Vec<T> {
    check();
    let mut vector = Vec::new();
    if vector.try_reserve_exact(count).is_err() {
        refuse(what, count.saturating_mul(size_of::<T>()));
    }
    vector
}

/// Zeros; the memory is not touched before its first use.
pub fn zeros<T: Zeroable>(count: usize, what: &'static str) -> Vec<T> {
    check();
    bytemuck::allocation::try_zeroed_vec(count)
        .unwrap_or_else(|()| refuse(what, count.saturating_mul(size_of::<T>())))
}

/// `count` copies of a value.
pub fn filled<T: Clone>(value: T, count: usize, what: &'static str) -> Vec<T> {
    let mut vector = with_capacity(count, what);
    vector.resize(count, value);
    vector
}

/// Appends a value.
pub fn push<T>(vector: &mut Vec<T>, value: T, what: &'static str) {
    if vector.len() == vector.capacity() {
        reserve(vector, 1, what);
    }
    vector.push(value);
}

/// Appends values.
pub fn extend<T: Copy>(vector: &mut Vec<T>, values: &[T], what: &'static str) {
    reserve(vector, values.len(), what);
    vector.extend_from_slice(values);
}

/// Room for `count` more elements of a set.
pub fn reserve_set<T: Eq + Hash>(set: &mut HashSet<T>, count: usize, what: &'static str) {
    if set.capacity() - set.len() < count {
        check();
        if set.try_reserve(count).is_err() {
            refuse(what, (set.len() + count).saturating_mul(size_of::<T>()));
        }
    }
}

/// Room for `count` more entries of a map.
pub fn reserve_map<K: Eq + Hash, V>(map: &mut HashMap<K, V>, count: usize, what: &'static str) {
    if map.capacity() - map.len() < count {
        check();
        if map.try_reserve(count).is_err() {
            refuse(what, (map.len() + count).saturating_mul(size_of::<(K, V)>()));
        }
    }
}

/// The elements of an iterator of known length.
pub fn collect<T>(values: impl ExactSizeIterator<Item = T>, what: &'static str) -> Vec<T> {
    let mut vector = with_capacity(values.len(), what);
    vector.extend(values);
    vector
}

/// Adds a value to a heap.
pub fn push_to_heap<T: Ord>(heap: &mut BinaryHeap<T>, value: T, what: &'static str) {
    if heap.len() == heap.capacity() {
        check();
        if heap.try_reserve(1).is_err() {
            refuse(what, heap.len().saturating_mul(size_of::<T>()));
        }
    }
    heap.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(work: impl FnOnce() + std::panic::UnwindSafe) -> OutOfMemory {
        let payload = std::panic::catch_unwind(work).expect_err("it is refused");
        *payload.downcast().expect("a refusal")
    }

    #[test]
    fn what_is_too_large_is_refused() {
        const TOO_MANY: usize = usize::MAX / 64;
        let bytes = TOO_MANY * size_of::<u64>();
        let error = OutOfMemory { what: "numbers", bytes };
        assert_eq!(refused(|| drop(zeros::<u64>(TOO_MANY, "numbers"))), error);
        assert_eq!(refused(|| drop(filled(1u64, TOO_MANY, "numbers"))), error);
        assert_eq!(refused(|| reserve(&mut vec![0u64], TOO_MANY, "numbers")), error);
    }

    #[test]
    fn what_fits_is_as_it_would_be() {
        assert_eq!(zeros::<u32>(3, "numbers"), [0; 3]);
        assert_eq!(collect([1, 2].into_iter(), "numbers"), [1, 2]);
        let (mut vector, mut heap) = (filled(7u8, 2, "bytes"), BinaryHeap::new());
        extend(&mut vector, &[8, 9], "bytes");
        push(&mut vector, 10, "bytes");
        assert_eq!(vector, [7, 7, 8, 9, 10]);
        push_to_heap(&mut heap, 3, "numbers");
        assert_eq!(heap.pop(), Some(3));
    }
}
