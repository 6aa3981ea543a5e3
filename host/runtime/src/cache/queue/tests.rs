use proptest::prelude::*;

use super::*;

fn owner(name: &str) -> Owner {
    Owner::Named(name.into())
}

fn component(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn enter(queue: &mut Queue, name: &str) -> Result<Option<Digest>, Full> {
    queue.enter(&owner(&name[..1]), component(name))
}

/// Takes what may be taken now, by name.
fn taken(queue: &mut Queue, names: &[&str]) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some((_, digest)) = queue.next() {
        let name = names.iter().find(|name| component(name) == digest);
        taken.push((*name.unwrap()).to_owned());
    }
    taken
}

#[test]
fn one_owner_never_holds_all_places() {
    for (places, share) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        let mut queue = Queue::new(places, 100);
        let names = ["a1", "a2", "a3", "a4", "a5"];
        for name in names {
            enter(&mut queue, name).unwrap();
        }
        assert_eq!(taken(&mut queue, &names), names[..share], "{places}");
    }
}

#[test]
fn owners_take_turns() {
    let names = ["a1", "a2", "a3", "b1", "b2", "c1"];
    let mut queue = Queue::new(1, 100);
    for name in names {
        enter(&mut queue, name).unwrap();
    }
    let mut order = Vec::new();
    while let Some((owner, digest)) = queue.next() {
        let name = names.iter().find(|name| component(name) == digest);
        order.push(*name.unwrap());
        queue.free(&owner);
    }
    assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn a_slow_owner_holds_up_itself_only() {
    let names = ["a1", "a2", "b1", "b2"];
    let mut queue = Queue::new(2, 100);
    for name in names {
        enter(&mut queue, name).unwrap();
    }
    assert_eq!(taken(&mut queue, &names), ["a1", "b1"]);
    // The first of `a` never ends.
    queue.free(&owner("b"));
    assert_eq!(taken(&mut queue, &names), ["b2"]);
    queue.free(&owner("b"));
    assert_eq!(taken(&mut queue, &names), [""; 0]);
    queue.free(&owner("a"));
    assert_eq!(taken(&mut queue, &names), ["a2"]);
}

#[test]
fn a_component_of_several_owners_is_begun_once_and_at_the_first_turn() {
    let mut queue = Queue::new(2, 100);
    for name in ["a1", "a2", "a3"] {
        enter(&mut queue, name).unwrap();
    }
    queue.enter(&owner("b"), component("a3")).unwrap();
    let names = ["a1", "a2", "a3"];
    assert_eq!(taken(&mut queue, &names), ["a1", "a3"]);
    queue.free(&owner("a"));
    queue.free(&owner("b"));
    assert_eq!(taken(&mut queue, &names), ["a2"]);
}

#[test]
fn a_full_queue_lets_in_who_waits_for_less() {
    let mut queue = Queue::new(1, 4);
    for name in ["a1", "a2", "a3", "a4"] {
        assert_eq!(enter(&mut queue, name), Ok(None));
    }
    assert_eq!(enter(&mut queue, "a5"), Err(Full));
    assert_eq!(enter(&mut queue, "a4"), Ok(None), "it waits already");
    assert_eq!(enter(&mut queue, "b1"), Ok(Some(component("a4"))));
    assert_eq!(enter(&mut queue, "b2"), Ok(Some(component("a3"))));
    assert_eq!(enter(&mut queue, "b3"), Err(Full));
    assert_eq!(enter(&mut queue, "a6"), Err(Full));
}

#[test]
fn who_leaves_makes_room() {
    let mut queue = Queue::new(1, 1);
    enter(&mut queue, "a1").unwrap();
    queue.leave(&component("a1"));
    assert_eq!(queue.next(), None);
    assert_eq!(enter(&mut queue, "a2"), Ok(None));
}

/// What can happen to a queue.
#[derive(Clone, Debug)]
enum Step {
    Enter(u8, u8),
    Leave(u8),
    Begin,
    End(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, 0..30_u8).prop_map(|(owner, component)| Step::Enter(owner, component)),
        1 => (0..30_u8).prop_map(Step::Leave),
        2 => Just(Step::Begin),
        2 => any::<u8>().prop_map(Step::End),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn bounds_hold_whatever_happens(places in 1..5_usize, steps in steps()) {
        let mut queue = Queue::new(places, 8);
        for step in steps {
            match step {
                Step::Enter(by, component) => {
                    let _ = queue.enter(&owner(&by.to_string()), Digest::of(&[component]));
                }
                Step::Leave(component) => queue.leave(&Digest::of(&[component])),
                Step::Begin => {
                    if let Some((_, component)) = queue.next() {
                        prop_assert!(!queue.waits(&component));
                    }
                }
                Step::End(by) if !queue.held.is_empty() => {
                    let holder = queue.held[usize::from(by) % queue.held.len()].clone();
                    queue.free(&holder);
                }
                Step::End(_) => {}
            }
            let waiting: usize = queue.lines.iter().map(|line| line.components.len()).sum();
            prop_assert!(waiting <= 8 && queue.held.len() <= places);
            for holder in &queue.held {
                let held = queue.held.iter().filter(|other| *other == holder).count();
                prop_assert!(held <= queue.share());
            }
        }
    }
}
