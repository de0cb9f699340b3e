use std::sync::Arc;

use super::*;
use crate::table::{Cloud, Delta, Edition, Random, Table};

/// A state directory whose table file is behind by five changes: the table after each of them, and where each entry ends.
struct Behind {
    directory: tempfile::TempDir,
    state: State,
    tables: Vec<Edition>,
    ends: Vec<usize>,
}

fn keep(state: &State, table: &Table) {
    let mut arrival = state.arrival().unwrap();
    arrival.write(table.bytes()).unwrap();
    arrival.keep().unwrap();
}

fn behind(seed: u64) -> Behind {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let mut random = Random(seed);
    let mut cloud = Cloud::default();
    (0..120).for_each(|_| cloud.step(&mut random));
    let first = Arc::new(cloud.table().with_generation(10));
    keep(&state, &first);
    let mut tables = vec![Edition::of(first)];
    let mut journal = Journal::new(state.clone());
    let mut ends = vec![0];
    for turn in 0..5 {
        let present = tables.last().unwrap();
        let base = present.digest();
        let generation = present.generation() + 1;
        let change = if turn % 2 == 0 {
            (0..6).for_each(|_| cloud.step(&mut random));
            Change::Delta(Delta::between(&present.flat(), &cloud.table()).bytes().to_vec())
        } else {
            let host = present.host(present.iter().next().unwrap().1.host()).id().to_owned();
            Change::Stop(vec![host])
        };
        let entry = Entry { base, generation, change };
        let next = entry.apply(present).unwrap();
        journal.append(&entry).unwrap();
        if turn % 2 == 1 {
            // What was stopped stays stopped: the cloud must not bring it back.
            cloud = cloud.without(&next);
        }
        ends.push(journal.length() as usize);
        tables.push(next);
    }
    Behind { directory, state, tables, ends }
}

fn same(found: &Edition, wanted: &Edition) -> bool {
    (found.digest(), found.generation(), found.len(), found.hosts()) == (wanted.digest(), wanted.generation(), wanted.len(), wanted.hosts())
}

#[test]
fn changes_since_the_table_was_written_whole_survive_a_restart() {
    let Behind { directory: _directory, state, tables, .. } = behind(1);
    let found = state.table(None).unwrap();
    assert!(same(&found, &tables[5]), "{found:?}");
    assert_eq!(found.flat().bytes(), tables[5].flat().bytes());
}

#[test]
fn a_journal_that_ends_anywhere_gives_all_changes_that_it_holds_whole() {
    let Behind { directory, state, tables, ends } = behind(2);
    let path = directory.path().join("table.journal");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), ends[5]);
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let found = state.table(None).unwrap();
        let acknowledged = ends.iter().filter(|end| **end <= length).count() - 1;
        assert!(same(&found, &tables[acknowledged]), "{length}: {found:?}");
        // The torn end is cut off, so the next change stands where it can be read.
        assert_eq!(fs::metadata(&path).map_or(0, |metadata| metadata.len() as usize), ends[acknowledged], "{length}");
        assert!(!directory.path().join("table.journal.damaged").exists());
    }
    // A power cut can leave zeros where the end was not written yet.
    fs::write(&path, [&whole[..ends[3] + 7], &[0; 90][..]].concat()).unwrap();
    assert!(same(&state.table(None).unwrap(), &tables[3]));
    let mut journal = Journal::new(state.clone());
    let entry = Entry { base: tables[3].digest(), generation: 99, change: Change::Stop(vec!["nobody".into()]) };
    journal.append(&entry).unwrap();
    assert_eq!(state.table(None).unwrap().generation(), 99);
}

#[test]
fn a_damaged_entry_sets_the_journal_aside_and_what_is_before_it_stays() {
    let Behind { directory, state, tables, ends } = behind(3);
    let path = directory.path().join("table.journal");
    let whole = fs::read(&path).unwrap();
    for at in (ends[2]..ends[3]).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        assert!(same(&state.table(None).unwrap(), &tables[2]), "{at}");
        assert_eq!(fs::read(directory.path().join("table.journal.damaged")).unwrap(), damaged, "nothing is thrown away");
        assert!(same(&state.table(None).unwrap(), &tables[2]), "the same at the next start");
    }
}

#[test]
fn a_crash_between_a_new_table_and_its_journal_loses_nothing_and_brings_nothing_back() {
    for written in 0..=5 {
        let Behind { directory: _directory, state, tables, .. } = behind(4);
        // Written whole after so many changes; the old journal is still there.
        keep(&state, &tables[written].flat());
        assert!(same(&state.table(None).unwrap(), &tables[5]), "{written}");
        // A table that was pushed whole is newer than all entries.
        let mut random = Random(99);
        let mut cloud = Cloud::default();
        (0..50).for_each(|_| cloud.step(&mut random));
        let other = cloud.table().with_generation(16);
        keep(&state, &other);
        assert!(same(&state.table(None).unwrap(), &Edition::of(Arc::new(other))), "{written}");
    }
}

#[test]
fn entries_that_belong_to_another_table_are_set_aside() {
    let Behind { directory, state, .. } = behind(5);
    let mut random = Random(7);
    let mut cloud = Cloud::default();
    (0..50).for_each(|_| cloud.step(&mut random));
    let other = cloud.table().with_generation(3);
    keep(&state, &other);
    assert!(same(&state.table(None).unwrap(), &Edition::of(Arc::new(other))));
    assert!(directory.path().join("table.journal.damaged").exists());
}

#[test]
fn an_arrival_that_was_not_kept_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path()).unwrap();
    let mut arrival = state.arrival().unwrap();
    arrival.write(b"half a ta").unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    drop(arrival);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // A crash drops nothing; the next start does.
    fs::write(directory.path().join(".table.rct.0.new"), b"half").unwrap();
    assert!(state.table(None).is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_mapped_table_stays_whole_when_its_pages_are_dropped_and_its_file_is_replaced() {
    let Behind { directory: _directory, state, tables, .. } = behind(6);
    let found = state.table(None).unwrap();
    keep(&state, &Table::empty());
    found.cool();
    assert!(same(&found, &tables[5]));
    assert_eq!(found.flat().bytes(), tables[5].flat().bytes());
}

#[test]
fn a_journal_whose_last_entry_is_taken_back_says_what_it_said_before() {
    let Behind { directory: _directory, state, tables, .. } = behind(8);
    let mut journal = Journal::new(state.clone());
    let before = journal.length();
    journal.append(&Entry { base: tables[5].digest(), generation: 50, change: Change::Stop(vec![]) }).unwrap();
    journal.cut(before).unwrap();
    assert!(same(&state.table(None).unwrap(), &tables[5]));
    journal.restart(&[]).unwrap();
    assert!(same(&state.table(None).unwrap(), &tables[0]));
}
