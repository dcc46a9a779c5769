//! Two engines in one thread, an initiator and an acceptor: the order path as a driver in Rust uses it.

use std::path::PathBuf;
use std::time::Duration;

use helios_fix::{Application, Config, Connect, Echoes, Engine, Listen, Note, SessionConfig, SessionId};
use helios_types::{Nanos, Price, Quantity};
use helios_wire::fix::{Builder, Handled, Message, Precision, Reply, Role, Settings, Version};

const FIRST: SessionId = SessionId(0);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("helios-fix-engine-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps what came.
#[derive(Default)]
struct Desk {
    came: Vec<String>,
    logons: u32,
    logouts: u32,
    notes: Vec<String>,
}

impl Application for Desk {
    fn message(&mut self, _: SessionId, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        self.came.push(String::from_utf8_lossy(message.get(11).unwrap_or_default()).into_owned());
        Handled::Done
    }

    fn logged_on(&mut self, _: SessionId) {
        self.logons += 1;
    }

    fn logged_out(&mut self, _: SessionId) {
        self.logouts += 1;
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note.text);
    }
}

/// Sends orders back, and keeps what came: their number, and whether it is marked as a duplicate.
struct Counting {
    echoes: Echoes,
    came: Vec<(u64, bool)>,
}

impl Application for Counting {
    fn message(&mut self, session: SessionId, message: &Message<'_>, reply: &mut Reply<'_>) -> Handled {
        self.came.push((message.get_u64(11).expect("is an order"), message.is_yes(43)));
        self.echoes.message(session, message, reply)
    }
}

fn engine<A: Application>(folder: &Folder, role: Role, port: u16, app: A) -> Engine<A> {
    let (sender, target) = if role == Role::Initiator { ("US", "THEM") } else { ("THEM", "US") };
    let mut session = SessionConfig::new(Settings::new(role, Version::Fix44, sender, target));
    let mut listen = Vec::new();
    match role {
        Role::Initiator => {
            session.connect = Some(Connect {
                addresses: vec![format!("127.0.0.1:{port}")],
                tls: None,
                pause_min: Nanos(20_000_000),
                pause_max: Nanos(100_000_000),
                timeout: Nanos(5_000_000_000),
            });
        }
        Role::Acceptor => {
            listen.push(Listen { address: ([127, 0, 0, 1], port).into(), tls: None });
        }
    }
    let config = Config {
        listen,
        sessions: vec![session],
        store: folder.0.clone(),
        max_pending: 4,
        logon_timeout: Nanos(5_000_000_000),
    };
    Engine::new(config, app).expect("starts")
}

fn turn<A: Application, B: Application>(a: &mut Engine<A>, b: &mut Engine<B>, done: impl Fn(&mut Engine<A>) -> bool) {
    for _ in 0..20_000 {
        a.turn(Duration::from_millis(1)).expect("turns");
        b.turn(Duration::ZERO).expect("turns");
        if done(a) {
            return;
        }
    }
    panic!("it does not come about: {:?}", a.status());
}

fn alone<A: Application>(a: &mut Engine<A>, done: impl Fn(&mut Engine<A>) -> bool) {
    for _ in 0..5_000 {
        a.turn(Duration::from_millis(1)).expect("turns");
        if done(a) {
            return;
        }
    }
    panic!("it does not come about: {:?}", a.status());
}

fn order(builder: &mut Builder, id: u64) {
    builder.number(11, id);
    builder.field(55, b"KO");
    builder.char(54, b'1');
    builder.timestamp(60, Nanos(1_790_000_000_000_000_000), Precision::Millis);
    builder.quantity(38, Quantity(100 * 100_000_000));
    builder.char(40, b'2');
    builder.price(44, Price(10_500_000_000));
}

#[test]
fn orders_go_out_and_come_back() {
    let folder = Folder::new("orders");
    let mut them = engine(&folder, Role::Acceptor, 0, Echoes::new(1, None));
    let port = them.addresses()[0].port();
    let mut us = engine(&folder, Role::Initiator, port, Desk::default());
    assert!(us.send(FIRST, b"D", &[], |b| order(b, 0)).expect_err("is not logged on").contains("not logged on"));
    turn(&mut us, &mut them, |us| us.status()[0].logged_on);
    for id in 1..=500 {
        assert_eq!(us.send(FIRST, b"D", &[], |b| order(b, id)), Ok(id + 1));
    }
    turn(&mut us, &mut them, |us| us.app().came.len() == 500);
    assert_eq!(us.app().came, (1..=500).map(|id| id.to_string()).collect::<Vec<_>>());
    us.stop("enough");
    let mut turns = 0;
    while us.turn(Duration::from_millis(1)).expect("turns") {
        them.turn(Duration::ZERO).expect("turns");
        turns += 1;
        assert!(turns < 5_000, "{:?}", us.app().notes);
    }
    assert_eq!((us.app().logons, us.app().logouts), (1, 1));
    assert!(us.app().notes.iter().any(|note| note.contains("disconnected")));
}

#[test]
fn an_order_leaves_without_allocation() {
    let folder = Folder::new("allocation");
    let mut them = engine(&folder, Role::Acceptor, 0, Echoes::new(1, None));
    let port = them.addresses()[0].port();
    let mut us = engine(&folder, Role::Initiator, port, Desk::default());
    turn(&mut us, &mut them, |us| us.status()[0].logged_on);
    for id in 1..=100 {
        us.send(FIRST, b"D", &[], |b| order(b, id)).expect("is sent");
    }
    turn(&mut us, &mut them, |us| us.app().came.len() == 100);
    let mut sent = 0;
    let info = allocation_counter::measure(|| {
        for id in 101..=200 {
            sent += u64::from(us.send(FIRST, b"D", &[], |b| order(b, id)).is_ok());
        }
    });
    assert_eq!(sent, 100);
    assert_eq!(info.count_total, 0, "{info:?}");
    turn(&mut us, &mut them, |us| us.app().came.len() == 200);
}

#[test]
fn an_engine_that_died_is_continued_by_the_next() {
    let folder = Folder::new("next");
    let counting = Counting { echoes: Echoes::new(1, None), came: Vec::new() };
    let mut them = engine(&folder, Role::Acceptor, 0, counting);
    let port = them.addresses()[0].port();
    let mut numbers = (1, 1);
    let mut back = std::collections::BTreeSet::new();
    for life in 0..5 {
        let mut us = engine(&folder, Role::Initiator, port, Desk::default());
        let status = us.status()[0].clone();
        assert!(status.next_out >= numbers.0 && status.next_in >= numbers.1, "{status:?} after {numbers:?}");
        turn(&mut us, &mut them, |us| us.status()[0].logged_on);
        for id in 0..20 {
            us.send(FIRST, b"D", &[], |b| order(b, life * 20 + id)).expect("is sent");
        }
        // Gone without a word; every other time without having heard the answers.
        if life % 2 == 0 {
            turn(&mut us, &mut them, |us| !us.app().came.is_empty());
        } else {
            alone(&mut them, |them| them.app().came.len() as u64 == (life + 1) * 20);
        }
        let status = us.status()[0].clone();
        numbers = (status.next_out, status.next_in);
        back.append(&mut us.app().came.drain(..).collect());
        drop(us);
        for _ in 0..200 {
            them.turn(Duration::from_millis(1)).expect("turns");
            if !them.status()[0].connected {
                break;
            }
        }
    }
    let mut us = engine(&folder, Role::Initiator, port, Desk::default());
    turn(&mut us, &mut them, |us| us.status()[0].logged_on);
    // What was under way when it died is asked for by both sides.
    for _ in 0..5_000 {
        us.turn(Duration::from_millis(1)).expect("turns");
        them.turn(Duration::ZERO).expect("turns");
        let (near, far) = (us.status()[0].clone(), them.status()[0].clone());
        if (near.next_out, near.next_in) == (far.next_in, far.next_out) {
            assert!(near.next_out > 100, "{near:?}");
            let came: Vec<u64> = them.app().came.iter().map(|(id, _)| *id).collect();
            assert_eq!(came, (0..100).collect::<Vec<_>>());
            // Answers that one life did not hear came to a later one.
            back.append(&mut us.app().came.drain(..).collect());
            assert_eq!(back, (0..100).map(|id: u64| id.to_string()).collect());
            return;
        }
    }
    panic!("numbers do not agree: {:?} {:?}", us.status(), them.status());
}
