//! One call's turn to choose something of a service that several programs of this machine act on:
//! a port, a slot.
//!
//! It is held for that one call and is no lock of an operation's. Programs of other machines are
//! not kept out: whoever chooses looks at what came of it.

use crate::endpoint::Endpoint;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_files::lock::{self, Patience};
use tokio::sync::{Mutex, MutexGuard};

/// How long another call's turn is waited for: each has a few requests, of which one may hang.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    /// A directory that all who act on the service from here share: the one of its socket.
    dir: Option<PathBuf>,
    clock: Clock,
    here: Mutex<()>,
}

/// A turn, which is over when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _here: MutexGuard<'a, ()>,
    _locked: Option<File>,
}

impl Turns {
    /// Of a service that is reached at one of these places. Nothing of this machine is shared by
    /// those who reach it over a network, and so only this program takes turns then.
    pub fn at<'a>(mut places: impl Iterator<Item = &'a Endpoint>, clock: Clock) -> Self {
        let dir = places.find_map(|at| match at {
            Endpoint::Unix(path) => path.parent().map(Path::to_owned),
            Endpoint::Tcp(_) | Endpoint::Ssh(_) => None,
        });
        Self { dir, clock, here: Mutex::new(()) }
    }

    /// Wait for one.
    ///
    /// # Errors
    /// Another program of this machine has it for too long.
    pub async fn take(&self) -> io::Result<Turn<'_>> {
        let here = self.here.lock().await;
        let Some(dir) = self.dir.clone() else { return Ok(Turn { _here: here, _locked: None }) };
        let clock = self.clock.clone();
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::open(&dir)?;
            lock::within(&file, &dir, &clock, Patience::of(TURN_WAIT))?;
            Ok(file)
        });
        let file = locked.await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        Ok(Turn { _here: here, _locked: Some(file) })
    }
}
