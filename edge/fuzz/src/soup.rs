//! SoupBinTCP: the client's end and the server's.

use std::collections::BTreeMap;

use helios_types::Nanos;
use helios_wire::soupbintcp::{
    self, Accepted, Client, ClientOut, ClientSettings, Closed, Limits, LoginAccepted, LoginRequest, MAX_PAYLOAD,
    MemoryStore, Packet, Server, ServerOut, Store, header,
};

use crate::script::{Script, Writing};

/// What a station writes are whole packets.
pub(crate) fn assert_whole(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((_, length)) = soupbintcp::decode(rest).expect("a station writes packets") {
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "a station writes whole packets");
}

/// A packet of any kind with a payload of the script's.
pub(crate) fn packet(script: &mut Script<'_>) -> Vec<u8> {
    let kind = *b"SSSSUH+ZAJLRO".get(script.below(13)).expect("a letter");
    let payload = script.text();
    [&header(kind, payload.len()), payload].concat()
}

#[derive(Default)]
struct Session {
    open: bool,
    live: bool,
    next: u64,
}

impl ClientOut for Session {
    fn write(&mut self, bytes: &[u8]) {
        assert!(self.open, "something is written where nothing is connected");
        assert_whole(bytes);
    }

    fn close(&mut self, why: &Closed) {
        assert!(self.open, "what is not there is closed");
        let _ = why.to_string();
        (self.open, self.live) = (false, false);
    }

    fn accepted(&mut self, login: &Accepted) {
        assert!(!self.live, "logged in twice");
        (self.live, self.next) = (true, login.next);
    }

    fn message(&mut self, number: u64, _: &[u8]) {
        assert!(self.live && number == self.next, "messages are counted on");
        self.next = self.next.saturating_add(1);
    }

    fn unsequenced(&mut self, _: &[u8]) {
        assert!(self.live);
    }
}

/// The client: messages are counted on from the number of the login, and what it keeps of an unfinished packet is as
/// nothing: any cut gives the same.
pub fn soup_client(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let settings = ClientSettings::new("me", "secret").expect("short texts");
    let settings = if script.below(2) == 0 { settings } else { settings.with_timeout_ms(script.word()) };
    let (mut client, mut out, mut now) = (Client::new(settings), Session::default(), Nanos(1 << 60));
    while let Some(step) = script.step() {
        match step & 7 {
            0 => now = now.plus(script.wait()),
            1 => now = client.next_tick().map_or(now, |at| at.max(now)),
            2 if !out.open => {
                out.open = true;
                client.on_connected(now, &mut out);
            }
            2 if script.below(4) == 0 => {
                (out.open, out.live) = (false, false);
                client.on_closed();
            }
            3 => client.on_bytes(script.text(), now, &mut out),
            4 => {
                let (name, next) = (["S1", "S2"][script.below(2)], script.number().unsigned_abs());
                let mut accepted = Vec::new();
                Packet::LoginAccepted(LoginAccepted::new(name, next).expect("short")).append_to(&mut accepted);
                client.on_bytes(&accepted, now, &mut out);
            }
            5 => {
                let (live, sent) = (out.live, client.send(script.text(), now, &mut out));
                assert_eq!(live, sent, "a message goes out while logged in, and never else");
            }
            6 if step & 0x70 == 0x70 => client.logout(&mut out),
            _ => client.on_bytes(&packet(&mut script), now, &mut out),
        }
        if step & 8 != 0 {
            client.on_tick(now, &mut out);
        }
        assert_eq!(client.is_live(), out.live);
        assert!(!out.live || client.next() == out.next);
    }
}

pub(crate) fn client_seeds() -> Vec<Vec<u8>> {
    let script = Writing::default().then(&[0, 2, 4, 0, 1, 7, 0]).text(b"one").then(&[7, 5, 0, 5]).text(b"order");
    let timeouts = Writing::default().then(&[0, 2, 4, 0, 1, 9, 9, 9, 9, 0, 144, 9, 2, 9]);
    let ends = Writing::default().then(&[0, 2, 4, 0, 5, 7, 7, 0, 2, 4, 1, 5, 7, 9, 1, b'A', 2, 4, 0, 1, 118]);
    let cut =
        Writing::default().then(&[0, 2, 4, 0, 1, 3]).text(b"\0").then(&[3]).text(b"\x04Sab").then(&[3]).text(b"c");
    [script, timeouts, ends, cut].into_iter().map(Writing::bytes).collect()
}

const CONNECTIONS: usize = 4;
const USERS: [&str; 2] = ["ann", "bob"];

/// A client's connection as the world sees it.
#[derive(Default)]
struct Peer {
    /// Bytes that were not looked at yet.
    heard: Vec<u8>,
    user: Option<usize>,
    next: u64,
    asked: Option<usize>,
}

#[derive(Default)]
struct World {
    peers: BTreeMap<u64, Peer>,
    live: [Option<u64>; 2],
    room: usize,
    at: u64,
}

impl ServerOut for World {
    fn write(&mut self, connection: u64, bytes: &[u8]) {
        self.peers.get_mut(&connection).expect("a connection that is there").heard.extend_from_slice(bytes);
    }

    fn close(&mut self, connection: u64, why: &Closed) {
        let _ = why.to_string();
        assert!(self.peers.remove(&connection).is_some(), "what is not there is closed");
    }

    fn message(&mut self, user: usize, _: &[u8]) {
        assert!(user < USERS.len() && self.live[user].is_some(), "a message of one who is not logged in");
    }

    fn logged_in(&mut self, user: usize) {
        self.live[user] = Some(self.at);
    }

    fn logged_out(&mut self, user: usize) {
        assert!(self.live[user].take().is_some(), "logged out without being in");
    }

    fn room(&self, _: u64) -> usize {
        self.room
    }
}

impl World {
    /// Whoever is logged in hears the messages of his stream, each once, in order.
    fn check(&mut self, server: &Server<MemoryStore>) {
        for peer in self.peers.values_mut() {
            let heard = std::mem::take(&mut peer.heard);
            let mut rest = heard.as_slice();
            while let Some((packet, length)) = soupbintcp::decode(rest).expect("a server writes packets") {
                rest = &rest[length..];
                match packet {
                    Packet::LoginAccepted(login) => {
                        peer.user = peer.asked;
                        peer.next = login.next_sequence_number().expect("a number");
                    }
                    Packet::SequencedData(payload) => {
                        let user = peer.user.expect("he is logged in");
                        assert_eq!(server.store(user).get(peer.next), Some(payload), "his message of this number");
                        peer.next += 1;
                    }
                    _ => {}
                }
            }
            assert!(rest.is_empty(), "whole packets");
        }
        for (user, live) in self.live.iter().enumerate() {
            assert_eq!(server.is_live(user), live.is_some());
        }
    }
}

/// The server: everybody hears the messages of his own stream, each once and in order, and there are never more
/// connections than the maximum.
pub fn soup_server(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let limits = Limits { connections: CONNECTIONS, message_bytes: 64, burst_bytes: 80, ..Limits::default() };
    let mut server = Server::new(limits);
    for user in USERS {
        server.add_user(user, "secret", MemoryStore::new(*b"S1        ", 1 << 10)).expect("two users");
    }
    let (mut out, mut now, mut fresh) = (World { room: usize::MAX, ..World::default() }, Nanos(1 << 60), 0);
    while let Some(step) = script.step() {
        let some = out.peers.keys().copied().nth(usize::from(step >> 4) % CONNECTIONS);
        out.at = some.unwrap_or(0);
        match (step & 7, some) {
            (0, _) => now = now.plus(script.wait()),
            (1, _) => now = server.next_tick().map_or(now, |at| at.max(now)),
            (2, _) => {
                fresh += 1;
                out.peers.insert(fresh, Peer::default());
                server.on_connected(fresh, now, &mut out);
                assert!(out.peers.len() <= CONNECTIONS, "no more connections than the maximum");
            }
            (3, Some(id)) => {
                let text = script.text();
                // Nobody knows who he is if these bytes are a login.
                if out.peers[&id].user.is_some() {
                    server.on_bytes(id, text, now, &mut out);
                }
            }
            (4, Some(id)) => {
                let user = script.below(2);
                if let Some(peer) = out.peers.get_mut(&id) {
                    peer.asked.get_or_insert(user);
                }
                let (name, next) = (["", "S1", "S2"][script.below(3)], script.number().unsigned_abs());
                let password = if script.below(8) == 7 { "wrong" } else { "secret" };
                let mut login = Vec::new();
                let request = LoginRequest::new(USERS[user], password, name, next).expect("short texts");
                Packet::LoginRequest(request).append_to(&mut login);
                server.on_bytes(id, &login, now, &mut out);
            }
            (5, _) => {
                let _ = server.publish(script.below(2), script.text(), now, &mut out);
            }
            (6, Some(id)) if script.below(4) == 0 => {
                out.peers.remove(&id);
                server.on_closed(id, &mut out);
            }
            (6, _) => match script.below(16) {
                15 => server.end_session(now, &mut out),
                14 => server.disconnect(script.below(2), &mut out),
                13 => _ = server.send_unsequenced(script.below(2), script.text(), now, &mut out),
                _ => out.room = [usize::MAX, 0, 10, 100][script.below(4)],
            },
            (_, Some(id)) => {
                let bytes = packet(&mut script);
                if out.peers[&id].user.is_some() {
                    server.on_bytes(id, &bytes, now, &mut out);
                }
            }
            _ => {}
        }
        if step & 8 != 0 {
            server.on_tick(now, &mut out);
        }
        out.check(&server);
    }
    let _ = MAX_PAYLOAD;
}

pub(crate) fn server_seeds() -> Vec<Vec<u8>> {
    let publish = Writing::default().then(&[5, 0]).text(b"one").then(&[5, 0]).text(b"two");
    let login = publish.clone().then(&[2, 4, 0, 0, 1, 0, 5, 0]).text(b"three").then(&[7, 4]).text(b"order");
    let twice = login.clone().then(&[2, 20, 0, 1, 2, 0, 9, 9, 9]);
    let slow = publish.clone().then(&[6, 1, 0, 2, 2, 4, 0, 0, 1, 0, 9, 9, 6, 1, 0, 0, 9]);
    let ended = login.clone().then(&[6, 1, 15, 2, 4, 0, 0, 1, 0]);
    [publish, login, twice, slow, ended].into_iter().map(Writing::bytes).collect()
}
