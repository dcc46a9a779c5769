//! The acceptance definitions of `../shared` and our own scenarios, all versions, in simulated time.

use helios_wire::fix::{Role, Rules, Settings, Version};

use crate::scenario::Engine;
use crate::{files, read, shared};

/// The sessions that the definitions assume.
pub fn sessions() -> Vec<Settings> {
    let session = |version: Version, target: &str| {
        let settings = Settings::new(Role::Acceptor, version, "ISLD", target);
        Settings { reset_on_logon: true, ..settings }
    };
    let mut sessions: Vec<Settings> = Version::ALL.map(|version| session(version, target(version))).into();
    sessions.push(session(Version::Fix44, "TW"));
    let lenient = session(Version::Fix44, "NO_CHECK_FIELDS_HAVE_VALUES");
    sessions.push(Settings { rules: Some(Rules { values: false, ..Rules::default() }), ..lenient });
    sessions
}

pub fn target(version: Version) -> &'static str {
    match version {
        Version::Fix40 => "TW40",
        Version::Fix41 => "TW41",
        Version::Fix42 => "TW42",
        Version::Fix43 => "TW43",
        Version::Fix44 => "TW44",
        Version::Fix50 => "TW50",
        Version::Fix50Sp1 => "TW50SP1",
        Version::Fix50Sp2 => "TW50SP2",
    }
}

/// Runs every definition of a group, all on one engine, as a real one would have to.
fn run_group(group: &str) {
    let Some(folder) = shared(&format!("conformance/quickfix_defs/cpp/{group}")) else { return };
    let (mut passed, mut failed) = (0, Vec::new());
    for version in files(&folder) {
        let mut engine = Engine::new(sessions());
        for path in files(&version).iter().filter(|path| path.extension().is_some_and(|name| name == "def")) {
            match engine.run(&read(path)) {
                Ok(()) => passed += 1,
                Err(why) => failed.push(format!("{}: {why}", path.display())),
            }
        }
    }
    println!("{group}: {passed} passed, {} failed", failed.len());
    assert!(failed.is_empty() && passed > 0, "{passed} passed, {} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_server_definitions_pass() {
    run_group("server");
}

#[test]
fn the_validation_definitions_pass() {
    run_group("validate");
}
