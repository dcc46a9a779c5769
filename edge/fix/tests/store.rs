//! The store after every kind of end: cut at each byte, damaged, killed, full, reset.

use std::fs;
use std::path::{Path, PathBuf};

use helios_fix::{Durability, Kind, Limits, Records, Store, files, folder_name};
use helios_types::Nanos;

const SESSION: &str = "FIX.4.4:A->B";

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("helios-fix-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open_with(path: &Path, limits: Limits) -> Result<Store, helios_fix::StoreError> {
    Store::open(path, SESSION, limits, Durability::Process, Nanos(7))
}

fn open(path: &Path) -> Result<Store, helios_fix::StoreError> {
    open_with(path, Limits::default())
}

fn message(seq: u64) -> Vec<u8> {
    format!("8=FIX.4.4\x0135=D\x0134={seq}\x0158={}\x01", "x".repeat(seq as usize % 50)).into_bytes()
}

fn resent(store: &Store, from: u64, to: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    store
        .resend(from, to, &mut |seq, bytes| {
            assert_eq!(bytes, message(seq));
            seqs.push(seq);
        })
        .expect("reads");
    seqs
}

/// Outgoing 1 and each third are administrative.
fn fill(store: &mut Store, from: u64, to: u64) {
    for seq in from..=to {
        let bytes = message(seq);
        let kept = (seq % 3 != 1).then_some(bytes.as_slice());
        store.sent(seq, kept, Nanos(100 + seq)).expect("writes");
        if seq % 2 == 0 {
            store.received(seq / 2 + 1, Nanos(100 + seq)).expect("writes");
        }
    }
}

fn applications(from: u64, to: u64) -> Vec<u64> {
    (from..=to).filter(|seq| seq % 3 != 1).collect()
}

#[test]
fn numbers_and_messages_survive_a_restart() {
    let folder = Folder::new("restart");
    let mut store = open(&folder.0).expect("creates");
    assert_eq!((store.next_out(), store.next_in(), store.created()), (1, 1, Nanos(7)));
    fill(&mut store, 1, 20);
    drop(store);
    let mut store = open(&folder.0).expect("opens");
    assert_eq!((store.next_out(), store.next_in(), store.created()), (21, 11, Nanos(7)));
    assert!(store.take_notes().is_empty());
    assert_eq!(resent(&store, 1, 20), applications(1, 20));
    assert_eq!(resent(&store, 5, 9), [5, 6, 8, 9]);
    assert_eq!(resent(&store, 21, 30), []);
    fill(&mut store, 21, 22);
    assert_eq!(resent(&store, 20, 99), [20, 21]);
}

#[test]
fn long_stores_are_searched_from_near_the_place() {
    let folder = Folder::new("long");
    let limits = Limits { segment_bytes: 200_000, segments: 40, generations: 1 };
    let mut store = open_with(&folder.0, limits).expect("creates");
    fill(&mut store, 1, 20_000);
    for (from, to) in [(1, 20_000), (1, 1), (2, 2), (777, 800), (19_990, 20_000), (3_000, 12_345)] {
        assert_eq!(resent(&store, from, to), applications(from, to), "{from}..={to}");
    }
    assert!(files(&folder.0).expect("lists").len() > 5);
    drop(store);
    let store = open_with(&folder.0, limits).expect("opens");
    assert_eq!((store.next_out(), store.next_in()), (20_001, 10_001));
    assert_eq!(resent(&store, 3_000, 12_345), applications(3_000, 12_345));
}

#[test]
fn a_full_store_drops_its_oldest_file_and_says_so() {
    let folder = Folder::new("full");
    let limits = Limits { segment_bytes: 2_000, segments: 3, generations: 1 };
    let mut store = open_with(&folder.0, limits).expect("creates");
    fill(&mut store, 1, 500);
    let size: u64 = files(&folder.0).expect("lists").iter().map(|f| f.2.metadata().expect("is there").len()).sum();
    assert!(size < 3 * 2_200, "{size} bytes");
    assert!(store.take_notes()[0].contains("can no longer be resent"));
    let kept = resent(&store, 1, 500);
    assert_eq!(kept, applications(kept[0], 500));
    assert!(kept.len() > 10);
    drop(store);
    let store = open_with(&folder.0, limits).expect("opens");
    assert_eq!((store.next_out(), store.next_in()), (501, 251));
    assert_eq!(resent(&store, 1, 500), kept);
}

#[test]
fn a_reset_begins_anew_and_keeps_one_generation() {
    let folder = Folder::new("reset");
    let mut store = open(&folder.0).expect("creates");
    for generation in 1..=4 {
        fill(&mut store, 1, 9);
        store.reset(Nanos(1_000 * generation)).expect("resets");
        assert_eq!((store.next_out(), store.next_in(), store.created()), (1, 1, Nanos(1_000 * generation)));
        assert_eq!(resent(&store, 1, 100), []);
    }
    let generations: Vec<u32> = files(&folder.0).expect("lists").iter().map(|file| file.0).collect();
    assert_eq!(generations, [4, 5]);
    drop(store);
    assert_eq!(open(&folder.0).expect("opens").created(), Nanos(4_000));
}

#[test]
fn an_operator_sets_numbers() {
    let folder = Folder::new("operator");
    let mut store = open(&folder.0).expect("creates");
    fill(&mut store, 1, 9);
    store.set_next(None, Some(77), Nanos(1)).expect("sets");
    assert_eq!(resent(&store, 1, 9), applications(1, 9));
    store.set_next(Some(2_000), None, Nanos(1)).expect("sets");
    assert_eq!(resent(&store, 1, 9), []);
    drop(store);
    let store = open(&folder.0).expect("opens");
    assert_eq!((store.next_out(), store.next_in(), store.created()), (2_000, 77, Nanos(7)));
}

/// What an intact prefix of a file says.
fn told(bytes: &[u8]) -> (u64, u64, Vec<u64>) {
    let (mut out, mut incoming, mut messages) = (1, 1, Vec::new());
    for entry in Records::new(bytes) {
        match entry.kind {
            Kind::Start => out = entry.seq,
            Kind::Received => incoming = entry.seq,
            Kind::Number | Kind::Message => out = entry.seq + 1,
        }
        if entry.kind == Kind::Message {
            messages.push(entry.seq);
        }
    }
    (out, incoming, messages)
}

#[test]
fn a_file_cut_at_any_byte_is_repaired() {
    let folder = Folder::new("cut");
    let mut store = open(&folder.0).expect("creates");
    let begins = files(&folder.0).expect("lists")[0].2.metadata().expect("is there").len() as usize;
    fill(&mut store, 1, 12);
    drop(store);
    let path = files(&folder.0).expect("lists")[0].2.clone();
    let whole = fs::read(&path).expect("reads");
    for cut in begins..whole.len() {
        fs::write(&path, &whole[..cut]).expect("writes");
        let (out, incoming, messages) = told(&whole[..cut]);
        let mut store = open(&folder.0).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!((store.next_out(), store.next_in()), (out, incoming), "cut at {cut}");
        assert_eq!(resent(&store, 1, 99), messages, "cut at {cut}");
        let torn = store.take_notes();
        let position = {
            let mut r = Records::new(&whole[..cut]);
            r.by_ref().count();
            r.position()
        };
        assert_eq!(torn.len(), usize::from(position != cut), "cut at {cut}: {torn:?}");
        // What follows stands on whole ground.
        store.sent(out, Some(&message(out)), Nanos(9)).expect("writes");
        drop(store);
        let store = open(&folder.0).expect("opens");
        assert_eq!(store.next_out(), out + 1, "cut at {cut}");
    }
}

#[test]
fn a_file_without_its_beginning_is_refused() {
    let folder = Folder::new("stub");
    drop(open(&folder.0).expect("creates"));
    let path = files(&folder.0).expect("lists")[0].2.clone();
    let whole = fs::read(&path).expect("reads");
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).expect("writes");
        let error = open(&folder.0).expect_err("is no store").to_string();
        assert!(error.contains("does not begin"), "{error}");
    }
}

#[test]
fn a_flipped_byte_is_never_taken_for_a_torn_tail() {
    let folder = Folder::new("flip");
    let mut store = open(&folder.0).expect("creates");
    fill(&mut store, 1, 6);
    drop(store);
    let path = files(&folder.0).expect("lists")[0].2.clone();
    let whole = fs::read(&path).expect("reads");
    let mut ends = Vec::new();
    let mut records = Records::new(&whole);
    while records.next().is_some() {
        ends.push(records.position());
    }
    let last = ends[ends.len() - 2];
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        fs::write(&path, &bytes).expect("writes");
        match open(&folder.0) {
            // In the last record it cannot be told from a record that was not finished.
            Ok(mut store) => assert!(at >= last && store.take_notes().len() == 1, "byte {at}"),
            Err(error) => assert!(at < last, "byte {at}: {error}"),
        }
    }
}

#[test]
fn what_is_not_ours_is_refused_with_what_to_do() {
    let folder = Folder::new("other");
    drop(open(&folder.0).expect("creates"));
    let second = Store::open(&folder.0, "FIX.4.4:A->C", Limits::default(), Durability::Process, Nanos(7));
    assert!(second.expect_err("is another's").to_string().contains("belongs to session FIX.4.4:A->B"));
    let _held = open(&folder.0).expect("opens");
    assert!(open(&folder.0).expect_err("is locked").to_string().contains("uses this store"));
}

#[test]
fn passwords_are_not_kept() {
    let folder = Folder::new("secret");
    let mut store = open(&folder.0).expect("creates");
    store.sent(1, Some(b"8=FIX.4.4\x0135=BE\x01553=me\x01554=hunter2\x01"), Nanos(1)).expect("writes");
    store.sent(2, Some(b"8=FIX.4.4\x0135=BE\x01925=hunter3\x01"), Nanos(1)).expect("writes");
    assert_eq!(store.next_out(), 3);
    let bytes = fs::read(&files(&folder.0).expect("lists")[0].2).expect("reads");
    assert!(!bytes.windows(6).any(|part| part == b"hunter"));
}

#[test]
fn names_of_folders_cannot_leave_their_parent() {
    assert_eq!(folder_name("FIX.4.4", "ISLD", "TW44"), "FIX.4.4-ISLD-TW44");
    assert_eq!(folder_name("FIX.4.4", "A-B/..", "é"), "FIX.4.4-A%2DB%2F..-%C3%A9");
}

#[test]
fn half_a_rotation_leaves_the_old_generation() {
    let folder = Folder::new("draft");
    let mut store = open(&folder.0).expect("creates");
    fill(&mut store, 1, 5);
    drop(store);
    fs::write(folder.0.join("draft"), b"half a beg").expect("writes");
    let mut store = open(&folder.0).expect("opens");
    assert_eq!(store.next_out(), 6);
    store.reset(Nanos(9)).expect("resets over the draft");
    assert_eq!(store.next_out(), 1);
}
