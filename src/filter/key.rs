//! Keys: 64 bits that keep the order of a column's values.

use super::Test;
use serde::{Deserialize, Serialize};

/// What a filter column holds, as far as it matters to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Bool,
    Date,
    Timestamp,
    Uuid,
    Text(Collation),
    Enum,
    /// Elements of any type that can be hashed.
    Array,
}

/// What keys can decide under a column's collation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Collation {
    /// Texts are in the order of their bytes.
    Bytes,
    /// Texts are equal only if their bytes are, but their order is another one.
    Equality,
    /// Texts with different bytes may be equal.
    Nothing,
}

/// An operator that compares a column with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    Overlaps,
    Contains,
    IsContained,
}

/// The greatest key: codes need one value more, for null.
pub const GREATEST: u64 = u64::MAX - 1;

/// The bits of a text's key that depend on more than its first bytes.
const TEXT_HASH: u64 = 0xFFFF_FFFF;

impl KeyKind {
    /// Whether different values have different keys, so that a row's key decides whether it meets a
    /// condition.
    pub fn is_exact(self) -> bool {
        match self {
            KeyKind::Int2 | KeyKind::Int4 | KeyKind::Int8 | KeyKind::Float4 | KeyKind::Float8 => true,
            KeyKind::Bool | KeyKind::Date | KeyKind::Timestamp | KeyKind::Enum => true,
            KeyKind::Numeric | KeyKind::Uuid | KeyKind::Text(_) | KeyKind::Array => false,
        }
    }

    /// The test that accepts the keys of all values that compare so with a value whose key is
    /// `key`.
    pub fn test(self, comparison: Comparison, key: u64) -> Test {
        // Two values share the greatest key.
        let key = key.min(GREATEST);
        let is_exact = self.is_exact() && key < GREATEST;
        // Bits that values on the other side of `key` may share with it.
        let shared = match (self, comparison) {
            (KeyKind::Array, Comparison::Overlaps) => return Test::AnyBit(key),
            (KeyKind::Array, Comparison::Contains) => return Test::AllBits(key),
            (KeyKind::Array, Comparison::IsContained) => return Test::OnlyBits(key),
            (KeyKind::Text(Collation::Nothing), _) => return Test::NotNull,
            (_, Comparison::Equal) => return Test::OneOf(vec![key]),
            (KeyKind::Text(Collation::Equality) | KeyKind::Enum | KeyKind::Array, _) => return Test::NotNull,
            (KeyKind::Text(Collation::Bytes), _) => TEXT_HASH,
            _ => 0,
        };
        let (low, high) = (key & !shared, key | shared);
        match comparison {
            Comparison::Less if is_exact => match key.checked_sub(1) {
                Some(high) => Test::Between(0, high),
                None => Test::NEVER,
            },
            Comparison::Greater if is_exact => match key.checked_add(1) {
                Some(low) => Test::Between(low, u64::MAX),
                None => Test::NEVER,
            },
            Comparison::Less | Comparison::LessOrEqual => Test::Between(0, high),
            Comparison::Greater | Comparison::GreaterOrEqual => Test::Between(low, u64::MAX),
            Comparison::Equal => Test::OneOf(vec![key]),
            Comparison::Overlaps | Comparison::Contains | Comparison::IsContained => Test::NotNull,
        }
    }
}

/// The key of a whole number.
pub fn of_integer(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// The key of a number; all NaNs are equal and greatest, as in PostgreSQL.
pub fn of_float(value: f64) -> u64 {
    if value.is_nan() {
        return u64::MAX;
    }
    // Zero has two signs, but is one value.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The key of a text: its first four bytes, then a hash of all of them.
pub fn of_text(text: &[u8]) -> u64 {
    of_first_bytes(text) & !TEXT_HASH | u64::from(crc32fast::hash(text))
}

/// The key of bytes that are compared from the first one on: the first eight of them.
pub fn of_first_bytes(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = bytes.len().min(8);
    first[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(first)
}

/// The bit of an element with this hash, in the key of a set.
pub fn of_element(hash: u64) -> u64 {
    // One bit is left out, so that no set has the greatest number for its key.
    1 << (hash % 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Comparison::*;
    use proptest::prelude::*;

    fn holds(comparison: Comparison, order: std::cmp::Ordering) -> bool {
        match comparison {
            Less => order.is_lt(),
            LessOrEqual => order.is_le(),
            Equal => order.is_eq(),
            GreaterOrEqual => order.is_ge(),
            _ => order.is_gt(),
        }
    }

    const COMPARISONS: [Comparison; 5] = [Less, LessOrEqual, Equal, GreaterOrEqual, Greater];

    proptest! {
        #[test]
        fn integers_compare_by_their_keys(a: i64, b in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]) {
            for (a, b) in [(a, b), (b, a), (b, b)] {
                for comparison in COMPARISONS {
                    let key = of_integer(a).min(GREATEST);
                    let accepts = KeyKind::Int8.test(comparison, of_integer(b)).accepts(Some(key));
                    let holds = holds(comparison, a.cmp(&b));
                    // Two numbers have the greatest key.
                    prop_assert!(accepts == holds || accepts && key == GREATEST, "{} {}", a, b);
                }
            }
        }

        #[test]
        fn floats_compare_by_their_keys(a: f64, b in prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(f64::NAN)]) {
            // PostgreSQL's order: zeros are equal, NaN is equal to itself and greatest.
            let rank = |x: f64| if x.is_nan() { (1, 0.0) } else { (0, x) };
            for comparison in COMPARISONS {
                let test = KeyKind::Float8.test(comparison, of_float(b));
                let order = rank(a).partial_cmp(&rank(b)).unwrap();
                prop_assert_eq!(test.accepts(Some(of_float(a))), holds(comparison, order), "{} {}", a, b);
            }
            prop_assert_eq!(of_float(0.0), of_float(-0.0));
        }

        #[test]
        fn texts_lose_no_match(a in ".{0,7}", b in ".{0,7}") {
            let kind = KeyKind::Text(Collation::Bytes);
            for (a, b) in [(&a, &b), (&b, &b)] {
                for comparison in COMPARISONS {
                    let test = kind.test(comparison, of_text(b.as_bytes()));
                    let met = holds(comparison, a.as_bytes().cmp(b.as_bytes()));
                    prop_assert!(!met || test.accepts(Some(of_text(a.as_bytes()))), "{} {:?} {}", a, comparison, b);
                }
            }
        }
    }

    #[test]
    fn equal_texts_are_told_from_others() {
        let test = KeyKind::Text(Collation::Equality).test(Equal, of_text(b"document_17"));
        assert!(test.accepts(Some(of_text(b"document_17"))));
        assert!(!test.accepts(Some(of_text(b"document_18"))));
        assert_eq!(KeyKind::Text(Collation::Equality).test(Less, 7), Test::NotNull);
        assert_eq!(KeyKind::Text(Collation::Nothing).test(Equal, 7), Test::NotNull);
    }

    #[test]
    fn sets_are_compared_by_bits() {
        let set =
            |elements: &[u64]| elements.iter().map(|&element| of_element(element)).fold(0, |a, b| a | b);
        let accepts =
            |comparison, a: &[u64], b: &[u64]| KeyKind::Array.test(comparison, set(b)).accepts(Some(set(a)));
        assert!(accepts(Contains, &[1, 2, 3], &[2]) && !accepts(Contains, &[1, 3], &[2, 3]));
        assert!(accepts(Contains, &[], &[]) && !accepts(Overlaps, &[], &[]));
        assert!(accepts(Overlaps, &[1, 2], &[2, 9]) && !accepts(Overlaps, &[1, 2], &[9]));
        assert!(accepts(IsContained, &[1], &[1, 2]) && !accepts(IsContained, &[1, 5], &[1, 2]));
    }
}
