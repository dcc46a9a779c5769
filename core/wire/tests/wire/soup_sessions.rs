//! The two ends of a SoupBinTCP session, against each other and against bytes written by hand.

use std::collections::BTreeMap;

use helios_types::{NANOS_PER_SECOND, Nanos};
use helios_wire::soupbintcp::{
    Accepted, Client, ClientOut, ClientSettings, Closed, HEADER_LENGTH, Justify, Limits, LoginAccepted, LoginRequest,
    MAX_PAYLOAD, MemoryStore, Packet, Server, ServerFull, ServerOut, SoupError, Store, StoreFull, header, kind, number,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND: u64 = NANOS_PER_SECOND;

fn at(seconds: f64) -> Nanos {
    Nanos((seconds * SECOND as f64) as u64)
}

fn bytes_of(packet: Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.append_to(&mut bytes);
    bytes
}

fn accepted(session: &str, next: u64) -> Vec<u8> {
    bytes_of(Packet::LoginAccepted(LoginAccepted::new(session, next).expect("a short name")))
}

fn request(username: &str, password: &str, session: &str, next: u64) -> Vec<u8> {
    bytes_of(Packet::LoginRequest(LoginRequest::new(username, password, session, next).expect("short texts")))
}

/// What a client said and heard.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    wrote: Vec<u8>,
    messages: Vec<(u64, Vec<u8>)>,
    unsequenced: Vec<Vec<u8>>,
    accepted: Vec<Accepted>,
    heartbeats: u32,
    ended: bool,
    closed: Option<Closed>,
}

impl ClientOut for Heard {
    fn write(&mut self, bytes: &[u8]) {
        self.wrote.extend_from_slice(bytes);
    }
    fn close(&mut self, why: &Closed) {
        assert_eq!(self.closed.replace(why.clone()), None, "closed once");
    }
    fn accepted(&mut self, login: &Accepted) {
        self.accepted.push(*login);
    }
    fn message(&mut self, number: u64, payload: &[u8]) {
        self.messages.push((number, payload.to_vec()));
    }
    fn unsequenced(&mut self, payload: &[u8]) {
        self.unsequenced.push(payload.to_vec());
    }
    fn heartbeat(&mut self) {
        self.heartbeats += 1;
    }
    fn ended(&mut self) {
        self.ended = true;
    }
}

fn client() -> Client {
    Client::new(ClientSettings::new("me", "secret").expect("short texts"))
}

/// A client that is logged in to session S1 with message 1 next.
fn live() -> (Client, Heard) {
    let (mut client, mut heard) = (client(), Heard::default());
    client.on_connected(at(0.0), &mut heard);
    client.on_bytes(&accepted("S1", 1), at(0.0), &mut heard);
    assert!(client.is_live());
    (client, Heard::default())
}

/// What a server wrote to each connection and heard of each user.
#[derive(Debug, Default)]
struct Port {
    wrote: BTreeMap<u64, Vec<u8>>,
    messages: Vec<(usize, Vec<u8>)>,
    closed: Vec<(u64, Closed)>,
    users: Vec<(usize, bool)>,
    room: Option<usize>,
}

impl ServerOut for Port {
    fn write(&mut self, connection: u64, bytes: &[u8]) {
        self.wrote.entry(connection).or_default().extend_from_slice(bytes);
    }
    fn close(&mut self, connection: u64, why: &Closed) {
        self.closed.push((connection, why.clone()));
    }
    fn message(&mut self, user: usize, payload: &[u8]) {
        self.messages.push((user, payload.to_vec()));
    }
    fn logged_in(&mut self, user: usize) {
        self.users.push((user, true));
    }
    fn logged_out(&mut self, user: usize) {
        self.users.push((user, false));
    }
    fn room(&self, _: u64) -> usize {
        self.room.unwrap_or(usize::MAX)
    }
}

impl Port {
    fn taken(&mut self, connection: u64) -> Vec<u8> {
        self.wrote.remove(&connection).unwrap_or_default()
    }
}

const SESSION: [u8; 10] = *b"S1        ";

fn server_with(limits: Limits) -> Server<MemoryStore> {
    let mut server = Server::new(limits);
    for name in ["ME", "you"] {
        server.add_user(name, "Secret", MemoryStore::new(SESSION, 1 << 20)).expect("a user");
    }
    server
}

/// A server with users 0 and 1, and connection 7 of user 0.
fn serving() -> (Server<MemoryStore>, Port) {
    let (mut server, mut port) = (server_with(Limits::default()), Port::default());
    server.on_connected(7, at(0.0), &mut port);
    server.on_bytes(7, &request("me", "secret", "", 1), at(0.0), &mut port);
    assert_eq!(port.taken(7), accepted("S1", 1));
    (server, port)
}

// The client's end

#[test]
fn login_request() {
    let (mut client, mut heard) = (client(), Heard::default());
    client.on_connected(at(1.0), &mut heard);
    assert_eq!(heard.wrote, request("me", "secret", "", 1));
    client.on_closed();
    heard.wrote.clear();
    client.resume(*b"        S9", 42);
    client.on_connected(at(2.0), &mut heard);
    assert_eq!(heard.wrote, request("me", "secret", "S9", 42));
    assert!(!client.send(b"early", at(2.0), &mut heard), "not before the login is answered");
}

#[test]
fn login_accepted_with_either_padding() {
    for justify in [Justify::Left, Justify::Right] {
        for session in [*b"S1        ", *b"        S1"] {
            let (mut client, mut heard) = (client(), Heard::default());
            client.on_connected(at(0.0), &mut heard);
            let login = LoginAccepted { session, sequence_number: number(17, justify) };
            client.on_bytes(&bytes_of(Packet::LoginAccepted(login)), at(0.0), &mut heard);
            assert_eq!(heard.accepted, [Accepted { session: SESSION, next: 17, asked: None }]);
            assert_eq!((client.session(), client.next()), (SESSION, 17));
        }
    }
}

#[test]
fn login_rejected() {
    let (mut client, mut heard) = (client(), Heard::default());
    client.resume(SESSION, 5);
    client.on_connected(at(0.0), &mut heard);
    client.on_bytes(b"\0\x02JA", at(0.0), &mut heard);
    assert_eq!(heard.closed, Some(Closed::Rejected(b'A')));
    assert!(!heard.closed.expect("closed").to_string().contains("secret"));
    assert_eq!((client.session(), client.next()), (SESSION, 5), "a wrong password does not end the session");
}

#[test]
fn a_session_that_is_gone_begins_anew() {
    let (mut client, mut heard) = (client(), Heard::default());
    client.resume(SESSION, 5);
    client.on_connected(at(0.0), &mut heard);
    client.on_bytes(b"\0\x02JS", at(0.0), &mut heard);
    assert_eq!(heard.closed, Some(Closed::Rejected(b'S')));
    let mut heard = Heard::default();
    client.on_connected(at(1.0), &mut heard);
    assert_eq!(heard.wrote, request("me", "secret", "", 1));
}

#[test]
fn sequenced_data_counts_and_nothing_else_does() {
    let (mut client, mut heard) = live();
    for packet in [
        Packet::SequencedData(b"one"),
        Packet::UnsequencedData(b"aside"),
        Packet::Debug(b"who knows"),
        Packet::ServerHeartbeat,
        Packet::SequencedData(b""),
    ] {
        client.on_bytes(&bytes_of(packet), at(0.5), &mut heard);
    }
    assert_eq!(heard.messages, [(1, b"one".to_vec()), (2, vec![])]);
    assert_eq!((heard.unsequenced, heard.heartbeats), (vec![b"aside".to_vec()], 1));
    assert_eq!(client.next(), 3);
}

#[test]
fn a_reconnected_client_asks_for_what_it_has_not() {
    let (mut client, mut heard) = live();
    client.on_bytes(&bytes_of(Packet::SequencedData(b"one")), at(0.5), &mut heard);
    client.on_bytes(&bytes_of(Packet::SequencedData(b"torn"))[..5], at(0.5), &mut heard);
    client.on_closed();
    client.on_connected(at(1.0), &mut heard);
    assert_eq!(heard.wrote, request("me", "secret", "S1", 2));
    client.on_bytes(&accepted("S1", 2), at(1.0), &mut heard);
    client.on_bytes(&bytes_of(Packet::SequencedData(b"two")), at(1.0), &mut heard);
    assert_eq!(heard.accepted, [Accepted { session: SESSION, next: 2, asked: Some(2) }]);
    assert_eq!(heard.messages, [(1, b"one".to_vec()), (2, b"two".to_vec())], "the torn one is forgotten");
}

/// The caller is told and can judge; the server's number is the one that counts.
#[test]
fn a_server_may_go_on_before_or_behind_what_was_asked() {
    for next in [3, 9] {
        let (mut client, mut heard) = (client(), Heard::default());
        client.resume(SESSION, 5);
        client.on_connected(at(0.0), &mut heard);
        client.on_bytes(&accepted("S1", next), at(0.0), &mut heard);
        client.on_bytes(&bytes_of(Packet::SequencedData(b"x")), at(0.0), &mut heard);
        assert_eq!(heard.accepted, [Accepted { session: SESSION, next, asked: Some(5) }]);
        assert_eq!(heard.messages, [(next, b"x".to_vec())]);
    }
}

#[test]
fn end_of_session() {
    let (mut client, mut heard) = live();
    client.on_bytes(b"\0\x01Z\0\x04Sxyz", at(0.5), &mut heard);
    assert!(heard.ended && heard.messages.is_empty());
    assert_eq!(heard.closed, Some(Closed::EndOfSession));
    assert_eq!((client.session(), client.next()), ([b' '; 10], 1));
}

#[test]
fn logout_request() {
    let (mut client, mut heard) = live();
    client.logout(&mut heard);
    assert_eq!((heard.wrote.as_slice(), heard.closed.take()), (b"\0\x01O".as_slice(), Some(Closed::LoggedOut)));
    client.logout(&mut heard);
    assert_eq!(heard.closed, None);
}

#[test]
fn unsequenced_data_up_to_its_greatest_length() {
    let (mut client, mut heard) = live();
    assert!(client.send(b"hello", at(0.1), &mut heard));
    assert_eq!(heard.wrote, b"\0\x06Uhello");
    heard.wrote.clear();
    assert!(client.send(&vec![7; MAX_PAYLOAD], at(0.1), &mut heard));
    assert_eq!((heard.wrote.len(), &heard.wrote[..2]), (HEADER_LENGTH + MAX_PAYLOAD, b"\xff\xff".as_slice()));
    heard.wrote.clear();
    assert!(!client.send(&vec![7; MAX_PAYLOAD + 1], at(0.1), &mut heard), "one byte too many");
    assert!(heard.wrote.is_empty() && heard.closed.is_none());
    let long = vec![8; MAX_PAYLOAD];
    client.on_bytes(&bytes_of(Packet::SequencedData(&long)), at(0.2), &mut heard);
    client.on_bytes(&bytes_of(Packet::UnsequencedData(&long)), at(0.2), &mut heard);
    assert_eq!((heard.messages, heard.unsequenced), (vec![(1, long.clone())], vec![long]));
}

#[test]
fn client_keep_alive() {
    let (mut client, mut heard) = live();
    assert_eq!(client.next_tick(), Some(at(1.0)));
    client.on_tick(at(0.9), &mut heard);
    assert!(heard.wrote.is_empty());
    client.send(b"x", at(0.9), &mut heard);
    heard.wrote.clear();
    client.on_tick(at(1.5), &mut heard);
    assert!(heard.wrote.is_empty(), "any packet counts as life");
    client.on_tick(at(1.9), &mut heard);
    client.on_tick(at(2.0), &mut heard);
    assert_eq!(heard.wrote, b"\0\x01R");
}

#[test]
fn a_silent_server_is_left() {
    let (mut client, mut heard) = live();
    client.on_bytes(b"\0\x01H", at(10.0), &mut heard);
    client.on_tick(at(24.9), &mut heard);
    assert_eq!(heard.closed, None);
    client.on_tick(at(25.0), &mut heard);
    assert_eq!(heard.closed, Some(Closed::Silent(15 * SECOND)));
    assert_eq!(client.next_tick(), None);
    let (mut quick, mut heard) =
        (Client::new(ClientSettings::new("me", "secret").expect("short").with_timeout_ms(600)), Heard::default());
    quick.on_connected(at(0.0), &mut heard);
    assert_eq!(heard.wrote.len(), 54);
    assert_eq!(heard.wrote[49..], *b"  600");
    quick.on_bytes(&accepted("S1", 1), at(0.0), &mut heard);
    assert_eq!(quick.next_tick(), Some(at(0.2)), "three heartbeats within the timeout");
    quick.on_tick(at(0.6), &mut heard);
    assert_eq!(heard.closed, Some(Closed::Silent(SECOND * 6 / 10)));
}

#[test]
fn a_login_that_is_not_answered_is_given_up() {
    let (mut client, mut heard) = (client(), Heard::default());
    client.on_connected(at(0.0), &mut heard);
    assert_eq!(client.next_tick(), Some(at(15.0)));
    client.on_tick(at(15.0), &mut heard);
    assert_eq!(heard.closed, Some(Closed::Silent(15 * SECOND)));
}

#[test]
fn a_hostile_server_is_left() {
    let cases: [(&[u8], Closed); 8] = [
        (b"\0\0", Closed::NotSoup(SoupError::ZeroLength)),
        (b"HTTP/1.1 400 Bad Request\r\n", Closed::NotSoup(SoupError::UnknownType(b'T'))),
        (b"\0\x01R", Closed::OutOfPlace(b'R')),
        (b"\0\x01O", Closed::OutOfPlace(b'O')),
        (b"\0\x02JA", Closed::OutOfPlace(b'J')),
        (b"\0\x02Hx", Closed::NotSoup(SoupError::WrongLength { kind: b'H', expected: 1, found: 2 })),
        (&accepted("S1", 1), Closed::OutOfPlace(b'A')),
        (&request("me", "x", "", 1), Closed::OutOfPlace(b'L')),
    ];
    for (bytes, why) in cases {
        let (mut client, mut heard) = live();
        let mut padded = bytes.to_vec();
        padded.resize(padded.len().max(20_000), b'x'); // the length that "HT" spells
        let bytes = if bytes[0] == b'H' { padded.as_slice() } else { bytes };
        client.on_bytes(bytes, at(0.1), &mut heard);
        assert_eq!(heard.closed, Some(why));
        client.on_bytes(b"\0\x04Sxyz", at(0.1), &mut heard);
        assert!(heard.messages.is_empty(), "nothing is taken after the end");
    }
    let (mut client, mut heard) = (client(), Heard::default());
    client.on_connected(at(0.0), &mut heard);
    client.on_bytes(b"\0\x04Sxyz", at(0.0), &mut heard);
    assert_eq!(heard.closed, Some(Closed::OutOfPlace(b'S')), "data before the login");
}

#[test]
fn a_password_is_never_shown() {
    let error = ClientSettings::new("me", "hunter2-hunter2").expect_err("too long");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let client = Client::new(ClientSettings::new("me", "hunter2").expect("short"));
    assert!(!format!("{client:?}").contains("hunter2"));
}

// The server's end

#[test]
fn logins_are_judged() {
    let rejected = |reason| bytes_of(Packet::LoginRejected(reason));
    let cases: [(Vec<u8>, Vec<u8>); 8] = [
        (request("ME", "SECRET", "", 1), accepted("S1", 1)),
        (request("you", "secret", "S1", 1), accepted("S1", 1)),
        (request("you", "secret", "", 0), accepted("S1", 3)),
        (request("you", "secret", "", 3), accepted("S1", 3)),
        (request("you", "wrong", "", 1), rejected(b'A')),
        (request("nobody", "secret", "", 1), rejected(b'A')),
        (request("you", "secret", "S0", 1), rejected(b'S')),
        (request("you", "secret", "S1", 4), rejected(b'S')),
    ];
    for (sent, answer) in cases {
        let (mut server, mut port) = (server_with(Limits::default()), Port::default());
        server.publish(1, b"1", at(0.0), &mut port).expect("room");
        server.publish(1, b"2", at(0.0), &mut port).expect("room");
        server.on_connected(3, at(0.0), &mut port);
        server.on_bytes(3, &sent, at(0.0), &mut port);
        let wrote = port.taken(3);
        assert!(wrote.starts_with(&answer), "{}", wrote.escape_ascii());
        assert_eq!(port.closed.is_empty(), answer[2] == b'A');
        assert_eq!(server.is_live(0) || server.is_live(1), answer[2] == b'A');
    }
}

#[test]
fn sequenced_data_is_replayed_and_goes_on_without_a_mark() {
    let (mut server, mut port) = serving();
    server.publish(0, b"one", at(0.1), &mut port).expect("room");
    assert_eq!(port.taken(7), b"\0\x04Sone");
    server.on_closed(7, &mut port);
    server.publish(0, b"two", at(0.2), &mut port).expect("room");
    server.publish(0, b"three", at(0.3), &mut port).expect("room");
    server.on_connected(8, at(0.4), &mut port);
    server.on_bytes(8, &request("me", "secret", "S1", 2), at(0.4), &mut port);
    server.publish(0, b"four", at(0.5), &mut port).expect("room");
    let mut expected = accepted("S1", 2);
    expected.extend_from_slice(b"\0\x04Stwo\0\x06Sthree\0\x05Sfour");
    assert_eq!(port.taken(8), expected);
    assert_eq!(port.users, [(0, true), (0, false), (0, true)]);
}

#[test]
fn server_takes_unsequenced_data_up_to_its_limit() {
    let (mut server, mut port) = serving();
    server.on_bytes(7, b"\0\x03Uhi\0\x01U", at(0.1), &mut port);
    server.on_bytes(7, &bytes_of(Packet::UnsequencedData(&vec![1; MAX_PAYLOAD])), at(0.1), &mut port);
    let lengths: Vec<_> = port.messages.iter().map(|(user, message)| (*user, message.len())).collect();
    assert_eq!(lengths, [(0, 2), (0, 0), (0, MAX_PAYLOAD)]);
    assert!(server.send_unsequenced(0, b"aside", at(0.2), &mut port));
    assert!(!server.send_unsequenced(1, b"not there", at(0.2), &mut port));
    assert_eq!(port.taken(7), b"\0\x06Uaside");
    let limits = Limits { message_bytes: 100, ..Limits::default() };
    let (mut server, mut port) = (server_with(limits), Port::default());
    server.on_connected(7, at(0.0), &mut port);
    server.on_bytes(7, &request("me", "secret", "", 1), at(0.0), &mut port);
    server.on_bytes(7, &header(kind::UNSEQUENCED_DATA, 101), at(0.1), &mut port);
    assert_eq!(port.closed, [(7, Closed::TooLong(102))], "refused at its length, before it has come");
}

#[test]
fn logout_and_end_of_session() {
    let (mut server, mut port) = serving();
    server.on_bytes(7, b"\0\x01O\0\x03Uhi", at(0.1), &mut port);
    assert_eq!(port.closed, [(7, Closed::LoggedOut)]);
    assert!(port.messages.is_empty() && !server.is_live(0));
    let (mut server, mut port) = serving();
    server.on_connected(9, at(0.1), &mut port);
    server.end_session(at(0.2), &mut port);
    assert_eq!((port.taken(7), port.taken(9)), (b"\0\x01Z".to_vec(), vec![]));
    assert_eq!(port.closed, [(7, Closed::EndOfSession), (9, Closed::EndOfSession)]);
    server.on_connected(10, at(0.3), &mut port);
    server.on_bytes(10, &request("me", "secret", "", 1), at(0.3), &mut port);
    assert_eq!(port.taken(10), b"\0\x02JS");
    assert_eq!(server.next_tick(), None);
}

#[test]
fn server_keep_alive() {
    let (mut server, mut port) = serving();
    assert_eq!(server.next_tick(), Some(at(1.0)));
    server.publish(0, b"x", at(0.9), &mut port).expect("room");
    port.taken(7);
    server.on_tick(at(1.5), &mut port);
    assert_eq!(port.taken(7), b"", "any packet counts as life");
    server.on_tick(at(1.9), &mut port);
    assert_eq!(port.taken(7), b"\0\x01H");
}

#[test]
fn silent_connections_are_dropped() {
    let (mut server, mut port) = serving();
    server.on_connected(8, at(0.0), &mut port);
    server.on_bytes(7, b"\0\x01R", at(10.0), &mut port);
    server.on_tick(at(24.9), &mut port);
    assert!(port.closed.is_empty());
    server.on_tick(at(25.0), &mut port);
    assert_eq!(port.closed, [(7, Closed::Silent(15 * SECOND))]);
    server.on_tick(at(30.0), &mut port);
    assert_eq!(port.closed[1..], [(8, Closed::Silent(30 * SECOND))], "it never logged in");
    assert_eq!(port.users, [(0, true), (0, false)]);
}

#[test]
fn a_client_of_4_1_says_how_long_silence_is() {
    let (mut server, mut port) = (server_with(Limits::default()), Port::default());
    let mut client = Client::new(ClientSettings::new("me", "secret").expect("short").with_timeout_ms(1_500));
    let mut heard = Heard::default();
    client.on_connected(at(0.0), &mut heard);
    server.on_connected(1, at(0.0), &mut port);
    server.on_bytes(1, &heard.wrote, at(0.0), &mut port);
    assert_eq!(server.next_tick(), Some(at(0.5)));
    server.on_tick(at(1.5), &mut port);
    assert_eq!(port.closed, [(1, Closed::Silent(SECOND * 15 / 10))]);
}

#[test]
fn the_newest_login_wins() {
    let (mut server, mut port) = serving();
    server.on_connected(8, at(1.0), &mut port);
    server.on_bytes(8, &request("me", "wrong", "", 1), at(1.0), &mut port);
    assert_eq!(port.closed, [(8, Closed::Rejected(b'A'))], "a wrong password drives nobody out");
    server.on_connected(9, at(2.0), &mut port);
    server.on_bytes(9, &request("me", "secret", "", 1), at(2.0), &mut port);
    assert_eq!(port.closed[1..], [(7, Closed::Superseded)]);
    server.publish(0, b"x", at(2.1), &mut port).expect("room");
    assert!(port.taken(9).ends_with(b"\0\x02Sx") && port.taken(7).is_empty());
    server.on_closed(7, &mut port);
    assert!(server.is_live(0), "the end of the old connection is not the user's");
    assert_eq!(port.users, [(0, true), (0, true)]);
}

#[test]
fn a_long_replay_keeps_nobody_waiting() {
    let limits = Limits { burst_bytes: 1_000, ..Limits::default() };
    let (mut server, mut port) = (server_with(limits), Port::default());
    for n in 0..5_000_u32 {
        server.publish(0, &n.to_be_bytes(), at(0.0), &mut port).expect("room");
    }
    server.on_connected(1, at(0.0), &mut port);
    server.on_connected(2, at(0.0), &mut port);
    server.on_bytes(2, &request("you", "secret", "", 1), at(0.0), &mut port);
    server.on_bytes(1, &request("me", "secret", "", 1), at(0.0), &mut port);
    assert!(port.wrote[&1].len() <= 33 + 1_000);
    server.publish(1, b"now", at(0.0), &mut port).expect("room");
    assert!(port.taken(2).ends_with(b"\0\x04Snow"), "at once");
    server.publish(0, &5_000_u32.to_be_bytes(), at(0.0), &mut port).expect("room");
    let mut bursts = 0;
    while let Some(now) = server.next_tick().filter(|now| *now < at(1.0)) {
        let before = port.wrote[&1].len();
        server.on_tick(now, &mut port);
        assert!(port.wrote[&1].len() - before <= 1_000);
        bursts += 1;
    }
    assert!(bursts >= 34, "{bursts}");
    let (mut client, mut heard) = (client(), Heard::default());
    client.on_connected(at(0.0), &mut heard);
    client.on_bytes(&port.taken(1), at(1.0), &mut heard);
    let numbers: Vec<u32> =
        heard.messages.iter().map(|(_, m)| u32::from_be_bytes(m[..].try_into().expect("4"))).collect();
    assert_eq!(numbers, (0..=5_000).collect::<Vec<_>>());
}

#[test]
fn what_the_world_has_no_room_for_waits() {
    let (mut server, mut port) = serving();
    port.room = Some(0);
    server.publish(0, b"one", at(0.1), &mut port).expect("room");
    assert!(port.taken(7).is_empty());
    port.room = Some(HEADER_LENGTH + 3);
    server.publish(0, b"two", at(0.1), &mut port).expect("room");
    assert_eq!(port.taken(7), b"\0\x04Sone");
    let tick = server.next_tick().expect("something waits");
    assert!(tick <= at(0.102));
    server.on_tick(tick, &mut port);
    assert_eq!(port.taken(7), b"\0\x04Stwo");
}

#[test]
fn a_message_longer_than_a_burst_still_goes() {
    let limits = Limits { burst_bytes: 10, ..Limits::default() };
    let (mut server, mut port) = (server_with(limits), Port::default());
    server.on_connected(1, at(0.0), &mut port);
    server.on_bytes(1, &request("me", "secret", "", 1), at(0.0), &mut port);
    port.taken(1);
    server.publish(0, &[5; 100], at(0.0), &mut port).expect("room");
    assert_eq!(port.taken(1).len(), 103);
}

#[test]
fn every_table_has_its_maximum() {
    let (mut server, mut port) = (server_with(Limits { connections: 2, ..Limits::default() }), Port::default());
    for connection in 0..3 {
        server.on_connected(connection, at(0.0), &mut port);
    }
    assert_eq!(port.closed, [(2, Closed::TooMany(2))]);
    server.on_closed(0, &mut port);
    server.on_connected(3, at(0.0), &mut port);
    assert_eq!(port.closed.len(), 1);
    let mut store = MemoryStore::new(SESSION, 10);
    assert_eq!(store.push(b"12345"), Ok(1));
    assert_eq!(store.push(b"123456"), Err(StoreFull { maximum: 10 }));
    assert_eq!((store.push(b"67890"), store.next()), (Ok(2), 3));
    let got: Vec<_> = [0, 1, 2, 3, u64::MAX].iter().map(|n| store.get(*n)).collect();
    assert_eq!(got, [None, Some(b"12345".as_slice()), Some(b"67890"), None, None]);
    let again = server.add_user("me", "x", MemoryStore::new(SESSION, 1));
    assert_eq!(again, Err(ServerFull::Known));
    assert_eq!(server.add_user("seven77", "x", MemoryStore::new(SESSION, 1)), Err(ServerFull::TooLong));
}

#[test]
fn a_hostile_client_is_dropped() {
    let cases: [(&[u8], Closed); 6] = [
        (b"GET / HTTP/1.1\r\n", Closed::TooLong(0x4745)),
        (b"\0\0", Closed::NotSoup(SoupError::ZeroLength)),
        (b"\0\x03Uhi", Closed::OutOfPlace(b'U')),
        (b"\0\x01R", Closed::OutOfPlace(b'R')),
        (b"\0\x01Z", Closed::OutOfPlace(b'Z')),
        (b"\0\x02Sx", Closed::OutOfPlace(b'S')),
    ];
    for (bytes, why) in cases {
        let (mut server, mut port) = (server_with(Limits::default()), Port::default());
        server.on_connected(1, at(0.0), &mut port);
        server.on_bytes(1, bytes, at(0.0), &mut port);
        assert_eq!(port.closed, [(1, why)]);
        server.on_bytes(1, &request("me", "secret", "", 1), at(0.0), &mut port);
        assert!(port.taken(1).is_empty() && server.next_tick().is_none());
    }
    let mut garbled = request("me", "secret", "", 1);
    garbled[30..49].fill(b'x');
    let (mut server, mut port) = (server_with(Limits::default()), Port::default());
    server.on_connected(1, at(0.0), &mut port);
    server.on_bytes(1, &garbled, at(0.0), &mut port);
    assert!(matches!(port.closed[..], [(1, Closed::BadNumber(_))]));
    let (mut server, mut port) = serving();
    server.on_bytes(7, &request("me", "secret", "", 1), at(0.0), &mut port);
    assert_eq!(port.closed, [(7, Closed::OutOfPlace(b'L'))], "a second login");
}

// Both ends

/// Hands what one side wrote to the other, in pieces of these lengths, over and over.
fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    lengths.iter().cycle().map_while(move |length| {
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(
        messages in vec(vec(any::<u8>(), 0..400), 0..30),
        cuts in vec(1_usize..60, 1..20),
    ) {
        let mut stream = accepted("S1", 1);
        for message in &messages {
            stream.extend_from_slice(&bytes_of(Packet::SequencedData(message)));
            stream.extend_from_slice(&bytes_of(Packet::Debug(b"noise")));
        }
        let mut heards = Vec::new();
        for lengths in [vec![stream.len()], cuts] {
            let (mut client, mut heard) = (client(), Heard::default());
            client.on_connected(at(0.0), &mut heard);
            pieces(&stream, &lengths).for_each(|piece| client.on_bytes(piece, at(0.0), &mut heard));
            heards.push(heard);
        }
        prop_assert_eq!(&heards[0], &heards[1]);
        let numbered: Vec<_> = (1..).zip(messages).collect();
        prop_assert_eq!(&heards[0].messages, &numbered);
    }

    #[test]
    fn no_bytes_make_an_end_panic(
        stream in vec(any::<u8>(), 0..300),
        soup in vec((prop::sample::select(b"+AJSUHZLRO".as_slice()), vec(any::<u8>(), 0..60)), 0..8),
        cuts in vec(1_usize..40, 1..9),
        logged_in in any::<bool>(),
    ) {
        let mut packets = Vec::new();
        for (kind, payload) in soup {
            packets.extend_from_slice(&header(kind, payload.len()));
            packets.extend_from_slice(&payload);
        }
        for bytes in [stream, packets] {
            let (mut client, mut heard) = (client(), Heard::default());
            let (mut server, mut port) = (server_with(Limits::default()), Port::default());
            client.on_connected(at(0.0), &mut heard);
            server.on_connected(1, at(0.0), &mut port);
            if logged_in {
                client.on_bytes(&accepted("S1", 1), at(0.0), &mut heard);
                server.on_bytes(1, &request("me", "secret", "", 1), at(0.0), &mut port);
            }
            for piece in pieces(&bytes, &cuts) {
                client.on_bytes(piece, at(0.1), &mut heard);
                server.on_bytes(1, piece, at(0.1), &mut port);
            }
            client.on_tick(at(100.0), &mut heard);
            server.on_tick(at(100.0), &mut port);
            prop_assert!(!client.is_live() && !server.is_live(0));
        }
    }

    /// Over a connection that breaks again and again, every message comes once and in order.
    #[test]
    fn a_broken_line_loses_and_repeats_nothing(
        acts in vec((any::<u16>(), 0..10_u8), 1..120),
    ) {
        let (mut client, mut heard) = (client(), Heard::default());
        let limits = Limits { burst_bytes: 64, ..Limits::default() };
        let (mut server, mut port) = (server_with(limits), Port::default());
        let (mut connection, mut published, mut now) = (0, 0_u64, at(0.0));
        for (value, act) in acts {
            now = now.plus(2_000_000);
            match act {
                0 => {
                    // Some of what is under way arrives, the rest is lost.
                    let bytes = port.taken(connection);
                    let arrived = usize::from(value).min(bytes.len());
                    client.on_bytes(&bytes[..arrived], now, &mut heard);
                    client.on_closed();
                    server.on_closed(connection, &mut port);
                    connection += 1;
                    heard.wrote.clear();
                    server.on_connected(connection, now, &mut port);
                    client.on_connected(now, &mut heard);
                }
                1..5 => {
                    published += 1;
                    server.publish(0, &published.to_be_bytes(), now, &mut port).expect("room");
                }
                _ => {
                    server.on_tick(now, &mut port);
                    let to_server = std::mem::take(&mut heard.wrote);
                    server.on_bytes(connection, &to_server, now, &mut port);
                    client.on_bytes(&port.taken(connection), now, &mut heard);
                }
            }
        }
        let expected: Vec<_> = (1..=heard.messages.len() as u64).map(|n| (n, n.to_be_bytes().to_vec())).collect();
        prop_assert_eq!(&heard.messages, &expected);
        prop_assert_eq!(&heard.closed, &None);
        if client.is_live() {
            for _ in 0..=published {
                now = now.plus(2_000_000);
                server.on_tick(now, &mut port);
            }
            client.on_bytes(&port.taken(connection), now, &mut heard);
            prop_assert_eq!(heard.messages.len() as u64, published);
        }
    }
}
