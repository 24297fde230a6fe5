//! A graph as a structure of sealed segments.

use super::layout::NodeLayout;
use super::listing::GraphListing;
use super::seal;
use super::{check, merge, streams};
use crate::distance::Space;
use crate::search::cost_model::{Cost, GraphFacts, Range};
use crate::search::recall_curve::K;
use crate::segment::findings::{Findings, RowVisitor};
use crate::segment::request::{Effort, SearchLimits};
use crate::segment::rows::NodeRows;
use crate::segment::stream::{Run, SearchView};
use crate::segment::structures::{
    Batch, Merged, RangeView, SealedStructure, SegmentListing, Target, TrainingRows,
};
use crate::segment::{Entry, Plan};
use crate::storage::draft::Draft;
use crate::storage::manifest::{Codebook, Manifest, Sealed};
use crate::storage::meta::Meta;
use crate::storage::pages::Pages;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{GraphOptions, MAX_EF_SEARCH, Quantizer};

impl SealedStructure for GraphOptions {
    fn name(&self) -> &'static str {
        "graph"
    }

    fn encodes_queries(&self, quantizer: Quantizer) -> bool {
        quantizer.has_codes()
    }

    fn target<'d>(
        &self,
        space: Space,
        plan: Plan,
        _known: Option<(&dyn Pages, &Snapshot)>,
        _training: &mut dyn TrainingRows,
        _draft: Box<dyn FnOnce() -> Draft<'d> + 'd>,
    ) -> Box<dyn Target> {
        Box::new(GraphTarget { space, plan, options: *self })
    }

    fn merge(
        &self,
        snapshot: &Snapshot,
        sources: &[SealedRef],
        plan: Plan,
        _retrain: bool,
        draft: &mut dyn FnMut() -> Draft<'static>,
    ) -> Merged {
        let sealed = merge::merge(&snapshot.meta, sources, plan, *self, draft);
        Merged { sealed, codebook: None }
    }

    fn merge_bytes_per_row(&self, meta: &Meta) -> usize {
        // The older graph's lists and the new one's, with the row's number, checksum and address.
        let lists = 2 * (2 * usize::from(self.m) + 1) * size_of::<u32>();
        const OTHERS: usize = 64;
        meta.space.row_bytes().unwrap_or(SPARSE_BYTES) + lists + OTHERS
    }

    fn runs(&self, view: SearchView, limits: SearchLimits) -> Vec<Run> {
        streams::runs(*self, view, limits)
    }

    fn listing(&self, view: RangeView) -> Box<dyn SegmentListing> {
        Box::new(GraphListing::new(*self, view))
    }

    fn cost(
        &self,
        snapshot: &Snapshot,
        matches: &dyn Fn(&Sealed) -> Option<usize>,
        effort: Effort,
        range: Option<Range>,
    ) -> Cost {
        let meta = &snapshot.meta;
        let codes = NodeLayout::new(meta.space, *self, meta.quantizer).into();
        let facts = |segment: &Sealed| GraphFacts {
            space: meta.space,
            options: *self,
            codes,
            rows: segment.rows as usize,
            matches: matches(segment),
            range,
        };
        let costs = snapshot.manifest.sealed.iter().map(|segment| facts(segment).cost(effort.ef));
        costs.fold(Cost::default(), |all, one| Cost {
            begin: all.begin + one.begin,
            rows: all.rows + one.rows,
            further: all.further.max(one.further),
        })
    }

    fn efforts(&self, _manifest: &Manifest) -> (u32, u32) {
        (K as u32, MAX_EF_SEARCH)
    }

    /// The row's node, if no other live row has it and it is on the base layer only.
    fn place_of(&self, sealed: SealedRef, row: u32) -> Option<u32> {
        let parts = sealed.graph();
        let mut rows = NodeRows::new(sealed, parts);
        let node = rows.node(row);
        let mut sharing = 0;
        rows.for_each_live(node, |_, _| sharing += 1);
        let is_base = parts.layers.first().is_none_or(|&upper| node >= upper);
        (sharing == 1 && is_base).then_some(node)
    }

    fn check(&self, findings: &mut Findings, sealed: SealedRef, snapshot: &Snapshot, deep: bool) {
        check::check(*self, findings, sealed, &snapshot.meta, deep);
    }

    fn visit_rows(&self, sealed: SealedRef, snapshot: &Snapshot, visit: &mut RowVisitor) -> Vec<String> {
        check::visit_rows(*self, sealed, &snapshot.meta, visit)
    }
}

/// Guess of a sparse row's length, in bytes.
const SPARSE_BYTES: usize = 512;

struct GraphTarget {
    space: Space,
    plan: Plan,
    options: GraphOptions,
}

impl Target for GraphTarget {
    fn batch(&self) -> Box<dyn Batch> {
        let batch = seal::GraphRows::new(self.space, self.plan.columns, self.options);
        Box::new(GraphBatch { batch, plan: self.plan })
    }

    fn take_codebook(&mut self) -> Option<Codebook> {
        None
    }
}

struct GraphBatch {
    batch: seal::GraphRows,
    plan: Plan,
}

impl Batch for GraphBatch {
    fn push(&mut self, entry: Entry) -> bool {
        self.batch.push(entry)
    }

    fn rows(&self) -> usize {
        self.batch.rows()
    }

    fn bytes(&self) -> usize {
        self.batch.bytes(self.plan.threads)
    }

    fn seal(self: Box<Self>, draft: &mut Draft) -> Sealed {
        self.batch.seal(draft, self.plan)
    }
}
