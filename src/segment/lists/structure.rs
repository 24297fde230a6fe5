//! Posting lists as a structure of sealed segments.

use super::codebook::Lists;
use super::listing::ListListing;
use super::seal::ListBatch;
use super::train::{self, Sample};
use super::{check, merge, streams};
use crate::distance::Space;
use crate::search::cost_model::{Cost, Range};
use crate::segment::Plan;
use crate::segment::findings::{Findings, RowVisitor};
use crate::segment::request::{Effort, SearchLimits};
use crate::segment::stream::{Run, SearchView};
use crate::segment::structures::{
    Batch, Merged, RangeView, SealedStructure, SegmentListing, Target, TrainingRows,
};
use crate::storage::draft::Draft;
use crate::storage::manifest::{Codebook, Manifest, Sealed};
use crate::storage::meta::Meta;
use crate::storage::pages::Pages;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::{ListOptions, Quantizer};

impl SealedStructure for ListOptions {
    fn name(&self) -> &'static str {
        "lists"
    }

    /// Centroids have codes, whether rows have any or not.
    fn encodes_queries(&self, _quantizer: Quantizer) -> bool {
        true
    }

    fn target<'d>(
        &self,
        space: Space,
        plan: Plan,
        known: Option<(&dyn Pages, &Snapshot)>,
        training: &mut dyn TrainingRows,
        draft: Box<dyn FnOnce() -> Draft<'d> + 'd>,
    ) -> Box<dyn Target> {
        let lists = known.and_then(|(pages, snapshot)| Lists::read(pages, snapshot));
        let lists = lists.unwrap_or_else(|| {
            let mut sample = Sample::new(space);
            let count = |rows| train::lists_wanted(self.lists, rows);
            let (dims, memory) = (space.dims as usize, training.memory());
            let enough = |rows| train::sample_rows(count(rows), dims, memory);
            let rows = training.sample(&mut |row| sample.push(row), &enough);
            sample.into_lists(draft, count(rows), rows, plan)
        });
        Box::new(ListTarget { space, plan, options: *self, lists })
    }

    /// Not in one list around the origin.
    fn is_indexed(&self, segment: &Sealed) -> bool {
        segment.codebook().is_some_and(|codebook| codebook > 0)
    }

    fn merge(
        &self,
        snapshot: &Snapshot,
        sources: &[SealedRef],
        plan: Plan,
        retrain: bool,
        draft: &mut dyn FnMut() -> Draft<'static>,
    ) -> Merged {
        merge::merge(snapshot, sources, plan, *self, retrain, draft)
    }

    fn merge_bytes_per_row(&self, meta: &Meta) -> usize {
        let bits = usize::from(self.bits) + 1;
        const OTHERS: usize = 40;
        meta.space.dims as usize * bits / 8 + OTHERS
    }

    fn wants_codebook(&self, manifest: &Manifest) -> bool {
        merge::wants_codebook(manifest, *self)
    }

    fn is_bound_to_codebook(&self) -> bool {
        !merge::can_reassign(*self)
    }

    fn runs(&self, view: SearchView, limits: SearchLimits) -> Vec<Run> {
        streams::runs(*self, view, limits)
    }

    fn listing(&self, view: RangeView) -> Box<dyn SegmentListing> {
        Box::new(ListListing::new(view))
    }

    fn cost(
        &self,
        snapshot: &Snapshot,
        matches: &dyn Fn(&Sealed) -> Option<usize>,
        effort: Effort,
        _range: Option<Range>,
    ) -> Cost {
        let sealed = &snapshot.manifest.sealed;
        let is_partial = sealed.iter().any(|segment| matches(segment).is_some());
        let all = || sealed.iter().map(|segment| matches(segment).unwrap_or(segment.rows as usize)).sum();
        streams::facts(*self, snapshot, is_partial.then(all)).cost(effort.probes)
    }

    fn efforts(&self, manifest: &Manifest) -> (u32, u32) {
        (1, manifest.codebook().map_or(1, |codebook| codebook.lists))
    }

    fn place_of(&self, _sealed: SealedRef, row: u32) -> Option<u32> {
        Some(row)
    }

    fn check(&self, findings: &mut Findings, sealed: SealedRef, snapshot: &Snapshot, deep: bool) {
        check::check(*self, findings, sealed, snapshot, deep);
    }

    fn visit_rows(&self, sealed: SealedRef, snapshot: &Snapshot, visit: &mut RowVisitor) -> Vec<String> {
        check::visit_rows(sealed, snapshot, visit)
    }
}

struct ListTarget {
    space: Space,
    plan: Plan,
    options: ListOptions,
    lists: Lists,
}

impl Target for ListTarget {
    fn batch(&self) -> Box<dyn Batch> {
        Box::new(ListBatch::new(self.space, self.plan, self.options, self.lists.clone()))
    }

    fn take_codebook(&mut self) -> Option<Codebook> {
        self.lists.new.take()
    }
}
