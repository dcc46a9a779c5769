//! FIX bytes: a stream cut into messages, a message into fields, and messages to be sent.
//!
//! [`frame`] finds the first message of a stream and resynchronises behind garbled ones; [`Fields`] cuts a message
//! into fields, data fields by their length. Both look at eight bytes at a time. [`Builder`] writes a message into a
//! buffer that is reused. None allocates once its tables have grown. A number has at most eighteen digits.
//! Absent: meaning (`validate`), other encodings, encryption.

use std::fmt;

use helios_types::{NANOS_PER_SECOND, Nanos, PRICE_SCALE, Price, QUANTITY_SCALE, Quantity};

use super::dictionary::{Dictionary, Version};

/// Ends every field.
pub const SOH: u8 = 1;
/// Longest message that is read or written.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most fields of a message.
pub const MAX_FIELDS: usize = 4096;

/// Longest BeginString that is looked for.
const MAX_BEGIN_STRING: usize = 16;
/// Digits of the largest BodyLength, and some leading zeros.
const MAX_LENGTH_DIGITS: usize = 8;
const BEGIN: &[u8] = b"8=FIX";
const CHECKSUM: &[u8] = b"\x0110=";
/// `10=ddd` and its delimiter.
const TRAILER: usize = 7;

/// Why bytes are no message. They are dropped, and no answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// Bytes in front of `8=FIX`.
    NoBeginString,
    /// The second field is not a BodyLength of digits.
    NoBodyLength,
    /// Longer than [`MAX_MESSAGE`].
    TooLong,
    /// BodyLength does not end at the CheckSum.
    WrongBodyLength,
    /// CheckSum is not the sum of the bytes.
    WrongCheckSum,
    /// The third field is not MsgType.
    NoMsgType,
    /// A tag is no number, or a field has no `=`, or a data field is not as long as its length field says.
    BadField,
    /// More than [`MAX_FIELDS`].
    TooManyFields,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBeginString => "bytes in front of 8=FIX",
            Self::NoBodyLength => "field 9 (BodyLength) does not follow field 8, or is no number",
            Self::TooLong => "longer than the largest message",
            Self::WrongBodyLength => "BodyLength does not end at the CheckSum",
            Self::WrongCheckSum => "CheckSum is not the sum of the bytes",
            Self::NoMsgType => "field 35 (MsgType) does not follow field 9",
            Self::BadField => "a field is not number=value, or a data field is not as long as its length says",
            Self::TooManyFields => "more fields than the largest message",
        })
    }
}

impl std::error::Error for Garbled {}

/// The first thing in a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A message whose length and checksum are right.
    Message {
        /// From `8=` through the last delimiter.
        bytes: &'a [u8],
        /// Bytes to take off the stream.
        used: usize,
    },
    /// Read more. What is to be kept is never longer than [`MAX_MESSAGE`] and a few bytes.
    Incomplete,
    /// Drop `used` bytes and go on.
    Garbled {
        /// Bytes to take off the stream, at least one.
        used: usize,
        /// What was wrong.
        why: Garbled,
    },
}

/// The first message of a byte stream.
///
/// Bytes in front of `8=FIX` are dropped. A message whose BodyLength or CheckSum is wrong is dropped whole, through
/// the first CheckSum field at or behind the place that its BodyLength names: one that is too long takes the next
/// message with it.
#[inline]
pub fn frame(bytes: &[u8]) -> Framed<'_> {
    if !bytes.starts_with(BEGIN) {
        return junk(bytes);
    }
    let (body, length) = match body(bytes) {
        Ok(Some(found)) => found,
        Ok(None) => return Framed::Incomplete,
        // Without a length there is no end: look for the next beginning.
        Err(why) => return Framed::Garbled { used: BEGIN.len(), why },
    };
    // The delimiter in front of the CheckSum field, if the length is right.
    let last = body + length - 1;
    match bytes.get(last..last + 1 + TRAILER) {
        Some(trailer) if trailer.starts_with(CHECKSUM) && trailer[TRAILER] == SOH => {
            judge(bytes, body, last + 1, &trailer[CHECKSUM.len()..TRAILER])
        }
        _ => wrong_length(bytes, last),
    }
}

#[inline]
fn judge<'a>(bytes: &'a [u8], body: usize, end: usize, digits: &[u8]) -> Framed<'a> {
    let used = end + TRAILER;
    let stated = digits.iter().try_fold(0u32, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')) //
    });
    if stated != Some(u32::from(checksum(&bytes[..end]))) {
        return Framed::Garbled { used, why: Garbled::WrongCheckSum };
    }
    if !bytes[body..].starts_with(b"35=") {
        return Framed::Garbled { used, why: Garbled::NoMsgType };
    }
    Framed::Message { bytes: &bytes[..used], used }
}

/// The sum of the bytes modulo 256.
#[inline]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Where the body begins and how long it says it is.
#[inline]
fn body(bytes: &[u8]) -> Result<Option<(usize, usize)>, Garbled> {
    // `FIX.4.x` and `FIXT.1.1`.
    let first = match (bytes.get(9), bytes.get(10)) {
        (Some(&SOH), _) => 9,
        (_, Some(&SOH)) => 10,
        _ => match odd_begin(bytes)? {
            Some(first) => first,
            None => return Ok(None),
        },
    };
    let rest = &bytes[first + 1..];
    if rest.len() < 3 {
        return if b"9=".starts_with(&rest[..rest.len().min(2)]) { Ok(None) } else { Err(Garbled::NoBodyLength) };
    }
    let digits = rest.strip_prefix(b"9=").ok_or(Garbled::NoBodyLength)?;
    let mut length = 0usize;
    for (at, byte) in digits.iter().take(MAX_LENGTH_DIGITS + 1).enumerate() {
        match byte {
            b'0'..=b'9' => length = length * 10 + usize::from(byte - b'0'),
            &SOH if at > 0 && length <= MAX_MESSAGE => return Ok(Some((first + 1 + 2 + at + 1, length))),
            &SOH if at > 0 => return Err(Garbled::TooLong),
            _ => return Err(Garbled::NoBodyLength),
        }
    }
    if digits.len() > MAX_LENGTH_DIGITS { Err(Garbled::NoBodyLength) } else { Ok(None) }
}

/// Where a BeginString that we do not speak ends.
#[cold]
fn odd_begin(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let head = &bytes[..bytes.len().min(MAX_BEGIN_STRING)];
    let end = head.iter().position(|byte| *byte == SOH);
    if end.is_none() && head.len() == MAX_BEGIN_STRING { Err(Garbled::NoBodyLength) } else { Ok(end) }
}

/// A message that does not end where it should, or has not ended yet.
#[cold]
fn wrong_length(bytes: &[u8], last: usize) -> Framed<'_> {
    let Some(tail) = bytes.get(last..) else { return Framed::Incomplete };
    if tail.len() <= TRAILER && could_be_trailer(tail) {
        return Framed::Incomplete;
    }
    let Some(checksum) = find_checksum(tail) else {
        let long = tail.len() > MAX_MESSAGE;
        return if long { Framed::Garbled { used: BEGIN.len(), why: Garbled::TooLong } } else { Framed::Incomplete };
    };
    let behind = &tail[checksum + CHECKSUM.len()..];
    // A CheckSum has three digits; look a little further for its delimiter, not for ever.
    match behind.iter().take(MAX_BEGIN_STRING).position(|byte| *byte == SOH) {
        Some(end) => {
            let why = if checksum == 0 { Garbled::WrongCheckSum } else { Garbled::WrongBodyLength };
            Framed::Garbled { used: last + checksum + CHECKSUM.len() + end + 1, why }
        }
        None if behind.len() < MAX_BEGIN_STRING => Framed::Incomplete,
        None => Framed::Garbled { used: last + checksum + CHECKSUM.len(), why: Garbled::WrongCheckSum },
    }
}

/// By whole blocks, because a peer that sends byte by byte has us look again and again.
fn find_checksum(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).step_by(BLOCK).find_map(|base| {
        let mut ends = delimiters(bytes, base);
        while ends != 0 {
            let at = base + ends.trailing_zeros() as usize;
            if bytes[at..].starts_with(CHECKSUM) {
                return Some(at);
            }
            ends &= ends - 1;
        }
        None
    })
}

/// Whether more bytes could make this a CheckSum field in its place.
fn could_be_trailer(tail: &[u8]) -> bool {
    let (fixed, digits) = tail.split_at(tail.len().min(CHECKSUM.len()));
    CHECKSUM.starts_with(fixed) && digits.iter().all(u8::is_ascii_digit)
}

/// Bytes that do not begin a message: all in front of the next `8=FIX`, or of a beginning of it at the end.
#[cold]
fn junk(bytes: &[u8]) -> Framed<'_> {
    let used = find(bytes, BEGIN).unwrap_or_else(|| {
        let kept = (1..BEGIN.len()).rev().find(|length| bytes.ends_with(&BEGIN[..*length])).unwrap_or(0);
        bytes.len() - kept
    });
    if used == 0 { Framed::Incomplete } else { Framed::Garbled { used, why: Garbled::NoBeginString } }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Why a framed message has no fields.
pub type ParseError = Garbled;

/// Where one field stands, and how it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its tag; zero and negative ones are the other side's mistakes.
    pub tag: i32,
    /// Its number in the dictionary that it was parsed with, zero when unknown.
    pub index: u16,
    /// Bytes of the tag and the `=`.
    head: u16,
    pub start: u32,
    pub end: u32,
    /// Tag and `=` as the first bytes of a word, and the bits that they take.
    key: u64,
    mask: u64,
}

impl Field {
    /// Begins as no field does.
    const NONE: Self = Self { tag: 0, index: 0, head: 0, start: 0, end: 0, key: 1, mask: 0 };
}

/// A reusable table of fields: no allocation once it has grown.
///
/// Messages of one kind follow one another: where a field begins as the one in its place in the last message did, tag
/// and number are taken over.
#[derive(Debug, Default)]
pub struct Fields {
    /// Fields of the message at hand, then what is left of others.
    slots: Vec<Field>,
    /// Whose numbers they have.
    version: Option<Version>,
}

impl Fields {
    /// A table for as many fields as most messages have.
    pub fn new() -> Self {
        let mut fields = Self::default();
        fields.grow();
        fields
    }

    /// Cuts a framed message into fields.
    #[inline]
    pub fn parse<'a>(&'a mut self, bytes: &'a [u8], dictionary: &Dictionary) -> Result<Message<'a>, ParseError> {
        if self.version != Some(dictionary.version()) {
            self.version = Some(dictionary.version());
            self.slots.fill(Field::NONE);
        }
        let count = loop {
            match cut(bytes, dictionary, &mut self.slots)? {
                Some(count) => break count,
                None if self.slots.len() >= MAX_FIELDS => return Err(Garbled::TooManyFields),
                None => self.grow(),
            }
        };
        Ok(Message { bytes, fields: &self.slots[..count] })
    }

    #[cold]
    fn grow(&mut self) {
        self.slots.resize((2 * self.slots.len()).clamp(64, MAX_FIELDS), Field::NONE);
    }
}

/// Lays the fields of a message into slots; how many, or `None` when there are too few slots.
#[inline]
fn cut(bytes: &[u8], dictionary: &Dictionary, slots: &mut [Field]) -> Result<Option<usize>, ParseError> {
    let (mut start, mut base, mut count) = (0, 0, 0);
    while base < bytes.len() {
        let mut ends = delimiters(bytes, base);
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            // Delimiters inside a data field were passed already.
            if end < start {
                continue;
            }
            let Some(slot) = slots.get_mut(count) else { return Ok(None) };
            let word = word_at(bytes, start);
            if word & slot.mask != slot.key {
                *slot = begin_field(word, &bytes[start..end], dictionary)?;
            }
            slot.start = start as u32 + u32::from(slot.head);
            slot.end = end as u32;
            start = end + 1;
            if slot.index & Dictionary::DATA != 0 {
                let end = data_end(bytes, *slot, &slots[..count], dictionary)?;
                slots[count].end = end;
                start = end as usize + 1;
            }
            count += 1;
        }
        base += BLOCK;
    }
    if start == bytes.len() && count >= 3 { Ok(Some(count)) } else { Err(Garbled::BadField) }
}

/// The field whose first eight bytes are in `word`, without its place.
fn begin_field(word: u64, field: &[u8], dictionary: &Dictionary) -> Result<Field, ParseError> {
    let (tag, length) = match short_tag(word) {
        Some((tag, length)) if length < field.len() => (tag, length),
        _ => odd_tag(field)?,
    };
    let index = dictionary.field_index(tag);
    let head = length as u16 + 1;
    let mask = if length < 8 { u64::MAX >> (64 - 8 * (length + 1)) } else { 0 };
    let key = if length < 8 { word & mask } else { 1 };
    Ok(Field { tag, index, head, start: 0, end: 0, key, mask })
}

/// Where a data field ends by its length field; without one in front of it, it ends as any other.
#[cold]
fn data_end(bytes: &[u8], field: Field, before: &[Field], dictionary: &Dictionary) -> Result<u32, ParseError> {
    let Some(length) = before.last().filter(|last| last.tag == dictionary.length_tag(field.index)) else {
        return Ok(field.end);
    };
    let Some(length) = number(&bytes[length.start as usize..length.end as usize]) else { return Ok(field.end) };
    let end = u64::from(field.start).saturating_add(length);
    let ends = usize::try_from(end).ok().and_then(|end| bytes.get(end)) == Some(&SOH);
    if ends { Ok(end as u32) } else { Err(Garbled::BadField) }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const ZEROS: u64 = ONES * b'0' as u64;

/// Bytes that [`delimiters`] looks at.
const BLOCK: usize = 64;

/// One bit for each of the bytes from `base` on, 64 at most, that is a delimiter. Not inlined: the loop over fields
/// needs all registers.
#[inline(never)]
fn delimiters(bytes: &[u8], base: usize) -> u64 {
    if let Some(block) = bytes[base..].first_chunk::<BLOCK>() {
        return block_delimiters(block);
    }
    // The last block overlaps the one before, whose bytes are shifted out.
    if let Some(block) = bytes.last_chunk::<BLOCK>() {
        return block_delimiters(block) >> (BLOCK - (bytes.len() - base));
    }
    bytes[base..].iter().enumerate().fold(0, |bits, (at, byte)| bits | u64::from(*byte == SOH) << at)
}

/// Compilers make vector code of the first half: byte `8k + j` sets bit `k` of byte `j`. The second half turns that
/// square of bits round.
#[inline]
fn block_delimiters(block: &[u8; BLOCK]) -> u64 {
    let mut bits = [0; BLOCK];
    for at in 0..BLOCK {
        bits[at] = if block[at] == SOH { 1 << (at / 8) } else { 0 };
    }
    let (words, _) = bits.as_chunks::<8>();
    let mut square = words.iter().fold(0, |square, word| square | u64::from_le_bytes(*word));
    for (shift, mask) in [(7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0x0000_0000_F0F0_F0F0)] {
        let swapped = (square ^ (square >> shift)) & mask;
        square ^= swapped ^ (swapped << shift);
    }
    square
}

/// Eight bytes from `at` on, the first in the lowest byte; zeros behind the end.
#[inline]
pub(super) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, at),
    }
}

#[cold]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The high bit of each byte that is no digit.
#[inline]
pub(super) const fn not_digits(word: u64) -> u64 {
    let digits = word ^ ZEROS;
    // A carry comes only from a byte whose own high bit is set.
    (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS
}

/// The first `length` bytes of a word (one to eight) at its top, in their order, behind zeros.
#[inline]
pub(super) const fn first_bytes(word: u64, length: usize) -> u64 {
    let bits = 8 * length as u32;
    word << (64 - bits) | (ZEROS >> (bits - 1)) >> 1
}

/// The high bit of each byte that is this one.
#[inline]
pub(super) const fn bytes_equal(word: u64, byte: u8) -> u64 {
    let word = word ^ (ONES * byte as u64);
    !(((word & !HIGHS) + !HIGHS) | word | !HIGHS)
}

/// A tag of one to three digits in front of the `=`, and its length.
#[inline]
fn short_tag(word: u64) -> Option<(i32, usize)> {
    let digits = word as u32 ^ 0x3030_3030;
    let equals = digits ^ EQUALS;
    let found = equals.wrapping_sub(0x0101_0101) & !equals & 0x8080_8080;
    // Without a `=` in the first four bytes the tag has four digits or more; with one in the first it has none.
    if found < 0x8000 {
        return None;
    }
    let bits = found.trailing_zeros() & !7;
    // Digits to the top, with zeros in front; there are none where a `=` is first and another follows.
    let digits = digits.checked_shl(32 - bits)?;
    if (digits.wrapping_add(0x7676_7676) | digits) & 0x8080_8080 != 0 {
        return None;
    }
    let tag = (digits >> 8 & 0xFF) * 100 + (digits >> 16 & 0xFF) * 10 + (digits >> 24);
    Some((tag as i32, bits as usize / 8))
}

/// Four `=`, as they look once `0` was taken off.
const EQUALS: u32 = 0x3D3D_3D3D ^ 0x3030_3030;

/// Long tags, those near the end of a message, negative ones, and what is no tag.
#[cold]
fn odd_tag(field: &[u8]) -> Result<(i32, usize), ParseError> {
    let length = field.iter().position(|byte| *byte == b'=').ok_or(Garbled::BadField)?;
    let (negative, digits) = match &field[..length] {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let tag = number(digits).and_then(|tag| i32::try_from(tag).ok()).ok_or(Garbled::BadField)?;
    Ok((if negative { -tag } else { tag }, length))
}

/// The largest number that is read: eighteen digits.
pub const MAX_NUMBER: u64 = 999_999_999_999_999_999;

/// A number of one to eighteen digits.
#[inline]
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u64::from(digit - b'0')))
}

/// A message and where its fields stand.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
}

impl<'a> Message<'a> {
    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// BeginString: the first field.
    pub fn begin_string(&self) -> &'a [u8] {
        self.value(&self.fields[0])
    }

    /// MsgType: the third field.
    #[inline]
    pub fn msg_type(&self) -> &'a [u8] {
        self.value(&self.fields[2])
    }

    /// MsgSeqNum, if it is a number.
    pub fn seq_num(&self) -> Option<u64> {
        self.get_u64(34)
    }

    /// The first field of this tag.
    #[inline]
    pub fn get(&self, tag: i32) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| field.tag == tag).map(|field| self.value(field))
    }

    /// [`Self::get`] as a number of at most eighteen digits.
    pub fn get_u64(&self, tag: i32) -> Option<u64> {
        self.get(tag).and_then(number)
    }

    /// [`Self::get`] as text for people: bytes that are no UTF-8 are replaced.
    pub fn text(&self, tag: i32) -> Option<String> {
        self.get(tag).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// [`Self::get`] as a UTCTimestamp.
    pub fn timestamp(&self, tag: i32) -> Option<Nanos> {
        self.get(tag).and_then(timestamp)
    }

    /// Whether the field is there and `Y`.
    pub fn is_yes(&self, tag: i32) -> bool {
        self.get(tag) == Some(b"Y")
    }

    /// All fields in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i32, &'a [u8])> + Clone + '_ {
        self.fields.iter().map(|field| (field.tag, self.value(field)))
    }

    pub(super) fn fields(&self) -> &'a [Field] {
        self.fields
    }

    #[inline]
    pub(super) fn value(&self, field: &Field) -> &'a [u8] {
        &self.bytes[field.start as usize..field.end as usize]
    }
}

/// A UTCTimestamp, `YYYYMMDD-HH:MM:SS` with up to nine decimals that count; `None` before 1970 and for what is none.
pub fn timestamp(text: &[u8]) -> Option<Nanos> {
    let (whole, fraction) = text.split_at_checked(17)?;
    let part = |from: usize, to: usize| number(&whole[from..to]);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(12, 14)?, part(15, 17)?);
    let marks = (whole[8], whole[11], whole[14]) == (b'-', b':', b':');
    let ranges = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !marks || !ranges || year < 1970 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(fraction_ns(fraction)?).map(Nanos)
}

fn fraction_ns(fraction: &[u8]) -> Option<u64> {
    let Some((b'.', digits)) = fraction.split_first() else { return fraction.is_empty().then_some(0) };
    if digits.len() > 12 {
        return None;
    }
    let kept = &digits[..digits.len().min(9)];
    number(digits)?;
    Some(number(kept)? * 10u64.pow(9 - kept.len() as u32))
}

/// Days of the civil calendar (Howard Hinnant's algorithm), for years from 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Decimals of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// None.
    Seconds,
    /// Three.
    Millis,
    /// Six.
    Micros,
    /// Nine.
    Nanos,
}

/// Room in front of the body for `8=FIXT.1.1|9=65536|`.
const FRONT: usize = 24;

/// Writes messages into one buffer that is reused.
#[derive(Debug)]
pub struct Builder {
    /// [`FRONT`] bytes, then the body.
    buffer: Vec<u8>,
    begin_string: [u8; 8],
    begin_string_length: usize,
    /// The second whose date and time `stamp` holds.
    second: u64,
    stamp: [u8; 17],
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty builder.
    pub fn new() -> Self {
        let mut buffer = Vec::with_capacity(1024);
        buffer.resize(FRONT, 0);
        let mut builder =
            Self { buffer, begin_string: [0; 8], begin_string_length: 0, second: u64::MAX, stamp: [b'0'; 17] };
        builder.stamp_second(0);
        builder
    }

    /// Forgets what was written and begins a message. Panics for a BeginString of more than eight bytes: ours have
    /// seven or eight.
    #[inline]
    pub fn begin(&mut self, begin_string: &[u8], msg_type: &[u8]) {
        self.buffer.truncate(FRONT);
        self.begin_string[..begin_string.len()].copy_from_slice(begin_string);
        self.begin_string_length = begin_string.len();
        self.field(35, msg_type);
    }

    /// A field; a delimiter in the value, which would forge a field, is written as a space.
    #[inline]
    pub fn field(&mut self, tag: u32, value: &[u8]) {
        self.tag(tag);
        let at = self.buffer.len();
        self.buffer.extend_from_slice(value);
        if value.contains(&SOH) {
            self.buffer[at..].iter_mut().filter(|byte| **byte == SOH).for_each(|byte| *byte = b' ');
        }
        self.buffer.push(SOH);
    }

    /// A field of one character.
    #[inline]
    pub fn char(&mut self, tag: u32, value: u8) {
        self.tag(tag);
        self.buffer.extend_from_slice(&[if value == SOH { b' ' } else { value }, SOH]);
    }

    /// A number.
    #[inline]
    pub fn number(&mut self, tag: u32, value: u64) {
        self.tag(tag);
        self.digits(value);
        self.buffer.push(SOH);
    }

    /// A price without trailing zeros.
    #[inline]
    pub fn price(&mut self, tag: u32, value: Price) {
        self.decimal(tag, value.0, PRICE_SCALE as u64);
    }

    /// A quantity without trailing zeros.
    #[inline]
    pub fn quantity(&mut self, tag: u32, value: Quantity) {
        self.decimal(tag, value.0, QUANTITY_SCALE as u64);
    }

    fn decimal(&mut self, tag: u32, value: i64, scale: u64) {
        self.tag(tag);
        if value < 0 {
            self.buffer.push(b'-');
        }
        let magnitude = value.unsigned_abs();
        let mut fraction = magnitude % scale;
        self.digits(magnitude / scale);
        if fraction != 0 {
            self.buffer.push(b'.');
            let mut unit = scale / 10;
            while fraction != 0 {
                self.buffer.push(b'0' + (fraction / unit) as u8);
                fraction %= unit;
                unit /= 10;
            }
        }
        self.buffer.push(SOH);
    }

    /// A UTCTimestamp; the text of a second is kept for the next.
    #[inline]
    pub fn timestamp(&mut self, tag: u32, value: Nanos, precision: Precision) {
        self.tag(tag);
        let (second, nanos) = (value.0 / NANOS_PER_SECOND, (value.0 % NANOS_PER_SECOND) as u32);
        if second != self.second {
            self.stamp_second(second);
        }
        self.buffer.extend_from_slice(&self.stamp);
        let (digits, mut fraction) = match precision {
            Precision::Seconds => (0, 0),
            Precision::Millis => (3, nanos / 1_000_000),
            Precision::Micros => (6, nanos / 1_000),
            Precision::Nanos => (9, nanos),
        };
        let mut text = *b".000000000\x01";
        for at in (1..=digits).rev() {
            text[at] = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        text[if digits == 0 { 0 } else { digits + 1 }] = SOH;
        self.buffer.extend_from_slice(&text[..if digits == 0 { 1 } else { digits + 2 }]);
    }

    #[cold]
    fn stamp_second(&mut self, second: u64) {
        let (days, of_day) = (second / 86_400, second % 86_400);
        let (year, month, day) = civil(days);
        self.second = second;
        self.stamp = *b"YYYYMMDD-HH:MM:SS";
        let parts = [
            (0, year / 100),
            (2, year % 100),
            (4, month),
            (6, day),
            (9, of_day / 3_600),
            (12, of_day / 60 % 60),
            (15, of_day % 60),
        ];
        for (at, part) in parts {
            self.stamp[at..at + 2].copy_from_slice(&[b'0' + (part / 10 % 10) as u8, b'0' + (part % 10) as u8]);
        }
    }

    /// A data field, which may hold delimiters, behind its length field.
    pub fn data(&mut self, length_tag: u32, tag: u32, value: &[u8]) {
        self.number(length_tag, value.len() as u64);
        self.tag(tag);
        self.buffer.extend_from_slice(value);
        self.buffer.push(SOH);
    }

    /// A field whose value is taken as it is: of a message that was read, whose data fields may hold delimiters.
    pub(crate) fn raw_field(&mut self, tag: u32, value: &[u8]) {
        self.tag(tag);
        self.buffer.extend_from_slice(value);
        self.buffer.push(SOH);
    }

    /// Whole fields as they are to stand in the message, each with its delimiter.
    #[inline]
    pub fn raw(&mut self, fields: &[u8]) {
        self.buffer.extend_from_slice(fields);
    }

    /// Bytes of the body so far.
    pub fn body_length(&self) -> usize {
        self.buffer.len() - FRONT
    }

    /// Writes beginning, body length and checksum; the whole message.
    #[inline]
    pub fn finish(&mut self) -> &[u8] {
        let mut start = FRONT - 1;
        self.buffer[start] = SOH;
        let mut length = self.body_length();
        loop {
            start -= 1;
            self.buffer[start] = b'0' + (length % 10) as u8;
            length /= 10;
            if length == 0 {
                break;
            }
        }
        start -= 3;
        self.buffer[start..start + 3].copy_from_slice(b"\x019=");
        let begin = start - self.begin_string_length;
        self.buffer[begin..start].copy_from_slice(&self.begin_string[..self.begin_string_length]);
        start = begin - 2;
        self.buffer[start..begin].copy_from_slice(b"8=");
        let sum = checksum(&self.buffer[start..]);
        let digit = |unit: u8| b'0' + sum / unit % 10;
        self.buffer.extend_from_slice(&[b'1', b'0', b'=', digit(100), digit(10), digit(1), SOH]);
        &self.buffer[start..]
    }

    #[inline]
    fn tag(&mut self, tag: u32) {
        let digit = |unit: u32| b'0' + (tag / unit % 10) as u8;
        match tag {
            0..10 => self.buffer.extend_from_slice(&[digit(1), b'=']),
            10..100 => self.buffer.extend_from_slice(&[digit(10), digit(1), b'=']),
            100..1_000 => self.buffer.extend_from_slice(&[digit(100), digit(10), digit(1), b'=']),
            _ => {
                self.digits(u64::from(tag));
                self.buffer.push(b'=');
            }
        }
    }

    #[inline]
    fn digits(&mut self, mut value: u64) {
        let mut text = [0; 20];
        let mut at = text.len();
        loop {
            at -= 1;
            text[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&text[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soh(text: &str) -> Vec<u8> {
        text.replace('|', "\x01").into_bytes()
    }

    fn order() -> Vec<u8> {
        let mut builder = Builder::new();
        builder.begin(b"FIX.4.4", b"D");
        builder.number(34, 7);
        builder.timestamp(52, Nanos(1_709_251_199_987_654_321), Precision::Millis);
        builder.field(11, b"a\x01b");
        builder.char(54, b'1');
        builder.price(44, Price(-1_250_000_000));
        builder.quantity(38, Quantity(10_000_000_000));
        builder.data(95, 96, b"x\x01y");
        builder.finish().to_vec()
    }

    #[test]
    fn a_message_is_written_framed_and_cut() {
        let bytes = order();
        let text = "8=FIX.4.4|9=75|35=D|34=7|52=20240229-23:59:59.987|11=a b|54=1|44=-1.25|38=100|95=3|96=x|y|10=";
        assert!(bytes.starts_with(&soh(text)), "{}", bytes.escape_ascii());
        assert_eq!(frame(&bytes), Framed::Message { bytes: &bytes, used: bytes.len() });
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut]), Framed::Incomplete, "cut to {cut} bytes");
        }
        let mut fields = Fields::new();
        let message = fields.parse(&bytes, Dictionary::of(Version::Fix44)).expect("a good message");
        assert_eq!(
            (message.begin_string(), message.msg_type(), message.seq_num()),
            (&b"FIX.4.4"[..], &b"D"[..], Some(7))
        );
        assert_eq!(message.get(96), Some(&b"x\x01y"[..]));
        assert_eq!(message.timestamp(52), Some(Nanos(1_709_251_199_987_000_000)));
        let tags: Vec<i32> = message.iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags, [8, 9, 35, 34, 52, 11, 54, 44, 38, 95, 96, 10]);
    }

    #[test]
    fn garbled_messages_are_dropped_whole() {
        let good = order();
        let check = |text: &str, used: usize, why: Garbled| {
            let mut bytes = soh(text);
            let used = if used == 0 { bytes.len() } else { used };
            bytes.extend_from_slice(&good);
            assert_eq!(frame(&bytes), Framed::Garbled { used, why }, "{text}");
        };
        check("junk", 0, Garbled::NoBeginString);
        check("8=FIX.4.4|35=0|", 5, Garbled::NoBodyLength);
        check("8=FIX.4.4|9=x|35=0|", 5, Garbled::NoBodyLength);
        check("8=FIX.4.4|9=|35=0|", 5, Garbled::NoBodyLength);
        check("8=FIX.4.4|9=9999999|35=0|", 5, Garbled::TooLong);
        check("8=FIX.4.4|9=5|35=0|10=000|", 0, Garbled::WrongCheckSum);
        check("8=FIX.4.4|9=5|35=0|10=0|", 0, Garbled::WrongCheckSum);
        check("8=FIX.4.4|9=4|35=0|10=000|", 0, Garbled::WrongBodyLength);
        check("8=FIX.4.4|9=5|34=0|10=162|", 0, Garbled::NoMsgType);
        // A length that is too long takes the next message with it.
        check("8=FIX.4.4|9=6|35=0|10=000|", 26 + good.len(), Garbled::WrongBodyLength);
    }

    #[test]
    fn delimiters_are_found_wherever_they_stand() {
        let mut rng = helios_types::Rng::new(7);
        for length in 1..200 {
            let bytes: Vec<u8> = (0..length).map(|_| [SOH, b'=', 0, 0x81][rng.below(4) as usize]).collect();
            let mut found = Vec::new();
            for base in (0..length).step_by(BLOCK) {
                let bits = delimiters(&bytes, base);
                found.extend((0..BLOCK).filter(|at| bits >> at & 1 != 0).map(|at| base + at));
            }
            let expected: Vec<usize> = (0..length).filter(|at| bytes[*at] == SOH).collect();
            assert_eq!(found, expected, "{length} bytes");
        }
    }

    #[test]
    fn words_are_looked_at_byte_by_byte() {
        let mut rng = helios_types::Rng::new(8);
        for _ in 0..10_000 {
            let bytes: [u8; 8] = std::array::from_fn(|_| {
                [b'0', b'9', b'/', b':', b'.', 0x80, 0xB5, rng.below(256) as u8][rng.below(8) as usize]
            });
            let word = u64::from_le_bytes(bytes);
            let flags = |is: &dyn Fn(u8) -> bool| u64::from_le_bytes(bytes.map(|byte| if is(byte) { 0x80 } else { 0 }));
            assert_eq!(bytes_equal(word, b'.'), flags(&|byte| byte == b'.'));
            // Exact up to the first byte that is no digit, which is all that is asked.
            let exact = flags(&|byte| !byte.is_ascii_digit());
            assert_eq!(not_digits(word) == 0, exact == 0);
            assert_eq!(not_digits(word).trailing_zeros(), exact.trailing_zeros());
            for length in 1..=8 {
                let mut top = [b'0'; 8];
                top[8 - length..].copy_from_slice(&bytes[..length]);
                assert_eq!(first_bytes(word, length), u64::from_le_bytes(top));
            }
        }
    }

    #[test]
    fn tags_are_numbers() {
        let dictionary = Dictionary::of(Version::Fix44);
        let mut fields = Fields::new();
        let mut tag_of = |field: &str| {
            let mut bytes = soh("8=FIX.4.4|9=5|35=0|");
            bytes.extend_from_slice(&soh(field));
            bytes.extend_from_slice(&soh("|58=some text that is longer than eight bytes|10=000|"));
            fields.parse(&bytes, dictionary).map(|message| message.iter().nth(3).expect("four fields").0)
        };
        assert_eq!(tag_of("0=x"), Ok(0));
        assert_eq!(tag_of("-1=x"), Ok(-1));
        assert_eq!(tag_of("1234567=x"), Ok(1_234_567));
        assert_eq!(tag_of("12345678=x"), Ok(12_345_678));
        assert_eq!(tag_of("2147483647="), Ok(i32::MAX));
        for bad in
            ["2147483648=x", "=x", "x", "", "4a=x", "a4=x", "+4=x", " 4=x", "--4=x", "49garbled=x", "/1=x", ":1=x"]
        {
            assert_eq!(tag_of(bad), Err(Garbled::BadField), "{bad}");
        }
    }

    #[test]
    fn what_is_taken_over_belongs_to_the_dictionary() {
        let bytes = order();
        let mut reused = Fields::new();
        for version in [Version::Fix44, Version::Fix40, Version::Fix50Sp2, Version::Fix50Sp2] {
            let dictionary = Dictionary::of(version);
            let mut fresh = Fields::new();
            let expected = fresh.parse(&bytes, dictionary).expect("a good message").fields();
            let found = reused.parse(&bytes, dictionary).expect("a good message").fields();
            let places = |fields: &[Field]| -> Vec<(i32, u16, u32, u32)> {
                fields.iter().map(|field| (field.tag, field.index, field.start, field.end)).collect()
            };
            assert_eq!(places(found), places(expected), "{version:?}");
        }
    }

    #[test]
    fn a_data_field_is_as_long_as_it_says() {
        let dictionary = Dictionary::of(Version::Fix44);
        let mut fields = Fields::new();
        let mut data = |length: &str| {
            let bytes = soh(&format!("8=FIX.4.4|9=5|35=A|{length}96=a|b|98=0|10=000|"));
            fields.parse(&bytes, dictionary).map(|message| message.get(96).map(<[u8]>::to_vec))
        };
        assert_eq!(data("95=3|"), Ok(Some(soh("a|b"))));
        assert_eq!(data("95=8|"), Ok(Some(soh("a|b|98=0"))));
        for wrong in ["95=2|", "95=99|", "95=999999999999999999|"] {
            assert_eq!(data(wrong), Err(Garbled::BadField));
        }
        // Without a length it ends at its first delimiter, and `b` is no field.
        assert_eq!(data(""), Err(Garbled::BadField));
    }

    #[test]
    fn timestamps_are_read_and_written() {
        let mut builder = Builder::new();
        for (ns, text) in [
            (0, "19700101-00:00:00.000000000"),
            (951_782_400_000_000_001, "20000229-00:00:00.000000001"),
            (4_107_542_400_999_999_999, "21000301-00:00:00.999999999"),
            (1_763_665_200_123_456_789, "20251120-19:00:00.123456789"),
        ] {
            for (precision, length, unit) in [
                (Precision::Seconds, 17, 1_000_000_000),
                (Precision::Millis, 21, 1_000_000),
                (Precision::Micros, 24, 1_000),
                (Precision::Nanos, 27, 1),
            ] {
                builder.begin(b"FIX.4.4", b"0");
                builder.timestamp(52, Nanos(ns), precision);
                let written = builder.finish();
                let at = find(written, b"\x0152=").expect("the field") + 4;
                assert_eq!(written[at..at + length + 1], soh(&format!("{}|", &text[..length])));
                assert_eq!(timestamp(&text.as_bytes()[..length]), Some(Nanos(ns / unit * unit)));
            }
        }
        for bad in
            ["", "20040415", "20251320-19:00:00", "20251120 19:00:00", "20251120-19:00:00.", "20251120-19:00:00.x"]
        {
            assert_eq!(timestamp(bad.as_bytes()), None, "{bad}");
        }
    }
}
