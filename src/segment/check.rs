//! Checking an index: what must hold of its pages, its segments and their codes.

use super::findings::{Finding, Findings, RowVisitor};
use super::rows::SealedRows;
use super::{growing, pages, structure_of};
use crate::pg::buffer::Pinned;
use crate::pg::lock::{IndexLock, Purpose};
use crate::pg::relation::{Relation, in_recovery};
use crate::pg::stream::for_each_page;
use crate::storage::extent::gaps;
use crate::storage::manifest::Sealed;
use crate::storage::page;
use crate::storage::part::Part;
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::PageKind;

/// Looks for what is wrong with one generation of an index.
pub struct Check {
    relation: Relation,
    snapshot: Snapshot,
    blocks: u32,
    findings: Findings,
}

impl Check {
    /// Checks what a vacuum or a publication might change: that each page has one owner,
    /// tombstones, growing rows.
    ///
    /// `visit` returns what is wrong with a live row, given its heap tuple, vector and attributes.
    pub fn begin(relation: Relation, visit: &mut RowVisitor) -> Self {
        let lock = IndexLock::wait(relation, Purpose::Manifest);
        let blocks = pages::settled_blocks(relation);
        let snapshot = Snapshot::read(relation);
        let mut check = Self { relation, snapshot: snapshot.clone(), blocks, findings: Findings::default() };
        check.extents();
        for segment in &snapshot.manifest.sealed {
            check.part(segment.id, PageKind::Tombstones, &segment.tombstone_bits);
            if check.findings.is_empty() {
                check.tombstones(segment);
            }
        }
        for segment in snapshot.manifest.unsealed(&snapshot.meta) {
            let mut wrong = Vec::new();
            growing::for_each_row(relation, &snapshot.meta, segment, |entry| {
                wrong.extend(visit(entry.tid, Some(entry.row), entry.attributes));
            });
            for text in wrong {
                check.findings.of_part(segment.segment, PageKind::Lane, text);
            }
        }
        drop(lock);
        check
    }

    /// Adds a finding about the index as a whole.
    pub fn find(&mut self, text: String) {
        self.findings.add(None, None, None, text);
    }

    /// Everything found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings.into_vec()
    }

    fn extents(&mut self) {
        let Snapshot { meta, manifest } = &self.snapshot;
        let mut extents: Vec<_> =
            pages::owned(self.relation, meta, manifest).into_iter().map(|(_, extent)| extent).collect();
        let (lost, overlaps) = gaps(&mut extents, self.blocks);
        let findings = &mut self.findings;
        let mut find = |block, text| findings.of_page(block, text);
        for extent in overlaps {
            let owned = pages::owned(self.relation, meta, manifest);
            let owners = owned.iter().filter(|(_, other)| {
                other.start < extent.start + extent.pages && extent.start < other.start + other.pages
            });
            let owners: Vec<String> = owners.map(|(owner, _)| format!("{owner:?}")).collect();
            find(extent.start, format!("{} pages belong to {}", extent.pages, owners.join(" and ")));
        }
        // A writer may have appended pages since the length was first read.
        let blocks = self.relation.blocks();
        if let Some(end) = extents.iter().map(|extent| extent.start + extent.pages).max()
            && end > blocks
        {
            find(end - 1, format!("a segment has this page, but the index has only {blocks} pages"));
        }
        // On a standby replay may have extended the file for a generation that is not there yet.
        if !in_recovery() {
            for block in lost.into_iter().flat_map(|extent| extent.start..extent.start + extent.pages) {
                // A page that was appended but never listed is free: the next task finds it. It is
                // blank, or was written for a generation that was not published: a part of its
                // manifest, or a lane, or the end of a lane's run.
                let page = Pinned::read(self.relation, block).share().copy();
                let is_unpublished = page::is(&page.0, PageKind::Manifest, 0) || growing::is_unused(&page.0);
                if page.0.iter().any(|&byte| byte != 0) && !is_unpublished {
                    find(block, format!("the page, {}, has no owner", page::describe(&page.0)));
                }
            }
        }
    }

    /// Checks codebooks and sealed segments: pages, checksums, graphs and lists. `deep` also
    /// computes codes again where the index has the vectors.
    pub fn segments(&mut self, deep: bool) {
        let snapshot = self.snapshot.clone();
        for codebook in &snapshot.manifest.codebooks {
            codebook.parts().iter().for_each(|(kind, part)| self.part(codebook.id, *kind, part));
        }
        let structure = structure_of(&snapshot.meta.structure);
        for segment in &snapshot.manifest.sealed {
            for (kind, part) in segment.parts() {
                if kind != PageKind::Tombstones {
                    self.part(segment.id, kind, part);
                }
            }
            if self.findings.are_of(segment.id)
                || segment.codebook().is_some_and(|id| self.findings.are_of(id))
            {
                // Content of damaged pages would give misleading findings.
                continue;
            }
            let sealed = SealedRef::new(&self.relation, segment);
            structure.check(&mut self.findings, sealed, &snapshot, deep);
        }
    }

    /// Whether something is wrong with a sealed segment, whose rows are then not visited.
    pub fn has_damage(&self) -> bool {
        self.snapshot.manifest.sealed.iter().any(|segment| self.findings.are_of(segment.id))
    }

    fn part(&mut self, segment: u32, kind: PageKind, part: &Part) {
        let mut crc = crc32fast::Hasher::new();
        let blocks = self.blocks;
        let (relation, readable) = (self.relation, part.pages.blocks().filter(|&block| block < blocks));
        for_each_page(relation, readable, |block, page| {
            pgrx::check_for_interrupts!();
            let page = page.share().copy();
            if !page::is(&page.0, kind, segment) {
                self.findings.add(
                    Some(segment),
                    Some(kind),
                    Some(block),
                    "the page belongs to another segment or part".into(),
                );
            }
            crc.update(page::payload(&page.0));
        });
        let crc = crc.finalize();
        if kind != PageKind::Tombstones && crc != part.crc {
            self.findings.of_part(segment, kind, format!("the CRC is {crc}, not {}", part.crc));
        }
    }

    fn tombstones(&mut self, segment: &Sealed) {
        let mut rows = SealedRows::new(SealedRef::new(&self.relation, segment));
        let dead = (0..segment.rows).filter(|&row| rows.is_dead(row)).count();
        if dead < segment.tombstones as usize {
            let text = format!("{dead} rows are marked dead, expected {}", segment.tombstones);
            self.findings.of_part(segment.id, PageKind::Tombstones, text);
        }
    }

    /// Calls `visit` with every live row of the sealed segments, as [`Self::begin`] does with
    /// growing rows. Where the index has no vectors, `visit` gets none.
    ///
    /// A row that is alive now was alive when the growing rows were visited.
    pub fn sealed_rows(&mut self, visit: &mut RowVisitor) {
        let snapshot = self.snapshot.clone();
        let structure = structure_of(&snapshot.meta.structure);
        for segment in &snapshot.manifest.sealed {
            if self.findings.are_of(segment.id) {
                continue;
            }
            for text in structure.visit_rows(SealedRef::new(&self.relation, segment), &snapshot, visit) {
                self.findings.of_part(segment.id, PageKind::Tids, text);
            }
        }
    }
}
