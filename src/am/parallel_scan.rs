//! A table's rows, read by parallel workers as well: fetching and unpacking large values takes
//! longer than passing them on.

use crate::am::table::{TableExtent, TableRows, malformed};
use crate::am::{attributes, opclass};
use crate::filter;
use crate::pg::parallel::{Member, Rows, Team, workers_for};
use crate::pg::relation::Relation;
use crate::segment::{Entry, TID_BYTES};
use pgrx::{pg_guard, pg_sys};

/// The task of the workers.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Task {
    heap: u32,
    index: u32,
    is_concurrent: u32,
}

/// Bytes of rows that are sent together.
const MESSAGE_BYTES: usize = 1 << 15;

/// After this many rows of its own, the backend looks for rows of workers.
const ROWS_PER_LOOK: u64 = 16;

/// As [`TableRows::scan`] of all, with up to `workers` workers if the table is large enough. Rows
/// come in any order.
pub fn scan(source: TableRows, workers: usize, visit: &mut dyn FnMut(Entry)) -> f64 {
    // SAFETY: `TableRows::new` requires the index to be open while `source` is used.
    let (heap, index) = (source.table(), unsafe { Relation::from_raw(source.index) });
    let is_concurrent = source.is_concurrent();
    let task =
        Task { heap: heap.oid().to_u32(), index: index.oid().to_u32(), is_concurrent: is_concurrent.into() };
    let rows = if is_concurrent { Rows::Visible } else { Rows::Any };
    // SAFETY: `TableRows::new` requires `info` to be valid while `source` is used, and nothing
    // writes to it during this call.
    let workers = workers.min(workers_for(heap, index, unsafe { &*source.info }));
    let Some(mut team) = Team::start(c"vdb_scan_table", workers, &task, heap, rows) else {
        return source.scan(TableExtent::All, true, visit);
    };
    let mut others = Share::default();
    let mut own = 0;
    let scanned = source.scan(TableExtent::Share(team.begin_scan()), true, &mut |entry| {
        visit(entry);
        own += 1;
        if own % ROWS_PER_LOOK == 0 {
            team.receive(|message| others.add(message, source, visit));
        }
    });
    team.receive_all(|message| others.add(message, source, visit));
    // SAFETY: `TableRows::new` requires `info` to be valid, and no reference to it is live here.
    unsafe { (*source.info).ii_BrokenHotChain |= others.has_broken_chains };
    scanned + others.tuples
}

/// The totals of the shares that workers have finished.
#[derive(Default)]
struct Share {
    tuples: f64,
    has_broken_chains: bool,
}

impl Share {
    fn add(&mut self, message: &[u8], source: TableRows, visit: &mut dyn FnMut(Entry)) {
        match Message::read(message, filter::stride(source.kinds.len()), visit) {
            Some(Message::Rows) => {}
            Some(Message::End { tuples, has_broken_chains }) => {
                self.tuples += tuples;
                self.has_broken_chains |= has_broken_chains;
            }
            None => malformed(),
        }
    }
}

/// A message of a worker. It begins with a tag; the rest is aligned to eight bytes.
#[derive(Debug, PartialEq)]
enum Message {
    /// Rows, each after its length, its heap tuple and its attributes.
    Rows,
    /// The end of a share: the number of the table's rows, and whether some chain of heap tuples
    /// does not fit the index (PostgreSQL's `ii_BrokenHotChain`).
    End { tuples: f64, has_broken_chains: bool },
}

const WORD: usize = size_of::<u64>();
const ROWS: u64 = 1;
const END: u64 = 2;

impl Message {
    /// A message that rows can be added to.
    fn begin() -> Vec<u8> {
        ROWS.to_ne_bytes().to_vec()
    }

    fn add(message: &mut Vec<u8>, entry: Entry) {
        message.extend_from_slice(&(entry.row.len() as u64).to_ne_bytes());
        message.extend_from_slice(&entry.tid);
        message.extend_from_slice(&[0; WORD - TID_BYTES as usize]);
        entry.attributes.iter().for_each(|key| message.extend_from_slice(&key.to_ne_bytes()));
        message.extend_from_slice(entry.row);
        message.resize(message.len().next_multiple_of(WORD), 0);
    }

    fn end(tuples: f64, has_broken_chains: bool) -> Vec<u8> {
        let words = [END, tuples.to_bits(), has_broken_chains.into()];
        bytemuck::cast_slice(&words).to_vec()
    }

    /// Calls `visit` with the rows of a message, if it has any; `None` if it is invalid. A row has
    /// `words` words of attributes.
    fn read(message: &[u8], words: usize, visit: &mut dyn FnMut(Entry)) -> Option<Self> {
        let mut rest = message;
        match take_word(&mut rest)? {
            ROWS => {
                let mut attributes = Vec::with_capacity(words);
                while !rest.is_empty() {
                    let bytes = usize::try_from(take_word(&mut rest)?).ok()?;
                    let tid = rest.split_off(..WORD)?[..TID_BYTES as usize].try_into().ok()?;
                    attributes.clear();
                    for _ in 0..words {
                        attributes.push(take_word(&mut rest)?);
                    }
                    let padded = rest.split_off(..bytes.checked_next_multiple_of(WORD)?)?;
                    visit(Entry { tid, row: &padded[..bytes], attributes: &attributes });
                }
                Some(Message::Rows)
            }
            END => {
                let tuples = f64::from_bits(take_word(&mut rest)?);
                Some(Message::End { tuples, has_broken_chains: take_word(&mut rest)? != 0 })
            }
            _ => None,
        }
    }
}

fn take_word(bytes: &mut &[u8]) -> Option<u64> {
    let word = bytes.split_off(..WORD)?;
    Some(u64::from_ne_bytes(word.try_into().ok()?))
}

/// A worker's share.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn vdb_scan_table(segment: *mut pg_sys::dsm_segment, toc: *mut pg_sys::shm_toc) {
    // SAFETY: PostgreSQL passes the segment and the table of contents of the team that `scan`
    // started. The leader holds the same locks, which it shares with its workers, so both relations
    // can be opened. They, and the information built here, stay valid until the end.
    unsafe {
        let mut member = Member::new(segment, toc);
        let task: Task = member.task();
        let (table_lock, index_lock) = match task.is_concurrent {
            0 => (pg_sys::ShareLock, pg_sys::AccessExclusiveLock),
            _ => (pg_sys::ShareUpdateExclusiveLock, pg_sys::RowExclusiveLock),
        };
        let (table_lock, index_lock) = (table_lock as pg_sys::LOCKMODE, index_lock as pg_sys::LOCKMODE);
        let heap = pg_sys::table_open(pg_sys::Oid::from_u32(task.heap), table_lock);
        let index = pg_sys::index_open(pg_sys::Oid::from_u32(task.index), index_lock);
        let info = pg_sys::BuildIndexInfo(index);
        (*info).ii_Concurrent = task.is_concurrent != 0;
        let relation = Relation::from_raw(index);
        let (space, kinds) = (opclass::space_of(relation), attributes::kinds_of(relation));
        let source = TableRows::new(heap, index, info, space, &kinds);
        let share = TableExtent::Share(member.begin_scan(source.table()));
        let mut message = Message::begin();
        let tuples = source.scan(share, false, &mut |entry| {
            Message::add(&mut message, entry);
            if message.len() >= MESSAGE_BYTES {
                member.send(&message);
                message = Message::begin();
            }
        });
        member.send(&message);
        member.send(&Message::end(tuples, (*info).ii_BrokenHotChain));
        pg_sys::index_close(index, index_lock);
        pg_sys::table_close(heap, table_lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_arrive_as_they_were_sent() {
        let rows: [(&[u8], [u64; 2]); 3] = [(b"twelve bytes", [1, 2]), (b"", [3, 4]), (b"8 bytes.", [5, 6])];
        let mut message = Message::begin();
        for (number, (row, attributes)) in rows.iter().enumerate() {
            Message::add(&mut message, Entry { tid: [number as u8; 6], row, attributes });
        }
        let mut number = 0;
        let read = Message::read(&message, 2, &mut |entry| {
            assert_eq!((entry.row, entry.attributes), (rows[number].0, &rows[number].1[..]));
            assert_eq!(entry.tid, [number as u8; 6]);
            number += 1;
        });
        assert_eq!((read, number), (Some(Message::Rows), rows.len()));
        for cut in 1..WORD {
            assert_eq!(Message::read(&message[..message.len() - cut], 2, &mut |_| {}), None, "{cut}");
        }
    }

    #[test]
    fn the_end_of_a_share_is_told() {
        let message = Message::end(12.0, true);
        let read = Message::read(&message, 2, &mut |_| unreachable!("it has no rows"));
        assert_eq!(read, Some(Message::End { tuples: 12.0, has_broken_chains: true }));
        assert_eq!(Message::read(&[], 0, &mut |_| {}), None);
    }
}
