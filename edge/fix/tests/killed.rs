//! A process that writes a store is killed at any moment; the store then says at least what the process had told.
//!
//! A file of its own: a process that is being started holds the locks of the tests around it for a moment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use helios_fix::{Durability, Limits, Store, StoreError};
use helios_types::Nanos;

const LIMITS: Limits = Limits { segment_bytes: 20_000, segments: 8, generations: 1 };

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, "FIX.4.4:A->B", LIMITS, Durability::Process, Nanos(7))
}

fn message(seq: u64) -> Vec<u8> {
    format!("8=FIX.4.4\x0135=D\x0134={seq}\x0158={}\x01", "x".repeat(seq as usize % 50)).into_bytes()
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os("HELIOS_FIX_STORE_CHILD") else { return };
    let mut store = open(Path::new(&folder)).expect("opens");
    let (mut out, mut incoming) = (store.next_out(), store.next_in());
    loop {
        if out > 700 {
            store.reset(Nanos(out)).expect("resets");
            (out, incoming) = (1, 1);
        }
        store.sent(out, Some(&message(out)), Nanos(out)).expect("writes");
        println!("\nsent {out}");
        store.received(incoming + 1, Nanos(out)).expect("writes");
        println!("\nreceived {incoming}");
        (out, incoming) = (out + 1, incoming + 1);
    }
}

#[test]
fn a_killed_process_loses_nothing_it_had_told() {
    let folder = std::env::temp_dir().join(format!("helios-fix-killed-{}", std::process::id()));
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("runs"))
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env("HELIOS_FIX_STORE_CHILD", &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines().map_while(Result::ok);
        let enough = 50 + round * 137;
        let (mut out, mut incoming, mut count) = (0, 0, 0);
        let mut read = |line: String| {
            match line.split_once(' ') {
                Some(("sent", seq)) => out = seq.parse().expect("is a number"),
                Some(("received", seq)) => incoming = seq.parse().expect("is a number"),
                _ => return 0,
            }
            1
        };
        for line in lines.by_ref() {
            count += read(line);
            if count == enough {
                break;
            }
        }
        // SIGKILL, at whatever it does now; then what it had told before it died.
        child.kill().expect("is killed");
        child.wait().expect("is dead");
        lines.for_each(|line| {
            read(line);
        });
        let store = open(&folder).expect("opens");
        let reset = store.next_out() < 3 && out == 700;
        assert!(reset || (out + 1..=out + 2).contains(&store.next_out()), "told {out}, stored {store:?}");
        assert!(reset || (incoming + 1..=incoming + 2).contains(&store.next_in()), "told {incoming}, stored {store:?}");
        let mut kept = Vec::new();
        store
            .resend(1, 1_000, &mut |seq, bytes| {
                assert_eq!(bytes, message(seq));
                kept.push(seq);
            })
            .expect("reads");
        assert_eq!(kept, (1..store.next_out()).collect::<Vec<_>>());
    }
    std::fs::remove_dir_all(&folder).expect("is removed");
}
