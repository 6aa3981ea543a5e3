//! The host of a test, whatever interfaces there are.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A host with what a test gave to it. A new one has no inputs, no secrets and no TEE.
#[derive(Clone, Default)]
pub struct Host(Rc<Parts>);

/// What each interface keeps, by the type in which it does.
type Parts = RefCell<HashMap<TypeId, Rc<dyn Any>>>;

thread_local! {
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

impl Host {
    /// A host with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `guest` with this host. What the guest publishes stays in the host.
    pub fn run<T>(&self, guest: impl FnOnce() -> T) -> T {
        struct Restore(Option<Host>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        guest()
    }

    /// What an interface keeps in this host: its own, and nothing of another.
    pub(crate) fn part<T: Default + 'static>(&self) -> Rc<T> {
        let mut parts = self.0.borrow_mut();
        let part = parts.entry(TypeId::of::<T>());
        let part = Rc::clone(part.or_insert_with(|| Rc::new(T::default())));
        // The key is the type, so it is the one.
        part.downcast().unwrap_or_default()
    }
}

/// What an interface keeps in the host of this thread.
#[allow(
    clippy::panic,
    reason = "native builds are tests, and there is nothing to fall back to"
)]
pub(crate) fn part<T: Default + 'static>(called: &str) -> Rc<T> {
    let host = CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| {
        panic!(
            "{called} needs a host, and this is not a component: call it inside \
             proplet_sdk::testing::Host::run"
        )
    });
    host.part()
}
