//! Secrets by reference: from the environment, from a file, or as the configuration has them.

use crate::files::{self, TEXT_BYTES_MAX};
use crate::output::Style;
use crate::shown::row;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::cut::CUT;
use stepback_core::diagnostic::Diagnostic;
use stepback_core::expr::MARK_EDGE;
use stepback_core::manifest::Uses;
use stepback_engine::SecretSource;
use stepback_files::key::Key;
use stepback_provider::children;
use toml::Spanned;

/// Who waits for longer is told what for.
const TELLS_AFTER: Duration = Duration::from_secs(2);
/// A program that tells a secret may take so long: it may ask another machine.
const TOLD_MAX: Duration = Duration::from_secs(30);
/// So much is heard of what it says beside the secret.
const SAID_BYTES_MAX: usize = 64 << 10;
/// What a command printed is looked for in what it said up to this length, which a secret may have.
const PRINTED_BYTES_MAX: usize = 64 << 10;
/// How often it is looked what it has printed, and whether it has ended.
const TOLD_LOOK: Duration = Duration::from_millis(2);

/// `[secrets.NAME]` of `stepback.toml`, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    from: Spanned<String>,
    steps: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    variables: Vec<Spanned<String>>,
}

/// A secret that the configuration has.
#[derive(Clone, Debug)]
pub struct Configured {
    /// `env:NAME`, `file:PATH` or `exec:COMMAND`.
    from: String,
    /// The steps that it is kept for; `None` is all.
    steps: Option<Vec<String>>,
    /// What a command that tells it gets, beside the variables that each child gets.
    variables: Vec<String>,
}

impl Authored {
    /// Check it; `base` is where relative paths start.
    pub fn check(self, base: &Path, found: &mut Vec<Diagnostic>) -> Configured {
        let (span, mut from) = (self.from.span(), self.from.into_inner());
        match from.split_once(':') {
            Some(("file", path)) if !path.is_empty() => {
                from = format!("file:{}", base.join(path).display());
            }
            Some(("env" | "exec", rest)) if !rest.is_empty() => {}
            _ => {
                let help = "write `env:NAME`, `file:PATH` or `exec:COMMAND`";
                let message = "where a secret comes from is a reference, never the secret itself";
                found.push(Diagnostic::at(span, message).help(help));
            }
        }
        let steps = self.steps.map(|steps| {
            let plain = |step: Spanned<String>| {
                let is_step = step.get_ref().split('/').filter(|part| !part.is_empty()).count()
                    == 2
                    && !step.get_ref().contains(['#', '.']);
                if !is_step {
                    let message = format!("`{}` names no plugin's step", step.get_ref());
                    let help = "such as `docker/create-container`; a plugin that is a file gets a \
                                name by `[plugins.NAME] path = …`";
                    found.push(Diagnostic::at(step.span(), message).help(help));
                }
                step.into_inner()
            };
            steps.into_iter().map(plain).collect()
        });
        let is_command = from.starts_with("exec:");
        let name = |name: Spanned<String>| {
            let is_name = !name.get_ref().is_empty() && !name.get_ref().contains(['=', '\0', '*']);
            if !is_name || !is_command {
                let message = "`variables` are the names of what a command (`exec:`) gets";
                let help = "such as `variables = [\"VAULT_ADDR\", \"VAULT_TOKEN\"]`";
                found.push(Diagnostic::at(name.span(), message).help(help));
            }
            name.into_inner()
        };
        let variables = self.variables.into_iter().map(name).collect();
        Configured { from, steps, variables }
    }
}

/// Reads `env:NAME`, `file:PATH`, and `secret:NAME` of the configuration.
#[derive(Default)]
pub struct References(pub BTreeMap<String, Configured>);

impl References {
    fn configured(&self, reference: &str) -> Option<&Configured> {
        self.0.get(reference.strip_prefix("secret:")?)
    }

    fn read(&self, reference: &str) -> Result<String, String> {
        match reference.split_once(':') {
            Some(("env", name)) => from_environment(name),
            Some(("file", path)) => {
                let text = files::text(Path::new(path), TEXT_BYTES_MAX)?;
                Ok(without_line_break(&text))
            }
            Some(("secret", name)) => match self.0.get(name) {
                None => Err(format!("the configuration in use has no `[secrets.{name}]`")),
                Some(one) => match one.from.strip_prefix("exec:") {
                    Some(command) => told_by(name, command, &one.variables)
                        .map_err(|why| format!("{why} (`[secrets.{name}]`)")),
                    None => self.read(&one.from),
                },
            },
            _ => Err("it must be a reference, `env:NAME`, `file:PATH` or `secret:NAME`".to_owned()),
        }
    }
}

impl SecretSource for References {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        let value = self.read(reference)?;
        if value.starts_with('\u{feff}') {
            return Err(format!("{reference} begins with a byte order mark: save it without one"));
        }
        match value {
            nul if nul.contains('\0') => {
                Err(format!("{reference} has a NUL in it, which no variable can have"))
            }
            mark if mark.contains(MARK_EDGE) => Err(format!(
                "{reference} has a U+0001 in it, which stands here for what secrets are replaced by"
            )),
            value => Ok(value),
        }
    }

    fn absolute(&self, reference: &str) -> String {
        let path = reference.strip_prefix("file:").map(std::path::absolute);
        // One that is no text is left as it was given.
        match path.and_then(Result::ok).and_then(|path| path.to_str().map(str::to_owned)) {
            Some(path) => format!("file:{path}"),
            None => reference.to_owned(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn is_for(&self, reference: &str, uses: &Uses) -> Result<(), String> {
        let Some(steps) = self.configured(reference).and_then(|one| one.steps.as_ref()) else {
            return Ok(());
        };
        let named = matches!(uses, Uses::Named { .. }) && steps.contains(&uses.to_string());
        match named {
            true => Ok(()),
            false => Err(format!(
                "the configuration keeps it for {}, and the step uses {uses}",
                steps.join(", ")
            )),
        }
    }
}

/// Whether a variable can have this name (POSIX, *Environment Variables*); else somebody may have
/// written a value in its place.
pub fn is_variable(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_part)
}

fn from_environment(name: &str) -> Result<String, String> {
    if !is_variable(name) {
        let why = "what is behind `env:` is no variable's name: letters, digits and `_`";
        return Err(why.to_owned());
    }
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("the environment variable {name} is not set"),
        std::env::VarError::NotUnicode(_) => {
            format!("the environment variable {name} is not UTF-8")
        }
    })
}

/// Editors end a file with a line break that is not part of the secret, and programs what they
/// print.
fn without_line_break(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).to_owned()
}

/// End a child that has not been waited for, so that its number is nobody else's yet.
fn end(child: &mut Child) {
    // One that has ended by itself is waited for all the same.
    let _ = child.kill();
    let _ = child.wait();
}

/// What a command of the configuration's owner prints, by the shell; that is in no error. What it
/// says beside that goes to the terminal, where somebody may have to do something for it. Where
/// there is none it would be kept in somebody's log: there it is told only where the command
/// failed, and without what it printed and what it was given.
fn told_by(name: &str, command: &str, variables: &[String]) -> Result<String, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env_clear()
        .envs(children::environment())
        .envs(variables.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(match Style::of_stderr().is_terminal() {
            true => Stdio::inherit(),
            false => Stdio::piped(),
        })
        .spawn()
        .map_err(|error| format!("the command that tells it can't be run: {error}"))?;
    let mut said = vec![];
    let printed = printed_by(name, &mut child, &mut said).inspect_err(|_| end(&mut child));
    // Of one that was not heard to its end nobody knows what the secret is.
    let (ended, bytes) = printed?;
    if !ended.success() {
        tell_said(name, said, &bytes, variables);
        return Err(format!(
            "the command that tells it failed: {ended}; of the variables set here it gets few: \
             name what else it needs, `variables = [\"NAME\"]`"
        ));
    }
    if bytes.is_empty() {
        let unset = variables.iter().find(|name| std::env::var_os(name).is_none());
        let unset = unset.map(|name| format!("; {name}, which it is to get, is not set here"));
        return Err(format!(
            "the command that tells it ended well and printed nothing: it has nothing to read, it \
             gets few of the variables set here (name what else it needs, `variables = \
             [\"NAME\"]`), and of a pipe only the last command's end counts{}",
            unset.unwrap_or_default()
        ));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| "the command that tells it prints no UTF-8".to_owned())?;
    Ok(without_line_break(&text))
}

/// Tell what a command said beside what it printed, without that, and without the values of the
/// variables that it was given.
fn tell_said(name: &str, said: Vec<u8>, printed: &[u8], variables: &[String]) {
    // What is longer is no secret's value, and nobody can take it out in good time.
    if said.is_empty() || printed.len() > PRINTED_BYTES_MAX {
        return;
    }
    let mut secrets =
        vec![(name.to_owned(), without_line_break(&String::from_utf8_lossy(printed)))];
    let given = variables.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    secrets.extend(given.map(|(variable, value)| {
        let name = if variable == name { format!("variable {name}") } else { variable.clone() };
        (name, value.to_string_lossy().into_owned())
    }));
    // A key that is used once: nothing of it is kept.
    let Ok(key) = Key::new_bytes().and_then(|bytes| Key::of_bytes(&bytes)) else { return };
    let mut text = String::from_utf8_lossy(&said).into_owned();
    if said.len() >= SAID_BYTES_MAX {
        text.push(CUT);
    }
    let said = stepback_engine::without_secrets(text, &secrets, &key);
    tell!("the command that tells the secret `{}` says: {}", row(name), said.trim_end());
}

/// What a child prints until it ends, and what it says beside that. What it leaves running may have
/// its pipes as long as it likes.
fn printed_by(
    name: &str,
    child: &mut Child,
    said: &mut Vec<u8>,
) -> Result<(ExitStatus, Vec<u8>), String> {
    let failed = |error: std::io::Error| format!("the command that tells it: {error}");
    let mut printed = child.stdout.take().ok_or("what the command prints can't be read")?;
    let not_blocking = fcntl(&printed, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    not_blocking.map_err(|error| failed(error.into()))?;
    let mut beside = child.stderr.take();
    if let Some(beside) = &beside {
        let not_blocking = fcntl(beside, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        not_blocking.map_err(|error| failed(error.into()))?;
    }
    let (clock, mut bytes) = (Clock::real(), vec![]);
    let (begun, until) = (clock.now(), clock.now().after(TOLD_MAX));
    let mut is_told = false;
    loop {
        // Asked before it is read: all that it has printed is in the pipe by then.
        let ended = child.try_wait().map_err(failed)?;
        let room = (TEXT_BYTES_MAX + 1).saturating_sub(bytes.len() as u64);
        match printed.by_ref().take(room).read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
        if bytes.len() as u64 > TEXT_BYTES_MAX {
            return Err("the command that tells it prints too much".to_owned());
        }
        if let Some(beside) = &mut beside {
            let mut more = vec![];
            // What it can't be asked for now it has not said yet.
            let _ = beside.by_ref().take(TEXT_BYTES_MAX).read_to_end(&mut more);
            more.truncate(SAID_BYTES_MAX.saturating_sub(said.len()));
            said.extend(more);
        }
        if let Some(ended) = ended {
            return Ok((ended, bytes));
        }
        if !is_told && clock.now() >= begun.after(TELLS_AFTER) {
            is_told = true;
            let most = format!("{TOLD_MAX:?}");
            tell!(
                "asking for the secret `{}` (`[secrets.{}]`), at most {}",
                row(name),
                row(name),
                most
            );
        }
        if clock.now() >= until {
            return Err(format!("the command that tells it took longer than {TOLD_MAX:?}"));
        }
        clock.rest(TOLD_LOOK);
    }
}
