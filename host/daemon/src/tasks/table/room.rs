//! Who makes room for whom.

use std::collections::HashMap;

use proplet_executor::Refusal;

use super::{Held, Progress, Started, queue_bytes_full, queue_full};
use crate::places::Owner;

/// The tasks that make room for one of this owner and of so many bytes, by their keys. As long as it lacks some, the owner
/// who holds the most gives up the task that came last of those that wait, if he holds more than this one would. Nobody
/// does in vain: there is room without all of them, or none of them goes.
///
/// # Errors
/// What it lacks in the end.
pub(super) fn made(
    known: &HashMap<String, Started>,
    owner: &Owner,
    bytes: usize,
    most: Held,
) -> Result<Vec<String>, Refusal> {
    let mut all = Held::of(known.values());
    let mut gone = Vec::new();
    if lack(all, bytes, most).is_none() {
        return Ok(gone);
    }
    // One that made room stays in the table until its refusal has room in the outbox, and counts for nothing meanwhile. A
    // slow broker must not have them pile up.
    let displaced = known
        .values()
        .filter(|task| task.state == Progress::Displaced);
    let (tasks, held_bytes) = displaced.fold((0_usize, 0_usize), |(tasks, bytes), task| {
        (tasks.saturating_add(1), bytes.saturating_add(task.bytes))
    });
    let is_crowded = tasks >= most.tasks || held_bytes >= most.bytes;
    let mut held = held_by_owner(known);
    let own = held.get(owner).copied().unwrap_or_default().with(bytes);
    let is_larger = |other: &Held| {
        other.tasks > own.tasks || (other.tasks == own.tasks && other.bytes > own.bytes)
    };
    let mut waiting = waiting_by_owner(known);
    while let Some(refusal) = lack(all, bytes, most) {
        let largest = held
            .iter()
            .filter(|(other, held)| **other != owner && is_larger(held))
            // Among equals, one of whose tasks wait can make room, and no two tasks came at once: who it is must not
            // hang on how a map is ordered.
            .max_by_key(|(other, held)| {
                let last = waiting.get(**other).and_then(|tasks| tasks.last());
                (held.tasks, held.bytes, last.map(|(_, task)| task.order))
            })
            .map(|(other, _)| *other);
        let last = largest
            .filter(|_| !is_crowded)
            .and_then(|largest| waiting.get_mut(largest)?.pop());
        let Some((key, last)) = last else {
            return Err(refusal);
        };
        all = all.without(last.held());
        if let Some(of_owner) = held.get_mut(&last.owner) {
            *of_owner = of_owner.without(last.held());
        }
        gone.push(key.to_owned());
    }
    Ok(gone)
}

/// Why a task of this size has no room beside what is held.
fn lack(held: Held, bytes: usize, most: Held) -> Option<Refusal> {
    let total = held.bytes.saturating_add(bytes);
    if held.tasks >= most.tasks {
        Some(queue_full(most.tasks))
    } else if held.tasks > 0 && total > most.bytes {
        Some(queue_bytes_full(held.bytes, bytes, most.bytes))
    } else {
        None
    }
}

/// The tasks of each owner that wait, the last one last.
fn waiting_by_owner(known: &HashMap<String, Started>) -> HashMap<&Owner, Vec<(&str, &Started)>> {
    let mut waiting: HashMap<&Owner, Vec<(&str, &Started)>> = HashMap::new();
    for (key, task) in known {
        if task.state == Progress::Waits {
            waiting
                .entry(&task.owner)
                .or_default()
                .push((key.as_str(), task));
        }
    }
    for tasks in waiting.values_mut() {
        tasks.sort_unstable_by_key(|(_, task)| task.order);
    }
    waiting
}

/// Whether a task of this owner is taken though there is no room. A task that ran stays among those that are known until
/// its answer is in the outbox, so whoever sends many brief ones can hold all of the room with tasks that cannot make any.
/// As with places, it is for owners only, as long as they hold no more than an equal part; and all together take no more
/// than twice the room.
pub(super) fn is_over_the_count(
    known: &HashMap<String, Started>,
    owner: &Owner,
    bytes: usize,
    most: Held,
) -> bool {
    let held = held_by_owner(known);
    let own = held.get(owner).copied().unwrap_or_default().with(bytes);
    let owners = held
        .len()
        .saturating_add(usize::from(!held.contains_key(owner)));
    let all = Held::of(known.values()).with(bytes);
    owner.is_named()
        && own.tasks <= most.tasks / owners
        && own.bytes <= most.bytes / owners
        && all.tasks <= most.tasks.saturating_mul(2)
        && all.bytes <= most.bytes.saturating_mul(2)
}

/// What each owner's tasks take.
fn held_by_owner(known: &HashMap<String, Started>) -> HashMap<&Owner, Held> {
    let mut held: HashMap<&Owner, Held> = HashMap::new();
    for task in known.values() {
        if task.state != Progress::Displaced {
            let of_owner = held.entry(&task.owner).or_default();
            *of_owner = of_owner.and(task.held());
        }
    }
    held
}
