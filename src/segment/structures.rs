//! What each structure of sealed segments does in its own way.

use super::findings::{Findings, RowVisitor};
use super::request::{Effort, HeapRows, SearchLimits};
use super::stream::{Run, SearchView};
use super::threshold::{Listed, Threshold};
use super::{Entry, Plan};
use crate::codec::encoder::CodedQuery;
use crate::distance::{PreparedQuery, Space};
use crate::filter::Bitset;
use crate::search::cost_model::{Cost, Range};
use crate::storage::draft::Draft;
use crate::storage::manifest::{Codebook, Manifest, Sealed};
use crate::storage::meta::Meta;
use crate::storage::pages::Pages;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::Quantizer;

/// A structure that segments are sealed with.
pub trait SealedStructure {
    /// Its name in reports and statistics.
    fn name(&self) -> &'static str;

    /// Whether queries are encoded, for the codes of rows or of centroids.
    fn encodes_queries(&self, quantizer: Quantizer) -> bool;

    /// What rows are sealed into; `known` is the present index, `None` while it is being created.
    ///
    /// `training` gives rows to find centroids from, and `draft` the pages for the centroids.
    fn target<'d>(
        &self,
        space: Space,
        plan: Plan,
        known: Option<(&dyn Pages, &Snapshot)>,
        training: &mut dyn TrainingRows,
        draft: Box<dyn FnOnce() -> Draft<'d> + 'd>,
    ) -> Box<dyn Target>;

    /// Whether a segment has a structure to search by; rows without a codebook are all in one list.
    fn is_indexed(&self, _segment: &Sealed) -> bool {
        true
    }

    /// Makes one segment of the live rows of `sources`, with a new codebook if `retrain`.
    fn merge(
        &self,
        snapshot: &Snapshot,
        sources: &[SealedRef],
        plan: Plan,
        retrain: bool,
        draft: &mut dyn FnMut() -> Draft<'static>,
    ) -> Merged;

    /// Bytes of memory that merging takes for each row.
    fn merge_bytes_per_row(&self, meta: &Meta) -> usize;

    /// Whether merging all segments with a new codebook is due.
    fn wants_codebook(&self, _manifest: &Manifest) -> bool {
        false
    }

    /// Whether only segments of one codebook can be merged with one another.
    fn is_bound_to_codebook(&self) -> bool {
        false
    }

    /// The streams of an index's sealed segments.
    fn runs(&self, view: SearchView, limits: SearchLimits) -> Vec<Run>;

    /// Begins to list the rows of a segment that lie within a score of a query.
    fn listing(&self, view: RangeView) -> Box<dyn SegmentListing>;

    /// What a search of the sealed segments costs; `matches` returns the number of a segment's
    /// matching rows, `None` if nearly all match.
    fn cost(
        &self,
        snapshot: &Snapshot,
        matches: &dyn Fn(&Sealed) -> Option<usize>,
        effort: Effort,
        range: Option<Range>,
    ) -> Cost;

    /// The least and the greatest effort worth trying: candidates of a graph, or lists probed.
    fn efforts(&self, manifest: &Manifest) -> (u32, u32);

    /// The node or the row by which a search can leave out `row` (see [`SearchLimits`]); `None` if
    /// it cannot.
    fn place_of(&self, sealed: SealedRef, row: u32) -> Option<u32>;

    /// Adds what is wrong with a segment to the findings; `deep` also computes codes again where
    /// the index has the vectors.
    fn check(&self, findings: &mut Findings, sealed: SealedRef, snapshot: &Snapshot, deep: bool);

    /// Calls `visit` with every live row of a segment, with its vector if the index has it, and
    /// returns what it finds wrong.
    fn visit_rows(&self, sealed: SealedRef, snapshot: &Snapshot, visit: &mut RowVisitor) -> Vec<String>;
}

/// Most memory for a sample of rows that is taken while the index is used.
pub const SAMPLE_BYTES: usize = 64 << 20;

/// Rows that centroids are found from.
pub trait TrainingRows {
    /// Calls `sample` with rows spread over all rows, about as many as `enough` returns for their
    /// total; returns the total, which may be an estimate.
    fn sample(&mut self, sample: &mut dyn FnMut(&[u8]) -> bool, enough: &dyn Fn(u64) -> usize) -> u64;

    /// Bytes that the sample may take.
    fn memory(&self) -> usize;
}

/// What the rows of a build or a flush are sealed into, segment by segment.
pub trait Target {
    /// An empty batch of rows.
    fn batch(&self) -> Box<dyn Batch>;

    /// The codebook made for the rows; `None` if there is none, or after it was taken.
    fn take_codebook(&mut self) -> Option<Codebook>;
}

/// Rows on their way into one sealed segment.
pub trait Batch {
    /// Adds a row; `false` if the bytes are no row of the space.
    fn push(&mut self, entry: Entry) -> bool;

    fn rows(&self) -> usize;

    /// Bytes that the rows take, and that sealing them will take.
    fn bytes(&self) -> usize;

    /// Pages worth appending now, while threads work on the latest rows.
    fn pages_ahead(&self) -> u64 {
        0
    }

    /// Writes the segment's pages; the caller adds it to the manifest.
    fn seal(self: Box<Self>, draft: &mut Draft) -> Sealed;
}

/// What a merge has made: a segment, unless no row is alive, and a codebook if there is a new one.
pub struct Merged {
    pub sealed: Option<Sealed>,
    pub codebook: Option<Codebook>,
}

/// A segment whose rows are listed, and the query and the threshold of the listing.
#[derive(Clone, Copy)]
pub struct RangeView<'a> {
    pub sealed: SealedRef<'a>,
    pub snapshot: &'a Snapshot,
    pub query: &'a PreparedQuery,
    /// The query as codes see it, if the index has any.
    pub coded: Option<&'a CodedQuery>,
    /// The matching rows; `None` for all.
    pub matching: Option<&'a Bitset>,
    pub threshold: Threshold,
}

/// The rows of a segment within a score, in no particular order, stretch by stretch. Between two
/// calls it holds neither pins nor locks.
pub trait SegmentListing {
    /// Calls `visit` with the rows of the next stretch and their scores; a score that is neither
    /// known nor requested is NaN.
    fn next(&mut self, view: RangeView, heap: &mut HeapRows, visit: &mut dyn FnMut(u32, f64)) -> Listed;
}
