//! Our dictionary files against the dictionaries that the acceptance definitions assume: every fact, both ways.

use std::collections::BTreeMap;

use helios_wire::fix::dictionary::{FieldFact, Member, MessageFact};
use helios_wire::fix::{Facts, Version};

use crate::{read, shared};

/// An element with its attributes and children.
#[derive(Default)]
struct Element {
    name: &'static str,
    attributes: BTreeMap<&'static str, &'static str>,
    children: Vec<Element>,
}

impl Element {
    fn attribute(&self, name: &str) -> &'static str {
        self.attributes.get(name).copied().unwrap_or_else(|| panic!("<{}> without {name}", self.name))
    }

    fn child(&self, name: &str) -> &[Element] {
        self.children.iter().find(|child| child.name == name).map_or(&[], |child| &child.children)
    }
}

/// Enough of XML for these files: elements with attributes in single quotes, no text.
fn parse(text: &'static str) -> Element {
    let mut open = vec![Element::default()];
    for piece in text.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a > behind each <");
        if tag.starts_with(['!', '?']) {
            continue;
        }
        if !tag.starts_with('/') {
            let (name, rest) = tag.split_once(' ').unwrap_or((tag.trim_end_matches('/'), ""));
            open.push(Element { name, attributes: attributes(rest.trim_end_matches('/')), children: Vec::new() });
        }
        if tag.starts_with('/') || tag.ends_with('/') {
            let element = open.pop().expect("an open element");
            open.last_mut().expect("the document").children.push(element);
        }
    }
    assert_eq!(open.len(), 1, "every element is closed");
    open.remove(0).children.remove(0)
}

fn attributes(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let mut parts = text.split('\'');
    let mut found = BTreeMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        found.insert(name.trim().trim_end_matches('='), value);
    }
    found
}

/// The facts of an XML file; length tags, which it does not name, are taken from ours and checked apart.
fn facts(document: &Element, ours: &Facts) -> Facts {
    let tags: BTreeMap<&str, u32> = document
        .child("fields")
        .iter()
        .map(|field| (field.attribute("name"), field.attribute("number").parse().expect("a tag")))
        .collect();
    let length_tags: BTreeMap<u32, u32> =
        ours.fields.iter().filter_map(|field| Some((field.tag, field.length_tag?))).collect();
    let mut fields: Vec<FieldFact> = document.child("fields").iter().map(|field| field_fact(field, &tags)).collect();
    fields.iter_mut().for_each(|field| field.length_tag = length_tags.get(&field.tag).copied());
    fields.sort_by_key(|field| field.tag);
    let message = |message: &Element| MessageFact {
        msg_type: message.attribute("msgtype"),
        name: message.attribute("name"),
        admin: message.attribute("msgcat") == "admin",
        members: members(&message.children, &tags),
    };
    let component = |component: &Element| (component.attribute("name"), members(&component.children, &tags));
    Facts {
        fields,
        header: members(document.child("header"), &tags),
        trailer: members(document.child("trailer"), &tags),
        components: document.child("components").iter().map(component).collect(),
        messages: document.child("messages").iter().map(message).collect(),
    }
}

fn field_fact(field: &Element, tags: &BTreeMap<&str, u32>) -> FieldFact {
    let name = field.attribute("name");
    FieldFact {
        tag: tags[name],
        name,
        kind: field.attribute("type"),
        length_tag: None,
        values: field.children.iter().map(|value| value.attribute("enum").to_owned()).collect(),
    }
}

fn members(elements: &[Element], tags: &BTreeMap<&str, u32>) -> Vec<Member> {
    let member = |element: &Element| {
        let (name, required) = (element.attribute("name"), element.attribute("required") == "Y");
        match element.name {
            "field" => Member::Field { tag: tags[name], required },
            "group" => Member::Group { tag: tags[name], required, members: members(&element.children, tags) },
            "component" => Member::Component { name, required },
            other => panic!("unknown element <{other}>"),
        }
    };
    elements.iter().map(member).collect()
}

/// Compares piece by piece, so that a difference can be read.
fn compare(name: &str, ours: &Facts, theirs: &Facts) {
    assert!(!theirs.fields.is_empty() && !theirs.messages.is_empty(), "{name} has facts");
    assert_eq!(ours.fields.len(), theirs.fields.len(), "{name}: number of fields");
    ours.fields.iter().zip(&theirs.fields).for_each(|(ours, theirs)| assert_eq!(ours, theirs, "{name}"));
    assert_eq!(ours.header, theirs.header, "{name}: header");
    assert_eq!(ours.trailer, theirs.trailer, "{name}: trailer");
    assert_eq!(ours.messages.len(), theirs.messages.len(), "{name}: number of messages");
    ours.messages.iter().zip(&theirs.messages).for_each(|(ours, theirs)| assert_eq!(ours, theirs, "{name}"));
    assert_eq!(ours.components, theirs.components, "{name}: components");
}

/// A data field is named with the length field that stands right in front of it.
fn check_length_tags(name: &str, facts: &Facts) {
    let kinds: BTreeMap<u32, &str> = facts.fields.iter().map(|field| (field.tag, field.kind)).collect();
    let lengths: BTreeMap<u32, u32> =
        facts.fields.iter().filter_map(|field| Some((field.tag, field.length_tag?))).collect();
    for field in &facts.fields {
        let is_data = matches!(field.kind, "DATA" | "XMLDATA");
        assert_eq!(is_data, field.length_tag.is_some(), "{name} {}", field.name);
        let length_kind = field.length_tag.map(|tag| kinds[&tag]);
        assert!(matches!(length_kind, None | Some("LENGTH" | "INT")), "{name} {} {length_kind:?}", field.name);
    }
    let bodies = facts.messages.iter().map(|message| &message.members).chain(facts.components.values());
    bodies.chain([&facts.header, &facts.trailer]).for_each(|members| check_pairs(name, members, &lengths));
}

fn check_pairs(name: &str, members: &[Member], lengths: &BTreeMap<u32, u32>) {
    for (at, member) in members.iter().enumerate() {
        match member {
            Member::Field { tag, .. } if lengths.contains_key(tag) => {
                let before = at.checked_sub(1).map(|at| &members[at]);
                let paired = matches!(before, Some(Member::Field { tag: length, .. }) if *length == lengths[tag]);
                assert!(paired, "{name}: field {tag} does not follow {}", lengths[tag]);
            }
            Member::Group { members, .. } => check_pairs(name, members, lengths),
            _ => {}
        }
    }
}

#[test]
fn our_files_hold_the_same_facts() {
    let Some(folder) = shared("conformance/quickfix_defs/dictionaries") else { return };
    let mut dictionaries = vec![("FIXT11", Facts::fixt11())];
    for version in Version::ALL {
        let file = match version {
            Version::Fix40 => "FIX40",
            Version::Fix41 => "FIX41",
            Version::Fix42 => "FIX42",
            Version::Fix43 => "FIX43",
            Version::Fix44 => "FIX44",
            Version::Fix50 => "FIX50",
            Version::Fix50Sp1 => "FIX50SP1",
            Version::Fix50Sp2 => "FIX50SP2",
        };
        dictionaries.push((file, Facts::of(version)));
    }
    for (file, ours) in dictionaries {
        let text = String::from_utf8(read(&folder.join(format!("{file}.xml")))).expect("UTF-8");
        let document = parse(text.leak());
        compare(file, &ours, &facts(&document, &ours));
        check_length_tags(file, &ours);
    }
}
