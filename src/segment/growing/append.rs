//! Appending a row to a lane.

use super::group::GroupLayout;
use super::{MAX_GROUP_RUNS, MAX_ROW_RUNS, RUN_PAGES, Root, TAPE_ALIGNMENT, block_in, root_of};
use crate::codec::encoder::{Code, Encoder};
use crate::pg::buffer::{self, Exclusive, Pinned};
use crate::pg::error::Problem;
use crate::pg::relation::Relation;
use crate::pg::wal::{RECORD_PAGES, Record};
use crate::segment::{Entry, row_layout};
use crate::storage::meta::{self, Growing, Meta};
use crate::storage::page::{self, Kind, Stamp};
use crate::storage::part::Layout;
use crate::storage::part_reader::page_to_change;

/// How rows of an index are encoded while they are in a growing segment, if they are.
pub fn encoder(meta: &Meta) -> Option<Encoder> {
    let has_codes = GroupLayout::of(meta).has_codes();
    if has_codes { Encoder::new(meta.space, meta.seed) } else { None }
}

/// Raises an error if pages that a lane calls its own are the meta page or the root of a lane.
fn require_own(relation: Relation, growing: &Growing, blocks: std::ops::Range<u32>) {
    if blocks.contains(&meta::BLOCK) || growing.lanes.iter().any(|lane| blocks.contains(lane)) {
        corrupt_runs(relation, growing.segment);
    }
}

fn corrupt_runs(relation: Relation, segment: u32) -> ! {
    Problem::corrupt(format!("index \"{}\" is corrupted", relation.name()))
        .detail(format!("A lane of growing segment {segment} lists pages that are not its own."))
        .raise()
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in; its lane now has this many rows.
    Done { rows: u32 },
    /// The segment is being sealed: read the meta page again.
    Frozen,
    /// The lane has no room: the segment must be sealed first.
    Full,
}

/// Appends a row to a lane, in WAL records of its own.
///
/// `code` is given if the index has an [`encoder`] for growing rows.
pub fn append(relation: Relation, meta: &Meta, lane: usize, entry: Entry, code: Option<&Code>) -> Append {
    let row = entry.row;
    let (layout, groups) = (row_layout(meta.space), GroupLayout::of(meta));
    let growing = &meta.growing;
    let segment = growing.segment;
    let root_block = growing.lanes[lane % growing.lanes.len()];
    let root_buffer = Pinned::read(relation, root_block).exclusive();
    let mut root = root_of(relation, root_block, segment, &root_buffer);
    if root.is_frozen {
        return Append::Frozen;
    }
    let stamp = |kind| Stamp { kind, segment, generation: 0 };
    let index = root.rows as usize;
    let (group_page, group_at, place) = groups.place(index);
    let (first_page, at, after) = match layout {
        Layout::Slots { .. } => {
            let (page, at) = layout.slot(index as u64);
            (page as usize, at, page as usize)
        }
        Layout::Tape => {
            let (page, at) = Layout::tape(root.tape);
            (page as usize, at, Layout::tape(root.tape + row.len() as u64 - 1).0 as usize)
        }
    };

    // The pages that the row needs, listed by the record that writes the last of their run.
    let add_run = |root: &mut Root, kind| {
        let start = root.spare_runs.pop().unwrap_or_else(|| buffer::extend(relation, RUN_PAGES));
        let Some(end) = start.checked_add(RUN_PAGES) else { corrupt_runs(relation, segment) };
        require_own(relation, growing, start..end);
        let runs = if kind == Kind::GrowingGroups { &mut root.group_runs } else { &mut root.row_runs };
        runs.push(start);
        let last = Pinned::overwrite(relation, start + RUN_PAGES - 1);
        let mut record = Record::begin(relation);
        record.edit(&last, true, |page| {
            page::format(page, stamp(kind));
            page::set_used(page, 0);
        });
        record.edit(&root_buffer, false, |page| root.write(page));
        record.commit();
    };
    while block_in(&root.group_runs, group_page).is_none() {
        if root.group_runs.len() == MAX_GROUP_RUNS {
            return Append::Full;
        }
        add_run(&mut root, Kind::GrowingGroups);
    }
    while block_in(&root.row_runs, after).is_none() {
        if root.row_runs.len() == MAX_ROW_RUNS {
            return Append::Full;
        }
        add_run(&mut root, Kind::GrowingRows);
    }

    // The row's bytes, page by page; all but what fits into the publishing record goes ahead of it.
    let mut pieces = Vec::new();
    let (mut rest, mut at) = (row, at);
    for page in first_page..=after {
        let (now, later) = rest.split_at(rest.len().min(page::PAYLOAD - at));
        let block = block_in(&root.row_runs, page).expect("the run was just made sure of");
        pieces.push((block, at, now));
        (rest, at) = (later, 0);
    }
    let group_block = block_in(&root.group_runs, group_page).expect("the run was just made sure of");
    for &block in pieces.iter().map(|(block, ..)| block).chain([&group_block]) {
        require_own(relation, growing, block..block.saturating_add(1));
    }
    // A page that is locked twice would be waited for without end.
    let mut blocks: Vec<u32> = pieces.iter().map(|piece| piece.0).chain([group_block]).collect();
    blocks.sort_unstable();
    if blocks.windows(2).any(|pair| pair[0] == pair[1]) {
        corrupt_runs(relation, segment);
    }
    let offset = root.tape;
    if layout == Layout::Tape {
        // The next row begins aligned.
        root.tape += row.len().next_multiple_of(TAPE_ALIGNMENT) as u64;
    }
    root.rows += 1;
    // A page that its first byte is written to may hold anything, or nothing that can be read: it
    // was free, or appended before a crash. It is logged whole.
    let open = |block, kind, is_fresh| match is_fresh {
        true => Pinned::overwrite(relation, block),
        false => page_to_change(relation, block, kind, segment),
    };
    let open_piece = |&(block, at, _): &(u32, usize, &[u8])| open(block, Kind::GrowingRows, at == 0);
    let write_piece = |record: &mut Record, buffer: &Exclusive, at: usize, bytes: &[u8]| {
        record.edit(buffer, at == 0, |page| {
            if at == 0 {
                page::format(page, stamp(Kind::GrowingRows));
            }
            page::payload_mut(page)[at..][..bytes.len()].copy_from_slice(bytes);
            page::set_used(page, at + bytes.len());
        });
    };
    const OTHER_PAGES: usize = 2;
    let ahead = pieces.len().saturating_sub(RECORD_PAGES - OTHER_PAGES);
    let (ahead, with_root) = pieces.split_at(ahead);
    for pieces in ahead.chunks(RECORD_PAGES) {
        let buffers: Vec<_> = pieces.iter().map(open_piece).collect();
        let mut record = Record::begin(relation);
        for (buffer, (_, at, bytes)) in buffers.iter().zip(pieces) {
            write_piece(&mut record, buffer, *at, bytes);
        }
        record.commit();
    }
    let is_first = group_at == 0 && place == 0;
    let group_buffer = open(group_block, Kind::GrowingGroups, is_first);
    let buffers: Vec<_> = with_root.iter().map(open_piece).collect();
    let mut record = Record::begin(relation);
    for (buffer, (_, at, bytes)) in buffers.iter().zip(with_root) {
        write_piece(&mut record, buffer, *at, bytes);
    }
    record.edit(&group_buffer, is_first, |page| {
        if is_first {
            page::format(page, stamp(Kind::GrowingGroups));
        }
        let group = &mut page::payload_mut(page)[group_at..][..groups.bytes()];
        groups.put(group, place, entry, offset, code);
        page::set_used(page, group_at + groups.used(place));
    });
    record.edit(&root_buffer, false, |page| root.write(page));
    record.commit();
    Append::Done { rows: root.rows }
}
