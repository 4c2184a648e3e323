//! The files and loop devices behind a onebox's volumes.
//!
//! `volumes/ID.img` and `snapshots/ID.img` hold the bytes. A file that is being made is `.part`
//! and one that is being deleted `.gone` until the ledger says the same: whoever finds one beside
//! a ledger that does not know of it finishes what was begun.

use super::instances::device_dir;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::EbsCall;
use stepback_core::{Call, Failure, FailureClass};
use stepback_files::private;
use stepback_provider::children;
use stepback_simulated::BALLAST;
use stepback_simulated::refusals::refused;
use stepback_simulated::world::{World, device_path};

/// A loop device that is let go is gone by then.
const LET_GO_MS_MAX: u64 = 5_000;

pub(super) struct Disk {
    root: PathBuf,
    clock: Clock,
}

/// So long, in seconds, a copy of a file waits for another one of the same file to be made.
const COPY_TURN_S_MAX: &str = "600";

/// What is below a onebox's directory.
const DIRS: [&str; 3] = ["volumes", "snapshots", "instances"];
/// What a directory that is a onebox's has in it.
const MARKS: &[&str] = &["world.json", "world.lock", "volumes"];

pub(super) const GIB: u64 = 1024 * 1024 * 1024;

/// More than a ledger ever takes.
const BALLAST_BYTES: usize = 1024 * 1024;

/// A loop device of one of our volumes.
pub(super) struct Loop {
    device: PathBuf,
    pub(super) volume: String,
}

pub(super) fn io(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Refused, message).with_code("io")
}

/// Run a tool to its end; what it printed.
fn tool(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    let what = format!("{name} {}", arguments.join(" "));
    run(&what, Command::new(name).args(arguments))
}

fn run(what: &str, command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    // A Ctrl-C at the terminal is for the program alone, which has things to take back.
    command.env_clear().envs(children::environment());
    let said = command.process_group(0).output().map_err(|error| {
        let message = format!("`{name}` can't be run: {error}; onebox needs util-linux");
        Failure::new(FailureClass::Precondition, message)
    })?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned());
    }
    let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(refused("io", format!("{what}: {why}")))
}

impl Disk {
    pub(super) fn open(root: &Path, clock: Clock) -> Result<Self, Failure> {
        private::top(root, MARKS).map_err(|error| io("made", root, &error))?;
        // The names of loop devices' files, and of devices, are absolute.
        let root = root.canonicalize().map_err(|error| io("found", root, &error))?;
        // They are text to the kernel's tools and to Docker (its API is JSON).
        if root.to_str().is_none() {
            let why = "its path is not UTF-8, and Docker can't be told it; choose another";
            return Err(io("used", &root, &std::io::Error::other(why)));
        }
        for name in DIRS {
            let dir = root.join(name);
            // What is too much in it is removed.
            if dir.is_symlink() {
                return Err(io("used", &dir, &std::io::Error::other("it is a link")));
            }
            private::dir(&dir, &[]).map_err(|error| io("made", &dir, &error))?;
        }
        let has_any =
            |name: &str| fs::read_dir(root.join(name)).is_ok_and(|mut dir| dir.next().is_some());
        if (has_any("volumes") || has_any("snapshots")) && !root.join("world.json").exists() {
            let message = format!(
                "{} has volumes or snapshots and no world.json to tell whose they are; put it back",
                root.display()
            );
            return Err(Failure::new(FailureClass::Precondition, message));
        }
        Ok(Self { root, clock })
    }

    /// Room for the ledger on a disk that is full: see [`stepback_simulated::Simulated`].
    pub(super) fn keep_ballast(&self) {
        let path = self.root.join(BALLAST);
        // Never through a link: one is there, whatever it leads to.
        if path.symlink_metadata().is_ok() {
            return;
        }
        let write = || private::create(&path)?.write_all(&[b'.'; BALLAST_BYTES]);
        if write().is_err() {
            // A full disk has no room for it now; half of one is none.
            let _ = fs::remove_file(&path);
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn volume(&self, id: &str) -> PathBuf {
        self.root.join("volumes").join(format!("{id}.img"))
    }

    pub(super) fn snapshot(&self, id: &str) -> PathBuf {
        self.root.join("snapshots").join(format!("{id}.img"))
    }

    /// Where an instance sees a volume.
    pub(super) fn link(&self, instance: &str, volume: &str) -> PathBuf {
        let path = device_path(volume);
        let name = path.rsplit('/').next().unwrap_or_default();
        device_dir(&self.root, instance).join(name)
    }

    /// Do what the ledger allowed; `before` is the ledger as it was.
    pub(super) fn follow(
        &self,
        call: &Call,
        answer: &Value,
        before: &World,
    ) -> Result<(), Failure> {
        let id = answer["id"].as_str().unwrap_or_default();
        match call {
            Call::Ebs(EbsCall::CreateVolume { size_gib, snapshot, .. }) => {
                let part = self.volume(id).with_extension("img.part");
                if let Some(from) = snapshot {
                    copy(&self.snapshot(from.as_str()), &part)?;
                }
                must_be_new(&self.volume(id))?;
                resize(&part, *size_gib)?;
                keep_names(&part)
            }
            Call::Ebs(EbsCall::CreateSnapshot { volume, .. }) => {
                let part = self.snapshot(id).with_extension("img.part");
                let from = self.volume(volume.as_str());
                must_be_new(&self.snapshot(id))?;
                match self.mounted_at(volume.as_str())?.first() {
                    Some(at) => copy_frozen(&from, &part, at)?,
                    None => copy(&from, &part)?,
                }
                keep_names(&part)
            }
            Call::Ebs(EbsCall::DeleteVolume { volume }) => {
                begin_to_delete(&self.volume(volume.as_str()))
            }
            Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => {
                begin_to_delete(&self.snapshot(snapshot.as_str()))
            }
            Call::Ebs(EbsCall::ModifyVolume { volume, size_gib }) => {
                let path = self.volume(volume.as_str());
                resize(&path, *size_gib)?;
                match self.device(volume.as_str())? {
                    Some(device) => {
                        tool("losetup", &["--set-capacity", &text(&device)]).map(|_| ())
                    }
                    None => Ok(()),
                }
            }
            Call::Ebs(EbsCall::Attach { volume, instance, .. }) => {
                self.attach(volume.as_str(), instance.as_str())
            }
            Call::Ebs(EbsCall::Detach { volume, instance }) => {
                self.must_be_idle(volume.as_str())?;
                self.detach(volume.as_str(), instance.as_str(), before)
            }
            _ => Ok(()),
        }
    }

    /// Give the volume a loop device, if it has none, and show it to the instance.
    pub(super) fn attach(&self, volume: &str, instance: &str) -> Result<(), Failure> {
        let device = match self.device(volume)? {
            Some(device) => device,
            None => {
                let file = text(&self.volume(volume));
                PathBuf::from(tool("losetup", &["--find", "--show", &file])?)
            }
        };
        let link = self.link(instance, volume);
        if fs::read_link(&link).is_ok_and(|to| to == device) {
            return Ok(());
        }
        let dir = device_dir(&self.root, instance);
        private::dir(&dir, &[]).map_err(|error| io("made", &dir, &error))?;
        // A link from before a reboot names another device.
        let _ = fs::remove_file(&link);
        symlink(&device, &link).map_err(|error| io("made", &link, &error))
    }

    fn detach(&self, volume: &str, instance: &str, before: &World) -> Result<(), Failure> {
        let is_attached = before.volumes.get(volume).is_some_and(|v| !v.attachments.is_empty());
        let link = self.link(instance, volume);
        if is_attached && link.is_symlink() {
            fs::remove_file(&link).map_err(|error| io("removed", &link, &error))?;
        }
        match self.loops()?.into_iter().find(|found| found.volume == volume) {
            Some(found) => self.let_go(&found),
            None => Ok(()),
        }
    }

    /// Let a loop device go, and see that it is gone: the kernel says yes to one in use, and keeps
    /// it until its last user is through (losetup(8), *--detach*).
    pub(super) fn let_go(&self, found: &Loop) -> Result<(), Failure> {
        tool("losetup", &["--detach", &text(&found.device)])?;
        let until = self.clock.now().after(Duration::from_millis(LET_GO_MS_MAX));
        while self.device(&found.volume)?.is_some() {
            if self.clock.now() >= until {
                let message = format!("volume `{}` is in use", found.volume);
                return Err(refused("IncorrectState", message));
            }
            self.clock.rest(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The loop devices of this onebox's volumes, as the kernel shows them (losetup(8), *--list*).
    pub(super) fn loops(&self) -> Result<Vec<Loop>, Failure> {
        let volumes = self.root.join("volumes");
        let mut ours = vec![];
        for device in entries(Path::new("/sys/block"))? {
            let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Only those that have a file show it.
            let Ok(file) = fs::read_to_string(device.join("loop/backing_file")) else { continue };
            let file = file.trim_end_matches('\n').trim_end_matches(" (deleted)");
            let below = Path::new(file).strip_prefix(&volumes).ok().and_then(Path::to_str);
            if let Some(volume) = below.and_then(|below| below.strip_suffix(".img")) {
                let device = Path::new("/dev").join(name);
                ours.push(Loop { device, volume: volume.to_owned() });
            }
        }
        Ok(ours)
    }

    fn device(&self, volume: &str) -> Result<Option<PathBuf>, Failure> {
        let found = self.loops()?.into_iter().find(|found| found.volume == volume);
        Ok(found.map(|found| found.device))
    }

    /// Where a volume is mounted, by whomever, as this process can reach it.
    fn mounted_at(&self, volume: &str) -> Result<Vec<String>, Failure> {
        let Some(device) = self.device(volume)? else { return Ok(vec![]) };
        let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = PathBuf::from(format!("/sys/class/block/{name}/dev"));
        let number = fs::read_to_string(&number).map_err(|error| io("read", &number, &error))?;
        // This process sees what it mounts itself, init what daemons mount; and an engine may have
        // a mount namespace of its own, as its containers have.
        let mut processes = vec![PathBuf::from("/proc/self"), PathBuf::from("/proc/1")];
        processes.extend(entries(Path::new("/proc"))?);
        let (mut mounted, mut seen) = (vec![], BTreeSet::new());
        for process in processes {
            // One may end while it is looked at.
            let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
            let is_here = seen.is_empty();
            if !seen.insert(namespace) {
                continue;
            }
            let Ok(mounts) = fs::read_to_string(process.join("mountinfo")) else { continue };
            for line in mounts.lines() {
                let mut fields = line.split(' ').skip(2);
                if fields.next() == Some(number.trim())
                    && let Some(at) = fields.nth(1)
                {
                    mounted.push(match is_here {
                        true => at.to_owned(),
                        false => format!("{}/root{at}", process.display()),
                    });
                }
            }
        }
        Ok(mounted)
    }

    /// A device that is mounted or open can't be let go.
    fn must_be_idle(&self, volume: &str) -> Result<(), Failure> {
        if let Some(at) = self.mounted_at(volume)?.first() {
            let message = format!("volume `{volume}` is mounted at {at}");
            return Err(refused("IncorrectState", message));
        }
        let Some(device) = self.device(volume)? else { return Ok(()) };
        for process in entries(Path::new("/proc"))? {
            let Ok(open) = fs::read_dir(process.join("fd")) else { continue };
            let is_it =
                |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to == device);
            if open.flatten().any(is_it) {
                let pid = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let message = format!("volume `{volume}` is in use: process {pid} has it open");
                return Err(refused("IncorrectState", message));
            }
        }
        // What the kernel itself uses nobody else may have alone (open(2), O_EXCL).
        let alone = fs::OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(&device);
        match alone {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let message = format!(
                    "volume `{volume}` is in use by the kernel: a file system, LVM or RAID on \
                     {} that no process shows",
                    device.display()
                );
                Err(refused("IncorrectState", message))
            }
            _ => Ok(()),
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let read = fs::read_dir(dir).map_err(|error| io("read", dir, &error))?;
    Ok(read.flatten().map(|entry| entry.path()).collect())
}

fn resize(path: &Path, size_gib: u32) -> Result<(), Failure> {
    let grown = private::open_or_make(path).and_then(|file| {
        file.set_len(u64::from(size_gib).saturating_mul(GIB))?;
        file.sync_all()
    });
    grown.map_err(|error| io("made that large", path, &error))
}

/// A copy that shares its blocks with the original where the file system can, on the disk when it
/// is done.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let arguments = ["--reflink=auto", "--sparse=always", &text(from), &text(to)];
    // Its bytes are for nobody else from the first one on.
    private::create(to).map_err(|error| io("made", to, &error))?;
    tool("cp", &arguments)?;
    tool("sync", &[&text(to)]).map(|_| ())
}

/// A copy of what is mounted: at once where blocks can be shared, else with the file system
/// frozen. The shell thaws what it froze, also when it is told to end and when this process is
/// killed meanwhile; whoever copies the same file next waits for it.
fn copy_frozen(from: &Path, to: &Path, mounted_at: &str) -> Result<(), Failure> {
    const SCRIPT: &str = "exec 9<\"$1\"\n\
                          flock -w \"$4\" 9 || { echo locked for \"$4\" s >&2; exit 1; }\n\
                          cp --reflink=always \"$1\" \"$2\" 2>/dev/null && exec sync \"$2\"\n\
                          at=$3; frozen=\n\
                          thaw() { [ -z \"$frozen\" ] || fsfreeze --unfreeze \"$at\"; }\n\
                          trap thaw EXIT; trap 'exit 1' INT TERM HUP\n\
                          frozen=1; fsfreeze --freeze \"$at\" || { frozen=; exit 1; }\n\
                          cp --sparse=always \"$1\" \"$2\" && thaw && frozen= && sync \"$2\"";
    let what = format!("copying {} with {mounted_at} frozen", from.display());
    private::create(to).map_err(|error| io("made", to, &error))?;
    let mut command = Command::new("sh");
    let arguments = ["-c", SCRIPT, "sh", &text(from), &text(to), mounted_at, COPY_TURN_S_MAX];
    run(&what, command.args(arguments)).map(|_| ())
}

/// What is in a directory is called so from here on, whatever becomes of this machine.
pub(super) fn keep_names(path: &Path) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let kept = fs::File::open(dir).and_then(|dir| dir.sync_all());
    kept.map_err(|error| io("named", path, &error))
}

/// A file that the ledger does not know is somebody's data all the same.
fn must_be_new(path: &Path) -> Result<(), Failure> {
    match path.exists() {
        false => Ok(()),
        true => {
            let message = format!(
                "{} is there, and the ledger does not know it: was that put back from a backup \
                 while this ran?",
                path.display()
            );
            Err(refused("in-use", message))
        }
    }
}

fn begin_to_delete(path: &Path) -> Result<(), Failure> {
    fs::rename(path, path.with_extension("img.gone")).map_err(|error| io("deleted", path, &error))
}
