//! Conditions on keys.

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Within bounds, both included.
    Between(u64, u64),
    /// One of these, which ascend.
    OneOf(Vec<u64>),
    Null,
    NotNull,
    /// For keys that are sets of bits: at least one of these, all of these, no others.
    AnyBit(u64),
    AllBits(u64),
    OnlyBits(u64),
}

impl Test {
    /// The test that no key meets: a comparison with null.
    pub const NEVER: Test = Test::OneOf(Vec::new());

    /// Whether a value with this key may meet the condition.
    pub fn accepts(&self, key: Option<u64>) -> bool {
        let Some(key) = key else { return *self == Test::Null };
        match self {
            Test::Between(low, high) => (*low..=*high).contains(&key),
            Test::OneOf(keys) => keys.binary_search(&key).is_ok(),
            Test::Null => false,
            Test::NotNull => true,
            Test::AnyBit(bits) => key & bits != 0,
            Test::AllBits(bits) => key & bits == *bits,
            Test::OnlyBits(bits) => key & !bits == 0,
        }
    }

    /// A test that is met where one of `tests` is, and perhaps elsewhere.
    pub fn any(tests: impl Iterator<Item = Test>) -> Test {
        let (mut keys, mut others) = (Vec::new(), Test::NEVER);
        for test in tests {
            match test {
                Test::OneOf(more) => keys.extend(more),
                other => others = others.or(other),
            }
        }
        Test::OneOf(keys).or(others)
    }

    /// A test that is met where either is, and perhaps elsewhere.
    pub fn or(self, other: Test) -> Test {
        match (self, other) {
            (Test::OneOf(mut keys), Test::OneOf(more)) => {
                keys.extend(more);
                keys.sort_unstable();
                keys.dedup();
                Test::OneOf(keys)
            }
            (Test::OneOf(keys), other) | (other, Test::OneOf(keys)) if keys.is_empty() => other,
            (Test::Between(a, b), Test::Between(c, d)) => Test::Between(a.min(c), b.max(d)),
            (Test::AnyBit(a), Test::AnyBit(b)) => Test::AnyBit(a | b),
            _ => Test::NotNull,
        }
    }
}

/// A condition on a filter column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The number of the filter column, from 0.
    pub column: usize,
    pub test: Test,
}

/// Whether a row with these attributes may meet all conditions.
pub fn accept(conditions: &[Condition], attributes: &[u64]) -> bool {
    conditions.iter().all(|condition| condition.test.accepts(super::key(attributes, condition.column)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::attributes;
    use proptest::prelude::*;

    #[test]
    fn null_meets_only_what_asks_for_it() {
        for test in [Test::Between(0, u64::MAX), Test::OneOf(vec![0]), Test::NotNull, Test::AllBits(0)] {
            assert!(!test.accepts(None) && test.accepts(Some(0)), "{test:?}");
        }
        assert!(Test::Null.accepts(None) && !Test::Null.accepts(Some(0)));
        assert!(!Test::NEVER.accepts(None) && !Test::NEVER.accepts(Some(0)));
    }

    #[test]
    fn all_conditions_must_be_met() {
        let row = attributes([Some(5), None, Some(0b110)].into_iter());
        let condition = |column, test| Condition { column, test };
        let five = condition(0, Test::OneOf(vec![3, 5]));
        let tagged = condition(2, Test::AnyBit(0b11));
        assert!(accept(&[five.clone(), condition(1, Test::Null), tagged.clone()], &row));
        assert!(!accept(&[five, condition(1, Test::NotNull), tagged], &row));
        assert!(accept(&[], &row));
    }

    fn any_test() -> impl Strategy<Value = Test> {
        prop_oneof![
            (0u64..9, 0u64..9).prop_map(|(a, b)| Test::Between(a, b)),
            prop::collection::btree_set(0u64..9, 0..4)
                .prop_map(|keys| Test::OneOf(keys.into_iter().collect())),
            (0u64..8).prop_map(Test::AnyBit),
            (0u64..8).prop_map(Test::AllBits),
        ]
    }

    proptest! {
        #[test]
        fn or_is_met_where_either_is(a in any_test(), b in any_test(), key in 0u64..9) {
            let either = a.accepts(Some(key)) || b.accepts(Some(key));
            prop_assert!(!either || a.or(b).accepts(Some(key)));
        }
    }
}
