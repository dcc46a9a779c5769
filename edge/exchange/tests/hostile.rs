//! Whatever comes from outside: nothing panics, everything is bounded, others are served.

mod world;

use helios_exchange::{Client, Config, Fault, Protocol, VenueConfig};
use helios_types::{NANOS_PER_SECOND, Rng};
use helios_wire::ouch::{inbound, outbound};
use helios_wire::soupbintcp::Packet;
use helios_wire::{moldudp64, ouch42};
use world::{Reader, Stage, assert_same};

fn stage(connections: usize) -> Stage {
    let mut config = Config::new(vec![VenueConfig::quiet("XNAS", &["AAPL", "MSFT"])], world::MIDNIGHT)
        .with_user("ANN", "secret")
        .with_user("BOB", "secret");
    config.limits.connections = connections;
    Stage::new(config)
}

fn order(user_ref_num: u32) -> Vec<u8> {
    let message = inbound::EnterOrder {
        user_ref_num,
        side: b'B',
        quantity: 100,
        symbol: *b"AAPL    ",
        price: 100_000,
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        intermarket_sweep_eligibility: b'N',
        cross_type: b'N',
        cl_ord_id: [b' '; 14],
        appendage_length: 0,
    };
    message.encode().to_vec()
}

/// Bytes, some of which look like something: a genuine stream with changes.
fn noise(rng: &mut Rng, genuine: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..rng.below(4) {
        if rng.below(3) == 0 {
            bytes.extend((0..rng.below(200)).map(|_| rng.next_u64() as u8));
        } else {
            bytes.extend(&genuine[rng.below(genuine.len() as u64) as usize]);
        }
    }
    for _ in 0..rng.below(4) {
        if let Some(at) = (!bytes.is_empty()).then(|| rng.below(bytes.len() as u64) as usize) {
            bytes[at] = rng.next_u64() as u8;
        }
    }
    bytes
}

fn packet(packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.append_to(&mut bytes);
    bytes
}

/// What real clients say, as bytes of a connection.
fn genuine() -> Vec<Vec<u8>> {
    let login = |user: &str| {
        let request = helios_wire::soupbintcp::LoginRequest::new(user, "secret", "", 1).expect("short texts");
        packet(Packet::LoginRequest(request))
    };
    let cancel42 = ouch42::inbound::CancelOrder { order_token: [b'A'; 14], shares: 0 }.encode();
    let replace = inbound::ReplaceOrder {
        orig_user_ref_num: 1,
        user_ref_num: 2,
        quantity: 50,
        price: 100_100,
        time_in_force: b'0',
        display: b'Y',
        intermarket_sweep_eligibility: b'N',
        cl_ord_id: [b' '; 14],
        appendage_length: 0,
    };
    let fix = |body: &str| {
        let body = body.replace('|', "\x01");
        let head = format!("8=FIX.4.4\x019={}\x01{body}", body.len());
        let sum: u32 = head.bytes().map(u32::from).sum();
        format!("{head}10={:03}\x01", sum % 256).into_bytes()
    };
    let header = "49=ANN|56=XNAS|52=20231115-10:00:00|";
    vec![
        login("ANN"),
        login("BOB"),
        packet(Packet::UnsequencedData(&order(1))),
        packet(Packet::UnsequencedData(&replace.encode())),
        packet(Packet::UnsequencedData(&inbound::CancelOrder { user_ref_num: 1, quantity: 0 }.encode())),
        packet(Packet::UnsequencedData(&cancel42)),
        packet(Packet::UnsequencedData(&inbound::AccountQuery {}.encode())),
        packet(Packet::ClientHeartbeat),
        packet(Packet::LogoutRequest),
        fix(&format!("35=A|34=1|{header}98=0|108=30|554=secret|")),
        fix(&format!("35=D|34=2|{header}11=1|55=AAPL|54=1|38=100|40=2|44=10|60=20231115-10:00:00|")),
        fix(&format!("35=G|34=3|{header}11=2|41=1|55=AAPL|54=1|38=200|40=2|44=10|60=20231115-10:00:00|")),
        fix(&format!("35=2|34=4|{header}7=1|16=0|")),
    ]
}

#[test]
fn noise_does_no_harm() {
    let genuine = genuine();
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut stage = stage(20);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..400 {
            if clients.len() < 8 || rng.below(20) == 0 {
                let protocol = Protocol::ALL[rng.below(Protocol::ALL.len() as u64) as usize];
                clients.push(stage.connect(0, protocol));
            }
            let client = clients[rng.below(clients.len() as u64) as usize];
            let bytes = noise(&mut rng, &genuine);
            stage.bytes(client, &bytes);
            let request = noise(&mut rng, &[moldudp64::encode_request(*b"HELIOS    ", 1, 9).to_vec()]);
            let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
            exchange.on_request(0, 1, &request, now, world);
            if rng.below(10) == 0 {
                stage.close(client);
            }
            if rng.below(10) == 0 {
                stage.pass(rng.below(NANOS_PER_SECOND));
            }
        }
        let mut reader = Reader::new(2);
        stage.feed(0, 0).iter().for_each(|message| reader.read(message));
        assert_same(&reader, stage.exchange.books(0));
    }
}

#[test]
fn faults_drawn_at_random_do_no_harm() {
    let words = [
        "drop p=0.2",
        "duplicate p=0.2",
        "reorder p=0.3",
        "delay by=3ms p=0.5",
        "silent port=ouch50 for=100ms",
        "silent line=B for=200ms",
        "refuse-logins p=0.5",
        "refuse-orders p=0.3",
        "disconnect p=0.05",
        "disconnect",
        "delay port=ouch50 by=10ms",
        "delay line=retransmission by=1ms",
    ];
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut stage = stage(50);
        let mut numbers = 1;
        for _ in 0..300 {
            let fault = Fault::parse(words[rng.below(words.len() as u64) as usize]).expect("a fault");
            let (now, Stage { exchange, world, .. }) = (stage.now, &mut stage);
            if rng.below(5) == 0 && exchange.fault(fault, now, world).is_err() {
                exchange.clear_faults();
            }
            let client = stage.login(0, Protocol::Ouch50, if rng.below(2) == 0 { "ANN" } else { "BOB" }, 1);
            for _ in 0..5 {
                stage.send(client, &order(numbers));
                numbers += 1;
            }
            stage.pass(rng.below(NANOS_PER_SECOND / 10));
        }
        stage.exchange.clear_faults();
        stage.pass(NANOS_PER_SECOND);
        // Whatever was lost on the lines, a snapshot is the books.
        let client = stage.login(0, Protocol::Snapshot, "ANN", 1);
        let mut reader = Reader::new(2);
        let messages = stage.take(client);
        messages.iter().filter(|m| !matches!(m[0], b'+' | b'G')).for_each(|message| reader.read(message));
        assert_same(&reader, stage.exchange.books(0));
    }
}

#[test]
fn a_slow_client_waits_for_room_and_gets_everything() {
    let mut stage = stage(10);
    let client = stage.login(0, Protocol::Ouch50, "ANN", 1);
    stage.world.room = Some(200);
    for number in 1..=500 {
        stage.send(client, &order(number));
    }
    let before = stage.world.heard[&client].len();
    assert!(before < 300, "no more than there is room for: {before} bytes");
    for _ in 0..200 {
        stage.world.room = Some(4_000);
        stage.pass(NANOS_PER_SECOND / 100);
    }
    stage.world.room = None;
    let messages = stage.take(client);
    let accepted = messages.iter().filter(|message| message[0] == outbound::OrderAccepted::TYPE);
    assert_eq!(accepted.count(), 500);
}

#[test]
fn too_many_connections_are_refused_and_silent_ones_end() {
    let mut stage = stage(3);
    let all: Vec<Client> = (0..5).map(|_| stage.connect(0, Protocol::Ouch50)).collect();
    assert_eq!(stage.world.closed, all[3..]);
    stage.pass(31 * NANOS_PER_SECOND);
    assert_eq!(stage.world.closed.len(), 5);
    let logged_in = stage.login(0, Protocol::Ouch42, "ANN", 1);
    stage.pass(16 * NANOS_PER_SECOND);
    assert!(stage.world.closed.contains(&logged_in), "a client that sends no heartbeats is gone");
}

#[test]
fn passwords_are_in_no_note() {
    let mut stage = stage(10);
    for user in ["ANN", "EVE"] {
        stage.login(0, Protocol::Ouch50, user, 1);
    }
    let mut config = Config::new(vec![VenueConfig::quiet("XNAS", &["AAPL"])], world::MIDNIGHT);
    config = config.with_user("ANN", "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!stage.world.notes.is_empty());
    assert!(stage.world.notes.iter().all(|note| !note.contains("secret")), "{:?}", stage.world.notes);
}
