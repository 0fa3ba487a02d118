//! Locking, whatever became of the last holder.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the spool's mutexes guard is changed in single steps, so that a panic between two of
/// them (sled has some) leaves nothing half-done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
