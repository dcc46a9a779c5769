//! One message against the dictionary, in one pass over its fields.
//!
//! The first fault in the order of the session rules decides: a header field behind the body, an unknown MsgType, a
//! missing field (header first), then field by field, then inside groups. One pass is enough because an earlier kind
//! of fault, found later, takes the place of the one held. Assumes that the message was parsed with the same
//! dictionary. Absent: numbers, times and CompIDs, which are the session's matter; what fields mean together.

use super::codec::{self, Field, Message};
use super::dictionary::{Check, Dictionary, Group, Kind, Layout, MAX_MEMBERS, Place, Section, pack};

/// The first tag that is the users' own.
pub const USER_DEFINED: i32 = 5_000;

/// What is checked beyond types, enumerations and required fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Refuse `tag=` without a value.
    pub values: bool,
    /// Refuse header fields after body fields.
    pub order: bool,
    /// Refuse tags from 5000 on that the dictionary or the message does not know.
    pub user_defined: bool,
    /// Refuse tags below 5000 that the dictionary or the message does not know.
    pub unknown: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { values: true, order: true, user_defined: true, unknown: true }
    }
}

/// Why a message is refused: SessionRejectReason (373).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Reason {
    InvalidTag = 0,
    RequiredTagMissing = 1,
    TagNotDefined = 2,
    TagWithoutValue = 4,
    ValueIncorrect = 5,
    IncorrectFormat = 6,
    CompIdProblem = 9,
    SendingTimeAccuracy = 10,
    InvalidMsgType = 11,
    TagTwice = 13,
    TagOutOfOrder = 14,
    GroupCount = 16,
}

impl Reason {
    /// The number of field 373.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Field 58.
    pub const fn text(self) -> &'static str {
        match self {
            Self::InvalidTag => "Invalid tag number",
            Self::RequiredTagMissing => "Required tag missing",
            Self::TagNotDefined => "Tag not defined for this message type",
            Self::TagWithoutValue => "Tag specified without a value",
            Self::ValueIncorrect => "Value is incorrect (out of range) for this tag",
            Self::IncorrectFormat => "Incorrect data format for value",
            Self::CompIdProblem => "CompID problem",
            Self::SendingTimeAccuracy => "SendingTime accuracy problem",
            Self::InvalidMsgType => "Invalid MsgType",
            Self::TagTwice => "Tag appears more than once",
            Self::TagOutOfOrder => "Tag specified out of required order",
            Self::GroupCount => "Incorrect NumInGroup count for repeating group",
        }
    }
}

/// A session-level Reject to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What is wrong.
    pub reason: Reason,
    /// RefTagID.
    pub tag: Option<i32>,
}

/// Judges a message: the first fault in the order of the session rules.
#[inline]
pub fn validate(dictionary: &Dictionary, message: &Message<'_>, rules: &Rules) -> Result<(), Reject> {
    let Some(layout) = dictionary.layout(message.msg_type()) else {
        return Err(unknown_type(dictionary, message, rules));
    };
    let mut pass = Pass { dictionary, message, rules, fault: None, inner_fault: None };
    pass.run(layout)
}

/// Of an unknown type only the structure can be judged first.
#[cold]
fn unknown_type(dictionary: &Dictionary, message: &Message<'_>, rules: &Rules) -> Reject {
    let mut section = Section::Header;
    for field in message.fields() {
        let place = place_of(dictionary.envelope(), field);
        let here = place.section().unwrap_or(Section::Body);
        if rules.order && here < section {
            return Reject { reason: Reason::TagOutOfOrder, tag: Some(field.tag) };
        }
        section = section.max(here);
    }
    Reject { reason: Reason::InvalidMsgType, tag: None }
}

#[inline]
fn place_of(layout: &Layout, field: &Field) -> Place {
    layout.places[usize::from(field.index & Dictionary::INDEX)]
}

/// The members of one level that were seen.
struct Seen([u64; MAX_MEMBERS / 64]);

impl Seen {
    #[inline]
    fn new() -> Self {
        Self([0; MAX_MEMBERS / 64])
    }

    /// Whether the member was seen before; of no use for no member.
    #[inline]
    fn again(&mut self, place: Place) -> bool {
        let (word, bit) = (place.ordinal() / 64, 1 << (place.ordinal() % 64));
        let again = self.0[word] & bit != 0;
        self.0[word] |= bit;
        again
    }

    /// The first required member that was not seen.
    #[inline]
    fn missing(&self, required: u64, tags: &[u32]) -> Option<u32> {
        let missing = required & !self.0[0];
        (missing != 0).then(|| tags[missing.trailing_zeros() as usize])
    }
}

struct Pass<'p> {
    dictionary: &'p Dictionary,
    message: &'p Message<'p>,
    rules: &'p Rules,
    /// The first fault of the message's own fields.
    fault: Option<Reject>,
    /// The first fault inside a group, which counts less.
    inner_fault: Option<Reject>,
}

impl Pass<'_> {
    #[inline]
    fn run(&mut self, layout: &Layout) -> Result<(), Reject> {
        let (fields, bytes) = (self.message.fields(), self.message.bytes());
        let checks = self.dictionary.checks.as_slice();
        let places = &layout.places[..checks.len()];
        let mut seen = Seen::new();
        let mut section = Section::Header;
        let mut at = 0;
        while let Some(field) = fields.get(at) {
            let index = usize::from(field.index & Dictionary::INDEX);
            let (place, check) = (places[index], &checks[index]);
            if !place.is_in(section) {
                let here = place.section().unwrap_or(Section::Body);
                if here < section && self.rules.order {
                    return Err(Reject { reason: Reason::TagOutOfOrder, tag: Some(field.tag) });
                }
                section = section.max(here);
            }
            let again = seen.again(place);
            if again || !self.is_good(bytes, field, check) || place.is_none() {
                self.fault = self.fault.or_else(|| self.judge(field, place, again));
            }
            at += 1;
            if place.is_group() {
                at = self.group(layout.group(place), at, true);
            }
        }
        if let Some(tag) = seen.missing(layout.required, &layout.required_tags) {
            return Err(Reject { reason: Reason::RequiredTagMissing, tag: Some(tag as i32) });
        }
        self.fault.or(self.inner_fault).map_or(Ok(()), Err)
    }

    /// Whether the value is not empty, has the form of its type and is in its list. The most common cases first.
    #[inline(always)]
    fn is_good(&self, bytes: &[u8], field: &Field, check: &Check) -> bool {
        let (start, end) = (field.start as usize, field.end as usize);
        let length = end - start;
        if check.listed {
            return match bytes.get(start) {
                Some(letter) if length == 1 => check.has_letter(*letter),
                _ => length != 0 && self.is_good_text(Text { bytes, start, end }, check),
            };
        }
        match check.kind {
            Kind::Any => length != 0,
            Kind::Integer | Kind::Decimal if is_short(bytes, start, length, check.kind) => true,
            _ => length != 0 && self.is_good_text(Text { bytes, start, end }, check),
        }
    }

    /// A closer look.
    #[inline(never)]
    fn is_good_text(&self, text: Text<'_>, check: &Check) -> bool {
        has_form(check.kind, text) && (!check.listed || is_listed(self.dictionary, check, text.value()))
    }

    /// What is wrong with a field: repeated, without a value, of another form, out of its list, unknown, elsewhere.
    #[cold]
    fn judge(&self, field: &Field, place: Place, again: bool) -> Option<Reject> {
        let fault = |reason| Some(Reject { reason, tag: Some(field.tag) });
        if again && !place.is_none() {
            return fault(Reason::TagTwice);
        }
        let value = self.message.value(field);
        let index = usize::from(field.index & Dictionary::INDEX);
        let check = &self.dictionary.checks[index];
        if value.is_empty() {
            if self.rules.values {
                return fault(Reason::TagWithoutValue);
            }
        } else if !has_form(check.kind, Text { bytes: value, start: 0, end: value.len() }) {
            return fault(Reason::IncorrectFormat);
        } else if check.listed && !is_listed(self.dictionary, check, value) {
            return fault(Reason::ValueIncorrect);
        }
        if !place.is_none() {
            return None;
        }
        let refused = if field.tag >= USER_DEFINED { self.rules.user_defined } else { self.rules.unknown };
        match (refused || field.tag <= 0, index) {
            (false, _) => None,
            (true, 0) => fault(Reason::InvalidTag),
            (true, _) => fault(Reason::TagNotDefined),
        }
    }

    /// The entries of a group whose counter stands in front of `at`; returns where they end.
    fn group(&mut self, number: usize, at: usize, outermost: bool) -> usize {
        let group = &self.dictionary.groups[number];
        let fields = self.message.fields();
        let counter = &fields[at - 1];
        let held = self.inner_fault;
        let (mut at, mut entries, mut seen) = (at, 0u64, Seen::new());
        while let Some(field) = fields.get(at) {
            let index = field.index & Dictionary::INDEX;
            let place = if index == 0 { Place::default() } else { group.place(index) };
            if place.is_none() || (entries == 0 && index != group.delimiter) {
                break;
            }
            if index == group.delimiter {
                self.entry_ends(group, &seen, entries);
                entries += 1;
                seen = Seen::new();
            }
            let again = seen.again(place);
            let check = &self.dictionary.checks[usize::from(index)];
            if again || !self.is_good(self.message.bytes(), field, check) {
                self.inner_fault = self.inner_fault.or_else(|| self.judge(field, place, again));
            }
            at += 1;
            if place.is_group() {
                at = self.group(group.group(place), at, false);
            }
        }
        self.entry_ends(group, &seen, entries);
        if codec::number(self.message.value(counter)) != Some(entries) {
            let wrong = Some(Reject { reason: Reason::GroupCount, tag: Some(counter.tag) });
            // Judged at the counter, before anything inside.
            self.inner_fault = held;
            let faults = if outermost { &mut self.fault } else { &mut self.inner_fault };
            *faults = faults.or(wrong);
        }
        at
    }

    fn entry_ends(&mut self, group: &Group, seen: &Seen, entries: u64) {
        if entries == 0 || self.inner_fault.is_some() {
            return;
        }
        let missing = seen.missing(group.required, &group.required_tags);
        self.inner_fault = missing.map(|tag| Reject { reason: Reason::RequiredTagMissing, tag: Some(tag as i32) });
    }
}

impl Dictionary {
    /// The body's fields in ascending order of their tags; a group stays together behind its counter. A group is
    /// what follows a counter and may stand in it.
    pub fn sorted_body<'m>(&self, message: &Message<'m>) -> Vec<(i32, &'m [u8])> {
        let layout = self.layout(message.msg_type()).unwrap_or(self.envelope());
        let fields = message.fields();
        let mut parts: Vec<&[Field]> = Vec::new();
        let mut at = 0;
        while let Some(field) = fields.get(at) {
            let place = place_of(layout, field);
            let group = place.is_group().then(|| &self.groups[layout.group(place)]);
            let end = group.map_or(at + 1, |group| self.group_end(group, fields, at + 1));
            if place.section().is_none_or(|section| section == Section::Body) {
                parts.push(&fields[at..end]);
            }
            at = end;
        }
        parts.sort_by_key(|part| part[0].tag);
        parts.into_iter().flatten().map(|field| (field.tag, message.value(field))).collect()
    }

    fn group_end(&self, group: &Group, fields: &[Field], mut at: usize) -> usize {
        while let Some(field) = fields.get(at) {
            let place = group.place(field.index & Self::INDEX);
            if place.is_none() {
                break;
            }
            at += 1;
            if place.is_group() {
                at = self.group_end(&self.groups[group.group(place)], fields, at);
            }
        }
        at
    }
}

/// A value in its message, so that eight bytes of it can be looked at even where it has fewer.
#[derive(Clone, Copy)]
struct Text<'m> {
    bytes: &'m [u8],
    start: usize,
    end: usize,
}

impl<'m> Text<'m> {
    #[inline]
    fn length(self) -> usize {
        self.end - self.start
    }

    #[inline]
    fn value(self) -> &'m [u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    fn from(self, at: usize) -> Self {
        Self { start: self.start + at, ..self }
    }
}

/// Whether a value that is not empty is written as its type is.
#[inline]
fn has_form(kind: Kind, text: Text<'_>) -> bool {
    match kind {
        Kind::Any | Kind::Words => true,
        Kind::Char => text.length() == 1,
        Kind::Integer => is_integer(text.value()),
        Kind::Decimal => is_decimal(text.value()),
        Kind::Boolean => matches!(text.value(), b"Y" | b"N"),
        Kind::Timestamp => is_timestamp(text),
        Kind::Date => text.value().as_array().is_some_and(is_date),
        Kind::Time => is_time(text),
        Kind::MonthYear => is_month_year(text.value()),
        Kind::DayOfMonth => codec::number(text.value()).is_some_and(|day| (1..=31).contains(&day)),
    }
}

/// Whether a value of one to eight bytes has digits only, and of a decimal at
/// most one point among them. Most have.
#[inline]
fn is_short(bytes: &[u8], start: usize, length: usize, kind: Kind) -> bool {
    if length.wrapping_sub(1) >= 8 {
        return false;
    }
    let word = codec::first_bytes(codec::word_at(bytes, start), length);
    let others = codec::not_digits(word);
    let one_point = || others & (others - 1) == 0 && others == codec::bytes_equal(word, b'.') && length > 1;
    others == 0 || (kind == Kind::Decimal && one_point())
}

#[inline]
fn is_digits(word: u64) -> bool {
    codec::not_digits(word) == 0
}

#[cold]
fn is_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Digits with at most one point and a minus in front; at least one digit.
#[cold]
fn is_decimal(value: &[u8]) -> bool {
    let text = value.strip_prefix(b"-").unwrap_or(value);
    let (mut digits, mut points) = (0, 0);
    for byte in text {
        digits += usize::from(byte.is_ascii_digit());
        points += usize::from(*byte == b'.');
    }
    digits > 0 && points <= 1 && digits + points == text.len()
}

/// The number of the two digits at byte `at` of a word.
#[inline]
fn two(word: u64, at: u32) -> u64 {
    let tens = word >> (8 * at) & 0x0F;
    tens * 10 + (word >> (8 * at + 8) & 0x0F)
}

#[inline]
fn is_timestamp(text: Text<'_>) -> bool {
    match text.value().split_first_chunk::<8>() {
        Some((date, [b'-', ..])) => is_date(date) && is_time(text.from(9)),
        _ => false,
    }
}

#[inline]
fn is_date(value: &[u8; 8]) -> bool {
    let word = u64::from_le_bytes(*value);
    is_digits(word) && (1..=12).contains(&two(word, 4)) && (1..=31).contains(&two(word, 6))
}

/// `HH:MM:SS` with up to twelve decimals; the second 60 is a leap second's.
#[inline]
fn is_time(text: Text<'_>) -> bool {
    const COLONS: u64 = 0x0000_FF00_00FF_0000;
    let Some((time, fraction)) = text.value().split_first_chunk::<8>() else { return false };
    let word = u64::from_le_bytes(*time);
    let colons = word & COLONS == u64::from_le_bytes(*b"\0\0:\0\0:\0\0");
    let digits = is_digits(word & !COLONS | u64::from_le_bytes(*b"\0\x000\0\x000\0\0"));
    let decimals = match fraction {
        [] => true,
        [b'.', digits @ ..] => {
            let text = text.from(9);
            is_short(text.bytes, text.start, text.length(), Kind::Integer) || is_long_fraction(digits)
        }
        _ => false,
    };
    colons && digits && two(word, 0) < 24 && two(word, 3) < 60 && two(word, 6) <= 60 && decimals
}

#[cold]
fn is_long_fraction(digits: &[u8]) -> bool {
    (1..=12).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

/// `YYYYMM`, `YYYYMMDD` or `YYYYMMw1` to `w5`.
fn is_month_year(value: &[u8]) -> bool {
    let whole = match value {
        [year_month @ .., b'w', b'1'..=b'5'] if year_month.len() == 6 => [year_month, b"01"].concat(),
        year_month if year_month.len() == 6 => [year_month, b"01"].concat(),
        date => date.to_vec(),
    };
    whole.as_array().is_some_and(is_date)
}

/// Whether the value, or each of its words, is in the enumeration.
#[inline]
fn is_listed(dictionary: &Dictionary, check: &Check, value: &[u8]) -> bool {
    match (value, check.kind) {
        ([letter], _) => check.has_letter(*letter),
        (_, Kind::Words) => value.split(|byte| *byte == b' ').all(|word| is_listed_word(dictionary, check, word)),
        _ => is_longer_listed(dictionary, check, value),
    }
}

fn is_listed_word(dictionary: &Dictionary, check: &Check, word: &[u8]) -> bool {
    match word {
        [letter] => check.has_letter(*letter),
        _ => is_longer_listed(dictionary, check, word),
    }
}

fn is_longer_listed(dictionary: &Dictionary, check: &Check, value: &[u8]) -> bool {
    let longer = dictionary.longer(check);
    match pack(value) {
        Some(packed) => longer.packed.binary_search(&packed).is_ok(),
        None => longer.long.binary_search_by(|listed| listed.as_bytes().cmp(value)).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Fields;
    use super::super::dictionary::Version;
    use super::*;

    /// `"ok"`, or reason and tag of the fault of a message; `body` stands behind a good header.
    fn verdict_of(version: Version, rules: Rules, msg_type: &str, body: &str) -> String {
        let begin = version.begin_string();
        let header = format!("8={begin}|9=5|35={msg_type}|34=2|49=A|52=20260102-03:04:05|56=B|");
        let text = format!("{header}{body}{}10=000|", if body.is_empty() || body.ends_with('|') { "" } else { "|" });
        let bytes = text.replace('|', "\x01").into_bytes();
        let dictionary = Dictionary::of(version);
        let mut fields = Fields::new();
        let message = fields.parse(&bytes, dictionary).expect("a message with fields");
        match validate(dictionary, &message, &rules) {
            Ok(()) => "ok".to_owned(),
            Err(Reject { reason, tag }) => {
                format!("{} {}", reason.number(), tag.map_or("-".to_owned(), |tag| tag.to_string()))
            }
        }
    }

    fn check(msg_type: &str, body: &str, expected: &str) {
        assert_eq!(verdict_of(Version::Fix44, Rules::default(), msg_type, body), expected, "{msg_type} {body}");
    }

    const ORDER: &str = "11=id|40=1|54=1|60=20260102-03:04:05|";

    #[test]
    fn the_first_fault_decides() {
        check("D", ORDER, "ok");
        check("D", &format!("{ORDER}43=Y"), "14 43");
        check("*", "43=Y|58=x", "11 -");
        check("*", "58=x|43=Y", "14 43");
        check("D", "40=w|54=1|60=x", "1 11");
        check("D", &format!("{ORDER}11=id2|38=x"), "13 11");
        check("D", &format!("{ORDER}38=|44=x"), "4 38");
        check("D", &format!("{ORDER}44=x|21=9"), "6 44");
        check("D", &format!("{ORDER}21=9|44=x"), "5 21");
        check("D", &format!("{ORDER}999=1"), "0 999");
        check("D", &format!("{ORDER}-1=1"), "0 -1");
        check("D", &format!("{ORDER}5001=1"), "0 5001");
        check("D", &format!("{ORDER}112=1"), "2 112");
        // Its type is judged before its place.
        check("D", &format!("{ORDER}31=x"), "6 31");
    }

    #[test]
    fn groups_are_counted_first_and_judged_last() {
        check("D", &format!("{ORDER}386=2|336=A|336=B"), "ok");
        check("D", &format!("{ORDER}386=3|336=A|336=B"), "16 386");
        check("D", &format!("{ORDER}386=0"), "ok");
        check("D", &format!("{ORDER}386=1"), "16 386");
        check("D", &format!("{ORDER}386=x|336=A"), "6 386");
        check("D", &format!("{ORDER}386=0|336=A"), "16 386");
        check("D", &format!("{ORDER}386=1|625=A|336=B"), "16 386");
        check("D", &format!("{ORDER}336=A"), "2 336");
        check("D", &format!("{ORDER}453=2|448=a|452=1|448=b|452=1|452=2|38=1"), "13 452");
        check("D", &format!("{ORDER}453=2|448=a|452=x|448=b|38=x"), "6 38");
        check("D", &format!("{ORDER}453=1|448=a|452=x|38=1"), "6 452");
        check("D", &format!("{ORDER}453=2|448=a|802=2|523=p|803=1|523=q|448=b|802=1|523=r|447=D|38=5"), "ok");
        check("D", &format!("{ORDER}453=1|448=a|802=2|523=p|38=5"), "16 802");
        check("V", "262=a|263=1|264=0|267=2|269=0|269=1|146=1|55=X", "ok");
        check("W", "55=X|268=1|270=5|269=0", "16 268");
        check("W", "55=X|268=2|269=0|270=5|269=9x", "6 269");
        check("W", "55=X|268=2|269=0|270=5|269=?", "5 269");
        check("W", "55=X|268=1|269=0", "ok");
    }

    #[test]
    fn a_group_entry_has_what_it_requires() {
        // NewOrderList: entries require 11, 67 and 54 behind it.
        let list = "66=l|394=3|68=1|73=1|11=a|67=1|";
        check("E", &format!("{list}54=1|"), "ok");
        check("E", list, "1 54");
    }

    #[test]
    fn values_have_the_form_of_their_type() {
        let cases = [
            ("38", "100 -1 0 002000.00 .5 5. -.5", "+1 1e5 - . 1.2.3 0x1 1,0"),
            ("21", "1", "12"),
            ("60", "20260102-03:04:05 20260102-03:04:05.1 20261231-23:59:60.123456789", "20260102 20260102-3:04:05"),
            (
                "126",
                "20260102-03:04:05.123",
                "20261302-03:04:05 20260132-03:04:05 20260102-24:04:05 20260102-03:04:05.",
            ),
            ("64", "20260102", "2026012 202601022 2026-1-2"),
            ("200", "202601 20260102 202601w3", "2026 202613 202601w6 202601x1"),
            ("114", "Y N", "y YN 1"),
            ("423", "1", "-"),
        ];
        for (tag, good, bad) in cases {
            let verdict = |value: &str| {
                let order = if tag == "60" { "11=id|40=1|54=1|" } else { ORDER };
                verdict_of(Version::Fix44, Rules::default(), "D", &format!("{order}{tag}={value}"))
            };
            good.split(' ').for_each(|value| assert_eq!(verdict(value), "ok", "{tag}={value}"));
            bad.split(' ').for_each(|value| assert_eq!(verdict(value), format!("6 {tag}"), "{tag}={value}"));
        }
    }

    #[test]
    fn enumerations_have_letters_longer_values_and_words() {
        check("D", &format!("{ORDER}167=CS"), "ok");
        check("D", &format!("{ORDER}167=BOO"), "5 167");
        check("D", &format!("{ORDER}18=1 6 G"), "ok");
        check("D", &format!("{ORDER}18=1 ?"), "5 18");
        check("D", &format!("{ORDER}18=1  G"), "5 18");
        check("D", "11=id|40=1|54=\u{e9}|60=20260102-03:04:05|", "6 54");
        // Lists that are not the whole truth.
        check("6", "23=i|28=N|55=X|54=1|27=1000", "ok");
        check("j", "372=U1|380=3", "ok");
        check("j", "372=D|380=99", "5 380");
    }

    #[test]
    fn char_is_any_text_before_4_2() {
        let body = "11=id|21=1|55=X|54=1|38=1|40=1|1=long account|";
        for version in [Version::Fix40, Version::Fix41] {
            assert_eq!(verdict_of(version, Rules::default(), "D", body), "ok");
        }
    }

    #[test]
    fn rules_can_be_relaxed() {
        let relaxed = |rules, body: &str| verdict_of(Version::Fix44, rules, "D", &format!("{ORDER}{body}"));
        let strict = Rules::default();
        assert_eq!(relaxed(Rules { values: false, ..strict }, "58="), "ok");
        assert_eq!(relaxed(Rules { order: false, ..strict }, "43=Y"), "ok");
        assert_eq!(relaxed(Rules { user_defined: false, ..strict }, "5001=x"), "ok");
        assert_eq!(relaxed(Rules { unknown: false, ..strict }, "112=x|999=y"), "ok");
        assert_eq!(relaxed(Rules { unknown: false, ..strict }, "0=y"), "0 0");
    }

    #[test]
    fn session_messages_of_5_0_are_those_of_fixt() {
        let logon = "98=0|108=30|";
        for version in [Version::Fix50, Version::Fix50Sp1, Version::Fix50Sp2] {
            assert_eq!(verdict_of(version, Rules::default(), "A", &format!("{logon}1137=9")), "ok");
            assert_eq!(verdict_of(version, Rules::default(), "A", logon), "1 1137");
            assert_eq!(verdict_of(version, Rules::default(), "D", ORDER), "ok");
        }
    }

    /// The bits of required members stand where their tags say, in every layout.
    #[test]
    fn every_required_member_can_be_seen() {
        for version in Version::ALL {
            let facts = super::super::dictionary::Facts::of(version);
            let dictionary = Dictionary::of(version);
            for message in &facts.messages {
                let layout = dictionary.layout(message.msg_type.as_bytes()).expect("a message of the facts");
                for (bit, tag) in layout.required_tags.iter().enumerate() {
                    let index = dictionary.field_index(*tag as i32) & Dictionary::INDEX;
                    assert_eq!(layout.places[usize::from(index)].ordinal(), bit, "{version:?} {} {tag}", message.name);
                }
            }
            for group in &dictionary.groups {
                for (bit, tag) in group.required_tags.iter().enumerate() {
                    let index = dictionary.field_index(*tag as i32) & Dictionary::INDEX;
                    assert_eq!(group.place(index).ordinal(), bit, "{version:?} group with {tag}");
                }
            }
        }
    }
}
