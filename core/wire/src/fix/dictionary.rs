//! The facts of each FIX version: read from the compact files in `dictionaries/`, laid out as dense tables.
//!
//! [`Facts`] is a file as it stands: fields, header, trailer, components, messages. [`Dictionary`] is what codec and
//! validation use: a tag is one array access away from its type, its values, and its place in a message. From 5.0 on
//! the session messages, header and trailer of FIXT.1.1 lie beneath the version's application messages.
//! Files are ours and are checked by the tests: a mistake in one is a panic at first use, never a wrong answer.
//! Absent: prose, value descriptions, custom dictionaries.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A FIX version that a session can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// FIX.4.0
    Fix40,
    /// FIX.4.1
    Fix41,
    /// FIX.4.2
    Fix42,
    /// FIX.4.3
    Fix43,
    /// FIX.4.4
    Fix44,
    /// FIX 5.0 over FIXT.1.1
    Fix50,
    /// FIX 5.0 SP1 over FIXT.1.1
    Fix50Sp1,
    /// FIX 5.0 SP2 over FIXT.1.1
    Fix50Sp2,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 8] =
        [Self::Fix40, Self::Fix41, Self::Fix42, Self::Fix43, Self::Fix44, Self::Fix50, Self::Fix50Sp1, Self::Fix50Sp2];

    /// Its name as people write it: `FIX.4.4`, `FIX.5.0SP2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fix40 => "FIX.4.0",
            Self::Fix41 => "FIX.4.1",
            Self::Fix42 => "FIX.4.2",
            Self::Fix43 => "FIX.4.3",
            Self::Fix44 => "FIX.4.4",
            Self::Fix50 => "FIX.5.0",
            Self::Fix50Sp1 => "FIX.5.0SP1",
            Self::Fix50Sp2 => "FIX.5.0SP2",
        }
    }

    /// The version of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }

    /// Field 8.
    pub const fn begin_string(self) -> &'static str {
        if self.over_fixt() { "FIXT.1.1" } else { self.name() }
    }

    /// Whether FIXT.1.1 is its session layer.
    pub const fn over_fixt(self) -> bool {
        matches!(self, Self::Fix50 | Self::Fix50Sp1 | Self::Fix50Sp2)
    }

    /// DefaultApplVerID (1137), of the versions over FIXT.1.1.
    pub const fn appl_ver_id(self) -> Option<&'static str> {
        match self {
            Self::Fix50 => Some("7"),
            Self::Fix50Sp1 => Some("8"),
            Self::Fix50Sp2 => Some("9"),
            _ => None,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Fix40 => include_str!("dictionaries/fix40.txt"),
            Self::Fix41 => include_str!("dictionaries/fix41.txt"),
            Self::Fix42 => include_str!("dictionaries/fix42.txt"),
            Self::Fix43 => include_str!("dictionaries/fix43.txt"),
            Self::Fix44 => include_str!("dictionaries/fix44.txt"),
            Self::Fix50 => include_str!("dictionaries/fix50.txt"),
            Self::Fix50Sp1 => include_str!("dictionaries/fix50sp1.txt"),
            Self::Fix50Sp2 => include_str!("dictionaries/fix50sp2.txt"),
        }
    }
}

/// One field of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFact {
    /// Its tag.
    pub tag: u32,
    /// Its name.
    pub name: &'static str,
    /// Its type as the version names it.
    pub kind: &'static str,
    /// Of a data field: the field with its length.
    pub length_tag: Option<u32>,
    /// Its enumeration, empty when any value will do.
    pub values: Vec<String>,
}

/// A member of a message, a component or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A field.
    Field {
        /// Its tag.
        tag: u32,
        /// Whether it must be there.
        required: bool,
    },
    /// A component's members in this place.
    Component {
        /// Its name.
        name: &'static str,
        /// Whether what it requires is required here.
        required: bool,
    },
    /// A repeating group.
    Group {
        /// The counter's tag.
        tag: u32,
        /// Whether the counter must be there.
        required: bool,
        /// What an entry holds, its first field first.
        members: Vec<Member>,
    },
}

/// One message of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFact {
    /// MsgType.
    pub msg_type: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it belongs to the session layer.
    pub admin: bool,
    /// Its body.
    pub members: Vec<Member>,
}

/// A dictionary file as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Fields by tag.
    pub fields: Vec<FieldFact>,
    /// The standard header; empty in 5.0 and later, which have FIXT's.
    pub header: Vec<Member>,
    /// The standard trailer.
    pub trailer: Vec<Member>,
    /// Components by name.
    pub components: BTreeMap<&'static str, Vec<Member>>,
    /// Messages in the file's order.
    pub messages: Vec<MessageFact>,
}

impl Facts {
    /// The facts of a version alone.
    pub fn of(version: Version) -> Self {
        Self::read(version.text())
    }

    /// The facts of FIXT.1.1.
    pub fn fixt11() -> Self {
        Self::read(include_str!("dictionaries/fixt11.txt"))
    }

    fn read(text: &'static str) -> Self {
        let mut facts = Self::default();
        for words in records(text) {
            facts.record(&words);
        }
        facts
    }

    fn record(&mut self, words: &[&'static str]) {
        let members_from = |at: usize| members(&mut words[at..].iter().copied(), false);
        match words[0] {
            "F" => self.fields.push(field_fact(words)),
            "H" => self.header = members_from(1),
            "T" => self.trailer = members_from(1),
            "C" => assert!(self.components.insert(words[1], members_from(2)).is_none(), "component {} twice", words[1]),
            "M" => self.messages.push(MessageFact {
                msg_type: words[1],
                name: words[2],
                admin: words[3] == "admin",
                members: members_from(4),
            }),
            other => panic!("FIX dictionary: unknown record {other:?}"),
        }
    }
}

/// Records as words; a line that begins with a space goes on with the one before.
fn records(text: &'static str) -> Vec<Vec<&'static str>> {
    let mut records: Vec<Vec<&'static str>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with(' ') {
            records.last_mut().expect("a line to continue").extend(line.split_whitespace());
        } else {
            records.push(line.split_whitespace().collect());
        }
    }
    records
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("FIX dictionary: {word:?} is no tag"))
}

fn field_fact(words: &[&'static str]) -> FieldFact {
    let (kind, length_tag) = match words[3].split_once('/') {
        Some((kind, tag)) => (kind, Some(number(tag))),
        None => (words[3], None),
    };
    let values = words[4..].iter().map(|value| value.replace("\\s", " ")).collect();
    FieldFact { tag: number(words[1]), name: words[2], kind, length_tag, values }
}

fn members(words: &mut impl Iterator<Item = &'static str>, in_group: bool) -> Vec<Member> {
    let mut list = Vec::new();
    while let Some(word) = words.next() {
        if word == ")" {
            assert!(in_group, "FIX dictionary: a ) without a group");
            return list;
        }
        let (word, group) = word.strip_suffix('(').map_or((word, false), |word| (word, true));
        let (word, required) = word.strip_suffix('!').map_or((word, false), |word| (word, true));
        list.push(match word.strip_prefix('@') {
            Some(name) => Member::Component { name, required },
            None if group => Member::Group { tag: number(word), required, members: members(words, true) },
            None => Member::Field { tag: number(word), required },
        });
    }
    assert!(!in_group, "FIX dictionary: a group without its )");
    list
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Char,
    Integer,
    Decimal,
    Boolean,
    Words,
    Timestamp,
    Date,
    Time,
    MonthYear,
    DayOfMonth,
}

impl Kind {
    fn of(name: &str, version: Version) -> Self {
        match name {
            // Before 4.2 the type CHAR is any text.
            "CHAR" if version >= Version::Fix42 => Self::Char,
            "INT" | "LENGTH" | "NUMINGROUP" | "SEQNUM" | "TAGNUM" => Self::Integer,
            "FLOAT" | "QTY" | "PRICE" | "PRICEOFFSET" | "AMT" | "PERCENTAGE" => Self::Decimal,
            "BOOLEAN" => Self::Boolean,
            "MULTIPLEVALUESTRING" | "MULTIPLESTRINGVALUE" | "MULTIPLECHARVALUE" => Self::Words,
            "UTCTIMESTAMP" | "TIME" => Self::Timestamp,
            "UTCDATE" | "UTCDATEONLY" | "LOCALMKTDATE" | "DATE" => Self::Date,
            "UTCTIMEONLY" => Self::Time,
            "MONTHYEAR" => Self::MonthYear,
            "DAYOFMONTH" => Self::DayOfMonth,
            "CHAR" | "STRING" | "CURRENCY" | "EXCHANGE" | "COUNTRY" | "LANGUAGE" | "DATA" | "XMLDATA"
            | "LOCALMKTTIME" | "TZTIMEONLY" | "TZTIMESTAMP" | "XID" | "XIDREF" => Self::Any,
            other => panic!("FIX dictionary: unknown type {other:?}"),
        }
    }
}

/// What a value must be. Sixteen bytes of one-letter values, because most enumerations have only those.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// Bit `c`: the value of the one letter `c` is in the enumeration.
    letters: [u64; 2],
    /// Where the longer values are in `Dictionary::longer`.
    pub longer: u16,
    pub kind: Kind,
    /// Whether there is an enumeration at all.
    pub listed: bool,
}

impl Check {
    #[inline]
    pub fn has_letter(&self, letter: u8) -> bool {
        self.letters.get(usize::from(letter / 64)).is_some_and(|bits| bits >> (letter % 64) & 1 != 0)
    }
}

/// Values of more than one letter, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Longer {
    /// Up to eight letters, packed.
    pub packed: Vec<u64>,
    pub long: Vec<String>,
}

/// Where a field stands in a message: nothing, or section, group flag and ordinal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(u16);

/// Most members of one level (a message with header and trailer, or a group); a bit each while validating.
pub(super) const MAX_MEMBERS: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Section {
    Header = 1,
    Body = 2,
    Trailer = 3,
}

impl Place {
    const GROUP: u16 = 1 << 11;

    fn new(section: Section, group: bool, ordinal: usize) -> Self {
        assert!(ordinal < MAX_MEMBERS, "FIX dictionary: more than {MAX_MEMBERS} members of one level");
        Self((section as u16) << 12 | if group { Self::GROUP } else { 0 } | ordinal as u16)
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn section(self) -> Option<Section> {
        match self.0 >> 12 {
            1 => Some(Section::Header),
            2 => Some(Section::Body),
            3 => Some(Section::Trailer),
            _ => None,
        }
    }

    #[inline]
    pub fn is_in(self, section: Section) -> bool {
        self.0 >> 12 == section as u16
    }

    #[inline]
    pub fn is_group(self) -> bool {
        self.0 & Self::GROUP != 0
    }

    pub fn ordinal(self) -> usize {
        usize::from(self.0) & (MAX_MEMBERS - 1)
    }
}

/// A message's layout.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// By field index.
    pub places: Vec<Place>,
    /// Bits of the ordinals that must be there.
    pub required: u64,
    /// Tags of the required ordinals: header first, ascending within.
    pub required_tags: Vec<u32>,
    /// Ordinal of a counter, index of its group; sorted.
    pub groups: Vec<(u16, u16)>,
}

impl Layout {
    pub fn group(&self, place: Place) -> usize {
        let ordinal = place.ordinal() as u16;
        let at = self.groups.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal);
        usize::from(self.groups[at.expect("a place with the group flag has a group")].1)
    }
}

/// A repeating group's layout.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The field index that begins an entry.
    pub delimiter: u16,
    /// Field index and place, sorted.
    pub places: Vec<(u16, Place)>,
    pub required: u64,
    pub required_tags: Vec<u32>,
    pub groups: Vec<(u16, u16)>,
}

impl Group {
    pub fn place(&self, index: u16) -> Place {
        self.places.binary_search_by_key(&index, |(index, _)| *index).map_or(Place(0), |at| self.places[at].1)
    }

    pub fn group(&self, place: Place) -> usize {
        let ordinal = place.ordinal() as u16;
        let at = self.groups.binary_search_by_key(&ordinal, |(ordinal, _)| *ordinal);
        usize::from(self.groups[at.expect("a place with the group flag has a group")].1)
    }
}

/// The facts of one version (with FIXT.1.1 beneath it from 5.0 on) as dense tables.
#[derive(Debug)]
pub struct Dictionary {
    version: Version,
    /// By tag: the field index, zero when unknown, [`Dictionary::DATA`] added for data fields.
    index: Vec<u16>,
    /// By field index.
    names: Vec<&'static str>,
    pub(super) checks: Vec<Check>,
    length_tags: Vec<u32>,
    longer: Vec<Longer>,
    /// Layouts by number; number 0 has header and trailer only and serves unknown types.
    layouts: Vec<Layout>,
    /// MsgType to its number, for types of one letter and of two.
    one_letter: [u16; 128],
    more_letters: Vec<(&'static str, u16)>,
    message_names: BTreeMap<&'static str, &'static str>,
    pub(super) groups: Vec<Group>,
}

impl Dictionary {
    /// Marks the index of a data field.
    pub(super) const DATA: u16 = 1 << 15;
    pub(super) const INDEX: u16 = Self::DATA - 1;

    /// Built at the first call, kept for ever.
    pub fn of(version: Version) -> &'static Self {
        static BUILT: [OnceLock<Dictionary>; Version::ALL.len()] = [const { OnceLock::new() }; Version::ALL.len()];
        BUILT[version as usize].get_or_init(|| Self::build(version))
    }

    /// The version it describes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The name of a field.
    pub fn field_name(&self, tag: u32) -> Option<&'static str> {
        let index = self.field_index(i32::try_from(tag).ok()?);
        (index != 0).then(|| self.names[usize::from(index & Self::INDEX)])
    }

    /// The name of a message.
    pub fn message_name(&self, msg_type: &str) -> Option<&'static str> {
        self.message_names.get(msg_type).copied()
    }

    /// Whether the field belongs to the standard header.
    pub fn is_header(&self, tag: u32) -> bool {
        self.section(tag) == Some(Section::Header)
    }

    /// Whether the field belongs to the standard trailer.
    pub fn is_trailer(&self, tag: u32) -> bool {
        self.section(tag) == Some(Section::Trailer)
    }

    fn section(&self, tag: u32) -> Option<Section> {
        let index = self.field_index(i32::try_from(tag).ok()?);
        self.layouts[0].places[usize::from(index & Self::INDEX)].section()
    }

    #[inline]
    pub(super) fn field_index(&self, tag: i32) -> u16 {
        self.index.get(tag as usize).copied().unwrap_or(0)
    }

    /// The field that holds the length of this data field.
    pub(super) fn length_tag(&self, index: u16) -> i32 {
        self.length_tags[usize::from(index & Self::INDEX)] as i32
    }

    pub(super) fn longer(&self, check: &Check) -> &Longer {
        &self.longer[usize::from(check.longer)]
    }

    /// The layout of a message, `None` for a type that the version does not have.
    #[inline]
    pub(super) fn layout(&self, msg_type: &[u8]) -> Option<&Layout> {
        let number = match msg_type {
            [letter] => self.one_letter.get(usize::from(*letter)).copied().unwrap_or(0),
            _ => {
                let found = self.more_letters.binary_search_by(|(name, _)| name.as_bytes().cmp(msg_type));
                found.map_or(0, |at| self.more_letters[at].1)
            }
        };
        (number != 0).then(|| &self.layouts[usize::from(number)])
    }

    /// Header and trailer only.
    pub(super) fn envelope(&self) -> &Layout {
        &self.layouts[0]
    }

    fn build(version: Version) -> Self {
        let facts = Facts::of(version);
        if !version.over_fixt() {
            return Build::new(version, &[&facts]).finish(&facts, &[&facts]);
        }
        let session = Facts::fixt11();
        Build::new(version, &[&session, &facts]).finish(&session, &[&session, &facts])
    }
}

/// Fields whose list of values is not the whole truth: 27 may also be a number, 166 also a country, and the message
/// types of 35 and 372 are judged by the messages that there are.
const OPEN: [u32; 4] = [27, 35, 166, 372];

struct Build<'f> {
    dictionary: Dictionary,
    /// Groups already laid out, by the address of their members: each is laid out once.
    groups: BTreeMap<*const Member, u16>,
    components: Vec<&'f BTreeMap<&'static str, Vec<Member>>>,
}

/// A member of one level after its components were opened.
struct Flat<'f> {
    tag: u32,
    required: bool,
    group: Option<&'f [Member]>,
}

impl<'f> Build<'f> {
    /// Fields of the files; the first file that names a field decides.
    fn new(version: Version, files: &[&'f Facts]) -> Self {
        let highest = files.iter().flat_map(|facts| &facts.fields).map(|field| field.tag).max().unwrap_or(0);
        let dictionary = Dictionary {
            version,
            index: vec![0; highest as usize + 1],
            names: vec![""],
            checks: vec![Check { letters: [0; 2], longer: 0, kind: Kind::Any, listed: false }],
            length_tags: vec![0],
            longer: vec![Longer::default()],
            layouts: Vec::new(),
            one_letter: [0; 128],
            more_letters: Vec::new(),
            message_names: BTreeMap::new(),
            groups: Vec::new(),
        };
        let components = files.iter().map(|facts| &facts.components).collect();
        let mut build = Self { dictionary, groups: BTreeMap::new(), components };
        files.iter().flat_map(|facts| &facts.fields).for_each(|field| build.field(field));
        build
    }

    fn field(&mut self, field: &FieldFact) {
        let dictionary = &mut self.dictionary;
        if dictionary.index[field.tag as usize] != 0 {
            return;
        }
        let index = u16::try_from(dictionary.names.len()).expect("fewer than 32768 fields");
        assert!(index < Dictionary::DATA, "fewer than 32768 fields");
        let data = if field.length_tag.is_some() { Dictionary::DATA } else { 0 };
        dictionary.index[field.tag as usize] = index | data;
        dictionary.names.push(field.name);
        dictionary.length_tags.push(field.length_tag.unwrap_or(0));
        let check = self.check(field);
        self.dictionary.checks.push(check);
    }

    fn check(&mut self, field: &FieldFact) -> Check {
        let kind = Kind::of(field.kind, self.dictionary.version);
        let listed = !field.values.is_empty() && !OPEN.contains(&field.tag);
        let mut check = Check { letters: [0; 2], longer: 0, kind, listed };
        let mut longer = Longer::default();
        for value in &field.values {
            match (value.as_bytes(), pack(value.as_bytes())) {
                ([letter], _) if letter.is_ascii() => check.letters[usize::from(letter / 64)] |= 1 << (letter % 64),
                (_, Some(packed)) => longer.packed.push(packed),
                _ => longer.long.push(value.clone()),
            }
        }
        if !(longer.packed.is_empty() && longer.long.is_empty()) {
            longer.packed.sort_unstable();
            longer.long.sort_unstable();
            check.longer = u16::try_from(self.dictionary.longer.len()).expect("fewer than 65536 enumerations");
            self.dictionary.longer.push(longer);
        }
        check
    }

    fn finish(mut self, envelope: &'f Facts, files: &[&'f Facts]) -> Dictionary {
        let header = self.flatten(&envelope.header);
        let trailer = self.flatten(&envelope.trailer);
        let bare = self.layout(&header, &[], &trailer);
        self.dictionary.layouts.push(bare);
        for message in files.iter().flat_map(|facts| &facts.messages) {
            let body = self.flatten(&message.members);
            let layout = self.layout(&header, &body, &trailer);
            let number = u16::try_from(self.dictionary.layouts.len()).expect("fewer than 65536 messages");
            self.dictionary.layouts.push(layout);
            match message.msg_type.as_bytes() {
                [letter] => self.dictionary.one_letter[usize::from(*letter)] = number,
                _ => self.dictionary.more_letters.push((message.msg_type, number)),
            }
            self.dictionary.message_names.insert(message.msg_type, message.name);
        }
        self.dictionary.more_letters.sort_unstable();
        self.dictionary
    }

    /// Members with components opened. What an optional component requires is not required.
    fn flatten(&self, members: &'f [Member]) -> Vec<Flat<'f>> {
        let mut flat = Vec::new();
        self.open(members, true, &mut flat);
        flat
    }

    fn open(&self, members: &'f [Member], demanded: bool, flat: &mut Vec<Flat<'f>>) {
        for member in members {
            match member {
                Member::Field { tag, required } => {
                    flat.push(Flat { tag: *tag, required: *required && demanded, group: None });
                }
                Member::Group { tag, required, members } => {
                    flat.push(Flat { tag: *tag, required: *required && demanded, group: Some(members) });
                }
                Member::Component { name, required } => {
                    let found = self.components.iter().find_map(|components| components.get(name));
                    let members = found.unwrap_or_else(|| panic!("FIX dictionary: no component {name}"));
                    self.open(members, *required && demanded, flat);
                }
            }
        }
    }

    fn layout(&mut self, header: &[Flat<'f>], body: &[Flat<'f>], trailer: &[Flat<'f>]) -> Layout {
        let sections = [(Section::Header, header), (Section::Body, body), (Section::Trailer, trailer)];
        let mut layout = Layout {
            places: vec![Place(0); self.dictionary.names.len()],
            required: 0,
            required_tags: Vec::new(),
            groups: Vec::new(),
        };
        for (index, place, flat) in self.places(&sections) {
            // A field that stands in the header and the body counts as the header's.
            if layout.places[usize::from(index)].is_none() {
                layout.places[usize::from(index)] = place;
                if let Some(members) = flat.group {
                    layout.groups.push((place.ordinal() as u16, self.group(members)));
                }
            }
        }
        (layout.required, layout.required_tags) = required(&sections);
        layout.groups.sort_unstable();
        layout
    }

    /// Field index and place of each member: required ones first, so that their bits fit one word.
    fn places<'a>(&self, sections: &[(Section, &'a [Flat<'f>])]) -> Vec<(u16, Place, &'a Flat<'f>)> {
        let mut all: Vec<(Section, &Flat<'f>)> = Vec::new();
        for (section, flats) in sections {
            all.extend(flats.iter().map(|flat| (*section, flat)));
        }
        all.sort_by_key(|(section, flat)| (!flat.required, *section, flat.tag));
        let place = |(ordinal, (section, flat)): (usize, (Section, &'a Flat<'f>))| {
            let index = self.dictionary.field_index(flat.tag as i32) & Dictionary::INDEX;
            assert!(index != 0, "FIX dictionary: no field {}", flat.tag);
            (index, Place::new(section, flat.group.is_some(), ordinal), flat)
        };
        all.into_iter().enumerate().map(place).collect()
    }

    fn group(&mut self, members: &'f [Member]) -> u16 {
        if let Some(number) = self.groups.get(&members.as_ptr()) {
            return *number;
        }
        let flat = self.flatten(members);
        let first = flat.first().expect("a group has members").tag;
        let sections = [(Section::Body, flat.as_slice())];
        let mut group = Group {
            delimiter: self.dictionary.field_index(first as i32) & Dictionary::INDEX,
            places: Vec::new(),
            required: 0,
            required_tags: Vec::new(),
            groups: Vec::new(),
        };
        for (index, place, flat) in self.places(&sections) {
            group.places.push((index, place));
            if let Some(members) = flat.group {
                let number = self.group(members);
                group.groups.push((place.ordinal() as u16, number));
            }
        }
        (group.required, group.required_tags) = required(&sections);
        group.places.sort_unstable_by_key(|(index, _)| *index);
        group.places.dedup_by_key(|(index, _)| *index);
        group.groups.sort_unstable();
        let number = u16::try_from(self.dictionary.groups.len()).expect("fewer than 65536 groups");
        self.dictionary.groups.push(group);
        self.groups.insert(members.as_ptr(), number);
        number
    }
}

/// Bits and tags of the members that must be there, in the order of [`Build::places`].
fn required(sections: &[(Section, &[Flat<'_>])]) -> (u64, Vec<u32>) {
    let mut tags = Vec::new();
    for (_, flats) in sections {
        let mut section: Vec<u32> = flats.iter().filter(|flat| flat.required).map(|flat| flat.tag).collect();
        section.sort_unstable();
        tags.extend(section);
    }
    assert!(tags.len() < 64, "FIX dictionary: more than 63 required members of one level");
    ((1 << tags.len()) - 1, tags)
}

/// A value of two to eight bytes as one word.
#[inline]
pub(super) fn pack(value: &[u8]) -> Option<u64> {
    if value.len() > 8 {
        return None;
    }
    Some(value.iter().fold(0, |packed, byte| packed << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_builds() {
        for version in Version::ALL {
            let dictionary = Dictionary::of(version);
            assert_eq!(dictionary.version(), version);
            assert_eq!(dictionary.field_name(35), Some("MsgType"));
            assert_eq!(dictionary.message_name("D").map(str::to_ascii_lowercase).as_deref(), Some("newordersingle"));
            assert!(dictionary.layout(b"A").is_some() && dictionary.layout(b"*").is_none());
            assert!(dictionary.is_header(34) && dictionary.is_trailer(10) && !dictionary.is_header(11));
            assert_eq!(Version::parse(version.name()), Some(version));
        }
    }

    #[test]
    fn groups_begin_with_the_first_field_of_their_first_component() {
        let dictionary = Dictionary::of(Version::Fix44);
        let layout = dictionary.layout(b"V").expect("MarketDataRequest");
        let counter = dictionary.field_index(146);
        let group = &dictionary.groups[layout.group(layout.places[usize::from(counter)])];
        assert_eq!(group.delimiter, dictionary.field_index(55));
        // Instrument is required there, its fields are not.
        assert_eq!(group.required, 0);
    }

    #[test]
    fn an_optional_component_demands_nothing() {
        let layout = Dictionary::of(Version::Fix44).layout(b"D").expect("NewOrderSingle");
        assert_eq!(layout.required_tags, [8, 9, 34, 35, 49, 52, 56, 11, 40, 54, 60, 10]);
        // The legs of a multi-leg order were required, and no longer are in SP1, whose component still has 555!.
        let demands = |version| {
            let layout = Dictionary::of(version).layout(b"AB").expect("NewOrderMultileg");
            layout.required_tags.contains(&555)
        };
        assert_eq!((demands(Version::Fix50), demands(Version::Fix50Sp1)), (true, false));
    }
}
