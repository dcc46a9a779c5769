//! Patterns against their definition: all tuples of events are written down, and those that keep every rule are the
//! matches. Nothing here goes through a stream step by step as the machine does, except what is said about its bound.

use std::collections::BTreeSet;

use helios_signals::{Absence, AtBound, Consumption, MAX_OPEN, MAX_SAMPLES, Occurrences, Pattern, PatternSpec, Step};
use helios_types::{Digest, Hasher, Nanos, Rng};
use proptest::prelude::*;

// ---- the definition --------------------------------------------------------------------------------------------------

/// Time and the conditions that occurred.
type Event = (u64, u64);

/// The events of one match, and the event at which it completes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    events: Vec<usize>,
    completes: usize,
}

/// Every increasing tuple of events that begins with `start` and at which the wanted conditions occur.
fn tuples(stream: &[Event], wanted: &[u64], start: usize) -> Vec<Vec<usize>> {
    let mut found = if stream[start].1 & wanted[0] != 0 { vec![vec![start]] } else { vec![] };
    for want in &wanted[1..] {
        found = found
            .into_iter()
            .flat_map(|tuple| {
                let from = tuple.last().unwrap() + 1;
                (from..stream.len()).filter(|at| stream[*at].1 & want != 0).map(move |at| {
                    let mut longer = tuple.clone();
                    longer.push(at);
                    longer
                })
            })
            .collect();
    }
    found
}

/// The rules, each over the whole tuple; the event at which the match completes, if it does.
fn legal(spec: &PatternSpec, wanted: &[u64], stream: &[Event], tuple: &[usize]) -> Option<usize> {
    let (first, last) = (tuple[0], *tuple.last().unwrap());
    // The next event that fits is taken: between two of a tuple nothing fits the later one.
    for (at, pair) in tuple.windows(2).enumerate() {
        if (pair[0] + 1..pair[1]).any(|x| stream[x].1 & wanted[at + 1] != 0) {
            return None;
        }
    }
    let mut place = 0;
    for (number, step) in spec.steps.iter().enumerate() {
        let before = if number > 0 { tuple[place - 1] } else { first };
        place += step.times as usize;
        let completed = tuple[place - 1];
        let excluded = if number > 0 { before + 1..=completed } else { first..=completed };
        if excluded.into_iter().any(|x| stream[x].1 & step.without != 0) {
            return None;
        }
        if step.within.is_some_and(|ns| stream[completed].0 - stream[before].0 > ns) {
            return None;
        }
    }
    if spec.within.is_some_and(|ns| stream[last].0 - stream[first].0 > ns) {
        return None;
    }
    let Some(absent) = spec.absent else { return Some(last) };
    let due = stream[last].0 + absent.span;
    let completes = (last + 1..stream.len()).find(|x| stream[*x].0 >= due)?;
    (last + 1..completes).all(|x| stream[x].1 & absent.conditions == 0).then_some(completes)
}

fn wanted(spec: &PatternSpec) -> Vec<u64> {
    spec.steps.iter().flat_map(|step| vec![1 << step.condition; step.times as usize]).collect()
}

/// The match that an event opens, if it completes.
fn run(spec: &PatternSpec, stream: &[Event], start: usize) -> Option<Run> {
    let wanted = wanted(spec);
    let candidates = tuples(stream, &wanted, start).into_iter();
    let mut runs: Vec<Run> = candidates
        .filter_map(|events| legal(spec, &wanted, stream, &events).map(|completes| Run { events, completes }))
        .collect();
    assert!(runs.len() <= 1, "a match is settled by its first event, but {start} has {runs:?}");
    runs.pop()
}

/// Matches that complete at each event when there is no bound.
fn by_definition(spec: &PatternSpec, stream: &[Event]) -> Vec<u32> {
    let mut runs: Vec<Run> = (0..stream.len()).filter_map(|start| run(spec, stream, start)).collect();
    runs.sort_by_key(|run| (run.completes, run.events[0]));
    let (mut used, mut matches) = (BTreeSet::<usize>::new(), vec![0; stream.len()]);
    for run in runs {
        if spec.consumption == Consumption::NonOverlapping {
            if run.events.iter().any(|x| used.contains(x)) {
                continue;
            }
            used.extend(&run.events);
        }
        matches[run.completes] += 1;
    }
    matches
}

/// The events that a partial match has taken, if it is open: if some future could still complete it. The kindest
/// future is the one in which all that is missing happens at once and nothing else.
fn open_after(spec: &PatternSpec, past: &[Event], start: usize) -> Option<Vec<usize>> {
    if run(spec, past, start).is_some() {
        return None;
    }
    let (wanted, now) = (wanted(spec), past.last().unwrap().0);
    (1..=wanted.len()).find_map(|have| {
        let missing = wanted[have..].iter().map(|bit| (now, *bit));
        let silence = spec.absent.map(|absent| (now + absent.span, 0));
        let future: Vec<Event> = past.iter().copied().chain(missing).chain(silence).collect();
        let run = run(spec, &future, start)?;
        Some(run.events.into_iter().filter(|x| *x < past.len()).collect())
    })
}

/// Matches at each event, partial matches open after each, and how many were dropped: with the bound.
fn by_definition_bounded(spec: &PatternSpec, stream: &[Event]) -> (Vec<u32>, Vec<usize>, u64) {
    let first = &spec.steps[0];
    let (mut open, mut dropped) = (BTreeSet::<usize>::new(), 0);
    let (mut matches, mut counts) = (vec![0; stream.len()], vec![]);
    for now in 0..stream.len() {
        let past = &stream[..=now];
        let mut consumed = false;
        for start in open.clone() {
            let Some(run) = run(spec, past, start).filter(|_| open.remove(&start)) else { continue };
            matches[now] += 1;
            if spec.consumption == Consumption::NonOverlapping {
                consumed |= run.events.contains(&now);
                open.retain(|other| {
                    let taken = self::run(spec, past, *other).map(|run| run.events);
                    let taken = taken.or_else(|| open_after(spec, past, *other)).unwrap_or_default();
                    !taken.iter().any(|x| run.events.contains(x))
                });
            }
        }
        open.retain(|start| open_after(spec, past, *start).is_some());
        let opens = stream[now].1 & (1 << first.condition) != 0 && stream[now].1 & first.without == 0;
        if opens && !consumed {
            if run(spec, past, now).is_some() {
                matches[now] += 1;
            } else {
                let full = open.len() == spec.max_open as usize;
                dropped += u64::from(full);
                if full && spec.at_bound == AtBound::DropOldest {
                    open.pop_first();
                }
                if !full || spec.at_bound == AtBound::DropOldest {
                    open.insert(now);
                }
            }
        }
        counts.push(open.len());
    }
    (matches, counts, dropped)
}

// ---- random patterns on random streams -------------------------------------------------------------------------------

const CONDITIONS: u32 = 4;

/// Few conditions and short spans, so that every edge is met; conditions often occur together, times often agree.
fn any_stream(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let held = prop_oneof![1 => Just(0u64), 4 => (0..CONDITIONS).prop_map(|k| 1 << k), 3 => 0u64..1 << CONDITIONS];
    let step = prop_oneof![2 => Just(0u64), 4 => Just(1u64), 2 => 2u64..5];
    prop::collection::vec((step, held), 0..most).prop_map(|steps| {
        let times = steps.iter().scan(0, |now, (step, _)| {
            *now += step;
            Some(*now)
        });
        times.zip(steps.iter().map(|(_, held)| *held)).collect()
    })
}

fn any_set() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0u64), 2 => (0..CONDITIONS).prop_map(|k| 1 << k), 1 => 0u64..1 << CONDITIONS]
}

fn any_step() -> impl Strategy<Value = Step> {
    (0..CONDITIONS, 1u32..3, prop::option::of(1u64..8), any_set()).prop_map(|(condition, times, within, without)| {
        Step { condition, times, within, without: without & !(1 << condition) }
    })
}

fn any_spec() -> impl Strategy<Value = PatternSpec> {
    let absent = prop::option::of((1u64..1 << CONDITIONS, 1u64..6));
    (prop::collection::vec(any_step(), 1..4), prop::option::weighted(0.3, 1u64..12), absent, any::<bool>()).prop_map(
        |(mut steps, within, absent, overlapping)| {
            steps[0].within = None;
            let absent = absent.map(|(conditions, span)| Absence { conditions, span });
            let consumption = if overlapping { Consumption::Overlapping } else { Consumption::NonOverlapping };
            PatternSpec { within, absent, consumption, ..spec(steps) }
        },
    )
}

fn machine(spec: &PatternSpec) -> Pattern {
    Pattern::new(spec.clone()).unwrap_or_else(|wrong| panic!("{wrong}: {spec:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn matches_are_those_of_the_definition(spec in any_spec(), stream in any_stream(22)) {
        let mut pattern = machine(&spec);
        let found: Vec<u32> = stream.iter().map(|(now, held)| pattern.step(Nanos(*now), *held)).collect();
        prop_assert_eq!(found, by_definition(&spec, &stream));
        prop_assert_eq!(pattern.dropped(), 0);
    }

    #[test]
    fn the_bound_is_kept_as_it_says(spec in any_spec(), stream in any_stream(13), max_open in 1u32..4, refuse in any::<bool>()) {
        let at_bound = if refuse { AtBound::RefuseNew } else { AtBound::DropOldest };
        let spec = PatternSpec { max_open, at_bound, ..spec };
        let mut pattern = machine(&spec);
        let found: Vec<(u32, usize)> =
            stream.iter().map(|(now, held)| (pattern.step(Nanos(*now), *held), pattern.open())).collect();
        let (matches, open, dropped) = by_definition_bounded(&spec, &stream);
        prop_assert_eq!(found, matches.into_iter().zip(open).collect::<Vec<_>>());
        prop_assert_eq!(pattern.dropped(), dropped);
    }

    /// Without a bound that matters, the two definitions are one.
    #[test]
    fn both_definitions_say_the_same(spec in any_spec(), stream in any_stream(13)) {
        prop_assert_eq!(by_definition_bounded(&spec, &stream).0, by_definition(&spec, &stream));
    }

    #[test]
    fn occurrences_are_counted_in_their_span(steps in prop::collection::vec((0u64..4, any::<bool>()), 1..60), span in 1u64..9) {
        let mut machine = Occurrences::new(span).unwrap();
        let (mut now, mut seen, mut before) = (0, vec![], None);
        for (step, occurred) in steps {
            now += step;
            seen.extend(occurred.then_some(now));
            let fires = machine.step(Nanos(now), occurred);
            let count = seen.iter().filter(|ts| **ts + span > now).count();
            prop_assert_eq!(machine.count(), count);
            // It may also fire when one leaves and one comes; it never keeps a change to itself.
            prop_assert!(fires || before == Some(count));
            prop_assert!(!fires || occurred || before != Some(count));
            before = Some(count);
        }
    }
}

// ---- each rule by example --------------------------------------------------------------------------------------------

const A: u32 = 0;
const B: u32 = 1;
const C: u32 = 2;
const D: u32 = 3;

fn once(condition: u32) -> Step {
    Step { condition, times: 1, within: None, without: 0 }
}

fn spec(steps: Vec<Step>) -> PatternSpec {
    PatternSpec {
        conditions: CONDITIONS,
        heartbeat: false,
        steps,
        within: None,
        absent: None,
        consumption: Consumption::NonOverlapping,
        max_open: MAX_OPEN,
        at_bound: AtBound::DropOldest,
    }
}

fn overlapping(spec: PatternSpec) -> PatternSpec {
    PatternSpec { consumption: Consumption::Overlapping, ..spec }
}

/// "10:ab 20:" is an event at 10 with a and b and one at 20 with nothing.
fn timeline(text: &str) -> Vec<Event> {
    let event = |word: &str| {
        let (now, held) = word.split_once(':').expect("time:conditions");
        (now.parse().expect("a time"), held.bytes().map(|letter| 1u64 << (letter - b'a')).sum())
    };
    text.split_whitespace().map(event).collect()
}

/// The machine finds matches at the times of `expected`, a time for each; and so does the definition.
#[track_caller]
fn check(spec: &PatternSpec, text: &str, expected: &[u64]) {
    let stream = timeline(text);
    let mut pattern = machine(spec);
    let times = |counts: Vec<u32>| -> Vec<u64> {
        counts.iter().zip(&stream).flat_map(|(count, (now, _))| vec![*now; *count as usize]).collect()
    };
    let found = times(stream.iter().map(|(now, held)| pattern.step(Nanos(*now), *held)).collect());
    assert_eq!(found, expected, "{text}");
    assert_eq!(times(by_definition(spec, &stream)), expected, "by definition: {text}");
}

fn a_then_b() -> PatternSpec {
    spec(vec![once(A), once(B)])
}

/// The timeline of docs/models/patterns.md: a, then within 50 three b, without c.
#[test]
fn the_worked_example() {
    let three = Step { times: 3, within: Some(50), without: 1 << C, ..once(B) };
    let documented = spec(vec![once(A), three]);
    check(&documented, "0:a 10:b 15:d 20:a 30:b 40:b 45:b 60:a 70:b 80:c 90:b 100:b", &[40]);
    check(&overlapping(documented), "0:a 10:b 15:d 20:a 30:b 40:b 45:b 60:a 70:b 80:c 90:b 100:b", &[40, 45]);
}

#[test]
fn events_that_do_not_fit_are_passed_over() {
    check(&a_then_b(), "1:a 2:c 3: 4:d 5:b", &[5]);
    check(&a_then_b(), "1:b 2:a", &[]);
}

#[test]
fn one_event_serves_one_step() {
    check(&a_then_b(), "1:ab", &[]);
    check(&a_then_b(), "1:ab 2:ab", &[2]);
    check(&spec(vec![once(A), once(A)]), "1:a 2:a 3:a", &[2]);
    check(&spec(vec![Step { times: 3, ..once(A) }]), "1:a 1:a 1:a 2:a", &[1]);
}

#[test]
fn within_includes_its_edge() {
    let near = spec(vec![once(A), Step { within: Some(50), ..once(B) }]);
    check(&near, "100:a 150:b", &[150]);
    check(&near, "100:a 151:b", &[]);
    let whole = PatternSpec { within: Some(50), ..spec(vec![once(A), once(B), once(C)]) };
    check(&whole, "100:a 140:b 150:c", &[150]);
    check(&whole, "100:a 140:b 151:c", &[]);
}

/// Of all occurrences of a step, the last must be in time.
#[test]
fn within_is_for_all_of_a_steps_times() {
    let near = spec(vec![once(A), Step { times: 2, within: Some(50), ..once(B) }]);
    check(&near, "0:a 40:b 50:b", &[50]);
    check(&near, "0:a 40:b 51:b", &[]);
}

#[test]
fn without_wins_over_its_step_at_the_same_event() {
    let clean = spec(vec![once(A), Step { without: 1 << C, ..once(B) }]);
    check(&clean, "1:a 2:b", &[2]);
    check(&clean, "1:a 2:bc 3:b", &[]);
    check(&clean, "1:a 2:c 3:b", &[]);
    check(&clean, "1:ac 2:b", &[2]);
    check(&spec(vec![Step { without: 1 << C, ..once(A) }]), "1:ac 2:a", &[2]);
}

#[test]
fn without_ends_with_its_step() {
    let clean = spec(vec![once(A), Step { without: 1 << C, ..once(B) }, once(D)]);
    check(&clean, "1:a 2:b 3:c 4:d", &[4]);
}

#[test]
fn absence_completes_at_the_first_event_at_or_after_its_time() {
    let quiet = PatternSpec { absent: Some(Absence { conditions: 1 << C, span: 100 }), ..a_then_b() };
    check(&quiet, "0:a 10:b 109: 110:", &[110]);
    check(&quiet, "0:a 10:b 500:d", &[500]);
    check(&quiet, "0:a 10:b", &[]);
}

/// What comes at the very time, or late, does not break a silence that was long enough; nor does what comes with the
/// event that begins it.
#[test]
fn absence_excludes_both_its_edges() {
    let quiet = PatternSpec { absent: Some(Absence { conditions: 1 << C, span: 100 }), ..a_then_b() };
    check(&quiet, "0:a 10:b 109:c 110:", &[]);
    check(&quiet, "0:a 10:b 110:c", &[110]);
    check(&quiet, "0:a 10:b 400:c", &[400]);
    check(&quiet, "0:a 10:bc 110:", &[110]);
    check(&quiet, "0:a 10:b 10:c 110:", &[]);
}

#[test]
fn no_event_is_in_two_matches() {
    check(&a_then_b(), "1:a 2:a 3:b", &[3]);
    check(&spec(vec![Step { times: 3, ..once(A) }]), "1:a 2:a 3:a 4:a 5:a 6:a 7:a", &[3, 6]);
    check(&spec(vec![once(A), once(B), once(A)]), "1:a 2:b 3:a 4:b 5:a 6:b 7:a", &[3, 7]);
}

/// A partial match that shares no event with a match goes on.
#[test]
fn what_shares_nothing_goes_on() {
    check(&spec(vec![once(A), once(B), once(C)]), "1:a 2:b 3:a 4:c 5:b 6:c", &[4, 6]);
}

/// What shared an event and is gone leaves no trace on what takes its place.
#[test]
fn a_new_partial_match_shares_nothing_with_those_before_it() {
    let clean = Step { without: 1 << C, ..once(A) };
    check(&spec(vec![once(A), clean, once(B)]), "1:a 2:a 3:c 4:a 5:b 6:a 7:b", &[5, 7]);
    let two = PatternSpec { max_open: 2, ..spec(vec![once(A), once(B), once(C)]) };
    check(&two, "1:a 2:a 3:b 4:a 5:c 6:b 7:c", &[5, 7]);
}

#[test]
fn overlapping_matches_share_events() {
    check(&overlapping(a_then_b()), "1:a 2:a 3:b 4:b", &[3, 3]);
    check(&overlapping(spec(vec![Step { times: 3, ..once(A) }])), "1:a 2:a 3:a 4:a 5:a", &[3, 4, 5]);
    check(&overlapping(spec(vec![once(A), once(A)])), "1:a 2:a 3:a", &[2, 3]);
}

#[test]
fn at_the_bound_the_oldest_is_dropped_and_counted() {
    let spec = overlapping(PatternSpec { max_open: 2, ..a_then_b() });
    let mut pattern = machine(&spec);
    for now in 0..5 {
        assert_eq!(pattern.step(Nanos(now), 1 << A), 0);
    }
    assert_eq!((pattern.open(), pattern.dropped()), (2, 3));
    assert_eq!(pattern.step(Nanos(5), 1 << B), 2);
    assert_eq!((pattern.open(), pattern.dropped()), (0, 3));
}

#[test]
fn at_the_bound_a_new_one_may_be_refused_and_counted() {
    let spec = overlapping(PatternSpec { max_open: 2, at_bound: AtBound::RefuseNew, ..a_then_b() });
    let mut pattern = machine(&spec);
    for now in 0..5 {
        assert_eq!(pattern.step(Nanos(now), 1 << A), 0);
    }
    assert_eq!((pattern.open(), pattern.dropped()), (2, 3));
    assert_eq!(pattern.step(Nanos(5), 1 << B), 2);
    assert_eq!((pattern.open(), pattern.dropped()), (0, 3));
}

/// Many a between two b: what has its first b is dropped before the second comes.
#[test]
fn a_flood_drowns_what_drops_the_oldest() {
    let twice = spec(vec![once(A), Step { times: 2, ..once(B) }]);
    let text = "1:a 1:a 1:a 1:a 1:a 1:b ".repeat(4);
    let matches = |max_open, at_bound| {
        let mut pattern = machine(&PatternSpec { max_open, at_bound, ..twice.clone() });
        timeline(&text).iter().map(|(now, held)| pattern.step(Nanos(*now), *held)).sum::<u32>()
    };
    assert_eq!(by_definition(&twice, &timeline(&text)).iter().sum::<u32>(), 2);
    assert_eq!(matches(4, AtBound::RefuseNew), 2);
    assert_eq!(matches(4, AtBound::DropOldest), 0);
}

#[test]
fn what_is_refused_may_have_been_in_time() {
    let near = spec(vec![once(A), Step { within: Some(50), ..once(B) }]);
    for (at_bound, expected) in [(AtBound::DropOldest, 1), (AtBound::RefuseNew, 0)] {
        let mut pattern = machine(&PatternSpec { max_open: 1, at_bound, ..near.clone() });
        let found = timeline("0:a 40:a 60:b").iter().map(|(now, held)| pattern.step(Nanos(*now), *held)).sum::<u32>();
        assert_eq!(found, expected, "{at_bound:?}");
    }
}

#[test]
fn the_end_of_time_is_no_deadline() {
    let late = spec(vec![once(A), Step { within: Some(u64::MAX), ..once(B) }]);
    let mut pattern = machine(&late);
    assert_eq!(pattern.step(Nanos(u64::MAX - 1), 1 << A), 0);
    assert_eq!(pattern.step(Nanos(u64::MAX), 1 << B), 1);
}

#[test]
fn occurrences_are_bounded_and_say_so() {
    let mut machine = Occurrences::new(u64::MAX).unwrap();
    for now in 0..MAX_SAMPLES as u64 + 5 {
        machine.step(Nanos(now), true);
    }
    assert_eq!((machine.count(), machine.truncated()), (MAX_SAMPLES, 5));
}

// ---- state -----------------------------------------------------------------------------------------------------------

fn digest(pattern: &Pattern) -> u128 {
    let mut hasher = Hasher::new();
    pattern.digest(&mut hasher);
    hasher.finish()
}

#[test]
fn the_digest_tells_states_apart() {
    let after = |stream: &str| {
        let mut pattern = machine(&overlapping(PatternSpec { max_open: 1, ..a_then_b() }));
        timeline(stream).iter().for_each(|(now, held)| _ = pattern.step(Nanos(*now), *held));
        digest(&pattern)
    };
    assert_eq!(after(""), after("1:c 2:d"));
    assert_ne!(after(""), after("1:a"));
    assert_ne!(after("1:a"), after("1:a 2:a"), "the second was dropped");
    assert_eq!(after(""), after("1:a 2:b"));
}

#[test]
fn nothing_is_allocated_once_built() {
    let steps = vec![once(A), Step { times: 2, without: 1 << C, ..once(B) }, once(A)];
    let absent = Some(Absence { conditions: 1 << D, span: 4 });
    for consumption in [Consumption::NonOverlapping, Consumption::Overlapping] {
        let spec = PatternSpec { absent, consumption, max_open: 3, ..spec(steps.clone()) };
        let (mut pattern, mut rng, mut matches) = (machine(&spec), Rng::new(7), 0);
        let info = allocation_counter::measure(|| {
            for now in 0..100_000 {
                matches += pattern.step(Nanos(now), rng.next_u64() & rng.next_u64() & 15);
            }
        });
        assert!(matches > 100 && pattern.dropped() > 100, "{matches} matches, {} dropped", pattern.dropped());
        assert_eq!(info.count_total, 0);
    }
}

// ---- descriptions ----------------------------------------------------------------------------------------------------

/// The numbers are those that tests/python/test_pattern.py expects of the builder.
#[test]
fn a_description_is_read() {
    let ints = [4, 1, 1, 16, 1, 1_000, 500, 2, 0, 3, 2, 0, 1, 0, 0, 1, 3, 50, 2, 2, 3];
    let expected = PatternSpec {
        conditions: 4,
        heartbeat: true,
        steps: vec![once(A), Step { condition: B, times: 3, within: Some(50), without: 0b1100 }],
        within: Some(1_000),
        absent: Some(Absence { conditions: 0b1001, span: 500 }),
        consumption: Consumption::Overlapping,
        max_open: 16,
        at_bound: AtBound::RefuseNew,
    };
    assert_eq!(expected.inputs(), 5);
    assert_eq!(PatternSpec::decode(&ints), Ok(expected));
}

#[test]
fn a_bad_description_is_refused() {
    let good = [4, 1, 1, 16, 1, 1_000, 500, 2, 0, 3, 2, 0, 1, 0, 0, 1, 3, 50, 2, 2, 3];
    for length in 0..good.len() {
        assert!(PatternSpec::decode(&good[..length]).is_err(), "{length} of its numbers");
    }
    let refused = |at: usize, x: i64| {
        let mut ints = good.to_vec();
        ints[at] = x;
        PatternSpec::decode(&ints).expect_err("refused")
    };
    assert_eq!(refused(1, 2), "a pattern's description: heartbeat is 2, not 0 or 1");
    assert_eq!(refused(4, 7), "a pattern's description: refuse new is 7, not 0 or 1");
    assert_eq!(refused(5, -1), "a pattern's description: the whole pattern's within is -1");
    assert_eq!(refused(8, 64), "a pattern's description: the absent conditions name condition 64");
    assert_eq!(refused(10, i64::MAX), format!("a pattern's description: the number of steps is {}", i64::MAX));
    assert_eq!(refused(10, 65), "a pattern of 65 steps: it has 64 at most");
    let longer: Vec<i64> = good.into_iter().chain([7]).collect();
    assert_eq!(
        PatternSpec::decode(&longer).unwrap_err(),
        "a pattern's description goes on for 1 numbers behind its last step"
    );
}

#[test]
fn a_pattern_that_makes_no_sense_is_refused() {
    let absent = |conditions, span| PatternSpec { absent: Some(Absence { conditions, span }), ..a_then_b() };
    let first = |step: Step| spec(vec![step]);
    let table: [(PatternSpec, &str); 14] = [
        (PatternSpec { conditions: 0, ..a_then_b() }, "a pattern has 1 to 64 conditions, not 0"),
        (PatternSpec { conditions: 65, ..a_then_b() }, "a pattern has 1 to 64 conditions, not 65"),
        (spec(vec![]), "a pattern has 1 to 64 steps, not 0"),
        (spec(vec![once(A); 65]), "a pattern has 1 to 64 steps, not 65"),
        (PatternSpec { max_open: 0, ..a_then_b() }, "0 open partial matches at most: it must be 1 to 64"),
        (PatternSpec { max_open: 65, ..a_then_b() }, "65 open partial matches at most: it must be 1 to 64"),
        (PatternSpec { within: Some(0), ..a_then_b() }, "a pattern within 0 ns: it must be longer"),
        (first(once(4)), "step 0 of a pattern: condition 4 of 4"),
        (first(Step { times: 0, ..once(A) }), "step 0 of a pattern: 0 times: it must be 1 to 1048576"),
        (
            first(Step { within: Some(5), ..once(A) }),
            "step 0 of a pattern: within needs a step before it; the whole pattern's within begins at the first",
        ),
        (first(Step { without: 1, ..once(A) }), "step 0 of a pattern: it wants condition 0 and excludes it"),
        (first(Step { without: 16, ..once(A) }), "step 0 of a pattern: condition 4 of 4"),
        (absent(0, 5), "a pattern's absence needs a condition and a span longer than 0 ns"),
        (absent(16, 5), "a pattern's absence: condition 4 of 4"),
    ];
    for (spec, message) in table {
        assert_eq!(Pattern::new(spec).unwrap_err(), message);
    }
    let second = spec(vec![once(A), Step { within: Some(0), ..once(B) }]);
    assert_eq!(Pattern::new(second).unwrap_err(), "step 1 of a pattern: within 0 ns: it must be longer");
    let often = |times, at_bound| PatternSpec { max_open: 2, at_bound, ..first(Step { times, ..once(A) }) };
    assert_eq!(
        Pattern::new(often(4, AtBound::DropOldest)).unwrap_err(),
        "a pattern that begins with 4 occurrences and drops the oldest of 2 partial matches never matches: refuse the \
         new one instead"
    );
    check(&often(3, AtBound::DropOldest), "1:a 2:a 3:a", &[3]);
    check(&often(4, AtBound::RefuseNew), "1:a 2:a 3:a 4:a 5:a", &[4]);
    assert!(Occurrences::new(0).is_err());
}
