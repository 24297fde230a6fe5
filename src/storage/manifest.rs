//! The manifest: every segment and where its parts lie.

use super::extent::{Extent, Freed};
use super::meta::{self, Growing, Meta};
use super::part::Part;
use super::parts::Parts;
use super::tasks::{TaskKind, TaskLog};
use crate::filter::column::Coding;
use crate::pg::process::now;
use crate::search::recall_curve::Curve;
use crate::structure::PageKind;
use serde::{Deserialize, Serialize};

/// A sealed segment: rows with ordinals `0..rows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub id: u32,
    /// How often its rows went through a compaction.
    pub level: u32,
    pub rows: u32,
    /// Dead rows that were counted; a vacuum that was killed may have set the bits of more.
    pub tombstones: u32,
    /// Whether a compaction is copying it.
    pub compacting: bool,
    /// Six bytes a row: the heap tuple's address.
    pub tids: Part,
    /// One bit a row, set by VACUUM.
    pub tombstone_bits: Part,
    /// The filter columns.
    pub columns: Vec<Column>,
    /// What the rows are searched by.
    pub parts: Parts,
    /// Microseconds since 1970.
    pub created: u64,
}

/// A segment is thinned once `1 / THINNED` of its rows are dead.
const THINNED: u32 = 8;

impl Sealed {
    /// Whether enough rows are dead that a search checks which ones are alive.
    pub fn is_thinned(&self) -> bool {
        self.tombstones > 0 && self.tombstones >= self.rows / THINNED
    }

    /// Rows that no tombstone marks.
    pub fn live(&self) -> u32 {
        self.rows.saturating_sub(self.tombstones)
    }

    /// Every part with the kind of its pages.
    pub fn parts(&self) -> Vec<(PageKind, &Part)> {
        let mut parts = vec![(PageKind::Tids, &self.tids), (PageKind::Tombstones, &self.tombstone_bits)];
        parts.extend(self.columns.iter().map(|column| (PageKind::Column, &column.part)));
        parts.extend(self.parts.list());
        parts
    }

    /// CRC-32 over the CRCs of the parts, except the tombstones', which change.
    pub fn crc(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        let parts = self.parts();
        parts
            .iter()
            .filter(|(kind, _)| *kind != PageKind::Tombstones)
            .for_each(|(_, part)| crc.update(&part.crc.to_ne_bytes()));
        crc.finalize()
    }

    /// The codebook whose lists its rows are in, if it has lists.
    pub fn codebook(&self) -> Option<u32> {
        self.parts.codebook()
    }

    /// Every page.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.parts().into_iter().flat_map(|(_, part)| part.pages.iter().collect::<Vec<_>>())
    }

    /// A segment that was just written.
    pub fn new(id: u32, row_parts: RowParts, parts: Parts) -> Self {
        let RowParts { rows, tids, tombstone_bits, columns } = row_parts;
        let created = now();
        Self {
            id,
            level: 0,
            rows,
            tombstones: 0,
            compacting: false,
            tids,
            tombstone_bits,
            columns,
            parts,
            created,
        }
    }
}

/// The parts that describe a segment's rows under any structure: see the fields of [`Sealed`].
pub struct RowParts {
    pub rows: u32,
    pub tids: Part,
    pub tombstone_bits: Part,
    pub columns: Vec<Column>,
}

/// A filter column of a segment: the dictionary, the blocks' zones, the rows' codes, one after
/// another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub coding: Coding,
    pub part: Part,
}

/// The centroids of an index with lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codebook {
    pub id: u32,
    pub lists: u32,
    /// Vectors of `f32`: the centroids, what their codes are against, the shift (see
    /// [`mod@crate::cluster::centroids`]).
    pub centroids: Part,
    /// A block for every 32 centroids.
    pub codes: Part,
    /// Rows of the index when the centroids were found.
    pub rows: u64,
}

impl Codebook {
    /// Every part with the kind of its pages.
    pub fn parts(&self) -> [(PageKind, &Part); 2] {
        [(PageKind::Centroids, &self.centroids), (PageKind::ListCodes, &self.codes)]
    }

    /// Every page.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.centroids.pages.iter().chain(self.codes.pages.iter())
    }
}

/// A segment in the making (see [`super::draft`]): no reader sees it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creating {
    pub id: u32,
    pub task: TaskKind,
    pub pages: Vec<Extent>,
}

/// Pages that a generation gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedExtent {
    pub extent: Extent,
    /// The segment that had them.
    pub segment: u32,
}

impl ReleasedExtent {
    /// As an entry of the free list, given up at transaction id `since`.
    pub fn since(self, since: u64) -> Freed {
        Freed { extent: self.extent, since, segment: self.segment }
    }
}

/// What a calibration has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// The effort is a number of candidates in a graph, or of lists.
    pub curve: Curve,
    /// The sealed segments at that time.
    pub segments: Vec<u32>,
    /// Queries that it was measured with.
    pub queries: u32,
}

/// All segments but the growing one, and the free pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Frozen segments that wait to be sealed.
    pub flushing: Vec<Growing>,
    pub sealed: Vec<Sealed>,
    pub creating: Vec<Creating>,
    /// The codebooks of segments with lists. New rows are assigned to the lists of the last one.
    pub codebooks: Vec<Codebook>,
    pub tasks: TaskLog,
    pub calibration: Option<Calibration>,
    pub free: Vec<Freed>,
    /// ReleasedExtent up by this generation, as of [`super::meta::Meta::published_at`].
    pub freed_now: Vec<ReleasedExtent>,
}

impl Manifest {
    /// The segments that are not sealed yet: those being flushed, and the growing one.
    pub fn unsealed<'a>(&'a self, meta: &'a Meta) -> impl Iterator<Item = &'a Growing> {
        self.flushing.iter().chain([&meta.growing])
    }

    /// The codebook whose lists new rows are assigned to, once there is one.
    pub fn codebook(&self) -> Option<&Codebook> {
        self.codebooks.last()
    }
}

/// The bytes of a manifest as they are cut into pages.
pub fn encode(manifest: &Manifest) -> Vec<u8> {
    meta::encode(manifest)
}
