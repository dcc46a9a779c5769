//! The property that every sequence of bytes must have: an entry for fuzzers and property tests.

use crate::frame::{frame, header, link};
use crate::{Closing, Damage, Reader, Record, Records, Writer};

/// Reads `bytes` as a journal, and once more as payloads to which a right header and chain are added, since chance
/// finds no chain value.
///
/// # Panics
/// When the two readers disagree, or when the good records written again are not the bytes they were read from.
pub fn fuzz_read(bytes: &[u8]) {
    check(bytes);
    check(&chained(bytes));
}

/// Takes `data` as payloads, each after a byte with its length, and makes a journal of them.
fn chained(data: &[u8]) -> Vec<u8> {
    let (header, mut chain) = header();
    let mut journal = header.to_vec();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(after.len().min(usize::from(length)));
        chain = link(payload, chain);
        journal.extend_from_slice(&frame(payload.len(), chain));
        journal.extend_from_slice(payload);
        rest = after;
    }
    journal
}

fn check(bytes: &[u8]) {
    let (copy, outcome) = by_slice(bytes);
    assert!(bytes.starts_with(&copy), "the good records written again differ from the bytes read");
    if let Err(damage) = outcome
        && damage.record > 0
    {
        assert_eq!(damage.offset, copy.len() as u64, "the damage is not where the good records end");
    }
    assert_eq!(by_pieces(bytes), (copy, outcome), "pieces are read otherwise than the whole");
}

/// The good records written again, and how the journal ends.
fn by_slice(bytes: &[u8]) -> (Vec<u8>, Result<Closing, Damage>) {
    let mut copy = Rewrite(None);
    let mut records = Records::new(bytes);
    let outcome = records.by_ref().try_for_each(|record| record.map(|record| copy.append(&record)));
    (copy.bytes(), outcome.map(|()| records.closing().expect("an iterator that is over without damage has closed")))
}

fn by_pieces(bytes: &[u8]) -> (Vec<u8>, Result<Closing, Damage>) {
    let mut copy = Rewrite(None);
    let mut reader = Reader::new();
    let outcome = bytes.chunks(7).try_for_each(|piece| {
        reader.push(piece);
        while let Some(record) = reader.next_record()? {
            copy.append(&record);
        }
        Ok(())
    });
    (copy.bytes(), outcome.and_then(|()| reader.finish()))
}

/// Writes records again; there is no writer before the configuration.
struct Rewrite(Option<Writer>);

impl Rewrite {
    fn append(&mut self, record: &Record<'_>) {
        match (record, &mut self.0) {
            (Record::Config(config), first) => *first = Some(Writer::new(config).expect("the reader has this limit")),
            (Record::Input(input), Some(writer)) => writer.input(input),
            (Record::Output { seq, output }, Some(writer)) => writer.output(*seq, output),
            (Record::End(end), Some(writer)) => writer.end(end.digest),
            (_, None) => panic!("a record came before the configuration"),
        }
    }

    fn bytes(self) -> Vec<u8> {
        self.0.map_or(Vec::new(), |writer| writer.pending().to_vec())
    }
}
