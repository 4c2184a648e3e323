//! The pools of an environment in `stepback.toml`: where each is, and how what is changed there
//! outlives a reload of HAProxy.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use stepback_core::diagnostic::{Diagnostic, suggest};
use stepback_core::manifest::duration_ms;
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
    provider: Option<Spanned<String>>,
    target_group: Option<Spanned<String>>,
    linger: Option<Spanned<String>>,
    #[serde(default)]
    sockets: Vec<Spanned<String>>,
    master: Option<Spanned<String>>,
    masters: Option<Spanned<Vec<Spanned<String>>>>,
    backend: Option<Spanned<String>>,
    state_file: Option<Spanned<PathBuf>>,
    state_files: Option<Spanned<Vec<PathBuf>>>,
    saved_by: Option<Spanned<String>>,
    insecure: Option<Spanned<bool>>,
}

/// A pool, checked.
#[derive(Clone, Debug)]
pub enum Pool {
    HaProxy(Backend),
    TargetGroup(TargetGroup),
}

/// The pools of an environment, by their names.
pub type Pools = BTreeMap<String, Pool>;

/// A target group of Elastic Load Balancing.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its name or its ARN.
    pub group: String,
    /// `None` is the provider's own.
    pub linger_ms: Option<u64>,
}

/// A backend of HAProxy.
#[derive(Clone, Debug)]
pub struct Backend {
    pub sockets: Vec<Endpoint>,
    pub masters: Vec<Endpoint>,
    pub backend: String,
    /// `None` where whatever reloads it saves its state.
    pub state_files: Option<Vec<PathBuf>>,
}

impl Authored {
    /// Check it; `at` is where it is written, `base` where relative paths start, and `in_aws` says
    /// whether its environment is an account of AWS.
    pub fn check(
        &self,
        at: Range<usize>,
        base: &Path,
        in_aws: bool,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Pool> {
        match (&self.provider, &self.target_group) {
            (_, Some(group)) if !in_aws => {
                let message =
                    "a target group is in an account of AWS, and this environment is none";
                let help = "a pool here is one of HAProxy: `provider = \"haproxy\"`";
                found.push(Diagnostic::at(group.span(), message).help(help));
                None
            }
            (provider, Some(group)) => {
                self.refuse_haproxys(provider.as_ref(), found);
                self.target_group(group, found).map(Pool::TargetGroup)
            }
            (Some(provider), None) => self.backend_of(provider, base, found).map(Pool::HaProxy),
            (None, None) => {
                let help = match in_aws {
                    true => "write `target_group = \"NAME\"`, or `provider = \"haproxy\"`",
                    false => "write `provider = \"haproxy\"`",
                };
                let message = "nothing says what serves the pool";
                found.push(Diagnostic::at(at, message).help(help));
                None
            }
        }
    }

    /// What a target group does not have.
    fn refuse_haproxys(&self, provider: Option<&Spanned<String>>, found: &mut Vec<Diagnostic>) {
        let misplaced = [
            provider.map(|one| ("provider", one.span())),
            self.sockets.first().map(|one| ("sockets", one.span())),
            self.master.as_ref().map(|one| ("master", one.span())),
            self.masters.as_ref().map(|one| ("masters", one.span())),
            self.backend.as_ref().map(|one| ("backend", one.span())),
            self.state_files.as_ref().map(|one| ("state_files", one.span())),
            self.state_file.as_ref().map(|one| ("state_file", one.span())),
            self.saved_by.as_ref().map(|one| ("saved_by", one.span())),
            self.insecure.as_ref().map(|one| ("insecure", one.span())),
        ];
        for (name, span) in misplaced.into_iter().flatten() {
            let message = format!("`{name}` is not for a pool that is a target group");
            let help = "it has `target_group` and `linger`, and nothing else";
            found.push(Diagnostic::at(span, message).help(help));
        }
    }

    /// A name or an ARN (Elastic Load Balancing API Reference, *CreateTargetGroup*).
    fn target_group(
        &self,
        group: &Spanned<String>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<TargetGroup> {
        const LETTERS_MAX: usize = 32;
        let linger_ms = self.linger.as_ref().and_then(|linger| {
            let read = duration_ms(linger.get_ref());
            if read.is_none() {
                let message = format!("`{}` is not a duration", linger.get_ref());
                found.push(Diagnostic::at(linger.span(), message).help("such as `30s`"));
            }
            read
        });
        let text = group.get_ref();
        let is_arn = text.starts_with("arn:") && text.contains(":targetgroup/");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_name = (1..=LETTERS_MAX).contains(&text.len()) && text.chars().all(is_plain);
        if !is_arn && !is_name {
            let help = "such as `web-blue`, or `arn:aws:elasticloadbalancing:…:targetgroup/…`";
            let message = format!("`{text}` is no target group's name or ARN");
            found.push(Diagnostic::at(group.span(), message).help(help));
            return None;
        }
        Some(TargetGroup { group: text.clone(), linger_ms })
    }

    fn backend_of(
        &self,
        by: &Spanned<String>,
        base: &Path,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Backend> {
        let (provider, at) = (by.get_ref(), by.span());
        if !BALANCERS.contains(&provider.as_str()) {
            let message = format!("no pool is served by `{provider}`");
            let help = suggest(provider, BALANCERS);
            found.push(Diagnostic::at(at, message).help(help));
            return None;
        }
        if let Some(linger) = &self.linger {
            let message = "`linger` is not for a pool of HAProxy";
            let help = "it tells itself when nobody is served any more";
            found.push(Diagnostic::at(linger.span(), message).help(help));
        }
        if self.sockets.is_empty() {
            let help = "such as `sockets = [\"unix:///run/haproxy/admin.sock\"]`, one a process \
                        that serves the pool";
            let message = "a pool of HAProxy needs `sockets`";
            found.push(Diagnostic::at(at.clone(), message).help(help));
        }
        let sockets: Vec<Endpoint> =
            self.sockets.iter().filter_map(|one| self.socket(one, found)).collect();
        let masters = self.masters(sockets.len(), found);
        let backend = self.backend(at.clone(), found);
        let state_files = self.saved(at, base, &sockets, found);
        Some(Backend { sockets, masters, backend: backend?, state_files })
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
            Ok(at) if at.is_open(false) && !self.is_insecure() => (
                format!("`{at}` is another machine's, and plain: who may reach it commands it"),
                "reach it through a tunnel to this machine, or give the pool `insecure = true`",
            ),
            Ok(at) => return Some(at),
            Err(why) => (why, "such as `unix:///run/haproxy/admin.sock`"),
        };
        found.push(Diagnostic::at(text.span(), why).help(help));
        None
    }

    fn is_insecure(&self) -> bool {
        self.insecure.as_ref().is_some_and(|one| *one.get_ref())
    }

    /// A name that is one word of a command.
    fn backend(&self, at: Range<usize>, found: &mut Vec<Diagnostic>) -> Option<String> {
        let Some(backend) = &self.backend else {
            let help = "such as `backend = \"web\"`: its servers are the places of the pool";
            let message = "a pool of HAProxy needs `backend`";
            found.push(Diagnostic::at(at, message).help(help));
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
        provider_at: Range<usize>,
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
                found.push(Diagnostic::at(provider_at, message).help(help));
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
            found.push(Diagnostic::at(at.clone(), message).help(help));
        } else if files.len() != sockets.len() {
            let message = format!("there are {} sockets, and {} files", sockets.len(), files.len());
            let help = "write `state_files = […]`, one a process: each reads its own at a reload";
            found.push(Diagnostic::at(at.clone(), message).help(help));
        }
        let files: Vec<PathBuf> = files.into_iter().map(|file| base.join(file)).collect();
        let is_twice = |(nth, file): (usize, &PathBuf)| files[..nth].contains(file);
        if files.iter().enumerate().any(is_twice) {
            let message = "two processes would write one file";
            let help = "give each its own: what one writes the other would lose";
            found.push(Diagnostic::at(at, message).help(help));
        }
        Some(files)
    }
}
