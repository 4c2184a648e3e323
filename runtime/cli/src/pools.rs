//! The pools of an environment in `stepback.toml`: where each is, and how what is changed there
//! outlives a reload.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use stepback_core::diagnostic::{Diagnostic, suggest};
use stepback_provider::endpoint::Endpoint;
use toml::Spanned;

/// The balancers there are.
const BALANCERS: [&str; 1] = ["haproxy"];
/// How else than by a file a state outlives a reload.
const RELOAD_HOOK: &str = "reload-hook";

/// A pool as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    provider: Spanned<String>,
    #[serde(default)]
    sockets: Vec<Spanned<String>>,
    master: Option<Spanned<String>>,
    masters: Option<Spanned<Vec<Spanned<String>>>>,
    backend: Option<Spanned<String>>,
    state_file: Option<Spanned<PathBuf>>,
    state_files: Option<Spanned<Vec<PathBuf>>>,
    saved_by: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
}

/// A pool of HAProxy, checked.
#[derive(Clone, Debug)]
pub struct Pool {
    pub sockets: Vec<Endpoint>,
    pub masters: Vec<Endpoint>,
    pub backend: String,
    /// `None` where whatever reloads it saves its state.
    pub state_files: Option<Vec<PathBuf>>,
}

impl Authored {
    /// Check it; `base` is where relative paths start.
    pub fn check(&self, base: &Path, found: &mut Vec<Diagnostic>) -> Option<Pool> {
        let provider = self.provider.get_ref();
        if !BALANCERS.contains(&provider.as_str()) {
            let message = format!("no pool is served by `{provider}`");
            let help = suggest(provider, BALANCERS);
            found.push(Diagnostic::at(self.provider.span(), message).help(help));
            return None;
        }
        if self.sockets.is_empty() {
            let help = "such as `sockets = [\"unix:///run/haproxy/admin.sock\"]`, one a process \
                        that serves the pool";
            let message = "a pool of HAProxy needs `sockets`";
            found.push(Diagnostic::at(self.provider.span(), message).help(help));
        }
        let sockets: Vec<Endpoint> =
            self.sockets.iter().filter_map(|one| self.socket(one, found)).collect();
        let masters = self.masters(sockets.len(), found);
        let backend = self.backend(found);
        let state_files = self.saved(base, &sockets, found);
        Some(Pool { sockets, masters, backend: backend?, state_files })
    }

    fn masters(&self, count: usize, found: &mut Vec<Diagnostic>) -> Vec<Endpoint> {
        if let Some(master) = self.master.as_ref().filter(|_| count > 1) {
            let message = format!("there are {count} sockets, and the master of one alone");
            let help = "write `masters = […]`, one a process: the others' old workers serve, too";
            found.push(Diagnostic::at(master.span(), message).help(help));
        }
        let several = self.masters.as_ref().map(Spanned::get_ref);
        let all = self.master.iter().chain(several.into_iter().flatten());
        all.filter_map(|one| self.socket(one, found)).collect()
    }

    fn socket(&self, text: &Spanned<String>, found: &mut Vec<Diagnostic>) -> Option<Endpoint> {
        let (why, help) = match Endpoint::parse(text.get_ref()) {
            Ok(Endpoint::Ssh(_)) => (
                "a runtime socket is not reached over ssh".to_owned(),
                "`unix:///PATH` of this machine, or `tcp://HOST:PORT`",
            ),
            Ok(at) if at.is_open(false) && !self.insecure => (
                format!("`{at}` is another machine's, and plain: who may reach it commands it"),
                "reach it through a tunnel to this machine, or give the pool `insecure = true`",
            ),
            Ok(at) => return Some(at),
            Err(why) => (why, "such as `unix:///run/haproxy/admin.sock`"),
        };
        found.push(Diagnostic::at(text.span(), why).help(help));
        None
    }

    /// A name that is one word of a command.
    fn backend(&self, found: &mut Vec<Diagnostic>) -> Option<String> {
        let Some(backend) = &self.backend else {
            let help = "such as `backend = \"web\"`: its servers are the places of the pool";
            let message = "a pool of HAProxy needs `backend`";
            found.push(Diagnostic::at(self.provider.span(), message).help(help));
            return None;
        };
        let text = backend.get_ref();
        // HAProxy Configuration Manual, *Proxies*.
        let is_letter = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.', ':'].contains(&c);
        if text.is_empty() || !text.chars().all(is_letter) {
            let help = "letters, digits, `-`, `_`, `.` and `:`";
            let message = format!("`{text}` is no backend's name");
            found.push(Diagnostic::at(backend.span(), message).help(help));
            return None;
        }
        Some(text.clone())
    }

    fn saved(
        &self,
        base: &Path,
        sockets: &[Endpoint],
        found: &mut Vec<Diagnostic>,
    ) -> Option<Vec<PathBuf>> {
        let one = self.state_file.as_ref().map(|one| (vec![one.get_ref()], one.span()));
        let several = self.state_files.as_ref().map(|all| {
            let files: Vec<&PathBuf> = all.get_ref().iter().collect();
            (files, all.span())
        });
        let by = self.saved_by.as_ref();
        let (files, at) = match (one, several, by) {
            (Some(files), None, None) | (None, Some(files), None) => files,
            (None, None, Some(by)) if by.get_ref() == RELOAD_HOOK => return None,
            (None, None, Some(by)) => {
                let message = format!("`{}` saves no state", by.get_ref());
                let help = format!("write `saved_by = \"{RELOAD_HOOK}\"`, or `state_file`");
                found.push(Diagnostic::at(by.span(), message).help(help));
                return None;
            }
            (None, None, None) => {
                let message = "what is changed in a pool would be lost at HAProxy's next reload";
                let help = "`state_file = \"/var/lib/haproxy/state/BACKEND\"`, which its backend \
                            loads (`load-server-state-from-file local`), or `saved_by = \
                            \"reload-hook\"`";
                found.push(Diagnostic::at(self.provider.span(), message).help(help));
                return None;
            }
            (one, _, by) => {
                let at = by.map(Spanned::span).or(one.map(|(_, at)| at)).unwrap_or_default();
                let message = "`state_file`, `state_files` and `saved_by` are ways for one thing";
                found.push(Diagnostic::at(at, message).help("leave all but one out"));
                return None;
            }
        };
        if !sockets.iter().all(|at| matches!(at, Endpoint::Unix(_))) {
            let message = "the file would be on this machine, and HAProxy is on another";
            let help = "`saved_by = \"reload-hook\"`, and have its reload save its state";
            found.push(Diagnostic::at(at, message).help(help));
        } else if files.len() != sockets.len() {
            let message = format!("there are {} sockets, and {} files", sockets.len(), files.len());
            let help = "write `state_files = […]`, one a process: each reads its own at a reload";
            found.push(Diagnostic::at(at, message).help(help));
        }
        Some(files.into_iter().map(|file| base.join(file)).collect())
    }
}
