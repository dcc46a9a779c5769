//! The scenarios of `tests/scenarios` at the root of the repository. How to write one stands in its `README.md`.

use crate::table::run;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let text = include_str!(concat!("../../../../tests/scenarios/", stringify!($name), ".txt"));
            run(concat!(stringify!($name), ".txt"), text);
        })*

        const LISTED: &[&str] = &[$(concat!(stringify!($name), ".txt")),*];
    };
}

scenarios! {
    pair_trade limits daily_loss new_day crossed_quote unknown_reference time_backwards halted incomplete netting_and_crossing
    order_life messages_cross kill_pause_resume partial_ioc_is_retried target_waits_for_a_price bad_values
    lost_execution replace_takes_room book_data splits split_shared dividends charges listings session_lost
    session_told_again session_quotes sessions positions_differ flatten set_limit silent_venue taken_off_during_replace
    cancel_behind_replace
}

#[test]
fn every_scenario_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/scenarios");
    for entry in std::fs::read_dir(folder).expect("the folder of scenarios") {
        let entry = entry.expect("a readable folder");
        // Other stations' scenarios are in folders of their own.
        if entry.file_type().expect("a readable entry").is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().expect("a plain file name");
        let known = name == "README.md" || LISTED.contains(&name.as_str());
        assert!(known, "{name} is not run: add it to the list in core/engine/tests/engine/scenarios.rs");
    }
}
