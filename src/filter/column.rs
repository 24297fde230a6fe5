//! A segment's filter column: a code for each row, and the least and greatest code of each block of
//! rows. Codes are as short as the column's keys allow.
//!
//! Code 0 is null. Others are either the key's distance from the least one, or its rank among the
//! distinct keys. Both keep the order, so that a range of keys is a range of codes.

use super::Test;
use super::bitset::Bitset;
use crate::memory;
use crate::util::bits;
use bytemuck::Pod;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// How keys become codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// The key less `base`, plus 1.
    Offset { base: u64, width: u8 },
    /// The number of the key in a dictionary of `entries` keys, from 1.
    Rank { entries: u32, width: u8 },
}

/// The least and the greatest code of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub least: u64,
    pub greatest: u64,
}

/// Rows of a block.
pub const BLOCK_ROWS: usize = 1024;

/// A column as it is written.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub coding: Coding,
    /// The distinct keys in ascending order, if codes are ranks.
    pub dictionary: Vec<u64>,
    /// One for every [`BLOCK_ROWS`] rows.
    pub zones: Vec<Zone>,
    /// [`Coding::width`] bytes a row, in this processor's order.
    pub codes: Vec<u8>,
}

/// Most keys of a dictionary: ranks of two bytes.
const MOST_ENTRIES: usize = 65_535;

/// Bytes that codes up to `greatest` take: 1, 2, 4 or 8.
fn width_of(greatest: u64) -> u8 {
    match greatest {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        0x1_0000..=0xFFFF_FFFF => 4,
        _ => 8,
    }
}

/// Encodes a column; `None` is null.
pub fn encode(keys: impl Iterator<Item = Option<u64>> + Clone) -> Encoded {
    let present = keys.clone().flatten();
    let (least, greatest) =
        present.clone().fold((u64::MAX, 0), |(low, high), key| (low.min(key), high.max(key)));
    let span = greatest.checked_sub(least).map_or(0, |span| span.saturating_add(1));
    let by_offset = Coding::Offset { base: least.min(greatest), width: width_of(span) };
    let mut dictionary = Vec::new();
    let mut coding = by_offset;
    if by_offset.width() > 1 {
        let mut distinct = BTreeSet::new();
        for key in present {
            if distinct.len() > MOST_ENTRIES {
                break;
            }
            distinct.insert(key);
        }
        let by_rank = Coding::Rank { entries: distinct.len() as u32, width: width_of(distinct.len() as u64) };
        if distinct.len() <= MOST_ENTRIES && by_rank.width() < by_offset.width() {
            coding = by_rank;
            dictionary = distinct.into_iter().collect();
        }
    }
    let (mut zones, mut codes) = (Vec::<Zone>::new(), Vec::new());
    for (row, key) in keys.enumerate() {
        let code = coding.code(&dictionary, key);
        memory::extend(&mut codes, &code.to_ne_bytes()[..coding.width()], "values to filter by");
        match zones.last_mut().filter(|_| !row.is_multiple_of(BLOCK_ROWS)) {
            Some(zone) => *zone = Zone { least: zone.least.min(code), greatest: zone.greatest.max(code) },
            None => zones.push(Zone { least: code, greatest: code }),
        }
    }
    Encoded { coding, dictionary, zones, codes }
}

// `to_ne_bytes()[..width]` is the number itself only where the least byte comes first.
const _: () = assert!(cfg!(target_endian = "little"));

impl Coding {
    /// Bytes of a code.
    pub fn width(self) -> usize {
        match self {
            Coding::Offset { width, .. } | Coding::Rank { width, .. } => width.into(),
        }
    }

    /// Entries of the dictionary.
    pub fn entries(self) -> usize {
        match self {
            Coding::Offset { .. } => 0,
            Coding::Rank { entries, .. } => entries as usize,
        }
    }

    /// Whether each code stands for one key. A span of all 64 bits leaves no room for null, so the
    /// two greatest keys share a code.
    pub fn is_exact(self) -> bool {
        !matches!(self, Coding::Offset { base: 0, width: 8 })
    }

    fn code(self, dictionary: &[u64], key: Option<u64>) -> u64 {
        match (self, key) {
            (_, None) => 0,
            (Coding::Offset { base, .. }, Some(key)) => (key - base).saturating_add(1),
            (Coding::Rank { .. }, Some(key)) => dictionary.partition_point(|&other| other < key) as u64 + 1,
        }
    }

    /// The key of a code, `None` for null; codes that no row can have stand for any key.
    pub fn key(self, dictionary: &[u64], code: u64) -> Option<u64> {
        match self {
            _ if code == 0 => None,
            Coding::Offset { base, .. } => Some(base.wrapping_add(code - 1)),
            Coding::Rank { .. } => Some(dictionary.get(code as usize - 1).copied().unwrap_or_default()),
        }
    }

    /// The code in the first bytes of a slice.
    pub fn read(self, bytes: &[u8]) -> u64 {
        let mut code = [0; 8];
        let width = self.width().min(bytes.len());
        code[..width].copy_from_slice(&bytes[..width]);
        u64::from_ne_bytes(code)
    }

    /// Translates a test of keys into one of codes.
    pub fn matcher(self, dictionary: &[u64], test: &Test) -> Matcher {
        let greatest = match self.width() {
            8 => u64::MAX,
            width => (1 << (8 * width)) - 1,
        };
        match (self, test) {
            (_, Test::Null) => Matcher::Range(0, 0),
            (_, Test::NotNull) => Matcher::Range(1, greatest),
            (Coding::Offset { base, .. }, Test::Between(low, high)) => {
                if high < low || *high < base {
                    return Matcher::NOTHING;
                }
                let code = |key: u64| key.saturating_sub(base).saturating_add(1).min(greatest);
                // No code is greater than the greatest one.
                if low.saturating_sub(base) >= greatest && self.is_exact() {
                    return Matcher::NOTHING;
                }
                Matcher::Range(code(*low), code(*high))
            }
            (Coding::Rank { .. }, Test::Between(low, high)) => {
                let first = dictionary.partition_point(|key| key < low) as u64 + 1;
                let last = dictionary.partition_point(|key| key <= high) as u64;
                if first <= last { Matcher::Range(first, last) } else { Matcher::NOTHING }
            }
            (Coding::Offset { .. }, Test::OneOf(keys)) if keys.len() == 1 => {
                self.matcher(dictionary, &Test::Between(keys[0], keys[0]))
            }
            _ if self.width() <= 2 => {
                let codes = 0..=greatest;
                Matcher::Table(codes.map(|code| test.accepts(self.key(dictionary, code))).collect())
            }
            _ => Matcher::Keys(self, test.clone()),
        }
    }
}

/// A test of codes.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Codes within bounds, both included.
    Range(u64, u64),
    /// For each code whether it is accepted.
    Table(Vec<bool>),
    /// The test itself, applied to the keys that codes by offset stand for.
    Keys(Coding, Test),
}

impl Matcher {
    const NOTHING: Matcher = Matcher::Range(1, 0);

    fn accepts(&self, code: u64) -> bool {
        match self {
            Matcher::Range(low, high) => (*low..=*high).contains(&code),
            Matcher::Table(accepted) => accepted.get(code as usize).is_some_and(|&accepted| accepted),
            Matcher::Keys(coding, test) => {
                let key = coding.key(&[], code);
                // The greatest code stands for two keys.
                let other = key.filter(|_| code == u64::MAX).map(|key| key.wrapping_add(1));
                test.accepts(key) || other.is_some_and(|other| test.accepts(Some(other)))
            }
        }
    }

    /// What a block's zone says of all its rows; `None` if it leaves that open.
    pub fn of_all(&self, zone: Zone) -> Option<bool> {
        match self {
            Matcher::Range(low, high) if zone.greatest < *low || zone.least > *high => Some(false),
            Matcher::Range(low, high) if zone.least >= *low && zone.greatest <= *high => Some(true),
            _ if zone.least == zone.greatest => Some(self.accepts(zone.least)),
            _ => None,
        }
    }

    /// Removes from `rows` those that are not accepted. `codes` holds `width` bytes for each row
    /// from `first` on, which is a multiple of 64.
    pub fn retain(&self, rows: &mut Bitset, first: usize, codes: &[u8], width: usize) {
        let words = &mut rows.words_mut()[first / BITS..];
        match width {
            1 => self.retain_codes::<u8>(words, codes),
            2 => self.retain_codes::<u16>(words, codes),
            4 => self.retain_codes::<u32>(words, codes),
            _ => self.retain_codes::<u64>(words, codes),
        }
    }

    fn retain_codes<T: Code>(&self, words: &mut [u64], codes: &[u8]) {
        let codes: Cow<[T]> = match bytemuck::try_cast_slice(codes) {
            Ok(codes) => Cow::Borrowed(codes),
            Err(_) => {
                Cow::Owned(codes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
            }
        };
        match self {
            Matcher::Range(low, high) => match (T::try_from(*low), T::try_from(*high)) {
                (Err(_), _) => words[..codes.len().div_ceil(BITS)].fill(0),
                // In their own width, many codes are compared at a time.
                (Ok(low), Ok(high)) => retain(words, &codes, |code| (low <= code) & (code <= high)),
                (Ok(low), Err(_)) => retain(words, &codes, |code| low <= code),
            },
            Matcher::Table(accepted) => retain(words, &codes, |code| {
                accepted.get(code.into() as usize).is_some_and(|&accepted| accepted)
            }),
            Matcher::Keys(..) => retain(words, &codes, |code| self.accepts(code.into())),
        }
    }
}

/// Numbers as codes are stored.
trait Code: Pod + Ord + Into<u64> + TryFrom<u64> {}

impl<T: Pod + Ord + Into<u64> + TryFrom<u64>> Code for T {}

const BITS: usize = u64::BITS as usize;

fn retain<T: Code>(words: &mut [u64], codes: &[T], accepts: impl Fn(T) -> bool) {
    let (whole, rest) = codes.as_chunks::<BITS>();
    let (first, last) = words.split_at_mut(whole.len());
    for (word, codes) in first.iter_mut().zip(whole) {
        *word &= accepted(codes, &accepts);
    }
    if let Some(word) = last.first_mut().filter(|_| !rest.is_empty()) {
        let bits = rest.iter().zip(0..).map(|(&code, row)| u64::from(accepts(code)) << row);
        *word &= bits.fold(0, |word, bit| word | bit);
    }
}

/// A bit for each code.
fn accepted<T: Code>(codes: &[T; BITS], accepts: &impl Fn(T) -> bool) -> u64 {
    // Bytes first, of as many codes as fit a vector register.
    let (halves, _) = codes.as_chunks::<{ BITS / 2 }>();
    let half = |codes: &[T; BITS / 2]| {
        let flags = std::array::from_fn(|row| u8::from(accepts(codes[row])));
        u64::from(bits::pack(&flags))
    };
    half(&halves[0]) | half(&halves[1]) << (BITS / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = Option<u64>> {
        prop::option::weighted(
            0.9,
            prop_oneof![0u64..20, 1_000u64..1_300, (0u64..5).prop_map(|key| u64::MAX - key), any::<u64>()],
        )
    }

    fn any_test() -> impl Strategy<Value = Test> {
        let key = || any_key().prop_map(Option::unwrap_or_default);
        prop_oneof![
            (key(), key()).prop_map(|(a, b)| Test::Between(a, b)),
            prop::collection::btree_set(key(), 0..5).prop_map(|keys| Test::OneOf(keys.into_iter().collect())),
            Just(Test::Null),
            Just(Test::NotNull),
            key().prop_map(Test::AnyBit),
            key().prop_map(Test::AllBits),
            key().prop_map(Test::OnlyBits),
        ]
    }

    /// The rows accepted, as a segment looks for them: block by block, by zones where they suffice.
    fn rows_accepted(encoded: &Encoded, rows: usize, test: &Test) -> Bitset {
        let matcher = encoded.coding.matcher(&encoded.dictionary, test);
        let width = encoded.coding.width();
        let mut set = Bitset::full(rows);
        for (block, &zone) in encoded.zones.iter().enumerate() {
            let range = block * BLOCK_ROWS..rows.min((block + 1) * BLOCK_ROWS);
            match matcher.of_all(zone) {
                Some(true) => {}
                Some(false) => set.clear(range),
                None => {
                    let codes = &encoded.codes[range.start * width..range.end * width];
                    matcher.retain(&mut set, range.start, codes, width);
                }
            }
        }
        set
    }

    proptest! {
        #[test]
        fn every_coding_finds_what_the_test_accepts(
            keys in prop::collection::vec(any_key(), 0..300),
            repeat in 1usize..20,
            test in any_test(),
        ) {
            let keys: Vec<Option<u64>> = keys.iter().copied().cycle().take(keys.len() * repeat).collect();
            let encoded = encode(keys.iter().copied());
            let found = rows_accepted(&encoded, keys.len(), &test);
            for (row, &key) in keys.iter().enumerate() {
                let code = encoded.coding.read(&encoded.codes[row * encoded.coding.width()..]);
                if encoded.coding.is_exact() {
                    prop_assert_eq!(encoded.coding.key(&encoded.dictionary, code), key);
                    prop_assert_eq!(found.has(row), test.accepts(key), "row {} of {:?}", row, encoded.coding);
                } else {
                    prop_assert!(found.has(row) || !test.accepts(key), "row {}", row);
                }
            }
        }
    }

    #[test]
    fn codes_are_as_short_as_keys_allow() {
        let width = |keys: &mut dyn Iterator<Item = u64>| {
            encode(keys.map(Some).collect::<Vec<_>>().into_iter()).coding
        };
        let far = 1 << 40;
        assert_eq!(width(&mut (far..far + 200)), Coding::Offset { base: far, width: 1 });
        assert_eq!(width(&mut (far..far + 300)), Coding::Offset { base: far, width: 2 });
        assert_eq!(width(&mut (0..200).map(|i| i << 40)), Coding::Rank { entries: 200, width: 1 });
        assert_eq!(width(&mut (0..300).map(|i| i << 40)), Coding::Rank { entries: 300, width: 2 });
        assert_eq!(width(&mut (0..70_000).map(|i| i << 8)), Coding::Offset { base: 0, width: 4 });
        assert!(
            !encode(
                [Some(0), Some(u64::MAX)]
                    .iter()
                    .copied()
                    .cycle()
                    .take(200_000)
                    .enumerate()
                    .map(|(i, key)| key.map(|key| if key == 0 { i as u64 } else { key }))
            )
            .coding
            .is_exact()
        );
    }
}
