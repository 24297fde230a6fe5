//! What must hold of a segment with lists: that they add up and, if requested, each row's lists and
//! code of single bits.

use super::assign::{Assigner, Formats};
use super::codebook::Lists;
use super::stored::{StoredLists, add_up};
use super::write::RowSource;
use crate::codec::layout::block::BlockLayout;
use crate::segment::Plan;
use crate::segment::columns::StoredColumns;
use crate::segment::findings::{Findings, RowVisitor};
use crate::storage::parts::{ListParts, Parts};
use crate::storage::sealed::SealedRef;
use crate::storage::snapshot::Snapshot;
use crate::structure::ListOptions;
use crate::structure::PageKind;

/// Adds what is wrong with a segment to the findings; `deep` also assigns and encodes rows again.
pub fn check(
    options: ListOptions,
    findings: &mut Findings,
    sealed: SealedRef,
    snapshot: &Snapshot,
    deep: bool,
) {
    let Parts::Lists(parts) = &sealed.segment().parts else {
        return findings.of_segment(sealed.id, "it has another structure than the index");
    };
    if parts.codebook != 0 && snapshot.codebook_of(parts).is_none() {
        let text = format!("its codebook {} is missing", parts.codebook);
        return findings.of_part(sealed.id, PageKind::ListStarts, text);
    }
    let count = u64::from(snapshot.lists_of(parts)) + 1;
    let starts = sealed.part(&parts.starts, PageKind::ListStarts).numbers(count);
    if !add_up(&starts, sealed.rows) {
        return findings.of_part(sealed.id, PageKind::ListStarts, "the lists do not add up");
    }
    let mut stored = StoredLists::new(sealed, snapshot);
    if let Err(text) = stored.read_spill() {
        return findings.of_part(sealed.id, PageKind::SpillCodes, text);
    }
    if deep && parts.vectors.is_some() {
        check_codes(options, findings, sealed, snapshot, (parts, stored));
    }
}

/// Assigns and encodes every row again, and compares lists and codes of single bits.
fn check_codes(
    options: ListOptions,
    findings: &mut Findings,
    sealed: SealedRef,
    snapshot: &Snapshot,
    (parts, mut stored): (&ListParts, StoredLists),
) {
    let space = snapshot.meta.space;
    let plan = Plan {
        structure: snapshot.meta.structure,
        quantizer: snapshot.meta.quantizer,
        columns: snapshot.meta.filters.len(),
        seed: snapshot.meta.seed,
        threads: crate::pg::threads::maintenance_threads(),
        memory: 0,
        show_progress: false,
    };
    let lists = match snapshot.codebook_of(parts) {
        Some(codebook) => Lists::of(sealed.pages(), snapshot, codebook),
        None => Lists::origin(space.dims as usize),
    };
    let mut again = StoredLists::new(sealed, snapshot);
    again.reassign(&mut Assigner::new(space, plan, options, lists), space);
    let blocks = Formats::new(space, plan.quantizer, options).blocks();
    let mut listed = Vec::new();
    stored.for_each_live(|list, row| listed.push((list, row)));
    for (list, row) in listed {
        sealed.poll();
        let text = if again.assigned_lists()[row as usize] != list {
            format!("row {row} should not be in list {list}")
        } else if stored.spill_list(row) != again.spill_list(row) {
            format!("row {row} has a wrong second list")
        } else if blocks.is_some_and(|blocks| !have_equal_bits(&mut stored, &mut again, row, blocks)) {
            format!("the code of row {row} is not its vector's")
        } else {
            continue;
        };
        findings.of_part(sealed.id, PageKind::ListCodes, text);
    }
}

/// Whether two readings of a segment have the same codes of single bits for a row.
fn have_equal_bits(a: &mut StoredLists, b: &mut StoredLists, row: u32, blocks: BlockLayout) -> bool {
    let bytes = blocks.code_bytes();
    a.bits(row, bytes).1 == b.bits(row, bytes).1
        && (a.spill_list(row).is_none() || a.spill_bits(row, bytes).1 == b.spill_bits(row, bytes).1)
}

/// Calls `visit` with every live row, and returns what it finds wrong.
pub fn visit_rows(sealed: SealedRef, snapshot: &Snapshot, visit: &mut RowVisitor) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut columns = StoredColumns::new(sealed);
    let mut lists = StoredLists::new(sealed, snapshot);
    let bytes = snapshot.meta.space.row_bytes().unwrap_or_default();
    let has_vectors = sealed.lists().vectors.is_some();
    let mut live = Vec::new();
    lists.for_each_live(|_, row| live.push(row));
    for row in live {
        sealed.poll();
        let tid = lists.tid(row);
        let vector = has_vectors.then(|| lists.vector(row, bytes));
        wrong.extend(visit(tid, vector, &columns.attributes(row)));
    }
    wrong
}
