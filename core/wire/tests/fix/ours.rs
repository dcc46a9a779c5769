//! Our own scenarios (`tests/scenarios/fix`), on every version that they are for.

use std::path::Path;

use helios_wire::fix::Version;

use crate::scenario::Engine;
use crate::suite::{sessions, target};
use crate::{files, read};

/// Short names of the versions, as the scenarios write them, oldest first.
const NAMES: [&str; 8] = ["4.0", "4.1", "4.2", "4.3", "4.4", "5.0", "5.0SP1", "5.0SP2"];

/// Whether a version is within `4.2-4.4`, `4.2-` or `4.1`; `None` for what is no range.
fn within(range: &str, version: Version) -> Option<bool> {
    let place = |name: &str| NAMES.iter().position(|known| *known == name);
    let (from, to) = match range.split_once('-') {
        Some((from, "")) => (place(from)?, NAMES.len()),
        Some((from, to)) => (place(from)?, place(to)?),
        None => (place(range)?, place(range)?),
    };
    Some((from..=to).contains(&(version as usize)))
}

/// Writes the steps of a scenario for one version.
struct Writer {
    version: Version,
}

impl Writer {
    fn stamp(&self) -> &'static str {
        if self.version < Version::Fix42 { "20260102-03:04:05" } else { "20260102-03:04:05.678" }
    }

    fn fields(&self, text: &str) -> String {
        let application = self.version.appl_ver_id().map_or(String::new(), |id| format!("1137={id}|"));
        let time = if self.version < Version::Fix42 { "" } else { "60=TIME|" };
        let mut text = text.to_owned();
        if !(text.is_empty() || text.ends_with('|')) {
            text.push('|');
        }
        for (name, value) in [
            ("LOGONRESET|", format!("98=0|108=30|141=Y|{application}").as_str()),
            ("LOGON|", &format!("98=0|108=30|{application}")),
            ("APPL|", &application),
            ("ORDER|", &format!("11=id|21=1|38=100|40=1|54=1|55=X|{time}")),
            ("BEGIN", self.version.begin_string()),
            ("THEM", target(self.version)),
        ] {
            text = text.replace(name, value);
        }
        text
    }

    /// `TIME` and `TIME-5` as the engine writes them.
    fn times(text: &str) -> String {
        let mut parts = text.split("=TIME");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (shift, rest) = part.split_once('|').unwrap_or((part, ""));
            out.push_str(&format!("=<TIME{shift}>|{rest}"));
        }
        out
    }

    /// One line as one step.
    fn step(&self, line: &str) -> Result<Vec<u8>, String> {
        let (id, line) = match line.split_once(' ') {
            Some(("2", rest)) => ("2,", rest),
            _ => ("", line),
        };
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let text = match verb {
            "connect" => format!("i{id}CONNECT"),
            "hangup" => format!("i{id}DISCONNECT"),
            "closed" => format!("e{id}DISCONNECT"),
            "quiet" | "wait" => format!("{}{id}{rest}", &verb[..1]),
            "raw" => format!("I{id}{}", Self::times(&self.fields(rest))),
            ">" => format!("I{id}{}", Self::times(&self.sent(rest)?)),
            "<" => format!("E{id}{}", self.expected(rest)?.replace("TIME", self.stamp())),
            _ => return Err(format!("no such step: {line}")),
        };
        Ok(text.replace('|', "\x01").into_bytes())
    }

    /// Type, number, whether it is a duplicate, and the rest.
    fn parts<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str, bool, String), String> {
        let mut words = text.splitn(3, ' ');
        let (Some(msg_type), Some(seq)) = (words.next(), words.next()) else {
            return Err(format!("too short: {text}"));
        };
        let rest = words.next().unwrap_or_default();
        let (dup, rest) = match rest.strip_prefix("dup") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, rest),
        };
        Ok((msg_type, seq, dup, self.fields(rest)))
    }

    fn sent(&self, text: &str) -> Result<String, String> {
        let (msg_type, seq, dup, rest) = self.parts(text)?;
        let dup = if dup { "43=Y|122=TIME|" } else { "" };
        let (begin, them) = (self.version.begin_string(), target(self.version));
        Ok(format!("8={begin}|35={msg_type}|34={seq}|49={them}|52=TIME|56=ISLD|{dup}{rest}"))
    }

    /// Our header is in ascending order: 97 stands in front of 122.
    fn expected(&self, text: &str) -> Result<String, String> {
        if let Some(refused) = text.strip_prefix("refused ") {
            return self.refused(refused);
        }
        let (msg_type, seq, dup, rest) = self.parts(text)?;
        let (resend, rest) = rest.strip_prefix("97=Y|").map_or(("", rest.as_str()), |rest| ("97=Y|", rest));
        let (begin, them, stamp) = (self.version.begin_string(), target(self.version), self.stamp());
        let (flag, original) = if dup { ("43=Y|", format!("122={stamp}|")) } else { ("", String::new()) };
        // TransactTime comes back as it was sent: without decimals.
        let rest = rest.replace("60=TIME", "60=20260102-03:04:05");
        Ok(format!("8={begin}|35={msg_type}|34={seq}|{flag}49=ISLD|52={stamp}|56={them}|{resend}{original}{rest}"))
    }

    /// A Reject in the words of the version.
    fn refused(&self, text: &str) -> Result<String, String> {
        let mut words = text.splitn(6, ' ');
        let mut word = || words.next().ok_or(format!("refused SEQ REF TYPE REASON TAG TEXT: {text}"));
        let (seq, reference, msg_type, reason, tag, text) = (word()?, word()?, word()?, word()?, word()?, word()?);
        let reason: u32 = reason.parse().map_err(|_| format!("no reason: {reason}"))?;
        let known_tag = if tag == "-" { None } else { Some(tag) };
        let body = if self.version < Version::Fix42 {
            format!("58={text}{}|", known_tag.map_or(String::new(), |tag| format!(" ({tag})")))
        } else {
            let tag = known_tag.map_or(String::new(), |tag| format!("371={tag}|"));
            let known_reason = self.version > Version::Fix42 || reason <= 11;
            let reason = if known_reason { format!("373={reason}|") } else { String::new() };
            format!("58={text}|{tag}372={msg_type}|{reason}")
        };
        self.expected(&format!("3 {seq} 45={reference}|{body}"))
    }
}

/// Runs the scenarios of a file on one version; how many there were.
fn run_file(text: &str, name: &str, version: Version) -> usize {
    let writer = Writer { version };
    let mut scenarios = 0;
    for scenario in text.split("\n== ").skip(1) {
        let (title, steps) = scenario.split_once('\n').expect("lines below a title");
        let range = title.strip_suffix(']').and_then(|title| title.rsplit_once('[')).map(|(_, range)| range);
        if range.is_some_and(|range| !within(range, version).expect("a range of versions")) {
            continue;
        }
        let steps = steps.lines().filter_map(|line| {
            match line.split_once(' ').map(|(range, rest)| (within(range, version), rest)) {
                Some((Some(true), rest)) => Some(rest),
                Some((Some(false), _)) => None,
                _ => Some(line),
            }
        });
        let steps = steps.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let script: Result<Vec<Vec<u8>>, String> = steps.clone().map(|line| writer.step(line)).collect();
        let script = script.unwrap_or_else(|why| panic!("{name}, {title}: {why}"));
        if let Err(why) = Engine::new(sessions()).run(&script.join(&b'\n')) {
            let lines: Vec<String> = steps.enumerate().map(|(at, line)| format!("{:>4} {line}", at + 1)).collect();
            panic!("{name}, {}, {title}: {why}\n{}", version.name(), lines.join("\n"));
        }
        scenarios += 1;
    }
    scenarios
}

#[test]
fn our_scenarios_pass_on_every_version() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/fix");
    let mut scenarios = 0;
    for path in files(&folder).iter().filter(|path| path.extension().is_some_and(|name| name == "txt")) {
        let text = String::from_utf8(read(path)).expect("UTF-8");
        let name = path.file_name().expect("a file").to_string_lossy();
        scenarios += Version::ALL.map(|version| run_file(&text, &name, version)).iter().sum::<usize>();
    }
    println!("{scenarios} scenarios passed");
    assert!(scenarios >= 40 * 8, "{scenarios} scenarios");
}
