//! Runs of pages, and the list of those that are free.

use serde::{Deserialize, Serialize};

/// `pages` pages that follow one another from block `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub start: u32,
    pub pages: u32,
}

/// The pages of a part, in order: page `i` of the part is some block of the relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extents(Vec<Extent>);

impl Extents {
    pub fn new(extents: Vec<Extent>) -> Self {
        Self(extents)
    }

    pub fn iter(&self) -> impl Iterator<Item = Extent> {
        self.0.iter().copied()
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.iter().map(|extent| u64::from(extent.pages)).sum()
    }

    /// Block of page `index`; `None` past the end.
    pub fn block(&self, index: u64) -> Option<u32> {
        let mut rest = index;
        for extent in &self.0 {
            if rest < u64::from(extent.pages) {
                return Some(extent.start + rest as u32);
            }
            rest -= u64::from(extent.pages);
        }
        None
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = u32> {
        self.iter().flat_map(|extent| extent.start..extent.start + extent.pages)
    }
}

/// Pages that no manifest refers to, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    pub extent: Extent,
    /// Next transaction id at the moment the pages were given up: older snapshots may still read them.
    pub since: u64,
}

/// Takes `wanted` pages from `free`, of those for which `usable(since)` holds; returns fewer if there are no more.
pub fn take(free: &mut Vec<Freed>, wanted: u32, usable: impl Fn(u64) -> bool) -> Vec<Extent> {
    let mut taken = Vec::new();
    let mut missing = wanted;
    free.retain_mut(|freed| {
        if missing == 0 || !usable(freed.since) {
            return true;
        }
        let pages = freed.extent.pages.min(missing);
        taken.push(Extent { start: freed.extent.start, pages });
        missing -= pages;
        freed.extent.start += pages;
        freed.extent.pages -= pages;
        freed.extent.pages > 0
    });
    taken
}

/// Joins free runs that touch and may be used from the same moment on; keeps the list short and its runs long.
pub fn coalesce(free: &mut Vec<Freed>) {
    free.sort_by_key(|freed| freed.extent.start);
    free.dedup_by(|next, freed| {
        let joins = freed.extent.start + freed.extent.pages == next.extent.start && freed.since == next.since;
        if joins {
            freed.extent.pages += next.extent.pages;
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_map_to_blocks_in_order() {
        let extents = Extents::new(vec![Extent { start: 10, pages: 2 }, Extent { start: 5, pages: 1 }]);
        assert_eq!((0..4).map(|i| extents.block(i)).collect::<Vec<_>>(), [Some(10), Some(11), Some(5), None]);
        assert_eq!(extents.blocks().collect::<Vec<_>>(), [10, 11, 5]);
    }

    proptest! {
        #[test]
        fn no_page_is_lost_or_handed_out_twice(
            runs in prop::collection::vec((1u32..20, 0u64..3), 0..20), wanted in 0u32..200
        ) {
            let mut start = 0;
            let mut free: Vec<Freed> = runs.iter().map(|&(pages, since)| {
                let extent = Extent { start, pages };
                start += pages + pages % 2; // some runs touch, some do not
                Freed { extent, since }
            }).collect();
            let blocks = |extents: &mut dyn Iterator<Item = Extent>| {
                let mut all: Vec<u32> = extents.flat_map(|e| e.start..e.start + e.pages).collect();
                all.sort();
                all
            };
            let before = blocks(&mut free.iter().map(|f| f.extent));
            let usable: u32 = free.iter().filter(|f| f.since < 2).map(|f| f.extent.pages).sum();
            coalesce(&mut free);
            let taken = take(&mut free, wanted, |since| since < 2);
            prop_assert_eq!(taken.iter().map(|e| e.pages).sum::<u32>(), wanted.min(usable));
            let after = blocks(&mut taken.iter().copied().chain(free.iter().map(|f| f.extent)));
            prop_assert_eq!(before, after);
        }
    }
}
