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
#[serde(from = "Vec<Extent>", into = "Vec<Extent>")]
pub struct Extents {
    extents: Vec<Extent>,
    /// For each extent the number of pages up to its end.
    ends: Vec<u64>,
}

impl From<Vec<Extent>> for Extents {
    fn from(extents: Vec<Extent>) -> Self {
        let mut end = 0;
        let ends = extents.iter().map(|extent| {
            end += u64::from(extent.pages);
            end
        });
        Self { ends: ends.collect(), extents }
    }
}

impl From<Extents> for Vec<Extent> {
    fn from(extents: Extents) -> Self {
        extents.extents
    }
}

impl Extents {
    pub fn iter(&self) -> impl Iterator<Item = Extent> {
        self.extents.iter().copied()
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Block of page `index`; `None` past the end.
    pub fn block(&self, index: u64) -> Option<u32> {
        let number = match self.extents.len() {
            1 => 0,
            _ => self.ends.partition_point(|&end| end <= index),
        };
        let extent = self.extents.get(number).filter(|_| index < self.pages())?;
        let first = self.ends[number] - u64::from(extent.pages);
        Some(extent.start + (index - first) as u32)
    }

    /// All blocks in order.
    pub fn blocks(&self) -> impl Iterator<Item = u32> {
        self.iter().flat_map(|extent| extent.start..extent.start + extent.pages)
    }
}

/// Pages that no segment of the current generation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    pub extent: Extent,
    /// Next transaction id at the moment the pages were given up: older snapshots may still read
    /// them. 0 once no snapshot does.
    pub since: u64,
    /// The segment that had the pages; 0 if that does not matter any more.
    pub segment: u32,
}

impl Freed {
    /// Pages that are free for any use.
    pub fn unused(extent: Extent) -> Self {
        Self { extent, since: 0, segment: 0 }
    }

    pub fn is_usable(&self) -> bool {
        self.since == 0
    }
}

/// Takes `requested` usable pages from `free`, in as few runs as possible. Returns fewer pages if
/// there are no more.
pub fn take(free: &mut Vec<Freed>, requested: u32) -> Vec<Extent> {
    let mut taken = Vec::new();
    let mut missing = requested;
    while missing > 0 {
        let usable = free.iter_mut().filter(|freed| freed.is_usable() && freed.extent.pages > 0);
        // The smallest run that is long enough, else the longest.
        let best = usable.min_by_key(|freed| {
            let pages = freed.extent.pages;
            if pages >= missing { (0, pages) } else { (1, u32::MAX - pages) }
        });
        let Some(freed) = best else { break };
        let pages = freed.extent.pages.min(missing);
        taken.push(Extent { start: freed.extent.start, pages });
        missing -= pages;
        freed.extent.start += pages;
        freed.extent.pages -= pages;
    }
    free.retain(|freed| freed.extent.pages > 0);
    taken
}

/// Joins free runs that touch and may be used from the same moment on; keeps the list short and its
/// runs long.
pub fn coalesce(free: &mut Vec<Freed>) {
    free.sort_by_key(|freed| freed.extent.start);
    free.dedup_by(|next, freed| {
        let joins = freed.extent.start + freed.extent.pages == next.extent.start
            && (freed.since, freed.segment) == (next.since, next.segment);
        if joins {
            freed.extent.pages += next.extent.pages;
        }
        joins
    });
}

/// The blocks below `blocks` that no extent holds, and the extents that overlap one before them.
///
/// Sorts the extents by their start. Extents may lie beyond `blocks`; the result says nothing about
/// the blocks between them.
pub fn gaps(extents: &mut [Extent], blocks: u32) -> (Vec<Extent>, Vec<Extent>) {
    extents.sort_by_key(|extent| extent.start);
    let (mut gaps, mut overlaps, mut next) = (Vec::new(), Vec::new(), 0);
    for extent in extents.iter().filter(|extent| extent.pages > 0) {
        if extent.start < next {
            overlaps.push(*extent);
        }
        let end = extent.start.min(blocks);
        if next < end {
            gaps.push(Extent { start: next, pages: end - next });
        }
        next = next.max(extent.start.saturating_add(extent.pages));
    }
    if next < blocks {
        gaps.push(Extent { start: next, pages: blocks - next });
    }
    (gaps, overlaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_map_to_blocks_in_order() {
        let extents = Extents::from(vec![Extent { start: 10, pages: 2 }, Extent { start: 5, pages: 1 }]);
        assert_eq!((0..4).map(|i| extents.block(i)).collect::<Vec<_>>(), [Some(10), Some(11), Some(5), None]);
        assert_eq!(extents.blocks().collect::<Vec<_>>(), [10, 11, 5]);
    }

    #[test]
    fn runs_are_kept_whole() {
        let run = |start, pages| Freed::unused(Extent { start, pages });
        let mut free = vec![run(0, 5), run(10, 8), run(30, 6), Freed { since: 9, ..run(50, 100) }];
        assert_eq!(take(&mut free, 6), [Extent { start: 30, pages: 6 }], "the smallest that is long enough");
        assert_eq!(take(&mut free, 10), [Extent { start: 10, pages: 8 }, Extent { start: 0, pages: 2 }]);
    }

    #[test]
    fn gaps_and_overlaps_are_found() {
        let run = |start, pages| Extent { start, pages };
        let mut extents = [run(8, 2), run(0, 3), run(4, 2), run(5, 1), run(20, 0)];
        assert_eq!(gaps(&mut extents, 12), (vec![run(3, 1), run(6, 2), run(10, 2)], vec![run(5, 1)]));
        // Blocks appended after the length was read may belong to any owner.
        assert_eq!(gaps(&mut extents, 7), (vec![run(3, 1), run(6, 1)], vec![run(5, 1)]));
        assert_eq!(gaps(&mut [run(0, 3), run(16, 4)], 3), (vec![], vec![]));
    }

    proptest! {
        #[test]
        fn no_page_is_lost_or_handed_out_twice(
            runs in prop::collection::vec((1u32..20, 0u64..2), 0..20), requested in 0u32..200
        ) {
            let mut start = 0;
            let mut free: Vec<Freed> = runs.iter().map(|&(pages, since)| {
                let extent = Extent { start, pages };
                start += pages + pages % 2; // some runs touch, some do not
                Freed { extent, since, segment: 0 }
            }).collect();
            let blocks = |extents: &mut dyn Iterator<Item = Extent>| {
                let mut all: Vec<u32> = extents.flat_map(|e| e.start..e.start + e.pages).collect();
                all.sort();
                all
            };
            let before = blocks(&mut free.iter().map(|f| f.extent));
            let usable: u32 = free.iter().filter(|f| f.is_usable()).map(|f| f.extent.pages).sum();
            coalesce(&mut free);
            let taken = take(&mut free, requested);
            prop_assert_eq!(taken.iter().map(|e| e.pages).sum::<u32>(), requested.min(usable));
            let after = blocks(&mut taken.iter().copied().chain(free.iter().map(|f| f.extent)));
            prop_assert_eq!(before, after);
        }
    }
}
