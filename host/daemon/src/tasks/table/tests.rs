use super::{
    room::{is_over_the_count, made},
    *,
};

fn started(owner: &Owner, order: u64, state: Progress) -> Started {
    Started {
        cancel: CancelToken::new(),
        bytes: 1,
        owner: owner.clone(),
        order,
        state,
        displace: CancelToken::new(),
    }
}

fn displaced_ids(known: &HashMap<String, Started>) -> Vec<&str> {
    let displaced = known
        .iter()
        .filter(|(_, task)| task.state == Progress::Displaced);
    let mut ids: Vec<_> = displaced.map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn the_last_of_the_largest_owner_makes_room_and_nobody_is_left_with_less() {
    let table = Table::new(Held { tasks: 8, bytes: 8 });
    let (many, few) = (Owner::Plain, Owner::Named("few".into()));
    let mut listed = Vec::new();
    for order in 0..8 {
        assert!(table.room(&many, 1).is_ok());
        listed.push(table.put(order.to_string(), many.clone(), 1));
    }
    for order in ["0", "1"] {
        table.set(order, Progress::Runs);
    }
    // Nobody makes room for a task of its own owner.
    assert!(table.room(&many, 1).is_err());
    for order in 8..20 {
        if table.room(&few, 1).is_ok() {
            listed.push(table.put(order.to_string(), few.clone(), 1));
        }
    }
    // Four each; the other way round there is nothing to take.
    table.with(|known| assert_eq!(displaced_ids(known), ["4", "5", "6", "7"]));
    assert_eq!(listed.len(), 12);
    assert!(table.room(&many, 1).is_err());
    let ended = |key: &str| table.with(|known| known[key].displace.is_cancelled());
    assert!(ended("7") && !ended("3"));
}

#[test]
fn those_that_made_room_do_not_pile_up() {
    let table = Table::new(Held { tasks: 4, bytes: 9 });
    let (many, few) = (Owner::Plain, Owner::Named("few".into()));
    let mut listed = Vec::new();
    let mut filled = 0;
    let mut fill = |listed: &mut Vec<_>| {
        while table.room(&many, 1).is_ok() {
            listed.push(table.put(format!("many-{filled}"), many.clone(), 1));
            filled += 1;
        }
    };
    // Their refusals have no room, so whoever was displaced stays, and the place is filled again.
    for number in 0..4 {
        fill(&mut listed);
        assert!(table.room(&few, 1).is_ok());
        let (brief, _) = table.put(format!("few-{number}"), few.clone(), 1);
        drop(brief);
    }
    fill(&mut listed);
    let displaced = || table.with(|known| displaced_ids(known).len());
    assert_eq!(displaced(), 4);
    // It is taken over the count, as where nobody can make room.
    assert!(table.room(&few, 1).is_ok());
    assert!(table.room(&Owner::Unknown, 1).is_err());
    assert_eq!(displaced(), 4);
    drop(listed.remove(3));
    drop(listed);
}

#[test]
fn a_daemon_that_serves_holds_bytes_and_no_place() {
    let table = Table::new(Held { tasks: 8, bytes: 8 });
    let alice = Owner::Named("alice".into());
    let (_daemon, _) = table.put("daemon".into(), Owner::Unknown, 6);
    table.serve("daemon", alice.clone(), 5);
    // Nothing else is there, so any size is taken.
    assert!(table.room(&Owner::Plain, 9).is_ok());
    let (_task, _) = table.put("task".into(), Owner::Plain, 1);
    table.set("task", Progress::Runs);
    assert!(table.room(&Owner::Plain, 2).is_ok());
    let refusal = table.room(&Owner::Plain, 3).unwrap_err();
    assert_eq!(refusal.code(), Code::QueueFull);
    // They are of the owner's part, and of no other's.
    let (_more, _) = table.put("more".into(), Owner::Plain, 1);
    table.set("more", Progress::Runs);
    assert!(table.room(&alice, 2).is_err());
    assert!(table.room(&Owner::Named("bob".into()), 2).is_ok());
}

#[test]
fn nobody_makes_room_in_vain() {
    let table = Table::new(Held { tasks: 9, bytes: 9 });
    let (_task, _) = table.put("task".into(), Owner::Plain, 6);
    table.set("task", Progress::Runs);
    let _waits = ["a", "b", "c"].map(|key| table.put(key.into(), Owner::Unknown, 1).0);
    let ended = || {
        table.with(|known| {
            let ended = known.values().filter(|task| task.displace.is_cancelled());
            assert_eq!(ended.count(), displaced_ids(known).len());
            displaced_ids(known).len()
        })
    };
    // One of them would go, and that would not do.
    assert!(table.room(&Owner::Plain, 2).is_err());
    assert_eq!(ended(), 0);
    assert!(table.room(&Owner::Plain, 1).is_ok());
    assert_eq!(ended(), 1);
}

#[test]
fn what_runs_is_left_alone() {
    let table = Table::new(Held { tasks: 8, bytes: 8 });
    let runs = |order: i32| {
        let key = order.to_string();
        let listed = table.put(key.clone(), Owner::Unknown, 1);
        table.set(&key, Progress::Runs);
        listed
    };
    let _running: Vec<_> = (0..8).map(runs).collect();
    assert!(table.room(&Owner::Plain, 1).is_err());
    table.with(|known| assert_eq!(displaced_ids(known), [""; 0]));
}

#[test]
fn among_equals_it_is_whoever_has_the_task_that_came_last_of_those_that_wait() {
    let [runs, waits, later] = ["runs", "waits", "later"].map(|name| Owner::Named(name.into()));
    let room = |known: &HashMap<_, _>, tasks| {
        let most = Held { tasks, bytes: 99 };
        made(known, &Owner::Plain, 1, most).unwrap()
    };
    // Another map each time, in another order.
    for _ in 0..32 {
        let mut known = HashMap::new();
        for order in 0..3 {
            known.insert(format!("a{order}"), started(&runs, order, Progress::Runs));
            known.insert(format!("b{order}"), started(&waits, order, Progress::Waits));
        }
        assert_eq!(room(&known, 6), ["b2"]);
        for order in 3..6 {
            known.insert(format!("c{order}"), started(&later, order, Progress::Waits));
        }
        assert_eq!(room(&known, 9), ["c5"]);
    }
}

#[test]
fn an_owner_has_its_part_where_nobody_can_make_room() {
    let most = Held { tasks: 8, bytes: 8 };
    let many = (0..8).map(|order| started(&Owner::Plain, order, Progress::Runs));
    let mut known: HashMap<_, _> = many
        .enumerate()
        .map(|(order, task)| (order.to_string(), task))
        .collect();
    for other in [Owner::Plain, Owner::Unknown] {
        assert!(!is_over_the_count(&known, &other, 1, most));
    }
    // Equal parts: four of eight between two, two between three and four.
    for (name, part) in [("a", 4), ("b", 2), ("c", 2)] {
        let owner = Owner::Named(name.into());
        assert!(!is_over_the_count(&known, &owner, 9, most), "too large");
        for order in 0..part {
            assert!(is_over_the_count(&known, &owner, 1, most), "{name} {order}");
            let task = started(&owner, order, Progress::Waits);
            known.insert(format!("{name}-{order}"), task);
        }
        assert!(!is_over_the_count(&known, &owner, 1, most), "{name}");
    }
    // All room is taken twice.
    assert_eq!(Held::of(known.values()).tasks, 16);
    let late = Owner::Named("d".into());
    assert!(!is_over_the_count(&known, &late, 1, most));
}
