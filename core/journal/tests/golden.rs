//! Old journal bytes are read for ever: `golden.hex` holds every kind and code as version 1 wrote them.
//!
//! A line is one record (or a header), frame included; an empty line ends a journal; `#` begins a comment. The
//! second journal has no end record, so that records of new kinds and codes can be appended to it: the failing test
//! prints them. A line that is there never changes.

mod records;

use std::collections::BTreeSet;

use helios_journal::{End, FRAME_LEN, Reader, Record, Records, Writer, record_kinds};
use helios_types::{Event, Input, InstrumentId, Market, Nanos, Output, Price, Quantity, Update};
use records::{FIRST_TS, Journal, example_events, example_outputs};

const GOLDEN: &str = include_str!("golden.hex");
const CONFIG: &[u8] = b"{\"journal\":\"golden\"}";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("golden.hex holds hexadecimal digits") as u8;
    line.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The journals of the file, as lines.
fn golden() -> Vec<Vec<&'static str>> {
    GOLDEN
        .split("\n\n")
        .map(|journal| journal.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect())
        .collect()
}

/// The bytes of journal `i` of the file.
fn golden_bytes(i: usize) -> Vec<u8> {
    unhex(&golden()[i].concat())
}

fn records(bytes: &[u8]) -> Vec<Record<'_>> {
    Records::new(bytes).map(|record| record.unwrap()).collect()
}

#[test]
fn the_closed_journal_reads_as_it_was_written() {
    let digest = 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10;
    let bytes = golden_bytes(0);
    assert_eq!(bytes, Journal::new(CONFIG, &[], Some(digest)).bytes);
    assert_eq!(records(&bytes), [Record::Config(CONFIG), Record::End(End { inputs: 0, outputs: 0, digest })]);
}

#[test]
fn todays_reader_reads_every_golden_record() {
    let bytes = golden_bytes(1);
    let (mut events, mut outputs) = (Vec::new(), Vec::new());
    for record in records(&bytes) {
        match record {
            Record::Config(config) => assert_eq!(config, CONFIG),
            Record::Input(Input { seq, ts, event }) => {
                assert_eq!((seq, ts), (events.len() as u64, Nanos(FIRST_TS + seq)));
                events.push(event);
            }
            Record::Output { output, .. } => outputs.push(output),
            Record::End(_) => panic!("the second journal is not closed"),
        }
    }
    let new = new_lines(&bytes, &events, &outputs);
    assert!(new.is_empty(), "append these lines to golden.hex, once the format of the new records is final:\n{new}");
    assert!(events.iter().all(|event| example_events().contains(event)), "{events:#?} are no longer the examples");
    assert!(outputs.iter().all(|output| example_outputs().contains(output)), "{outputs:#?} are no longer the examples");
}

/// The examples that the golden journal does not hold, as lines to append.
fn new_lines(golden: &[u8], events: &[Event], outputs: &[Output]) -> String {
    let mut reader = Reader::new();
    reader.push(golden);
    reader.finish().unwrap();
    let mut writer = Writer::resume(reader.position().expect("the golden journal is open"));
    let mut lines = String::new();
    let mut take = |writer: &mut Writer| {
        lines += &format!("{}\n", hex(writer.pending()));
        writer.clear_pending();
    };
    for event in example_events().into_iter().filter(|event| !events.contains(event)) {
        let seq = writer.inputs();
        writer.input(&Input { seq, ts: Nanos(FIRST_TS + seq), event });
        take(&mut writer);
    }
    for output in example_outputs().into_iter().filter(|output| !outputs.contains(output)) {
        writer.output(writer.inputs() - 1, &output);
        take(&mut writer);
    }
    lines
}

#[test]
fn todays_writer_writes_the_golden_bytes() {
    let mut writer = Writer::new(CONFIG).unwrap();
    let golden = golden_bytes(1);
    for record in records(&golden).iter().skip(1) {
        match record {
            Record::Input(input) => writer.input(input),
            Record::Output { seq, output } => writer.output(*seq, output),
            Record::Config(_) | Record::End(_) => panic!("not in the second journal: {record:?}"),
        }
        let written = writer.pending();
        assert_eq!(hex(written), hex(&golden[..written.len()]), "{record:?}: a new layout takes a new kind");
    }
    assert_eq!(writer.pending().len(), golden.len());
}

#[test]
fn the_golden_file_holds_every_kind() {
    let golden = golden();
    let found: BTreeSet<u8> =
        golden.iter().flat_map(|journal| &journal[1..]).map(|line| unhex(line)[FRAME_LEN]).collect();
    let missing: Vec<_> = record_kinds().filter(|(kind, _)| !found.contains(kind)).collect();
    assert!(missing.is_empty(), "kinds without a golden record: {missing:x?}; add examples of them");
    assert_eq!(found.len(), record_kinds().count());
}

#[test]
fn a_quote_is_laid_out_as_the_table_says() {
    let mut writer = Writer::new(b"").unwrap();
    writer.clear_pending();
    let update =
        Update::Quote { bid: Price(0x31), bid_quantity: Quantity(0x32), ask: Price(-1), ask_quantity: Quantity(0x33) };
    let market = Market { instrument: InstrumentId(0x0A0B_0C0D), ts_event: Nanos(0x22), update };
    writer.input(&Input { seq: 0, ts: Nanos(0x1122_3344_5566_7788), event: Event::Market(market) });
    let mut payload = vec![0x18];
    payload.extend(0u64.to_le_bytes());
    payload.extend([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    payload.extend([0x0D, 0x0C, 0x0B, 0x0A]);
    for word in [0x22u64, 0x31, 0x32, u64::MAX, 0x33] {
        payload.extend(word.to_le_bytes());
    }
    payload.extend([0; 3]);
    assert_eq!(hex(&writer.pending()[FRAME_LEN..]), hex(&payload));
    assert_eq!(writer.pending()[..4], 64u32.to_le_bytes());
}
