//! Compiling in a process of its own, which can be ended: a component of a few megabytes can keep
//! a compiler busy for hours, or take all memory there is.
//!
//! The process is this very program again ([`Compiler`]), which calls [`compile_stdin`]: bytes of a
//! component in, one byte that tells what follows, then machine code or why there is none. It sets
//! its own bounds before it reads anything, has no variables, and ends with whoever started it.

use crate::engine::compiling;
use crate::fault::PluginError;
use crate::limits::Limits;
use crate::load;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use stepback_clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// A component of 64 MiB of ordinary code takes about half of it; beside what the process has when
/// it begins, such as what its allocator sets aside.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Of all processors together.
const PROCESSOR_S_MAX: u64 = 600;
/// However little of a processor it gets.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Machine code is a few times as large as its component; more is a mistake of the compiler.
const CODE_BYTES_MAX: u64 = 1 << 30;

/// What takes no longer than this is not told of.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// How often it is told again.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What whoever waits for a compiler bears with.
#[derive(Clone, Copy)]
struct Patience {
    time: Duration,
    code_bytes: u64,
}

const PATIENCE: Patience = Patience { time: TIME_MAX, code_bytes: CODE_BYTES_MAX };

const CODE: u8 = b'c';
const WHY: u8 = b'w';
/// The component may be a valid one: why it could not even be looked at.
const BROKEN: u8 = b'b';

/// The program that compiles, which is to call [`compile_stdin`].
#[derive(Clone, Debug)]
pub struct Compiler {
    /// Its file; this very program, as a rule.
    pub program: PathBuf,
    /// What makes it do so; the number of the process that starts it comes behind that.
    pub arguments: Vec<OsString>,
    /// Is told what takes long: what is compiled, how many bytes it has, and for how long already.
    pub told: Option<fn(&str, usize, Duration)>,
}

impl Compiler {
    /// The machine code of a component. Dropped, it ends the process.
    pub(crate) async fn compile(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, PluginError> {
        self.compile_within(PATIENCE, name, bytes).await
    }

    async fn compile_within(
        &self,
        most: Patience,
        name: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, PluginError> {
        load::must_be_a_component(name, bytes)?;
        let broken = |error: std::io::Error| PluginError::Compiler {
            name: name.to_owned(),
            why: format!("{} can't be run: {error}", self.program.display()),
        };
        let mut child = self.started().map_err(broken)?;
        let asked = answer(&mut child, bytes, most.code_bytes);
        let clock = Clock::real();
        let answered = tokio::select! {
            biased;
            answered = clock.timeout(most.time, asked) => answered,
            never = self.tell(name, bytes.len()) => match never {},
        };
        let Ok(answered) = answered else {
            return Err(too_much(name, &format!("{} s", most.time.as_secs())));
        };
        let (status, mut answer) = answered.map_err(broken)?;
        // What was cut off is no answer, however the compiler ended.
        if answer.len() as u64 > most.code_bytes {
            return Err(too_much(name, &format!("{} bytes of machine code", most.code_bytes)));
        }
        match (answer.first().copied(), status.success()) {
            (Some(CODE), true) => Ok(answer.split_off(1)),
            (Some(WHY), true) => {
                let why = String::from_utf8_lossy(&answer[1..]).into_owned();
                Err(PluginError::Invalid { name: name.to_owned(), why })
            }
            (Some(BROKEN), false) => {
                let why = format!("its compiler failed: {}", String::from_utf8_lossy(&answer[1..]));
                Err(PluginError::Compiler { name: name.to_owned(), why })
            }
            _ => Err(ended(name, status)),
        }
    }

    /// Tell how long it takes, again and again.
    async fn tell(&self, name: &str, bytes: usize) -> Infallible {
        let (clock, mut next) = (Clock::real(), TOLD_AFTER);
        let began = clock.now();
        loop {
            clock.sleep_until(began.after(next)).await;
            if let Some(told) = self.told {
                told(name, bytes, clock.now().since(began));
            }
            next = next.saturating_add(TOLD_EVERY);
        }
    }

    fn started(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(std::process::id().to_string());
        command.env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // What is typed at the terminal is for this program, which ends that one.
        command.process_group(0).kill_on_drop(true).spawn()
    }
}

/// How a compiler ended, and what it said: one byte more than it may, if it said too much.
async fn answer(
    child: &mut Child,
    bytes: &[u8],
    code_bytes_max: u64,
) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that ends before it has read all tells why by how it ends.
            let _ = stdin.write_all(bytes).await;
        }
    };
    let read = async {
        let mut answer = vec![];
        match stdout {
            Some(stdout) => stdout.take(code_bytes_max + 1).read_to_end(&mut answer).await,
            None => Ok(0),
        }
        .map(|_| answer)
    };
    let ((), answer) = tokio::join!(write, read);
    Ok((child.wait().await?, answer?))
}

fn too_much(name: &str, bound: &str) -> PluginError {
    PluginError::Compiler {
        name: name.to_owned(),
        why: format!("it takes more than {bound}, the most that compiling a plugin may"),
    }
}

fn ended(name: &str, status: ExitStatus) -> PluginError {
    let signal = status.signal();
    if signal == Some(Signal::XCPU.as_raw()) {
        return too_much(name, &format!("{PROCESSOR_S_MAX} s of processor time"));
    }
    let why = match signal == Some(Signal::ABORT.as_raw()) {
        // Memory that is refused ends a program so; a stack that is used up does, as well.
        true => format!(
            "its compiler gave up ({status}): it takes more than {} GiB of memory, the most that \
             compiling a plugin may, or nests too deep",
            MEMORY_BYTES_MAX >> 30
        ),
        false => format!("its compiler ended: {status}"),
    };
    PluginError::Compiler { name: name.to_owned(), why }
}

/// End with the process that has started this one, which may be gone before the kernel is told.
fn end_with(starter: u32) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
    match parent.and_then(|parent| u32::try_from(parent).ok()) == Some(starter) {
        true => Ok(()),
        false => Err(std::io::Error::other("whoever started it is gone")),
    }
}

/// Compile the component on stdin, and write what comes of it to stdout, for the process that has
/// started this one.
///
/// # Errors
/// That one is gone, bounds that can't be set, or a pipe that can't be read or written.
pub fn compile_stdin(starter: u32) -> std::io::Result<()> {
    compile_bounded(starter).inspect_err(|error| {
        let mut stdout = std::io::stdout().lock();
        // Where that fails too, how it ends tells the rest.
        let _ = stdout.write_all(&[BROKEN]).and_then(|()| write!(stdout, "{error}"));
        let _ = stdout.flush();
    })
}

fn compile_bounded(starter: u32) -> std::io::Result<()> {
    end_with(starter)?;
    let engine = compiling(&Limits::default())
        .map_err(|error| std::io::Error::other(format!("{error:#}")))?;
    for (resource, most) in [
        (Resource::Data, MEMORY_BYTES_MAX.saturating_add(own_data_bytes())),
        (Resource::Cpu, PROCESSOR_S_MAX),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let mut bytes = vec![];
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let mut stdout = std::io::stdout().lock();
    match engine.precompile_component(&bytes) {
        Ok(code) => {
            stdout.write_all(&[CODE])?;
            stdout.write_all(&code)?;
        }
        Err(error) => {
            stdout.write_all(&[WHY])?;
            stdout.write_all(load::why(&error).as_bytes())?;
        }
    }
    stdout.flush()
}

/// What this process has that counts as its data (proc(5), `VmData`).
fn own_data_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn shell(script: &str) -> Compiler {
        Compiler {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            told: None,
        }
    }

    #[tokio::test]
    async fn how_a_compiler_ends_is_told() {
        for (script, wanted) in [
            ("kill -XCPU $$", "more than 600 s of processor time"),
            ("kill -ABRT $$", "more than 4 GiB of memory"),
            ("kill -SEGV $$", "its compiler ended: signal: 11"),
            ("kill -KILL $$", "its compiler ended: signal: 9"),
            ("exit 3", "its compiler ended: exit status: 3"),
            ("cat > /dev/null; printf cut; exit 3", "its compiler ended"),
            ("cat > /dev/null; printf 'bno pipe'; exit 1", "its compiler failed: no pipe"),
            ("cat > /dev/null; printf 'bno pipe'", "its compiler ended: exit status: 0"),
            ("cat > /dev/null; printf wit-is-broken", "not a valid component: it-is-broken"),
        ] {
            let told = shell(script).compile("p", COMPONENT).await.unwrap_err().to_string();
            assert!(told.contains(wanted), "{script}: {told}");
        }
        let none = Compiler { program: "/nowhere/none".into(), arguments: vec![], told: None };
        let told = none.compile("p", COMPONENT).await.unwrap_err().to_string();
        assert!(told.contains("/nowhere/none can't be run"), "{told}");
        let told = none.compile("p", b"\0asm\x01\0\0\0").await.unwrap_err();
        assert_eq!(told, PluginError::CoreModule { name: "p".to_owned() });
    }

    #[tokio::test]
    async fn a_compiler_that_takes_too_long_or_says_too_much_is_ended() {
        let most = |time_s: u64, code_bytes: u64| Patience {
            time: Duration::from_secs(time_s),
            code_bytes,
        };
        let say = "cat > /dev/null; printf c12345678";
        for (script, most, wanted) in [
            ("exec sleep 1000", most(1, 9), "it takes more than 1 s"),
            // That its pipes are closed is no end.
            ("exec sleep 1000 < /dev/null > /dev/null", most(1, 9), "it takes more than 1 s"),
            (say, most(100, 8), "it takes more than 8 bytes of machine code"),
            ("cat /dev/zero", most(100, 8), "it takes more than 8 bytes of machine code"),
        ] {
            let told = shell(script).compile_within(most, "p", COMPONENT).await.unwrap_err();
            assert!(told.to_string().contains(wanted), "{script}: {told}");
        }
        let code = shell(say).compile_within(most(100, 9), "p", COMPONENT).await.unwrap();
        assert_eq!(code, b"12345678");
    }

    /// The kernel ends nothing with a process that was gone before it was told to.
    #[test]
    fn a_compiler_does_not_begin_whose_starter_is_gone() {
        let parent = std::os::unix::process::parent_id();
        end_with(parent).unwrap();
        // Nobody is its own.
        let told = compile_stdin(std::process::id()).unwrap_err();
        assert!(told.to_string().contains("is gone"), "{told}");
    }

    #[tokio::test]
    async fn a_compiler_has_no_variables_and_reads_what_it_is_given() {
        let told = shell("printf c; cat; env").compile("p", COMPONENT).await.unwrap();
        let (component, variables) = told.split_at(COMPONENT.len());
        assert_eq!(component, COMPONENT);
        let variables = String::from_utf8_lossy(variables);
        assert!(!variables.contains("HOME=") && !variables.contains("CARGO"), "{variables}");
    }
}
