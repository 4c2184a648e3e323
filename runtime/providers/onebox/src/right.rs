//! What is on the disk, made as the ledger says: after a call, and after a crash or a reboot.

use super::disk::{Disk, GIB, entries, io, keep_names};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use stepback_core::calls::EbsCall;
use stepback_core::{Call, Failure, Resource};
use stepback_simulated::world::World;

impl Disk {
    /// Give what a call made its name, once the ledger knows it: until then it is thrown away by
    /// whoever comes next.
    pub(super) fn finish(&self, call: &Call, answer: &Value) -> Result<(), Failure> {
        let id = answer["id"].as_str().unwrap_or_default();
        match call {
            Call::Ebs(EbsCall::CreateVolume { .. }) => finished(&self.volume(id)),
            Call::Ebs(EbsCall::CreateSnapshot { .. }) => finished(&self.snapshot(id)),
            _ => Ok(()),
        }
    }

    /// Do the same for whoever made a resource, if the ledger knows it: that one may not have come
    /// to it yet.
    pub(super) fn finish_what_is_known(
        &self,
        world: &World,
        resource: &Resource,
    ) -> Result<(), Failure> {
        let is_known = match resource {
            Resource::Volume { id } => world.volumes.contains_key(id),
            Resource::Snapshot { id } => world.snapshots.contains_key(id),
            _ => false,
        };
        match self.file_of(resource).filter(|_| is_known) {
            Some((_, file)) => restore(&file),
            None => Ok(()),
        }
    }

    /// A ledger that was put back from a backup knows nothing of what was made since: its files
    /// stay, and nothing new is called like them.
    pub(super) fn keep_unknown(&self, world: &mut World) -> Result<(), Failure> {
        for dir in ["volumes", "snapshots"] {
            for path in entries(&self.root().join(dir))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                world.never_give(name.strip_suffix(".img").unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Make what is there as the ledger says.
    pub(super) fn put_right(&self, world: &mut World) -> Result<(), Failure> {
        self.must_stay_here(world)?;
        for (id, volume) in &mut world.volumes {
            let path = self.volume(id);
            restore(&path)?;
            // It was grown, and the ledger was not kept: a disk is never made smaller.
            let gib = fs::metadata(&path).map_or(0, |file| file.len() / GIB);
            volume.size_gib = volume.size_gib.max(u32::try_from(gib).unwrap_or(u32::MAX));
        }
        for id in world.snapshots.keys() {
            restore(&self.snapshot(id))?;
        }
        self.throw_away(world)?;
        for (id, volume) in &world.volumes {
            if let Some(at) = volume.attachments.first() {
                self.attach(id, &at.instance)?;
            }
        }
        for found in self.loops()? {
            let volume = world.volumes.get(&found.volume);
            if volume.is_none_or(|volume| volume.attachments.is_empty()) {
                self.let_go(&found)?;
            }
        }
        self.remove_stale_links(world)
    }

    fn remove_stale_links(&self, world: &World) -> Result<(), Failure> {
        let attached = world.volumes.iter().flat_map(|(id, volume)| {
            volume.attachments.iter().map(|at| self.link(&at.instance, id))
        });
        let wanted: BTreeSet<PathBuf> = attached.collect();
        for instance in entries(&self.root().join("instances"))? {
            // Whoever put a link there has things of his own behind it.
            if instance.is_symlink() {
                continue;
            }
            for link in entries(&instance)? {
                let is_ours = fs::read_link(&link).is_ok_and(|to| to.starts_with("/dev"));
                if is_ours && !wanted.contains(&link) {
                    fs::remove_file(&link).map_err(|error| io("removed", &link, &error))?;
                }
            }
        }
        Ok(())
    }

    /// Delete the files of what the ledger knows no more.
    pub(super) fn throw_away(&self, world: &World) -> Result<(), Failure> {
        for (dir, known) in [
            ("volumes", world.volumes.keys().collect::<BTreeSet<_>>()),
            ("snapshots", world.snapshots.keys().collect()),
        ] {
            for path in entries(&self.root().join(dir))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let Some((id, rest)) = name.split_once(".img") else { continue };
                if matches!(rest, ".part" | ".gone") && !known.contains(&id.to_owned()) {
                    fs::remove_file(&path).map_err(|error| io("removed", &path, &error))?;
                }
            }
        }
        Ok(())
    }
}

/// A file that was made is there, under its own name.
fn finished(path: &Path) -> Result<(), Failure> {
    restore(path)?;
    match path.is_file() {
        true => Ok(()),
        false => Err(io("found", path, &std::io::Error::other("it is gone"))),
    }
}

/// A file that the ledger knows has its own name.
fn restore(path: &Path) -> Result<(), Failure> {
    for rest in ["img.gone", "img.part"] {
        let other = path.with_extension(rest);
        if !path.exists() && other.exists() {
            match fs::rename(&other, path) {
                Ok(()) => keep_names(path)?,
                // Somebody else has done it meanwhile.
                Err(_) if path.exists() => {}
                Err(error) => return Err(io("named", &other, &error)),
            }
        }
    }
    Ok(())
}
