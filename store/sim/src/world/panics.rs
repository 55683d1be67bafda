//! Panics of the store's tasks. tokio catches them, and a store that lost its consensus this way stops and is started again: a run would go on as
//! if it had been a crash.
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// Filled while a run is under way on this thread.
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Gathers the panics of this thread until [`end`].
pub(super) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_caught = CAUGHT.with_borrow_mut(|caught| {
                caught.as_mut().is_some_and(|caught| {
                    caught.push(panic.to_string());
                    true
                })
            });
            if !is_caught {
                before(panic);
            }
        }));
    });
    CAUGHT.set(Some(Vec::new()));
}

/// The panics since [`begin`].
pub(super) fn end() -> Vec<String> {
    CAUGHT.take().unwrap_or_default()
}
