//! `elastic:hal/clock`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::call::{Answer, Store};
use crate::state::TaskState;

/// `system-time` of the WIT.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct WrittenTime {
    seconds: u64,
    nanoseconds: u32,
}

/// `monotonic-time` of the WIT.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct MonotonicTime {
    #[component(name = "elapsed-seconds")]
    elapsed_seconds: u64,
    #[component(name = "elapsed-nanoseconds")]
    elapsed_nanoseconds: u32,
}

pub(super) fn add_to_linker(clock: &mut LinkerInstance<'_, TaskState>) -> wasmtime::Result<()> {
    clock.func_wrap("get-system-time", |_: Store<'_>, (): ()| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = since.map(|since| WrittenTime {
            seconds: since.as_secs(),
            nanoseconds: since.subsec_nanos(),
        });
        let time: Answer<_> =
            time.map_err(|_| "this machine's clock is set before 1970".to_owned());
        Ok((time,))
    })?;
    clock.func_wrap("get-monotonic-time", |mut store: Store<'_>, (): ()| {
        let state = &mut store.data_mut().interfaces.hal;
        let elapsed = state.started.get_or_insert_with(Instant::now).elapsed();
        let time: Answer<_> = Ok(MonotonicTime {
            elapsed_seconds: elapsed.as_secs(),
            elapsed_nanoseconds: elapsed.subsec_nanos(),
        });
        Ok((time,))
    })?;
    clock.func_wrap("resolution", |_: Store<'_>, (): ()| {
        Ok((Answer::Ok(1_u64),))
    })?;
    clock.func_wrap_async("sleep", |_: Store<'_>, (nanoseconds,): (u64,)| {
        Box::new(async move {
            tokio::time::sleep(Duration::from_nanos(nanoseconds)).await;
            Ok((Answer::Ok(()),))
        })
    })
}
