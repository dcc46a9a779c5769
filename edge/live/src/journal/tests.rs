use std::fs;
use std::time::{Duration, Instant};

use helios_journal::{Closing, Record, Records};
use helios_types::{Control, Event, InstrumentId, Nanos, OrderId};

use super::*;
use crate::scratch;

fn small(durability: Durability) -> Settings {
    Settings { durability, window: 2 * PAGE, ..Settings::default() }
}

fn input(seq: u64) -> Input {
    Input { seq, ts: Nanos(seq), event: Event::Control(Control::Pause) }
}

fn cancel(order: u64) -> Output {
    Output::Cancel { order: OrderId(order), instrument: InstrumentId(0) }
}

fn inputs(bytes: &[u8]) -> (u64, u64, Option<Closing>) {
    let mut records = Records::new(bytes);
    let (mut inputs, mut outputs) = (0, 0);
    for record in records.by_ref() {
        match record {
            Ok(Record::Input(_)) => inputs += 1,
            Ok(Record::Output { .. }) => outputs += 1,
            _ => {}
        }
    }
    (inputs, outputs, records.closing())
}

#[test]
fn records_cross_windows_and_the_end_cuts_the_file() {
    for durability in [Durability::Process, Durability::Disk] {
        let file = scratch::file("cross");
        // A configuration longer than several windows.
        let config = vec![b' '; 5 * PAGE];
        let mut journal = Journal::create(&file.path(), &config, small(durability), Vec::new()).unwrap();
        for seq in 0..2000 {
            journal.input(&input(seq)).unwrap();
            journal.output(seq, &cancel(seq));
        }
        let open = fs::read(file.path()).unwrap();
        // The last output waits for the next input.
        assert_eq!(inputs(&open), (2000, 1999, None), "a file that was not closed ends in zeros");
        journal.end(9).unwrap();
        let bytes = fs::read(file.path()).unwrap();
        let (inputs, outputs, closing) = inputs(&bytes);
        assert_eq!((inputs, outputs), (2000, 2000));
        assert!(matches!(closing, Some(Closing::Clean(end)) if end.digest == 9));
    }
}

#[test]
fn a_journal_goes_on_after_a_torn_record_and_after_its_end() {
    let file = scratch::file("resume");
    let mut journal = Journal::create(&file.path(), b"{}", small(Durability::Process), Vec::new()).unwrap();
    for seq in 0..700 {
        journal.input(&input(seq)).unwrap();
    }
    let whole = journal.written();
    drop(journal);
    for (round, tail) in [b"\x30\0\0\0torn".as_slice(), b""].into_iter().enumerate() {
        let mut bytes = fs::read(file.path()).unwrap();
        if round == 0 {
            bytes[whole as usize..][..tail.len()].copy_from_slice(tail);
            fs::write(file.path(), &bytes).unwrap();
        }
        let mut records = Records::new(&bytes);
        let mut position = None;
        while let Some(Ok(record)) = records.next() {
            if let Record::End(_) = record {
                break;
            }
            position = records.position();
        }
        let position = position.unwrap();
        let first = position.inputs();
        let mut journal = Journal::resume(&file.path(), position, small(Durability::Process), Vec::new()).unwrap();
        for seq in first..first + 700 {
            journal.input(&input(seq)).unwrap();
        }
        journal.end(round as u128).unwrap();
        let (count, _, closing) = inputs(&fs::read(file.path()).unwrap());
        assert_eq!(count, 700 * (round as u64 + 2));
        assert!(matches!(closing, Some(Closing::Clean(_))));
    }
}

#[test]
fn the_disk_commits_in_groups_and_in_order() {
    let file = scratch::file("disk");
    let mut journal = Journal::create(&file.path(), b"{}", small(Durability::Disk), Vec::new()).unwrap();
    let mut last = 0;
    for seq in 0..3000 {
        journal.input(&input(seq)).unwrap();
        let committed = journal.committed();
        assert!(committed >= last && committed <= journal.written());
        last = committed;
    }
    let begun = Instant::now();
    while journal.committed() < journal.written() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the disk never took it");
        std::thread::yield_now();
    }
    let (syncs, bytes) = journal.syncs();
    assert!((1..3000).contains(&syncs), "{syncs} syncs for 3000 inputs: a sync is shared");
    assert_eq!(bytes, journal.written());
}

#[test]
fn one_journal_has_one_writer() {
    let file = scratch::file("locked");
    let journal = Journal::create(&file.path(), b"{}", small(Durability::Process), Vec::new()).unwrap();
    let bytes = fs::read(file.path()).unwrap();
    let mut records = Records::new(&bytes);
    records.next();
    let position = records.position().unwrap();
    let again = Journal::resume(&file.path(), position, small(Durability::Process), Vec::new()).err().unwrap();
    assert!(again.message.contains("another process writes it"), "{again}");
    let exists = Journal::create(&file.path(), b"{}", small(Durability::Process), Vec::new()).err().unwrap();
    assert!(exists.message.contains("exists"), "{exists}");
    journal.end(0).unwrap();
    fs::write(file.path(), &bytes[..10]).unwrap();
    let cut = Journal::resume(&file.path(), position, small(Durability::Process), Vec::new()).err().unwrap();
    assert!(cut.message.contains("it was changed"), "{cut}");
}

#[test]
fn chores_run_beside_and_once_more_at_the_end() {
    use std::sync::atomic::AtomicU64;
    let (file, count) = (scratch::file("chores"), Arc::new(AtomicU64::new(0)));
    let seen = Arc::clone(&count);
    let chore: Chore = Box::new(move || _ = seen.fetch_add(1, Relaxed));
    let journal = Journal::create(&file.path(), b"{}", small(Durability::Process), vec![chore]).unwrap();
    let begun = Instant::now();
    while count.load(Relaxed) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    let before = count.load(Relaxed);
    journal.end(0).unwrap();
    assert!(count.load(Relaxed) > before);
}

#[test]
fn windows_are_whole_pages() {
    let file = scratch::file("pages");
    let settings = Settings { window: 1000, ..Settings::default() };
    let refused = Journal::create(&file.path(), b"{}", settings, Vec::new()).err().unwrap();
    assert!(refused.message.contains("multiples of 4096 bytes, not 1000"), "{refused}");
}
