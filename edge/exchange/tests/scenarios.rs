//! Text scenarios: what clients say, and what they and the feed hear. A line that begins with `>` is done; the lines below it
//! are all that is heard because of it, in order: accounts first, then the feed.

mod world;

use std::fmt::Write as _;

use helios_exchange::{Client, Config, Fault, Protocol, VenueConfig};
use helios_venue::SelfTrade;
use helios_wire::ouch::{append_option, inbound, outbound, tag};
use helios_wire::{alpha, itch, moldudp64, ouch42, text};
use world::{NUMBER, START, Stage};

struct Scene {
    stage: Stage,
    names: Vec<(String, Client, Protocol)>,
    heard: usize,
}

fn price(raw: u64) -> String {
    format!("{}.{:04}", raw / 10_000, raw % 10_000)
}

fn raw_price(text: &str) -> u64 {
    if text == "market" {
        return 0x7FFF_FFFF;
    }
    (text.parse::<f64>().expect("a price") * 10_000.0).round() as u64
}

fn of<const N: usize>(field: &[u8; N]) -> String {
    String::from_utf8_lossy(text(field)).into_owned()
}

fn number(order: u64) -> String {
    format!("#{}{}", order & NUMBER, if order & (1 << 62) != 0 { "h" } else { "" })
}

/// `key=value` words behind the first ones.
fn value<'a>(words: &[&'a str], key: &str, usual: &'a str) -> &'a str {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or(usual)
}

fn letter(words: &[&str], key: &str, usual: &str) -> u8 {
    value(words, key, usual).as_bytes()[0]
}

fn count(words: &[&str], key: &str, usual: &str) -> u32 {
    value(words, key, usual).parse().expect("a number")
}

fn message50(words: &[&str]) -> Vec<u8> {
    let mut options = Vec::new();
    for (key, tag) in [("min", tag::MIN_QTY), ("floor", tag::MAX_FLOOR), ("expire", tag::EXPIRE_TIME)] {
        if !value(words, key, "").is_empty() {
            append_option(tag, &count(words, key, "0").to_be_bytes(), &mut options);
        }
    }
    for (key, tag) in [("post", tag::POST_ONLY), ("type", tag::PRICE_TYPE), ("only", tag::SIDE)] {
        if !value(words, key, "").is_empty() {
            append_option(tag, &[letter(words, key, " ")], &mut options);
        }
    }
    let (user_ref_num, quantity) = (count(words, "ref", "0"), count(words, "shares", "100"));
    let (price, time_in_force) = (raw_price(value(words, "price", "10")), letter(words, "tif", "0"));
    let (display, firm) = (letter(words, "display", "Y"), alpha(value(words, "firm", "")).expect("a firm"));
    let symbol = alpha(value(words, "stock", "AAPL")).expect("a symbol");
    let mut out = Vec::new();
    match words[0] {
        "enter" => {
            if firm != *b"    " {
                append_option(tag::FIRM, &firm, &mut options);
            }
            let message = inbound::EnterOrder {
                user_ref_num,
                side: letter(words, "side", "B"),
                quantity,
                symbol,
                price,
                time_in_force,
                display,
                capacity: b'P',
                intermarket_sweep_eligibility: b'N',
                cross_type: letter(words, "cross", "N"),
                cl_ord_id: alpha(value(words, "id", "")).expect("an identifier"),
                appendage_length: 0,
            };
            inbound::append(&message.encode(), &options, &mut out);
        }
        "replace" => {
            let message = inbound::ReplaceOrder {
                orig_user_ref_num: count(words, "old", "0"),
                user_ref_num,
                quantity,
                price,
                time_in_force,
                display,
                intermarket_sweep_eligibility: b'N',
                cl_ord_id: alpha(value(words, "id", "")).expect("an identifier"),
                appendage_length: 0,
            };
            inbound::append(&message.encode(), &options, &mut out);
        }
        "cancel" => inbound::CancelOrder { user_ref_num, quantity: count(words, "shares", "0") }.append_to(&mut out),
        "modify" => {
            inbound::ModifyOrder { user_ref_num, side: letter(words, "side", "S"), quantity }.append_to(&mut out);
        }
        "mass-cancel" => {
            let symbol = alpha(value(words, "stock", "")).expect("a symbol");
            let message = inbound::MassCancel { user_ref_num, firm, symbol, appendage_length: 0 };
            inbound::append(&message.encode(), &options, &mut out);
        }
        "disable" => inbound::DisableOrderEntry { user_ref_num, firm, appendage_length: 0 }.append_to(&mut out),
        "enable" => inbound::EnableOrderEntry { user_ref_num, firm, appendage_length: 0 }.append_to(&mut out),
        "query" => inbound::AccountQuery {}.append_to(&mut out),
        other => panic!("{other} is no message"),
    }
    out
}

fn message42(words: &[&str]) -> Vec<u8> {
    let order_token = alpha(value(words, "ref", "T")).expect("a token");
    let shares = count(words, "shares", "100");
    let (price, time_in_force) = (raw_price(value(words, "price", "10")) as u32, count(words, "tif", "99998"));
    let (display, minimum_quantity) = (letter(words, "display", "Y"), count(words, "min", "0"));
    let mut out = Vec::new();
    match words[0] {
        "enter" => ouch42::inbound::EnterOrder {
            order_token,
            buy_sell_indicator: letter(words, "side", "B"),
            shares,
            stock: alpha(value(words, "stock", "AAPL")).expect("a symbol"),
            price,
            time_in_force,
            firm: alpha(value(words, "firm", "")).expect("a firm"),
            display,
            capacity: b'P',
            intermarket_sweep_eligibility: b'N',
            minimum_quantity,
            cross_type: letter(words, "cross", "N"),
            customer_type: b' ',
        }
        .append_to(&mut out),
        "replace" => ouch42::inbound::ReplaceOrder {
            existing_order_token: alpha(value(words, "old", "T")).expect("a token"),
            replacement_order_token: order_token,
            shares,
            price,
            time_in_force,
            display,
            intermarket_sweep_eligibility: b'N',
            minimum_quantity,
        }
        .append_to(&mut out),
        "cancel" => {
            ouch42::inbound::CancelOrder { order_token, shares: count(words, "shares", "0") }.append_to(&mut out);
        }
        "modify" => {
            let buy_sell_indicator = letter(words, "side", "S");
            ouch42::inbound::ModifyOrder { order_token, buy_sell_indicator, shares }.append_to(&mut out);
        }
        "trade-now" => ouch42::inbound::TradeNow { order_token }.append_to(&mut out),
        other => panic!("{other} is no message"),
    }
    out
}

fn said50(bytes: &[u8]) -> String {
    use outbound::Message as M;
    let decoded = outbound::decode(bytes).expect("OUCH 5.0");
    match decoded.message {
        M::SystemEvent(m) => format!("day {}", char::from(m.event_code())),
        M::OrderAccepted(m) => format!(
            "accepted {} {} {} {} {} tif={} display={} {}{}",
            m.user_ref_num(),
            char::from(m.side()),
            m.quantity(),
            of(m.symbol()),
            price(m.price()),
            char::from(m.time_in_force()),
            char::from(m.display()),
            number(m.order_reference_number()),
            if m.cl_ord_id() == &[b' '; 14] { String::new() } else { format!(" id={}", of(m.cl_ord_id())) },
        ),
        M::OrderReplaced(m) => format!(
            "replaced {}->{} {} {} {} {} {}",
            m.orig_user_ref_num(),
            m.user_ref_num(),
            char::from(m.side()),
            m.quantity(),
            of(m.symbol()),
            price(m.price()),
            number(m.order_reference_number())
        ),
        M::OrderCanceled(m) => format!("canceled {} {} {}", m.user_ref_num(), m.quantity(), char::from(m.reason())),
        M::AiqCanceled(m) => format!("self-trade {} {}", m.user_ref_num(), m.decrement_shares()),
        M::OrderExecuted(m) => format!(
            "executed {} {} {} {} match={}",
            m.user_ref_num(),
            m.quantity(),
            price(m.price()),
            char::from(m.liquidity_flag()),
            m.match_number()
        ),
        M::Rejected(m) => format!("rejected {} {}", m.user_ref_num(), m.reason()),
        M::OrderModified(m) => format!("modified {} {} {}", m.user_ref_num(), char::from(m.side()), m.quantity()),
        M::MassCancelResponse(m) => format!("mass-cancelled {} {:?}", m.user_ref_num(), of(m.symbol())),
        M::DisableOrderEntryResponse(m) => format!("disabled {}", m.user_ref_num()),
        M::EnableOrderEntryResponse(m) => format!("enabled {}", m.user_ref_num()),
        M::AccountQueryResponse(m) => format!("next {}", m.next_user_ref_num()),
        other => format!("{other:?}"),
    }
}

fn said42(bytes: &[u8]) -> String {
    use ouch42::outbound::Message as M;
    match ouch42::outbound::decode(bytes).expect("OUCH 4.2") {
        M::SystemEvent(m) => format!("day {}", char::from(m.event_code())),
        M::Accepted(m) => format!(
            "accepted {} {} {} {} {} tif={} display={} {}",
            of(m.order_token()),
            char::from(m.buy_sell_indicator()),
            m.shares(),
            of(m.stock()),
            price(m.price().into()),
            m.time_in_force(),
            char::from(m.display()),
            number(m.order_reference_number())
        ),
        M::Replaced(m) => format!(
            "replaced {}->{} {} {} {} {} {}",
            of(m.previous_order_token()),
            of(m.replacement_order_token()),
            char::from(m.buy_sell_indicator()),
            m.shares(),
            of(m.stock()),
            price(m.price().into()),
            number(m.order_reference_number())
        ),
        M::Canceled(m) => {
            format!("canceled {} {} {}", of(m.order_token()), m.decrement_shares(), char::from(m.cancel_order_reason()))
        }
        M::AiqCancelled(m) => format!("self-trade {} {}", of(m.order_token()), m.decrement_shares()),
        M::Executed(m) => format!(
            "executed {} {} {} {} match={}",
            of(m.order_token()),
            m.executed_shares(),
            price(m.execution_price().into()),
            char::from(m.liquidity_flag()),
            m.match_number()
        ),
        M::RejectedOrder(m) => format!("rejected {} {}", of(m.order_token()), char::from(m.rejected_order_reason())),
        M::OrderModified(m) => {
            format!("modified {} {} {}", of(m.order_token()), char::from(m.buy_sell_indicator()), m.shares())
        }
        M::OrderPriorityUpdate(m) => {
            format!("moved {} {} {}", of(m.order_token()), price(m.price().into()), number(m.order_reference_number()))
        }
        M::SequencedTradeNow(m) => format!("trade-now {}", of(m.order_token())),
        other => format!("{other:?}"),
    }
}

fn published(bytes: &[u8]) -> String {
    use itch::Message as M;
    match itch::decode(bytes).expect("ITCH") {
        M::SystemEvent(m) => format!("system {}", char::from(m.event_code())),
        M::StockDirectory(m) => format!("directory {} {}", m.stock_locate(), of(m.stock())),
        M::StockTradingAction(m) => format!("action {} {}", of(m.stock()), char::from(m.trading_state())),
        M::RegShoRestriction(m) => format!("short-sale {} {}", of(m.stock()), char::from(m.reg_sho_action())),
        M::AddOrder(m) => format!(
            "add {} {} {} {} {}",
            number(m.order_reference_number()),
            char::from(m.buy_sell_indicator()),
            m.shares(),
            of(m.stock()),
            price(m.price().into())
        ),
        M::AddOrderMpid(m) => format!(
            "add {} {} {} {} {} by {}",
            number(m.order_reference_number()),
            char::from(m.buy_sell_indicator()),
            m.shares(),
            of(m.stock()),
            price(m.price().into()),
            of(m.attribution())
        ),
        M::OrderExecuted(m) => {
            format!(
                "executed {} {} match={}",
                number(m.order_reference_number()),
                m.executed_shares(),
                m.match_number()
            )
        }
        M::OrderCancel(m) => format!("cancel {} {}", number(m.order_reference_number()), m.canceled_shares()),
        M::OrderDelete(m) => format!("delete {}", number(m.order_reference_number())),
        M::OrderReplace(m) => format!(
            "replace {}->{} {} {}",
            number(m.original_order_reference_number()),
            number(m.new_order_reference_number()),
            m.shares(),
            price(m.price().into())
        ),
        M::TradeNonCross(m) => {
            format!("trade {} {} {} match={}", m.shares(), of(m.stock()), price(m.price().into()), m.match_number())
        }
        other => format!("{other:?}"),
    }
}

impl Scene {
    fn new(self_trade: Option<SelfTrade>) -> Self {
        let venue = VenueConfig { self_trade, ..VenueConfig::quiet("XNAS", &["AAPL", "MSFT"]) };
        let mut config =
            Config::new(vec![venue], world::MIDNIGHT).with_user("ann", "secret").with_user("bob", "secret");
        config.users[0].firm = *b"ANNS";
        config.users[1].cancel_on_disconnect = false;
        Self { stage: Stage::new(config), names: Vec::new(), heard: 0 }
    }

    fn client(&self, name: &str) -> (Client, Protocol) {
        let found = self.names.iter().rev().find(|(other, ..)| other == name);
        found.map(|(_, client, protocol)| (*client, *protocol)).unwrap_or_else(|| panic!("{name} is not there"))
    }

    fn act(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["login", name, version, ref rest @ ..] => {
                let protocol = match version {
                    "ouch42" => Protocol::Ouch42,
                    "ouch50" => Protocol::Ouch50,
                    _ => Protocol::Snapshot,
                };
                let from = rest.first().map_or(1, |from| from.parse().expect("a number"));
                let client = self.stage.login(0, protocol, name, from);
                self.names.push((name.to_owned(), client, protocol));
            }
            ["lose", name] => {
                let (client, _) = self.client(name);
                self.stage.close(client);
            }
            ["halt", stock] | ["resume", stock] => {
                let (now, Stage { exchange, world, .. }) = (self.stage.now, &mut self.stage);
                exchange.set_halted("XNAS", stock, words[0] == "halt", now, world).expect("a stock that can");
            }
            ["pass", seconds] => {
                let seconds: u64 = seconds.parse().expect("seconds");
                self.stage.pass(seconds * 1_000_000_000);
            }
            ["end"] => {
                let (now, Stage { exchange, world, .. }) = (self.stage.now, &mut self.stage);
                exchange.end(now, world);
            }
            ["fault", ..] => {
                let fault = Fault::parse(line.trim_start_matches("fault").trim()).expect("a fault");
                let (now, Stage { exchange, world, .. }) = (self.stage.now, &mut self.stage);
                exchange.fault(fault, now, world).expect("room");
            }
            [name, ref message @ ..] => {
                let (client, protocol) = self.client(name);
                let bytes = if protocol == Protocol::Ouch42 { message42(message) } else { message50(message) };
                self.stage.send(client, &bytes);
            }
            [] => {}
        }
    }

    fn hear(&mut self) -> String {
        let mut out = String::new();
        for (name, client, protocol) in self.names.clone() {
            for message in self.stage.take(client) {
                let said = match message.first() {
                    Some(b'+') => String::from_utf8_lossy(&message[1..]).into_owned(),
                    _ if protocol == Protocol::Ouch42 => said42(&message),
                    _ if protocol == Protocol::Ouch50 => said50(&message),
                    Some(b'G') => {
                        format!("end of snapshot {}", of::<20>(message[1..].try_into().expect("digits")).trim())
                    }
                    _ => published(&message),
                };
                let said = if said.starts_with("LoginAccepted") { "logged in".to_owned() } else { said };
                let _ = writeln!(out, "{name}: {said}");
            }
        }
        for client in std::mem::take(&mut self.stage.world.closed) {
            if let Some(at) = self.names.iter().position(|(_, other, _)| *other == client) {
                let _ = writeln!(out, "{} is closed", self.names.remove(at).0);
            }
        }
        let packets = self.stage.world.lines.get(&(0, 0)).cloned().unwrap_or_default();
        for packet in &packets[self.heard..] {
            let packet = moldudp64::decode(packet).expect("a packet");
            if packet.is_end_of_session() {
                let _ = writeln!(out, "feed ends");
            }
            for message in packet.messages() {
                let _ = writeln!(out, "feed: {}", published(message));
            }
        }
        self.heard = packets.len();
        out
    }
}

fn play(script: &str) -> String {
    let rule = |line: &str| match line {
        "self-trade oldest" => Some(Some(SelfTrade::CancelOldest)),
        "self-trade both" => Some(Some(SelfTrade::CancelBoth)),
        "self-trade decrement" => Some(Some(SelfTrade::Decrement)),
        "self-trade allow" => Some(None),
        _ => None,
    };
    let self_trade =
        script.lines().find_map(|line| rule(line.strip_prefix("= ")?)).unwrap_or(Some(SelfTrade::CancelNewest));
    let mut scene = Scene::new(self_trade);
    let _ = scene.hear();
    let mut out = String::new();
    for line in script.lines() {
        if let Some(action) = line.strip_prefix("> ") {
            let _ = writeln!(out, "{line}");
            scene.act(action);
            out.push_str(&scene.hear());
        } else if line.starts_with('#') || line.starts_with('=') || line.is_empty() {
            let _ = writeln!(out, "{line}");
        }
    }
    assert!(scene.stage.now >= START);
    out
}

fn check(name: &str) {
    let path = format!("{}/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(&path).expect("the scenario's file");
    let played = play(&script);
    if std::env::var_os("HELIOS_WRITE_SCENARIOS").is_some() {
        std::fs::write(&path, &played).expect("the scenario can be written");
    }
    assert_eq!(played, script, "{path}: set HELIOS_WRITE_SCENARIOS=1 to write what was heard, and judge it");
}

#[test]
fn ouch50() {
    check("ouch50");
}

#[test]
fn ouch42() {
    check("ouch42");
}

#[test]
fn refusals() {
    check("refusals");
}

#[test]
fn self_trades() {
    for name in ["self_trade_newest", "self_trade_oldest", "self_trade_decrement"] {
        check(name);
    }
}

#[test]
fn sessions() {
    check("sessions");
}
