//! Order entry and drop copies by FIX 4.4, with our own initiator at the other end.

mod world;

use helios_exchange::{Client, Config, Protocol, VenueConfig};
use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_wire::fix::{Closed, Handled, Message, Outside, Reply, Role, Session, Settings, Stored, Version};
use world::{Stage, World};

/// A session that keeps what it sent, and what it heard as text.
struct Trader {
    session: Session,
    own: Own,
    client: Client,
    protocol: Protocol,
}

#[derive(Default)]
struct Own {
    to_send: Vec<u8>,
    sent: Vec<(u64, Vec<u8>)>,
    heard: Vec<String>,
    closed: Option<Closed>,
}

impl Outside for Own {
    fn write(&mut self, bytes: &[u8]) {
        self.to_send.extend_from_slice(bytes);
    }
    fn close(&mut self, why: &Closed) {
        self.closed = Some(why.clone());
    }
    fn sent(&mut self, seq: u64, message: Option<&[u8]>) {
        self.sent.extend(message.map(|message| (seq, message.to_vec())));
    }
    fn received(&mut self, _: u64) {}
    fn resend(&mut self, from: u64, to: u64, each: &mut dyn FnMut(u64, &[u8])) {
        self.sent.iter().filter(|(seq, _)| (from..=to).contains(seq)).for_each(|(seq, message)| each(*seq, message));
    }
    fn reset(&mut self, _: Nanos) {
        self.sent.clear();
    }
    fn application(&mut self, message: &Message<'_>, _: &mut Reply<'_>) -> Handled {
        let fields = message.iter().filter(|(tag, _)| ![8, 9, 34, 49, 56, 52, 60, 10, 43, 122].contains(tag));
        let text: Vec<String> =
            fields.map(|(tag, value)| format!("{tag}={}", String::from_utf8_lossy(value))).collect();
        self.heard.push(text.join("|"));
        Handled::Done
    }
}

impl Trader {
    fn new(stage: &mut Stage, user: &str, protocol: Protocol) -> Self {
        let settings = Settings {
            password: Some("secret".to_owned()),
            heartbeat_s: 5,
            ..Settings::new(Role::Initiator, Version::Fix44, user, "XNAS")
        };
        let session = Session::new(settings, Stored::fresh(stage.now));
        let mut trader = Self { session, own: Own::default(), client: Client(0), protocol };
        trader.connect(stage);
        trader
    }

    fn connect(&mut self, stage: &mut Stage) {
        self.client = stage.connect(0, self.protocol);
        self.own.closed = None;
        self.session.on_connected(stage.now, &mut self.own);
        self.exchange(stage);
    }

    /// Bytes go both ways until nobody has anything to say.
    fn exchange(&mut self, stage: &mut Stage) {
        loop {
            let to_send = std::mem::take(&mut self.own.to_send);
            if !to_send.is_empty() {
                stage.bytes(self.client, &to_send);
            }
            let heard = stage.world.heard.remove(&self.client).unwrap_or_default();
            self.session.on_bytes(&heard, stage.now, &mut self.own);
            if self.own.to_send.is_empty() && heard.is_empty() {
                return;
            }
        }
    }

    fn lose(&mut self, stage: &mut Stage) {
        stage.close(self.client);
        stage.world.heard.remove(&self.client);
        self.session.on_closed(stage.now, &mut self.own);
    }

    /// Sends fields written as `tag=value|…`, beginning with 35.
    fn say(&mut self, stage: &mut Stage, text: &str) -> Vec<String> {
        let (kind, rest) = text.strip_prefix("35=").and_then(|text| text.split_once('|')).expect("a message");
        let time = if kind == "H" || kind == "R" { "" } else { "60=20231115-15:00:00|" };
        let body = format!("{rest}|{time}").replace('|', "\x01");
        self.session
            .send(kind.as_bytes(), |builder| builder.raw(body.as_bytes()), stage.now, &mut self.own)
            .expect("a session that is logged on");
        self.exchange(stage);
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.own.heard)
    }
}

fn stage() -> Stage {
    let mut config = Config::new(vec![VenueConfig::quiet("XNAS", &["AAPL", "MSFT"])], world::MIDNIGHT)
        .with_user("ANN", "secret")
        .with_user("BOB", "secret")
        .with_user("EYE", "secret");
    config.users[2].sees_all = true;
    config.users[0].cancel_on_disconnect = false;
    Stage::new(config)
}

/// The value of a tag.
fn get(message: &str, tag: u32) -> &str {
    let prefix = format!("{tag}=");
    message.split('|').find_map(|field| field.strip_prefix(&prefix)).unwrap_or("")
}

/// Of each message: type, ExecType, OrdStatus, ClOrdID, OrigClOrdID, OrderQty, CumQty, LeavesQty, AvgPx.
fn short(messages: &[String]) -> Vec<String> {
    let tags = [35, 150, 39, 11, 41, 38, 14, 151, 6];
    messages.iter().map(|message| tags.map(|tag| get(message, tag)).join(" ")).collect()
}

const BUY: &str = "35=D|11=A1|55=AAPL|54=1|38=300|40=2|44=10|21=1";

#[test]
fn an_order_lives_and_dies() {
    let mut stage = stage();
    let (mut ann, mut bob) =
        (Trader::new(&mut stage, "ANN", Protocol::Fix), Trader::new(&mut stage, "BOB", Protocol::Fix));
    assert!(ann.session.is_logged_on() && bob.session.is_logged_on());
    assert_eq!(short(&ann.say(&mut stage, BUY)), ["8 0 0 A1  300 0 300 0"]);
    let taken = bob.say(&mut stage, "35=D|11=B1|55=AAPL|54=2|38=100|40=2|44=9.99|59=3|21=1");
    assert_eq!(short(&taken), ["8 0 0 B1  100 0 100 0", "8 F 2 B1  100 100 0 10.00000000"]);
    assert_eq!((get(&taken[1], 31), get(&taken[1], 527), get(&taken[1], 851)), ("10.0000", "1", "2"));
    ann.exchange(&mut stage);
    let filled = ann.take();
    assert_eq!(short(&filled), ["8 F 1 A1  300 100 200 10.00000000"]);
    assert_eq!((get(&filled[0], 527), get(&filled[0], 851)), ("1", "1"));
    // A replacement: the total is of the chain, the OrderID stays.
    let replaced = ann.say(&mut stage, "35=G|41=A1|11=A2|55=AAPL|54=1|38=500|40=2|44=10.5|21=1");
    assert_eq!(short(&replaced), ["8 5 1 A2 A1 500 100 400 10.00000000"]);
    assert_eq!(get(&replaced[0], 37), get(&filled[0], 37));
    bob.say(&mut stage, "35=D|11=B2|55=AAPL|54=2|38=100|40=1|59=3|21=1");
    ann.exchange(&mut stage);
    assert_eq!(short(&ann.take()), ["8 F 1 A2  500 200 300 10.25000000"]);
    assert_eq!(short(&ann.say(&mut stage, "35=H|11=A2|55=AAPL|54=1|790=S1")), ["8 I 1 A2  500 200 300 10.25000000"]);
    assert_eq!(
        short(&ann.say(&mut stage, "35=F|41=A2|11=A3|55=AAPL|54=1|38=500")),
        ["8 4 4 A3 A2 500 200 0 10.25000000"]
    );
    // Too late, unknown, used.
    let late = ann.say(&mut stage, "35=F|41=A2|11=A4|55=AAPL|54=1|38=500");
    assert_eq!((get(&late[0], 35), get(&late[0], 102), get(&late[0], 39), get(&late[0], 434)), ("9", "0", "4", "1"));
    let late = ann.say(&mut stage, "35=G|41=XX|11=A5|55=AAPL|54=1|38=500|40=2|44=10|21=1");
    assert_eq!((get(&late[0], 35), get(&late[0], 102), get(&late[0], 37), get(&late[0], 434)), ("9", "1", "NONE", "2"));
    let used = ann.say(&mut stage, BUY);
    assert_eq!((get(&used[0], 150), get(&used[0], 103)), ("8", "6"));
    assert_eq!(short(&ann.say(&mut stage, "35=H|11=A2|55=AAPL|54=1")), ["8 I 4 A2  500 200 0 10.25000000"]);
    assert_eq!(get(&ann.say(&mut stage, "35=H|11=XX|55=AAPL|54=1")[0], 39), "8");
    let ledger = stage.exchange.ledger("ANN").expect("a user");
    assert_eq!((ledger.executed, ledger.open, ledger.cash), (2, 0, -(1_000_000 * 10 + 1_000_000 * 10 + 500_000)));
}

#[test]
fn terms_and_refusals() {
    let mut stage = stage();
    let mut ann = Trader::new(&mut stage, "ANN", Protocol::Fix);
    let mut n = 0;
    let mut say = |stage: &mut Stage, text: &str| {
        n += 1;
        let messages = ann.say(stage, &format!("35=D|11=R{n}|21=1|{text}"));
        messages
            .iter()
            .map(|m| format!("{} {}{}", get(m, 150), get(m, 103), get(m, 380)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(say(&mut stage, "55=NONE|54=1|38=100|40=2|44=10"), "8 1");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=0|40=2|44=10"), "8 13");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10.001"), "8 99");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10.00001"), " 0");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2"), " 5");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=1"), "8 99");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100.5|40=2|44=10"), " 0");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=3|99=10"), "8 11");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10|59=1"), "8 11");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10|18=M"), "8 11");
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10|111=50"), "8 11");
    // Hidden, post-only, whole or not at all, immediate.
    assert_eq!(say(&mut stage, "55=AAPL|54=1|38=100|40=2|44=10|111=0"), "0 ");
    assert_eq!(say(&mut stage, "55=MSFT|54=2|38=100|40=2|44=11|18=6"), "0 ");
    assert_eq!(say(&mut stage, "55=MSFT|54=1|38=200|40=2|44=11|18=6"), "0 , 4 ");
    assert_eq!(say(&mut stage, "55=MSFT|54=1|38=200|40=2|44=10|59=4"), "0 , 4 ");
    let until = "126=20231115-09:00:00";
    assert_eq!(say(&mut stage, &format!("55=MSFT|54=1|38=200|40=2|44=9|59=6|{until}")), "8 11");
    let mut reader = world::Reader::new(2);
    stage.feed(0, 0).iter().for_each(|message| reader.read(message));
    assert_eq!(reader.books.len(), 1, "only the post-only order is shown");
    let report = ann.say(&mut stage, "35=q|11=M1|530=7");
    assert_eq!(short(&report[..2]).len(), 2);
    assert_eq!((get(&report[2], 35), get(&report[2], 531)), ("r", "7"));
    assert_eq!(stage.exchange.open_orders(0), 0);
    assert_eq!(get(&ann.say(&mut stage, "35=R|131=1|146=1|55=AAPL")[0], 35), "j");
}

#[test]
fn what_happens_while_nobody_is_there_comes_later() {
    let mut stage = stage();
    let (mut ann, mut bob) =
        (Trader::new(&mut stage, "ANN", Protocol::Fix), Trader::new(&mut stage, "BOB", Protocol::Fix));
    ann.say(&mut stage, BUY);
    // The report of the first fill is lost with the connection, that of the second finds nobody.
    bob.say(&mut stage, "35=D|11=B1|55=AAPL|54=2|38=100|40=2|44=10|59=3|21=1");
    ann.lose(&mut stage);
    bob.say(&mut stage, "35=D|11=B2|55=AAPL|54=2|38=50|40=2|44=10|59=3|21=1");
    stage.pass(NANOS_PER_SECOND);
    ann.connect(&mut stage);
    stage.pass(NANOS_PER_SECOND / 10);
    ann.exchange(&mut stage);
    let mut heard = short(&ann.take());
    heard.sort();
    assert_eq!(heard, ["8 F 1 A1  300 100 200 10.00000000", "8 F 1 A1  300 150 150 10.00000000"]);
    // Bob's orders are cancelled with his connection.
    bob.say(&mut stage, "35=D|11=B3|55=AAPL|54=2|38=100|40=2|44=12|21=1");
    bob.lose(&mut stage);
    bob.connect(&mut stage);
    assert_eq!(short(&bob.take()), ["8 4 4 B3  100 0 0 0"]);
    let second = Trader::new(&mut stage, "BOB", Protocol::Fix);
    assert!(stage.world.closed.contains(&second.client), "a session has one connection");
    assert!(bob.session.is_logged_on());
    let stranger = Trader::new(&mut stage, "EVE", Protocol::Fix);
    assert!(stage.world.closed.contains(&stranger.client) && !stranger.session.is_logged_on());
}

#[test]
fn drop_copies_tell_all_trades_once() {
    let mut stage = stage();
    let mut ann = Trader::new(&mut stage, "ANN", Protocol::Fix);
    let bob = stage.login(0, Protocol::Ouch50, "BOB", 1);
    ann.say(&mut stage, BUY);
    let order = helios_wire::ouch::inbound::EnterOrder {
        user_ref_num: 7,
        side: b'S',
        quantity: 120,
        symbol: *b"AAPL    ",
        price: 100_000,
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        intermarket_sweep_eligibility: b'N',
        cross_type: b'N',
        cl_ord_id: *b"4711          ",
        appendage_length: 0,
    };
    stage.send(bob, &order.encode());
    let mut eye = Trader::new(&mut stage, "EYE", Protocol::DropCopy);
    let mut own = Trader::new(&mut stage, "BOB", Protocol::DropCopy);
    stage.pass(NANOS_PER_SECOND / 10);
    eye.exchange(&mut stage);
    own.exchange(&mut stage);
    let of = |messages: &[String]| -> Vec<String> {
        messages.iter().map(|m| [1, 11, 54, 32, 31, 527].map(|tag| get(m, tag)).join(" ")).collect()
    };
    let all = eye.take();
    assert_eq!(of(&all), ["BOB 4711 2 120 10.0000 1", "ANN A1 1 120 10.0000 1"]);
    assert_eq!(of(&own.take()), ["BOB 4711 2 120 10.0000 1"]);
    // Orders cannot be sent on it.
    assert_eq!(get(&eye.say(&mut stage, BUY)[0], 35), "j");
    // Lost and back: only what is new.
    eye.lose(&mut stage);
    stage.send(bob, &helios_wire::ouch::inbound::EnterOrder { user_ref_num: 8, ..order }.encode());
    eye.connect(&mut stage);
    stage.pass(NANOS_PER_SECOND / 10);
    eye.exchange(&mut stage);
    assert_eq!(of(&eye.take()), ["BOB 4711 2 120 10.0000 2", "ANN A1 1 120 10.0000 2"]);
    // One that has lost its numbers hears the day again.
    eye.lose(&mut stage);
    let mut settings = eye.session.settings().clone();
    settings.reset_on_logon = true;
    eye.session = Session::new(settings, Stored::fresh(stage.now));
    eye.connect(&mut stage);
    stage.pass(NANOS_PER_SECOND / 10);
    eye.exchange(&mut stage);
    assert_eq!(of(&eye.take()).len(), 4);
}

#[test]
fn a_session_ends_with_the_day_and_with_silence() {
    let mut stage = stage();
    let mut ann = Trader::new(&mut stage, "ANN", Protocol::Fix);
    let silent = stage.connect(0, Protocol::Fix);
    let garbage = stage.connect(0, Protocol::Fix);
    stage.bytes(garbage, b"GET / HTTP/1.1\r\n\r\n8=FIX.4.4\x019=5\x01");
    let flood = stage.connect(0, Protocol::Fix);
    for _ in 0..1_000 {
        stage.bytes(flood, &[b'8'; 1_000]);
    }
    ann.say(&mut stage, BUY);
    for _ in 0..40 {
        stage.pass(NANOS_PER_SECOND);
        ann.session.on_tick(stage.now, &mut ann.own);
        ann.exchange(&mut stage);
    }
    for client in [silent, garbage, flood] {
        assert!(stage.world.closed.contains(&client));
    }
    assert!(ann.session.is_logged_on());
    let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
    exchange.end(now, world);
    stage.pass(NANOS_PER_SECOND);
    ann.exchange(&mut stage);
    stage.pass(NANOS_PER_SECOND);
    assert_eq!(short(&ann.take()), ["8 C C A1  300 0 0 0"]);
    assert!(stage.world.closed.contains(&ann.client));
    let _: &World = &stage.world;
}
