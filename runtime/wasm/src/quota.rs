//! The memory that all guests of one operation have together.
//!
//! A guest is made when there is room for as much as guests of its plugin had so far; until then
//! it waits in line. One that wants more when there is no more is ended, as one is that wants more
//! than any guest may have: waiting inside a guest could come to no end.

use crate::fault::GuestFault;
use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room to grow for a plugin of which no guest has grown yet, in MiB.
const GROWTH_MIB: u32 = 2;

/// What one operation's guests may have together.
#[derive(Clone, Debug)]
pub struct MemoryQuota {
    /// A permit for each MiB.
    free: Arc<Semaphore>,
    all_mib: u32,
}

impl MemoryQuota {
    /// As much as one operation has by these limits.
    pub fn new(limits: &Limits) -> Self {
        let all_mib = mib(limits.operation_memory_bytes_max);
        Self { free: Arc::new(Semaphore::new(all_mib as usize)), all_mib }
    }

    /// Room for a guest of a plugin whose guests had so much, when there is.
    pub(crate) async fn room(&self, usual: &Usual) -> Result<Room, GuestFault> {
        let wanted = usual.0.load(Ordering::Relaxed).min(self.all_mib);
        let taken = Arc::clone(&self.free).acquire_many_owned(wanted).await;
        // Nothing closes the semaphore; a runtime going down would look like a stop.
        let taken = taken.map_err(|_| GuestFault::Stopped)?;
        Ok(Room { of: self.clone(), taken, usual: usual.clone() })
    }
}

/// The most that a guest of a plugin had so far, in MiB.
#[derive(Clone)]
pub(crate) struct Usual(Arc<AtomicU32>);

impl Usual {
    /// Of one whose guests begin with so much.
    pub(crate) fn new(initial_bytes: usize) -> Self {
        Self(Arc::new(AtomicU32::new(mib(initial_bytes).saturating_add(GROWTH_MIB))))
    }
}

/// One guest's part of it; it is free again when this is gone.
pub(crate) struct Room {
    of: MemoryQuota,
    taken: OwnedSemaphorePermit,
    usual: Usual,
}

impl Room {
    /// Have so much in all.
    ///
    /// # Errors
    /// The others have the rest.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), GuestFault> {
        let (wanted, taken) = (mib(bytes), self.taken.num_permits() as u32);
        if wanted <= taken {
            return Ok(());
        }
        self.usual.0.fetch_max(wanted, Ordering::Relaxed);
        let more = Arc::clone(&self.of.free).try_acquire_many_owned(wanted - taken);
        let limit_mib = self.of.all_mib as usize;
        self.taken.merge(more.map_err(|_| GuestFault::OutOfMemoryTogether { limit_mib })?);
        Ok(())
    }
}

/// In MiB, rounded up.
fn mib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}
