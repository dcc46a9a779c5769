//! Files that somebody else wrote: a day of ITCH in any framing, the store of a FIX session.

use helios_fix::{Durability, Limits, Store};
use helios_io::{ItchRows, ItchSource, OrderRows, Source};
use helios_types::{InstrumentId, Market, Nanos, Update};
use helios_wire::fuzz;

use crate::scratch::Scratch;
use crate::script::{Script, Writing};

/// A file of messages: framing, captures, compression; as market events and as rows.
pub fn itch_file(bytes: &[u8]) {
    fuzz::frames(bytes);
    fuzz::captures(bytes);
    let scratch = Scratch::new();
    let path = scratch.file("day.itch");
    std::fs::write(&path, bytes).expect("a file of ours");
    if let Ok(mut source) = ItchSource::open(&path, Nanos(0), &["KO".to_owned(), "111     ".to_owned()]) {
        let mut market = Market { instrument: InstrumentId(0), ts_event: Nanos(0), update: Update::Clear };
        let mut events = 0;
        while let Ok(true) = source.next(&mut market) {
            events += 1;
            // A gzip may hold a thousand times its bytes.
            assert!(events <= 2_000 * bytes.len(), "more events than there are bytes for");
        }
        assert!((0.0..=1.0).contains(&source.progress()));
        let _ = source.faults();
    }
    for strict in [true, false] {
        if let Ok(mut rows) = ItchRows::open(&path, 0, None, strict) {
            let mut out = OrderRows::default();
            while let Ok(true) = rows.read(&mut out, 1) {}
            assert!((0.0..=1.0).contains(&rows.progress()));
        }
    }
}

/// The store of a FIX session that is used, killed, damaged and opened again: it knows the numbers and the messages that
/// it was given; cut or changed, it is refused or has a beginning of them, and never a number that was not there.
pub fn fix_store(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let limits = Limits { segment_bytes: 256 + (script.byte() as u64) * 8, segments: 2, generations: 1 };
    let scratch = Scratch::new();
    let folder = scratch.file("session");
    let open = || Store::open(&folder, "US->THEM", limits, Durability::Process, Nanos(1));
    let (mut store, mut highest) = (open().expect("a fresh store"), 1);
    let mut damaged = false;
    while let Some(step) = script.step() {
        match step % 8 {
            0..3 => {
                let (seq, text) = (store.next_out(), script.text());
                let kept = step % 2 == 0;
                store.sent(seq, kept.then_some(text), Nanos(2)).expect("there is room on the disk");
                assert_eq!(store.next_out(), seq + 1);
                let mut found = None;
                store.resend(seq, seq, &mut |_, message| found = Some(message.to_vec())).expect("it can be read");
                let secret = helios_fix::carries_secret(text);
                assert!(secret || found.as_deref() == kept.then_some(text), "the message that was stored");
            }
            3 => store.received(1 + u64::from(script.byte()), Nanos(2)).expect("there is room on the disk"),
            4 if script.below(8) == 0 => store.reset(Nanos(3)).expect("there is room on the disk"),
            5 if script.below(8) == 0 => {
                let out = script.word() % (1 << 40);
                store.set_next(Some(out.max(1)), None, Nanos(3)).expect("there is room on the disk");
            }
            6 if script.below(4) == 0 => {
                let (numbers, file) = ((store.next_out(), store.next_in()), newest(&folder));
                drop(store);
                let mut content = std::fs::read(&file).expect("a file of ours");
                match script.below(4) {
                    0 => content.truncate(script.word() as usize % (content.len() + 1)),
                    1 => {
                        let (at, value) = (script.word() as usize % content.len().max(1), script.byte());
                        content.get_mut(at).into_iter().for_each(|byte| *byte = value);
                    }
                    2 => content.extend_from_slice(script.text()),
                    _ => {}
                }
                let same = std::fs::read(&file).expect("a file of ours") == content;
                damaged |= !same;
                std::fs::write(&file, &content).expect("a file of ours");
                match open() {
                    Ok(again) => {
                        assert!(
                            damaged || (again.next_out(), again.next_in()) == numbers,
                            "what was stored comes back"
                        );
                        assert!(again.next_out() <= highest, "a number that was never given");
                        store = again;
                    }
                    Err(error) => return assert!(damaged, "an honest store cannot be opened: {error}"),
                }
            }
            _ => {}
        }
        highest = highest.max(store.next_out());
        let _ = store.take_notes();
    }
}

/// The file that is written to.
fn newest(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of ours")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "fix"))
        .collect();
    files.sort_unstable();
    files.pop().expect("a store has a file")
}

pub(crate) fn store_seeds() -> Vec<Vec<u8>> {
    let message = Writing::default().then(&[0]).text(b"8=FIX.4.4 35=D").bytes();
    let secret = Writing::default().then(&[2]).text(b"8=FIX.4.4\x0135=A\x01554=x\x01").bytes();
    let reopened = |how: &[u8]| [message.as_slice(), &message, &secret, &[3, 9, 1, 0, 6, 0], how].concat();
    let cut = reopened(&[0, 90, 0, 0, 0, 0, 0, 0, 0]);
    let changed = reopened(&[1, 90, 0, 0, 0, 0, 0, 0, 0, 7]);
    let whole = reopened(&[3]);
    let torn = reopened(&[2, 3, 1, 2, 3]);
    let reset = [whole.clone(), vec![4, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0], message.repeat(40), vec![6, 0, 3]].concat();
    [cut, changed, whole, torn, reset].into_iter().map(|script| [[9].as_slice(), &script].concat()).collect()
}
