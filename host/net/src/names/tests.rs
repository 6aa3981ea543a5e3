//! With a resolver that answers when it is told to.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Condvar, PoisonError};
use std::task::{Context, Waker};

use super::*;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Names below `slow.example` have no answer until they are told one, or this is dropped: or else the test would wait
/// for the threads for ever.
#[derive(Default)]
struct Silence(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Default)]
struct Heard {
    begun: Vec<String>,
    /// Names that have an answer.
    told: HashSet<String>,
    /// Names that are not known any more.
    lost: HashSet<String>,
    is_over: bool,
}

impl Silence {
    fn names(&self) -> Names {
        let shared = Arc::clone(&self.0);
        Names::new(Resolver::new(move |name| {
            let (heard, changed) = &*shared;
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.begun.push(name.to_owned());
            changed.notify_all();
            while name.ends_with("slow.example") && !heard.is_over && !heard.told.contains(name) {
                heard = changed.wait(heard).unwrap_or_else(PoisonError::into_inner);
            }
            match heard.lost.contains(name) {
                true => Err(io::Error::other("not known")),
                false => Ok(vec![HOME]),
            }
        }))
    }

    /// How often a name was looked up.
    fn times(&self, name: &str) -> usize {
        self.begun().iter().filter(|begun| *begun == name).count()
    }

    fn lose(&self, name: &str) {
        self.0.0.lock().unwrap().lost.insert(name.to_owned());
    }

    fn begun(&self) -> Vec<String> {
        self.0.0.lock().unwrap().begun.clone()
    }

    fn tell(&self, name: &str) {
        self.0.0.lock().unwrap().told.insert(name.to_owned());
        self.0.1.notify_all();
    }

    fn take_back(&self, name: &str) {
        self.0.0.lock().unwrap().told.remove(name);
    }

    fn end(&self) {
        let mut heard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_over = true;
        self.0.1.notify_all();
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.end();
    }
}

fn named(name: &str) -> Asker {
    Asker::Named(name.into())
}

fn slow(number: usize) -> String {
    format!("{number}.slow.example")
}

/// Polls once, and says whether it is done.
fn poll(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    future.poll(&mut context).is_ready()
}

/// Asks, and waits no longer than it takes to ask.
fn give_up(names: &Names, name: &str, asker: &Asker) {
    assert!(!poll(pin!(names.lookup(name, asker.clone()))));
}

fn taken(names: &Names) -> usize {
    OF_ALL - names.0.places.available_permits()
}

/// Waits until all lookups have ended.
async fn all_free(names: &Names) {
    let all = u32::try_from(OF_ALL).unwrap();
    let _all = names.0.places.acquire_many(all).await.unwrap();
}

#[tokio::test]
async fn whoever_gives_up_leaves_no_more_lookups_than_an_asker_has_places() {
    let silence = Silence::default();
    let names = silence.names();
    for number in 0..1000 {
        give_up(&names, &slow(number), &named("mallory"));
    }
    assert_eq!(taken(&names), OF_ONE);
    // Another one is answered at once.
    let found = names.lookup("fine.example", named("alice")).await.unwrap();
    assert_eq!(*found, [HOME]);
    assert!(silence.begun().len() <= OF_ONE + 1);
    silence.end();
    all_free(&names).await;
    // The others were never asked for, and nothing is left of anybody.
    assert_eq!(silence.begun().len(), OF_ONE + 1);
    assert!(names.lock().under_way.is_empty());
    names.lookup("fine.example", named("bob")).await.unwrap();
    assert_eq!(names.lock().askers.len(), 1);
}

#[tokio::test]
async fn whoever_waits_for_one_of_all_places_is_served_before_what_the_others_ask_for_next() {
    let silence = Silence::default();
    let names = silence.names();
    for number in 0..OF_ALL {
        give_up(
            &names,
            &slow(number),
            &named(&(number / OF_ONE).to_string()),
        );
    }
    assert_eq!(taken(&names), OF_ALL);
    let mut fine = pin!(names.lookup("fine.example", named("alice")));
    assert!(!poll(fine.as_mut()));
    let mut more: Vec<_> = (OF_ALL..2 * OF_ALL)
        .map(|number| {
            let names = names.clone();
            Box::pin(async move { names.lookup(&slow(number), named("0")).await })
        })
        .collect();
    for next in &mut more {
        assert!(!poll(next.as_mut()));
    }
    silence.tell(&slow(0));
    assert_eq!(*fine.await.unwrap(), [HOME]);
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_all_who_ask_for_it() {
    let silence = Silence::default();
    let names = silence.names();
    for _ in 0..100 {
        give_up(&names, &slow(0), &named("mallory"));
    }
    let mut same = pin!(names.lookup("0.slow.example", named("alice")));
    assert!(!poll(same.as_mut()));
    assert_eq!(taken(&names), 1);
    silence.end();
    assert_eq!(*same.await.unwrap(), [HOME]);
    assert_eq!(silence.begun(), ["0.slow.example"]);
    // While there is a place, it is looked up anew.
    names.lookup(&slow(0), named("alice")).await.unwrap();
    assert_eq!(silence.begun().len(), 2);
}

#[tokio::test]
async fn who_waits_for_a_place_for_a_name_that_another_began_meanwhile_has_that_answer() {
    let silence = Silence::default();
    let names = silence.names();
    for number in 0..OF_ONE {
        give_up(&names, &slow(number), &named("alice"));
    }
    let mut waits = pin!(names.lookup("9.slow.example", named("alice")));
    assert!(!poll(waits.as_mut()));
    give_up(&names, &slow(9), &named("bob"));
    silence.tell(&slow(0));
    // Alice's place is free, and another lookup of that name would need one of all.
    while taken(&names) > OF_ONE {
        tokio::task::yield_now().await;
    }
    assert!(!poll(waits.as_mut()));
    assert_eq!(taken(&names), OF_ONE);
    silence.end();
    waits.await.unwrap();
    let asked = silence.begun().into_iter().filter(|name| *name == slow(9));
    assert_eq!(asked.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_lookup_keeps_its_place_and_is_not_waited_for() {
    let silence = Silence::default();
    let names = silence.names();
    for tries in 1..=20 {
        give_up(&names, &slow(0), &named("alice"));
        assert_eq!(taken(&names), OF_ONE.min(tries));
        tokio::time::advance(STALE).await;
    }
    // The one that ends is not the one that newcomers wait for, nor does it take that one away.
    silence.end();
    all_free(&names).await;
    assert!(names.lock().under_way.is_empty());
}

#[tokio::test]
async fn a_name_that_was_found_before_does_not_wait_among_strangers() {
    let finders = [
        (Asker::Unknown, named("alice")),
        (Asker::Anybody, Asker::Anybody),
    ];
    for (asker, finder) in finders {
        let silence = Silence::default();
        let names = silence.names();
        find(&names, "registry.example", &finder).await;
        for number in 0..1000 {
            give_up(&names, &slow(number), &asker);
        }
        assert_eq!(taken(&names), OF_ONE);
        // One that was never found waits, whoever it leads to.
        let mut new = pin!(names.lookup("new.example", asker.clone()));
        assert!(!poll(new.as_mut()));
        for _ in 0..3 {
            let found = names.lookup("registry.example", asker.clone()).await;
            assert_eq!(*found.unwrap(), [HOME]);
        }
        // It is not the old answer, as long as there are places for such names.
        assert_eq!(silence.times("registry.example"), 4);
        silence.end();
        new.await.unwrap();
    }
}

/// The server of a stranger's zone answers once for each name, and then no more.
#[tokio::test(start_paused = true)]
async fn names_that_fall_silent_lose_their_standing_and_hold_up_no_other() {
    let silence = Silence::default();
    let names = silence.names();
    let once = |number| slow(1000 + number);
    find(&names, "registry.example", &Asker::Unknown).await;
    for number in 0..2 * OF_ONE {
        silence.tell(&once(number));
        find(&names, &once(number), &Asker::Unknown).await;
        silence.take_back(&once(number));
    }
    for number in 0..OF_ONE {
        give_up(&names, &slow(number), &Asker::Unknown);
    }
    // They take the places for names that were found before.
    for number in 0..OF_ONE {
        give_up(&names, &once(number), &Asker::Unknown);
    }
    assert_eq!(taken(&names), 2 * OF_ONE);
    // Nobody needs those: not the registry, and not the next of these names, which so hold nothing more.
    for name in ["registry.example", &once(OF_ONE)] {
        let mut found = pin!(names.lookup(name, Asker::Unknown));
        assert!(poll(found.as_mut()), "{name}");
    }
    let found = names.lookup("registry.example", Asker::Unknown).await;
    assert_eq!(*found.unwrap(), [HOME]);
    assert_eq!(taken(&names), 2 * OF_ONE);
    assert_eq!(silence.times("registry.example"), 1);
    // One that fell silent is as one that was never found, also where such a place is free and nobody waits for the
    // lookup that goes on.
    silence.tell(&once(1));
    while taken(&names) == 2 * OF_ONE {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(STALE).await;
    give_up(&names, &once(0), &Asker::Unknown);
    assert_eq!(taken(&names), 2 * OF_ONE - 1);
    // One that was found again has its standing back.
    names.lookup(&once(1), Asker::Unknown).await.unwrap();
    assert_eq!(silence.times(&once(1)), 3);
}

#[tokio::test]
async fn a_name_that_is_not_found_any_more_has_lost_its_standing() {
    let silence = Silence::default();
    let names = silence.names();
    find(&names, "moved.example", &Asker::Unknown).await;
    silence.lose("moved.example");
    let error = names.lookup("moved.example", Asker::Unknown).await;
    assert_eq!(error.unwrap_err().to_string(), "not known");
    all_free(&names).await;
    waits_among_strangers(&names, "moved.example");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_found_long_ago_has_lost_its_standing() {
    for (age, is_known) in [
        (answers::OUTDATED - Duration::from_secs(1), true),
        (answers::OUTDATED, false),
    ] {
        let silence = Silence::default();
        let names = silence.names();
        find(&names, "registry.example", &Asker::Unknown).await;
        tokio::time::advance(age).await;
        if !is_known {
            waits_among_strangers(&names, "registry.example");
            continue;
        }
        for number in 0..OF_ONE {
            give_up(&names, &slow(number), &Asker::Unknown);
        }
        let found = names.lookup("registry.example", Asker::Unknown).await;
        assert_eq!(*found.unwrap(), [HOME]);
    }
}

#[tokio::test]
async fn an_owner_is_not_told_what_others_asked_for() {
    let silence = Silence::default();
    let names = silence.names();
    find(&names, "bobs.example", &named("bob")).await;
    for number in 0..OF_ONE {
        give_up(&names, &slow(number), &named("alice"));
    }
    give_up(&names, "bobs.example", &named("alice"));
    assert_eq!(taken(&names), OF_ONE);
}

/// Has a name found, and waits until its place is free.
async fn find(names: &Names, name: &str, asker: &Asker) {
    let found = names.lookup(name, asker.clone()).await;
    assert_eq!(*found.unwrap(), [HOME]);
    all_free(names).await;
}

/// Takes all places of a shared asker, and asks for a name that then has none.
fn waits_among_strangers(names: &Names, name: &str) {
    for number in 0..OF_ONE {
        give_up(names, &slow(number), &Asker::Unknown);
    }
    give_up(names, name, &Asker::Unknown);
    assert_eq!(taken(names), OF_ONE);
}

#[tokio::test]
async fn what_the_resolver_says_is_told_and_one_that_breaks_down_keeps_no_place() {
    let names = Names::new(Resolver::new(|name| match name {
        "gone.example" => Err(io::Error::other("Name or service not known")),
        other => panic!("{other}"),
    }));
    let error = names.lookup("gone.example", Asker::Anybody).await;
    assert_eq!(error.unwrap_err().to_string(), "Name or service not known");
    for _ in 0..2 * OF_ONE {
        let error = names.lookup("bad.example", Asker::Anybody).await;
        assert_eq!(error.unwrap_err(), broken_off());
    }
    all_free(&names).await;
    assert!(names.lock().under_way.is_empty());
}

#[tokio::test]
async fn the_machine_knows_itself() {
    let names = Names::default();
    let found = names.lookup("localhost", Asker::Anybody).await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    names
        .lookup("nobody.invalid", Asker::Anybody)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn work_is_on_behalf_of_whoever_it_is_said_to_be() {
    assert_eq!(Asker::current(), Asker::Anybody);
    let inside = on_behalf_of(named("alice"), async {
        tokio::task::yield_now().await;
        Asker::current()
    });
    assert_eq!(inside.await, named("alice"));
}
