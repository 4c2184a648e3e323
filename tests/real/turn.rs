//! How many sets of real parts are up at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// How many sets of parts are up at once: processors, memory and loop devices are shared.
const SETS_MAX: u32 = 2;
static SETS: Mutex<u32> = Mutex::new(0);
static SET_ENDS: Condvar = Condvar::new();

/// A set's place among those that are up.
pub struct Turn(());

impl Turn {
    pub fn take() -> Self {
        let mut up = SETS.lock().unwrap_or_else(PoisonError::into_inner);
        while *up >= SETS_MAX {
            up = SET_ENDS.wait(up).unwrap_or_else(PoisonError::into_inner);
        }
        *up += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *SETS.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SET_ENDS.notify_one();
    }
}
