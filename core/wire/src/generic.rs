//! Any message as a list of named values, and back: for tools and languages that have no struct per message.
//!
//! Names are those of the specifications. Prices are raw integers. An alpha value is stripped of the spaces on
//! its right; bytes above ASCII become the characters of the same number, so nothing is lost. A name may occur more than
//! once: `message` (each message of a MoldUDP64 packet) and `option` (an OUCH option as tag and value, where it has
//! no name of its own). What [`to_fields`] gives, [`from_fields`] turns into the same bytes, with one exception: in
//! SoupBinTCP logins the padding of numbers and session is normalised.
//! Absent: speed; the typed modules have it.

use std::fmt;

use crate::error::shown;
use crate::layout::{Field, Kind, Layout};
use crate::ouch::{OptionLayout, TagValue};
use crate::soupbintcp::{Justify, LoginAccepted, LoginRequest, Packet, number};
use crate::{itch, moldudp64, ouch, ouch42, soupbintcp, text};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TotalView-ITCH 5.0; from the venue only.
    Itch50,
    /// OUCH 4.2.
    Ouch42,
    /// OUCH 5.0.
    Ouch50,
    /// SoupBinTCP, one whole packet.
    SoupBinTcp,
    /// MoldUDP64: outbound is a downstream packet, inbound a request.
    MoldUdp64,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Itch50, Self::Ouch42, Self::Ouch50, Self::SoupBinTcp, Self::MoldUdp64];
}

/// Which way a message goes, as the venue sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the venue.
    Inbound,
    /// From the venue.
    Outbound,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Unsigned number, price or time.
    Int(u64),
    /// Number with a sign; for unsigned fields any that is not negative will do, and the reverse.
    Signed(i64),
    /// Text.
    Alpha(String),
    /// Bytes of a message or option inside.
    Bytes(Vec<u8>),
}

/// A list of named values.
pub type Fields = Vec<(&'static str, Value)>;

/// Why a message could not be taken apart or put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// The bytes, or the values together, are no message of the protocol; the text says why.
    Decode(String),
    /// The protocol has no such type in this direction.
    UnknownType(u8),
    /// The message has no such field.
    UnknownField {
        /// The message.
        message: &'static str,
        /// The name given.
        field: String,
        /// The names it has.
        known: Vec<&'static str>,
    },
    /// A field was not given.
    MissingField {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field was given twice.
    DuplicateField {
        /// The field.
        field: String,
    },
    /// A value does not fit its field.
    BadValue {
        /// The field.
        field: &'static str,
        /// What it can hold.
        expected: String,
        /// What was given.
        found: Value,
    },
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(reason) => f.write_str(reason),
            Self::UnknownType(kind) => {
                write!(f, "the protocol has no message type {} in this direction", shown(*kind))
            }
            Self::UnknownField { message, field, known } => {
                write!(f, "{message} has no field {field:?}; it has: {}", known.join(", "))
            }
            Self::MissingField { message, field } => write!(f, "{message} lacks its field {field:?}: give it a value"),
            Self::DuplicateField { field } => write!(f, "field {field:?} is given twice: give it once"),
            Self::BadValue { field, expected, found } => {
                write!(f, "field {field:?} holds {expected}, not {found:?}")
            }
        }
    }
}

impl std::error::Error for FieldError {}

const MESSAGE_TYPE: &str = "message_type";
const APPENDAGE_LENGTH: &str = "appendage_length";
const OPTION: &str = "option";
const MESSAGE: &str = "message";

/// The fixed layouts of a family; none for the carriers.
pub fn layouts(family: Family, direction: Direction) -> &'static [&'static Layout] {
    match (family, direction) {
        (Family::Itch50, Direction::Outbound) => itch::LAYOUTS,
        (Family::Ouch42, Direction::Inbound) => ouch42::inbound::LAYOUTS,
        (Family::Ouch42, Direction::Outbound) => ouch42::outbound::LAYOUTS,
        (Family::Ouch50, Direction::Inbound) => ouch::inbound::LAYOUTS,
        (Family::Ouch50, Direction::Outbound) => ouch::outbound::LAYOUTS,
        _ => &[],
    }
}

/// The type byte of a message, zero where there is none.
pub fn type_of(family: Family, bytes: &[u8]) -> u8 {
    let at = match family {
        Family::Itch50 | Family::Ouch42 | Family::Ouch50 => 0,
        Family::SoupBinTcp => 2,
        Family::MoldUdp64 => return 0,
    };
    bytes.get(at).copied().unwrap_or(0)
}

/// Takes one whole message apart.
pub fn to_fields(family: Family, direction: Direction, bytes: &[u8]) -> Result<Fields, FieldError> {
    match (family, direction) {
        (Family::Itch50, Direction::Inbound) => Err(FieldError::UnknownType(type_of(family, bytes))),
        (Family::Itch50, Direction::Outbound) => {
            let message = itch::decode(bytes).map_err(decode_error)?;
            Ok(fixed_fields(message.layout(), bytes))
        }
        (Family::Ouch42, Direction::Inbound) => {
            let message = ouch42::inbound::decode(bytes).map_err(decode_error)?;
            Ok(fixed_fields(message.layout(), bytes))
        }
        (Family::Ouch42, Direction::Outbound) => {
            let message = ouch42::outbound::decode(bytes).map_err(decode_error)?;
            Ok(fixed_fields(message.layout(), bytes))
        }
        (Family::Ouch50, Direction::Inbound) => {
            let decoded = ouch::inbound::decode(bytes).map_err(decode_error)?;
            Ok(ouch_fields(decoded.message.layout(), bytes, decoded.options))
        }
        (Family::Ouch50, Direction::Outbound) => {
            let decoded = ouch::outbound::decode(bytes).map_err(decode_error)?;
            Ok(ouch_fields(decoded.message.layout(), bytes, decoded.options))
        }
        (Family::SoupBinTcp, direction) => soup_fields(direction, bytes),
        (Family::MoldUdp64, Direction::Inbound) => {
            moldudp64::decode_request(bytes).map_err(decode_error)?;
            Ok(read_fields(moldudp64::HEADER_FIELDS, bytes))
        }
        (Family::MoldUdp64, Direction::Outbound) => {
            let packet = moldudp64::decode(bytes).map_err(decode_error)?;
            let mut fields = read_fields(moldudp64::HEADER_FIELDS, bytes);
            fields.extend(packet.messages().map(|message| (MESSAGE, Value::Bytes(message.to_vec()))));
            Ok(fields)
        }
    }
}

/// Puts one message together. `kind` is its type byte; MoldUDP64 has none and does not look at it. Every field must be
/// given, in any order, except those that follow from the others: `message_type`, `appendage_length`, and
/// `message_count` of a downstream packet with messages; given, they must agree.
pub fn from_fields<N: AsRef<str>>(
    family: Family,
    direction: Direction,
    kind: u8,
    fields: &[(N, Value)],
) -> Result<Vec<u8>, FieldError> {
    let fields: Vec<(&str, &Value)> = fields.iter().map(|(name, value)| (name.as_ref(), value)).collect();
    match family {
        Family::Itch50 | Family::Ouch42 | Family::Ouch50 => {
            let layout = layouts(family, direction).iter().find(|layout| layout.kind == kind);
            let layout = layout.ok_or(FieldError::UnknownType(kind))?;
            if family == Family::Ouch50 { ouch_bytes(layout, direction, &fields) } else { fixed_bytes(layout, &fields) }
        }
        Family::SoupBinTcp => soup_bytes(direction, kind, &fields),
        Family::MoldUdp64 => mold_bytes(direction, &fields),
    }
}

fn decode_error(error: impl fmt::Display) -> FieldError {
    FieldError::Decode(error.to_string())
}

// Reading

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn read_value(kind: Kind, bytes: &[u8]) -> Value {
    match kind {
        Kind::Alpha => Value::Alpha(latin1(text(bytes))),
        Kind::Unsigned | Kind::Price4 | Kind::Price8 => Value::Int(unsigned(bytes)),
        Kind::Signed | Kind::SignedPrice4 => {
            let unused = 64 - 8 * bytes.len();
            Value::Signed((unsigned(bytes) << unused) as i64 >> unused)
        }
    }
}

fn read_fields(fields: &[Field], bytes: &[u8]) -> Fields {
    let read = |field: &Field| (field.name, read_value(field.kind, &bytes[field.offset..field.offset + field.size]));
    fields.iter().map(read).collect()
}

fn fixed_fields(layout: &Layout, bytes: &[u8]) -> Fields {
    read_fields(layout.fields, bytes)
}

fn ouch_fields(layout: &Layout, bytes: &[u8], options: Option<ouch::Options<'_>>) -> Fields {
    let mut fields = fixed_fields(layout, bytes);
    let Some(options) = options else { return fields };
    if !has_field(layout, APPENDAGE_LENGTH) {
        fields.push((APPENDAGE_LENGTH, Value::Int(options.bytes().len() as u64)));
    }
    fields.extend(options.into_iter().map(|option| read_option(layout, option)));
    fields
}

fn has_field(layout: &Layout, name: &str) -> bool {
    layout.fields.iter().any(|field| field.name == name)
}

/// The options that have a name of their own in this message.
fn named_options(layout: &Layout) -> impl Iterator<Item = &'static OptionLayout> {
    ouch::OPTIONS.iter().filter(|option| !has_field(layout, option.name))
}

fn read_option(layout: &Layout, option: TagValue<'_>) -> (&'static str, Value) {
    let known = named_options(layout).find(|known| known.tag == option.tag && known.size == option.value.len());
    match known {
        Some(known) => (known.name, read_value(known.kind, option.value)),
        None => (OPTION, Value::Bytes([&[option.tag], option.value].concat())),
    }
}

fn soup_fields(direction: Direction, bytes: &[u8]) -> Result<Fields, FieldError> {
    let (packet, length) = soupbintcp::decode(bytes)
        .map_err(decode_error)?
        .ok_or_else(|| FieldError::Decode(format!("SoupBinTCP packet is not complete after {} bytes", bytes.len())))?;
    if length != bytes.len() {
        let left = bytes.len() - length;
        return Err(FieldError::Decode(format!("{left} bytes are left over after the SoupBinTCP packet")));
    }
    let kind = packet.kind();
    soup_name(direction, kind)?;
    let mut fields = vec![(MESSAGE_TYPE, Value::Alpha(latin1(&[kind])))];
    match packet {
        Packet::Debug(body) => fields.push(("text", Value::Alpha(latin1(body)))),
        Packet::SequencedData(body) | Packet::UnsequencedData(body) => {
            fields.push((MESSAGE, Value::Bytes(body.to_vec())));
        }
        Packet::LoginRejected(reason) => fields.push((REJECT_REASON.name, Value::Alpha(latin1(text(&[reason]))))),
        Packet::LoginAccepted(login) => {
            fields.push((SESSION.name, Value::Alpha(latin1(soupbintcp::strip(&login.session)))));
            fields.push((SEQUENCE_NUMBER.name, Value::Int(login.next_sequence_number().map_err(decode_error)?)));
        }
        Packet::LoginRequest(login) => login_fields(&login, &mut fields)?,
        Packet::ServerHeartbeat | Packet::EndOfSession | Packet::ClientHeartbeat | Packet::LogoutRequest => {}
    }
    Ok(fields)
}

fn login_fields(login: &LoginRequest, fields: &mut Fields) -> Result<(), FieldError> {
    fields.push((USERNAME.name, Value::Alpha(latin1(text(&login.username)))));
    fields.push((PASSWORD.name, Value::Alpha(latin1(text(&login.password)))));
    fields.push((REQUESTED_SESSION.name, Value::Alpha(latin1(soupbintcp::strip(&login.requested_session)))));
    fields.push((REQUESTED_SEQUENCE_NUMBER.name, Value::Int(login.sequence_number().map_err(decode_error)?)));
    if let Some(timeout) = login.heartbeat_timeout_ms().map_err(decode_error)? {
        fields.push((HEARTBEAT_TIMEOUT.name, Value::Int(timeout)));
    }
    Ok(())
}

// Writing

fn bad_value(field: &'static str, expected: String, found: &Value) -> FieldError {
    FieldError::BadValue { field, expected, found: found.clone() }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some((*value).into()),
        Value::Signed(value) => Some((*value).into()),
        Value::Alpha(_) | Value::Bytes(_) => None,
    }
}

/// The bytes of a text, one for each character.
fn latin1_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// Writes a value at its place.
fn write_value(name: &'static str, kind: Kind, value: &Value, out: &mut [u8]) -> Result<(), FieldError> {
    let size = out.len();
    let bits = 8 * size as u32;
    match kind {
        Kind::Alpha => {
            let text = if let Value::Alpha(text) = value { latin1_bytes(text) } else { None };
            let text = text
                .filter(|text| text.len() <= size)
                .ok_or_else(|| bad_value(name, format!("text of at most {size} bytes"), value))?;
            out.fill(b' ');
            out[..text.len()].copy_from_slice(&text);
        }
        Kind::Unsigned | Kind::Price4 | Kind::Price8 => {
            let number = integer(value)
                .filter(|number| (0..1_i128 << bits).contains(number))
                .ok_or_else(|| bad_value(name, format!("a number below 2^{bits}"), value))?;
            out.copy_from_slice(&number.to_be_bytes()[16 - size..]);
        }
        Kind::Signed | Kind::SignedPrice4 => {
            let half = 1_i128 << (bits - 1);
            let number = integer(value)
                .filter(|number| (-half..half).contains(number))
                .ok_or_else(|| bad_value(name, format!("a number from -2^{0} to below 2^{0}", bits - 1), value))?;
            out.copy_from_slice(&number.to_be_bytes()[16 - size..]);
        }
    }
    Ok(())
}

type Given<'a> = [(&'a str, &'a Value)];

/// Fields that have a place, and whether each was written.
struct Writer {
    message: &'static str,
    fields: Vec<Field>,
    written: Vec<bool>,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(message: &'static str, fields: &[Field]) -> Self {
        let length = fields.last().map_or(0, |last| last.offset + last.size);
        Self { message, fields: fields.to_vec(), written: vec![false; fields.len()], bytes: vec![0; length] }
    }

    /// True when the name is one of the fields.
    fn write(&mut self, name: &str, value: &Value) -> Result<bool, FieldError> {
        let Some(index) = self.fields.iter().position(|field| field.name == name) else { return Ok(false) };
        if std::mem::replace(&mut self.written[index], true) {
            return Err(FieldError::DuplicateField { field: name.to_owned() });
        }
        let field = self.fields[index];
        write_value(field.name, field.kind, value, &mut self.bytes[field.offset..field.offset + field.size])?;
        Ok(true)
    }

    fn write_all(mut self, given: &Given<'_>) -> Result<Vec<u8>, FieldError> {
        for (name, value) in given {
            if !self.write(name, value)? {
                return Err(self.unknown(name, &[]));
            }
        }
        self.finish(&[])
    }

    fn unknown(&self, name: &str, others: &[&'static str]) -> FieldError {
        let known = self.fields.iter().map(|field| field.name).chain(others.iter().copied()).collect();
        FieldError::UnknownField { message: self.message, field: name.to_owned(), known }
    }

    fn finish(self, derived: &[&str]) -> Result<Vec<u8>, FieldError> {
        let lacks = self.fields.iter().zip(&self.written).find(|(f, written)| !**written && !derived.contains(&f.name));
        match lacks {
            Some((field, _)) => Err(FieldError::MissingField { message: self.message, field: field.name }),
            None => Ok(self.bytes),
        }
    }
}

/// The fields other than `message_type`, which must agree when given.
fn without_type<'a>(kind: u8, given: &Given<'a>) -> Result<Vec<(&'a str, &'a Value)>, FieldError> {
    let types = given.iter().filter(|(name, _)| *name == MESSAGE_TYPE);
    for (_, value) in types {
        if **value != Value::Alpha(latin1(text(&[kind]))) {
            return Err(bad_value(MESSAGE_TYPE, format!("the type that is being encoded, {}", shown(kind)), value));
        }
    }
    Ok(given.iter().copied().filter(|(name, _)| *name != MESSAGE_TYPE).collect())
}

fn fixed_bytes(layout: &Layout, given: &Given<'_>) -> Result<Vec<u8>, FieldError> {
    let own = without_type(layout.kind, given)?;
    let mut bytes = Writer::new(layout.name, &layout.fields[1..]).write_all(&own)?;
    bytes[0] = layout.kind;
    Ok(bytes)
}

fn ouch_bytes(layout: &Layout, direction: Direction, given: &Given<'_>) -> Result<Vec<u8>, FieldError> {
    let own = without_type(layout.kind, given)?;
    let mut writer = Writer::new(layout.name, layout.fields);
    writer.bytes[0] = layout.kind;
    let (mut options, mut announced) = (Vec::new(), None);
    for (name, value) in own {
        if name == APPENDAGE_LENGTH {
            announced = Some(value);
        } else if name == OPTION {
            push_raw_option(value, &mut options)?;
        } else if !writer.write(name, value)? {
            let known = named_options(layout).find(|option| option.name == name);
            let Some(known) = known else {
                let names: Vec<_> = named_options(layout).map(|option| option.name).collect();
                return Err(writer.unknown(name, &names));
            };
            let mut field = vec![0; known.size];
            write_value(known.name, known.kind, value, &mut field)?;
            ouch::append_option(known.tag, &field, &mut options);
        }
    }
    if let Some(value) = announced
        && integer(value) != Some(options.len() as i128)
    {
        return Err(bad_value(APPENDAGE_LENGTH, format!("the options' length, {}", options.len()), value));
    }
    if options.len() > usize::from(u16::MAX) {
        return Err(FieldError::Decode(format!("{} bytes of options do not fit a message", options.len())));
    }
    let fixed = writer.finish(&[MESSAGE_TYPE, APPENDAGE_LENGTH])?;
    let mut out = Vec::with_capacity(fixed.len() + options.len() + 2);
    match direction {
        Direction::Inbound => ouch::inbound::append(&fixed, &options, &mut out),
        Direction::Outbound => ouch::outbound::append(&fixed, &options, &mut out),
    }
    if announced.is_some() && out.len() == fixed.len() && !has_field(layout, APPENDAGE_LENGTH) {
        out.extend_from_slice(&[0, 0]); // an appendage that is there and empty
    }
    Ok(out)
}

fn push_raw_option(value: &Value, options: &mut Vec<u8>) -> Result<(), FieldError> {
    match value {
        Value::Bytes(bytes) if (1..=255).contains(&bytes.len()) => {
            ouch::append_option(bytes[0], &bytes[1..], options);
            Ok(())
        }
        _ => Err(bad_value(OPTION, "a tag byte and at most 254 bytes of value".to_owned(), value)),
    }
}

fn mold_bytes(direction: Direction, given: &Given<'_>) -> Result<Vec<u8>, FieldError> {
    let mut writer = Writer::new("moldudp64_header", moldudp64::HEADER_FIELDS);
    let mut messages = Vec::new();
    for (name, value) in given {
        if *name == MESSAGE && direction == Direction::Outbound {
            messages.push(message_bytes(value)?);
        } else if !writer.write(name, value)? {
            return Err(writer.unknown(name, if direction == Direction::Outbound { &[MESSAGE] } else { &[] }));
        }
    }
    if direction == Direction::Inbound {
        let bytes = writer.finish(&[])?;
        moldudp64::decode_request(&bytes).map_err(decode_error)?;
        return Ok(bytes);
    }
    let count = messages.len() as u64;
    if count > 0 && !given.iter().any(|(name, _)| *name == "message_count") {
        writer.write("message_count", &Value::Int(count))?;
    }
    let mut bytes = writer.finish(&[])?;
    for message in messages {
        bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
        bytes.extend_from_slice(message);
    }
    moldudp64::decode(&bytes).map_err(decode_error)?; // the count given agrees with the messages
    Ok(bytes)
}

/// A message inside a packet; its length fits two bytes.
fn message_bytes(value: &Value) -> Result<&[u8], FieldError> {
    match value {
        Value::Bytes(bytes) if bytes.len() <= usize::from(u16::MAX) => Ok(bytes),
        _ => Err(bad_value(MESSAGE, "at most 65,535 bytes".to_owned(), value)),
    }
}

const fn place(name: &'static str, offset: usize, size: usize, kind: Kind) -> Field {
    Field { name, offset, size, kind }
}

// Offsets count from behind the packet type. Numbers are checked as numbers here and become digits afterwards.
const USERNAME: Field = place("username", 0, 6, Kind::Alpha);
const PASSWORD: Field = place("password", 6, 10, Kind::Alpha);
const REQUESTED_SESSION: Field = place("requested_session", 16, 10, Kind::Alpha);
const REQUESTED_SEQUENCE_NUMBER: Field = place("requested_sequence_number", 26, 8, Kind::Unsigned);
const HEARTBEAT_TIMEOUT: Field = place("heartbeat_timeout", 34, 8, Kind::Unsigned);
const SESSION: Field = place("session", 0, 10, Kind::Alpha);
const SEQUENCE_NUMBER: Field = place("sequence_number", 10, 8, Kind::Unsigned);
const REJECT_REASON: Field = place("reject_reason_code", 0, 1, Kind::Alpha);

/// The packet's name, if it exists in this direction.
fn soup_name(direction: Direction, kind: u8) -> Result<&'static str, FieldError> {
    use soupbintcp::kind as k;
    match (direction, kind) {
        (_, k::DEBUG) => Ok("debug"),
        (_, k::UNSEQUENCED_DATA) => Ok("unsequenced_data"),
        (Direction::Inbound, k::LOGIN_REQUEST) => Ok("login_request"),
        (Direction::Inbound, k::CLIENT_HEARTBEAT) => Ok("client_heartbeat"),
        (Direction::Inbound, k::LOGOUT_REQUEST) => Ok("logout_request"),
        (Direction::Outbound, k::LOGIN_ACCEPTED) => Ok("login_accepted"),
        (Direction::Outbound, k::LOGIN_REJECTED) => Ok("login_rejected"),
        (Direction::Outbound, k::SEQUENCED_DATA) => Ok("sequenced_data"),
        (Direction::Outbound, k::SERVER_HEARTBEAT) => Ok("server_heartbeat"),
        (Direction::Outbound, k::END_OF_SESSION) => Ok("end_of_session"),
        _ => Err(FieldError::UnknownType(kind)),
    }
}

fn soup_bytes(direction: Direction, kind: u8, given: &Given<'_>) -> Result<Vec<u8>, FieldError> {
    use soupbintcp::kind as k;
    let name = soup_name(direction, kind)?;
    let own = without_type(kind, given)?;
    let write = |fields: &[Field]| Writer::new(name, fields).write_all(&own);
    let mut out = Vec::new();
    match kind {
        k::DEBUG => Packet::Debug(&variable_part(name, "text", &own)?).append_to(&mut out),
        k::SEQUENCED_DATA => Packet::SequencedData(&variable_part(name, MESSAGE, &own)?).append_to(&mut out),
        k::UNSEQUENCED_DATA => Packet::UnsequencedData(&variable_part(name, MESSAGE, &own)?).append_to(&mut out),
        k::LOGIN_REJECTED => Packet::LoginRejected(write(&[REJECT_REASON])?[0]).append_to(&mut out),
        k::LOGIN_ACCEPTED => {
            let body = write(&[SESSION, SEQUENCE_NUMBER])?;
            let sequence_number = number(unsigned(&body[10..]), Justify::Right);
            let session = piece(&body, SESSION);
            Packet::LoginAccepted(LoginAccepted { session, sequence_number }).append_to(&mut out);
        }
        k::LOGIN_REQUEST => Packet::LoginRequest(login_request(name, &own)?).append_to(&mut out),
        _ => {
            write(&[])?;
            out.extend_from_slice(&soupbintcp::header(kind, 0));
        }
    }
    Ok(out)
}

fn piece<const N: usize>(body: &[u8], field: Field) -> [u8; N] {
    *body[field.offset..].first_chunk().expect("the body was built from these fields")
}

fn login_request(name: &'static str, own: &Given<'_>) -> Result<LoginRequest, FieldError> {
    let fields = [USERNAME, PASSWORD, REQUESTED_SESSION, REQUESTED_SEQUENCE_NUMBER, HEARTBEAT_TIMEOUT];
    let timeout = own.iter().find(|(name, _)| *name == HEARTBEAT_TIMEOUT.name);
    let body = Writer::new(name, if timeout.is_some() { &fields } else { &fields[..4] }).write_all(own)?;
    let heartbeat_timeout = match timeout {
        Some((_, value)) => match u64::from_be_bytes(piece(&body, HEARTBEAT_TIMEOUT)) {
            ms @ ..100_000 => Some(number(ms, Justify::Right)),
            _ => return Err(bad_value(HEARTBEAT_TIMEOUT.name, "milliseconds of at most 5 digits".to_owned(), value)),
        },
        None => None,
    };
    Ok(LoginRequest {
        username: piece(&body, USERNAME),
        password: piece(&body, PASSWORD),
        requested_session: piece(&body, REQUESTED_SESSION),
        requested_sequence_number: number(u64::from_be_bytes(piece(&body, REQUESTED_SEQUENCE_NUMBER)), Justify::Right),
        heartbeat_timeout,
    })
}

/// The one field of a packet without fixed layout.
fn variable_part(message: &'static str, field: &'static str, own: &Given<'_>) -> Result<Vec<u8>, FieldError> {
    if let Some((other, _)) = own.iter().find(|(name, _)| *name != field) {
        return Err(FieldError::UnknownField { message, field: (*other).to_owned(), known: vec![field] });
    }
    let value = match own {
        [(_, value)] => *value,
        [] => return Err(FieldError::MissingField { message, field }),
        _ => return Err(FieldError::DuplicateField { field: field.to_owned() }),
    };
    let bytes = match value {
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Alpha(text) => latin1_bytes(text),
        Value::Int(_) | Value::Signed(_) => None,
    };
    let expected = || format!("text or bytes, at most {}", soupbintcp::MAX_PAYLOAD);
    bytes.filter(|b| b.len() <= soupbintcp::MAX_PAYLOAD).ok_or_else(|| bad_value(field, expected(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delete() -> Vec<(&'static str, Value)> {
        let names = ["stock_locate", "tracking_number", "timestamp", "order_reference_number"];
        names.into_iter().zip([1, 2, 3, 4].map(Value::Int)).collect()
    }

    fn itch(fields: &[(&'static str, Value)]) -> Result<Vec<u8>, FieldError> {
        from_fields(Family::Itch50, Direction::Outbound, b'D', fields)
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let bytes = itch(&delete()).expect("all fields");
        assert_eq!(bytes, b"D\0\x01\0\x02\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04");
        let fields = to_fields(Family::Itch50, Direction::Outbound, &bytes).expect("a message");
        assert_eq!(fields[0], ("message_type", Value::Alpha("D".to_owned())));
        assert_eq!(fields[1..], delete());
        assert_eq!(itch(&fields), Ok(bytes));
    }

    #[test]
    fn mistakes_in_fields_are_named() {
        let mut fields = delete();
        fields[3].0 = "order_ref";
        let error = itch(&fields).expect_err("misspelt");
        assert!(error.to_string().contains("order_reference_number"), "{error}");
        let missing = FieldError::MissingField { message: "order_delete", field: "order_reference_number" };
        assert_eq!(itch(&delete()[..3]), Err(missing));
        let twice = [delete(), delete()].concat();
        assert_eq!(itch(&twice), Err(FieldError::DuplicateField { field: "stock_locate".to_owned() }));
        for (index, value) in [(0, Value::Int(65_536)), (2, Value::Int(1 << 48)), (1, Value::Signed(-1))] {
            let mut fields = delete();
            fields[index].1 = value.clone();
            assert!(matches!(itch(&fields), Err(FieldError::BadValue { found, .. }) if found == value));
        }
        let wrong_type = [("message_type", Value::Alpha("A".to_owned()))];
        assert!(matches!(itch(&wrong_type), Err(FieldError::BadValue { field: "message_type", .. })));
        let unknown = from_fields(Family::Itch50, Direction::Outbound, b'z', &delete());
        assert_eq!(unknown, Err(FieldError::UnknownType(b'z')));
    }

    #[test]
    fn options_known_and_unknown_keep_their_order_and_bytes() {
        let options = [
            ("option", Value::Bytes(vec![200, 1, 2])),
            ("peg_offset", Value::Signed(-100)),
            ("option", Value::Bytes(vec![ouch::tag::FIRM, b'X'])),
            ("firm", Value::Alpha("LIME".to_owned())),
        ];
        let restated =
            [("timestamp", Value::Int(1)), ("user_ref_num", Value::Int(2)), ("reason", Value::Alpha("R".to_owned()))];
        let fields: Fields = restated.into_iter().chain(options.clone()).collect();
        let bytes = from_fields(Family::Ouch50, Direction::Outbound, b'R', &fields).expect("fields");
        assert_eq!(bytes[14..], *b"\0\x13\x03\xc8\x01\x02\x05\x07\xff\xff\xff\x9c\x02\x02X\x05\x02LIME");
        let again = to_fields(Family::Ouch50, Direction::Outbound, &bytes).expect("a message");
        assert_eq!(again[again.len() - 4..], options);
        assert_eq!(again[4], ("appendage_length", Value::Int(19)));
    }

    #[test]
    fn an_option_named_as_a_field_of_the_message_stays_raw() {
        let mut bytes = Vec::new();
        let message =
            ouch::inbound::MassCancel { user_ref_num: 1, firm: *b"LIME", symbol: [b' '; 8], appendage_length: 0 };
        ouch::inbound::append(&message.encode(), b"\x05\x02FIRM\x02\x1bS", &mut bytes);
        let fields = to_fields(Family::Ouch50, Direction::Inbound, &bytes).expect("a message");
        assert!(fields.contains(&("firm", Value::Alpha("LIME".to_owned()))));
        assert!(fields.contains(&("option", Value::Bytes(b"\x02FIRM".to_vec()))));
        assert!(fields.contains(&("side", Value::Alpha("S".to_owned()))));
        assert_eq!(from_fields(Family::Ouch50, Direction::Inbound, b'C', &fields), Ok(bytes));
    }

    #[test]
    fn packets_know_their_direction() {
        let heartbeat = [0, 1, b'R'];
        assert!(to_fields(Family::SoupBinTcp, Direction::Inbound, &heartbeat).is_ok());
        let wrong_way = Err(FieldError::UnknownType(b'R'));
        assert_eq!(to_fields(Family::SoupBinTcp, Direction::Outbound, &heartbeat), wrong_way);
        let none: [(&str, Value); 0] = [];
        assert_eq!(from_fields(Family::SoupBinTcp, Direction::Inbound, b'R', &none), Ok(heartbeat.to_vec()));
        let extra = [("text", Value::Int(1))];
        assert!(from_fields(Family::SoupBinTcp, Direction::Inbound, b'R', &extra).is_err());
        assert!(to_fields(Family::SoupBinTcp, Direction::Inbound, &[0, 1, b'R', 0]).is_err());
        assert!(to_fields(Family::SoupBinTcp, Direction::Inbound, &[0, 2, b'R']).is_err());
    }

    #[test]
    fn a_login_of_version_4_1_has_a_timeout() {
        let mut login = LoginRequest::new("me", "secret", "S1", 12).expect("short texts");
        login.heartbeat_timeout = Some(number(30_000, Justify::Right));
        let mut bytes = Vec::new();
        Packet::LoginRequest(login).append_to(&mut bytes);
        let fields = to_fields(Family::SoupBinTcp, Direction::Inbound, &bytes).expect("a login");
        assert_eq!(fields.last(), Some(&("heartbeat_timeout", Value::Int(30_000))));
        assert_eq!(from_fields(Family::SoupBinTcp, Direction::Inbound, b'L', &fields), Ok(bytes));
        let mut too_long = fields;
        too_long.pop();
        too_long.push(("heartbeat_timeout", Value::Int(100_000)));
        let error = from_fields(Family::SoupBinTcp, Direction::Inbound, b'L', &too_long);
        assert!(matches!(error, Err(FieldError::BadValue { field: "heartbeat_timeout", .. })));
    }

    #[test]
    fn a_packets_count_follows_from_its_messages_or_agrees_with_them() {
        let header = [("session", Value::Alpha("S1".to_owned())), ("sequence_number", Value::Int(5))];
        let with = |more: &[(&'static str, Value)]| {
            let fields: Fields = header.iter().chain(more).cloned().collect();
            from_fields(Family::MoldUdp64, Direction::Outbound, 0, &fields)
        };
        let message = ("message", Value::Bytes(b"ab".to_vec()));
        let bytes = with(&[message.clone(), message.clone()]).expect("two messages");
        assert_eq!(bytes, b"S1        \0\0\0\0\0\0\0\x05\0\x02\0\x02ab\0\x02ab");
        let wrong = ("message_count", Value::Int(3));
        assert!(with(&[message, wrong]).is_err());
        assert!(with(&[]).is_err(), "without messages the count says what the packet is");
    }
}
