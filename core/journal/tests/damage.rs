//! Whatever happens to a journal's bytes is found, and found at the right record.

mod records;

use helios_journal::{
    Closing, Damage, DamageKind, FRAME_LEN, HEADER_LEN, MAX_CONFIG_LEN, MAX_PAYLOAD_LEN, Reader, Record, Records,
    Writer, fuzz_read,
};
use helios_types::{Event, Input, Nanos, Output, SignalChange, Timer};
use proptest::prelude::*;
use records::{Journal, Step, examples, journal};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Reads `bytes` as one slice: the good records, then how it ends.
fn read(bytes: &[u8]) -> (Vec<Record<'_>>, Result<Closing, Damage>) {
    let mut good = Vec::new();
    let mut records = Records::new(bytes);
    let outcome = records.by_ref().try_for_each(|record| record.map(|record| good.push(record)));
    (good, outcome.map(|()| records.closing().unwrap()))
}

/// Reads `bytes` in pieces of the given sizes, over and over; only outcomes, since records borrow.
fn read_in_pieces(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Result<Closing, Damage>) {
    let (mut good, mut reader, mut rest) = (Vec::new(), Reader::new(), bytes);
    for &size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        reader.push(piece);
        loop {
            match reader.next_record() {
                Ok(Some(record)) => good.push(format!("{record:?}")),
                Ok(None) => break,
                Err(damage) => return (good, Err(damage)),
            }
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    (good, reader.finish())
}

fn small() -> Journal {
    let steps: Vec<Step> = examples().into_iter().take(4).collect();
    Journal::new(b"{\"seed\":7}", &steps, Some(99))
}

/// Frames payloads with right lengths and chain values behind the header of a journal.
fn chained(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = small().bytes[..HEADER_LEN].to_vec();
    let mut chain = u64::from_le_bytes(bytes[16..].try_into().unwrap());
    for payload in payloads {
        chain = xxh3_64_with_seed(payload, chain);
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(chain.to_le_bytes());
        bytes.extend(payload);
    }
    bytes
}

fn payloads(journal: &Journal) -> Vec<Vec<u8>> {
    (0..journal.records.len()).map(|i| journal.record(i)[FRAME_LEN..].to_vec()).collect()
}

#[test]
fn a_cut_at_every_byte_is_found_at_its_record() {
    let journal = small();
    for cut in 0..journal.bytes.len() {
        let (good, outcome) = read(&journal.bytes[..cut]);
        let whole = journal.ends.iter().filter(|&&end| end <= cut as u64).count();
        assert_eq!(good, journal.records[..whole], "cut at {cut}");
        let start = if cut < HEADER_LEN { 0 } else { journal.start(whole) };
        let have = cut as u64 - start;
        let need = match have {
            _ if cut < HEADER_LEN => HEADER_LEN as u64,
            0..12 => FRAME_LEN as u64,
            _ => journal.record(whole).len() as u64,
        };
        let truncated = Damage {
            offset: start,
            record: whole as u64,
            last_good_seq: journal.last_seq_before(whole),
            kind: DamageKind::Truncated { have, need },
        };
        let between = cut >= HEADER_LEN && have == 0;
        assert_eq!(outcome, if between { Ok(Closing::NotClosed) } else { Err(truncated) }, "cut at {cut}");
        assert_eq!(read_in_pieces(&journal.bytes[..cut], &[5]).1, outcome, "cut at {cut}");
    }
    assert!(matches!(read(&journal.bytes).1, Ok(Closing::Clean(end)) if end.digest == 99));
}

#[test]
fn a_record_lost_moved_or_repeated_is_found_where_it_was() {
    let journal = small();
    let last = journal.records.len() - 1;
    for i in 1..last {
        let mut lost = journal.bytes.clone();
        lost.drain(journal.start(i) as usize..journal.ends[i] as usize);
        let mut repeated = journal.bytes.clone();
        let at = journal.ends[i] as usize;
        repeated.splice(at..at, journal.record(i).to_vec());
        let mut moved = journal.bytes.clone();
        let pair = [journal.record(i + 1), journal.record(i)].concat();
        moved.splice(journal.start(i) as usize..journal.ends[i + 1] as usize, pair);
        for (what, bytes, record) in [("lost", lost, i), ("repeated", repeated, i + 1), ("moved", moved, i)] {
            let damage = read(&bytes).1.unwrap_err();
            assert_eq!((damage.offset, damage.record), (journal.start(record), record as u64), "{what} record {i}");
            assert_eq!(damage.last_good_seq, journal.last_seq_before(record), "{what} record {i}");
            assert_eq!(damage.kind, DamageKind::ChainBroken, "{what} record {i}");
        }
    }
}

#[test]
fn a_record_of_another_journal_does_not_fit() {
    let (ours, theirs) = (small(), Journal::new(b"{\"seed\":8}", &examples()[..4], Some(99)));
    let mut mixed = ours.bytes[..ours.start(2) as usize].to_vec();
    mixed.extend(&theirs.bytes[theirs.start(2) as usize..]);
    let damage = read(&mixed).1.unwrap_err();
    assert_eq!((damage.offset, damage.kind), (ours.start(2), DamageKind::ChainBroken));
}

/// Changes one payload of a small journal, frames all of them rightly, and expects this damage at that record.
fn check_payload(record: usize, change: impl FnOnce(&mut Vec<u8>), kind: DamageKind) {
    let journal = small();
    let mut payloads = payloads(&journal);
    change(&mut payloads[record]);
    let (good, outcome) = read_owned(&chained(&payloads));
    let damage = outcome.unwrap_err();
    assert_eq!(damage.kind, kind);
    assert_eq!((damage.offset, damage.record), (journal.start(record), record as u64), "{kind:?}");
    assert_eq!(good, record, "{kind:?}");
}

fn read_owned(bytes: &[u8]) -> (usize, Result<Closing, Damage>) {
    let (good, outcome) = read(bytes);
    (good.len(), outcome)
}

/// Records of the small journal: 0 config, 1 Add, 2 Submit, 3 Add, 4 Submit, 5 Execute, 6 Cancel, 7 ExecuteAt,
/// 8 Replace, 9 end.
#[test]
fn payloads_that_no_writer_writes_are_refused_though_their_chain_is_right() {
    let value = |what, found| DamageKind::BadValue { what, found };
    check_payload(0, |p| p[0] = 0x18, DamageKind::ConfigMissing);
    check_payload(1, |p| p[0] = 0x01, DamageKind::ConfigAgain);
    check_payload(1, |p| p[0] = 0x7F, DamageKind::UnknownKind(0x7F));
    check_payload(1, |p| p[0] = 0x41, DamageKind::UnknownKind(0x41));
    check_payload(1, |p| p[0] = 0x9F, DamageKind::UnknownKind(0x9F));
    check_payload(2, |p| p[0] = 0x89, DamageKind::UnknownKind(0x89));
    check_payload(3, |p| p[1] = 7, DamageKind::SeqGap { expected: 1, found: 7 });
    check_payload(3, |p| p[1] = 0, DamageKind::SeqGap { expected: 1, found: 0 });
    check_payload(1, |p| p[37] = 2, value("Side", 2));
    check_payload(1, |p| p[37] = 0xFF, value("Side", 0xFF));
    check_payload(7, |p| p[53] = 2, value("yes or no", 2));
    check_payload(1, |p| p[55] = 1, value("padding", 1));
    check_payload(1, |p| p.truncate(48), DamageKind::BadLength(48));
    check_payload(1, |p| p.truncate(55), DamageKind::BadLength(55));
    check_payload(1, |p| p.extend([0; 8]), DamageKind::BadLength(64));
    check_payload(1, |p| p.truncate(1), DamageKind::BadLength(1));
    check_payload(1, Vec::clear, DamageKind::BadLength(0));
    check_payload(1, |p| p.resize(MAX_PAYLOAD_LEN + 1, 0), DamageKind::BadLength(129));
    check_payload(2, |p| p[1] = 1, DamageKind::OutputOutOfOrder { seq: 1, inputs: 1 });
    check_payload(4, |p| p[1] = 2, DamageKind::OutputOutOfOrder { seq: 2, inputs: 2 });
    check_payload(6, |p| p[1] = 0, DamageKind::OutputOutOfOrder { seq: 0, inputs: 3 });
    check_payload(9, |p| p[1] = 3, DamageKind::CountsDiffer { inputs: 3, outputs: 4 });
    check_payload(9, |p| p[9] = 5, DamageKind::CountsDiffer { inputs: 4, outputs: 5 });
}

#[test]
fn what_follows_the_end_is_refused() {
    let mut bytes = small().bytes;
    let end = bytes.len() as u64;
    bytes.push(0);
    let damage = read(&bytes).1.unwrap_err();
    assert_eq!((damage.offset, damage.record, damage.kind), (end, 10, DamageKind::AfterEnd));
}

#[test]
fn a_mapped_file_that_was_never_cut_to_its_length_is_recognised() {
    let journal = small();
    let mut bytes = journal.bytes[..journal.start(9) as usize].to_vec();
    bytes.resize(bytes.len() + 4096, 0);
    let damage = read(&bytes).1.unwrap_err();
    assert_eq!((damage.offset, damage.kind), (journal.start(9), DamageKind::Unwritten));
    assert_eq!(damage.last_good_seq, Some(3));
}

#[test]
fn the_longest_configuration_is_read_and_no_longer_one() {
    let config = vec![b'x'; MAX_CONFIG_LEN];
    let writer = Writer::new(&config).unwrap();
    assert_eq!(read(writer.pending()).0, [Record::Config(&config)]);
    let mut bytes = writer.pending().to_vec();
    bytes[HEADER_LEN] += 1;
    assert_eq!(read(&bytes).1.unwrap_err().kind, DamageKind::BadLength(MAX_CONFIG_LEN as u32 + 2));
}

#[test]
fn a_writer_goes_on_where_the_good_part_ends() {
    let steps = examples();
    let whole = Journal::new(b"{}", &steps, Some(5));
    for i in 1..whole.records.len() {
        // Damage inside record i: records before it are kept, the writer goes on with record i.
        let mut file = whole.bytes[..whole.ends[i] as usize - 1].to_vec();
        let mut reader = Reader::new();
        reader.push(&file);
        let damage = reader.finish().unwrap_err();
        let position = reader.position().expect("the configuration was read");
        assert_eq!((damage.offset, position.offset()), (whole.start(i), whole.start(i)));
        assert_eq!(position.records(), i as u64);
        file.truncate(position.offset() as usize);

        let mut writer = Writer::resume(position);
        for record in &whole.records[i..] {
            match record {
                Record::Input(input) => writer.input(input),
                Record::Output { seq, output } => writer.output(*seq, output),
                Record::End(end) => writer.end(end.digest),
                Record::Config(_) => panic!("record 0 is not written again"),
            }
        }
        file.extend(writer.pending());
        assert!(file == whole.bytes, "resumed at record {i}");
        assert_eq!(writer.bytes_written(), whole.bytes.len() as u64);
    }
}

#[test]
fn there_is_no_place_to_resume_before_the_configuration_and_after_the_end() {
    let journal = small();
    let mut reader = Reader::new();
    reader.push(&journal.bytes[..HEADER_LEN]);
    assert_eq!((reader.finish(), reader.position()), (Ok(Closing::NotClosed), None));
    reader.push(&journal.bytes[HEADER_LEN..]);
    assert!(matches!(reader.finish(), Ok(Closing::Clean(_))));
    assert_eq!(reader.position(), None);
}

#[test]
fn a_nan_comes_back_with_its_bits() {
    let nan = f64::from_bits(0xFFF8_0000_0000_1234);
    let output = Output::Signal(SignalChange { signal: 1, value: nan, input: f64::NAN });
    let journal = Journal::new(b"", &[(Nanos(0), Event::Timer(Timer { id: 1 }), vec![output])], None);
    let (good, _) = read(&journal.bytes);
    let Record::Output { output: Output::Signal(change), .. } = good[2] else { panic!("{good:?}") };
    assert_eq!(change.value.to_bits(), nan.to_bits());
    assert_eq!(change.input.to_bits(), f64::NAN.to_bits());
}

#[test]
fn messages_say_where_the_good_part_ends_and_what_to_do() {
    let journal = small();
    let mut bytes = journal.bytes.clone();
    bytes[journal.ends[3] as usize - 1] ^= 1;
    assert_eq!(
        read(&bytes).1.unwrap_err().to_string(),
        "journal damaged at byte 175 (record 3): the chain is broken: bytes were changed, or records lost or moved. \
         Records before byte 175 are good, up to input 0; `helios replay` can use them."
    );
    assert_eq!(
        read(b"Timestamp,Symbol,Price,Quantity\n").1.unwrap_err().to_string(),
        "journal damaged at byte 0 (record 0): it does not begin as a Helios journal does; check the path. \
         No input before it is good: there is nothing to replay."
    );
    assert_eq!(read(b"short").1.unwrap_err().kind, DamageKind::BadMagic);
    assert_eq!(read(b"").1.unwrap_err().kind, DamageKind::Truncated { have: 0, need: 24 });
}

#[test]
fn records_are_small() {
    let journal = Journal::new(b"", &examples(), None);
    let longest = (1..journal.records.len()).map(|i| journal.record(i).len() - FRAME_LEN).max().unwrap();
    assert_eq!(longest, 88, "an Output::Fill");
    let timer = Input { seq: 0, ts: Nanos(0), event: Event::Timer(Timer { id: 0 }) };
    let mut writer = Writer::new(b"").unwrap();
    writer.clear_pending();
    writer.input(&timer);
    assert_eq!(writer.pending().len(), FRAME_LEN + 32);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn every_record_comes_back(journal in journal(12)) {
        let (good, outcome) = read(&journal.bytes);
        prop_assert_eq!(&good, &journal.records);
        match good.last() {
            Some(Record::End(end)) => prop_assert_eq!(outcome, Ok(Closing::Clean(*end))),
            _ => prop_assert_eq!(outcome, Ok(Closing::NotClosed)),
        }
    }

    #[test]
    fn pieces_of_any_size_read_as_the_whole(
        journal in journal(8), sizes in proptest::collection::vec(1usize..200, 1..8), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = &journal.bytes[..cut.index(journal.bytes.len() + 1)];
        let (good, outcome) = read(bytes);
        let good: Vec<String> = good.iter().map(|record| format!("{record:?}")).collect();
        prop_assert_eq!(read_in_pieces(bytes, &sizes), (good, outcome));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_at_its_record(journal in journal(8), at in any::<prop::sample::Index>(), bit in 0..8) {
        let at = at.index(journal.bytes.len());
        let mut bytes = journal.bytes.clone();
        bytes[at] ^= 1u8 << bit;
        let record = journal.record_at(at as u64);
        let (good, outcome) = read(&bytes);
        let damage = outcome.expect_err("a changed bit was not found");
        prop_assert_eq!(damage.offset, record.map_or(0, |i| journal.start(i)));
        prop_assert_eq!(damage.record, record.unwrap_or(0) as u64);
        prop_assert_eq!(damage.last_good_seq, journal.last_seq_before(record.unwrap_or(0)));
        prop_assert_eq!(&good[..], &journal.records[..record.unwrap_or(0)]);
        prop_assert_eq!(read_in_pieces(&bytes, &[64]).1, Err(damage));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_read(&bytes);
    }

    #[test]
    fn no_changed_payload_makes_a_reader_panic(
        journal in journal(4), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        // Length-prefixed payloads: `fuzz_read` frames them, so the changes reach the fields behind the chain.
        let mut data: Vec<u8> =
            payloads(&journal).into_iter().flat_map(|p| std::iter::once(p.len() as u8).chain(p)).collect();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        fuzz_read(&data);
    }

    #[test]
    fn no_changed_journal_makes_a_reader_panic(
        journal in journal(4), at in any::<prop::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = journal.bytes.clone();
        let at = at.index(bytes.len());
        let to = bytes.len().min(at + 5);
        bytes.splice(at..to, with);
        fuzz_read(&bytes);
    }
}
