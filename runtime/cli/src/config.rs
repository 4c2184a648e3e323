//! `stepback.toml`: environments, grants, and where operations are kept.
//!
//! Found upwards from the working directory; with no file at all there is one environment,
//! `local`, which is simulated. A mistake in the file is shown with its place.

use crate::args::Global;
use crate::builtins;
use crate::drawn::{is_hidden, is_known, without_secrets};
use crate::environments::{self, Environment};
use crate::error::CliError;
use crate::files::{self, TEXT_BYTES_MAX};
use crate::grants;
use crate::output;
use crate::ownership::{self, Choice, State};
use crate::secrets::{self, Configured};
use crate::trusted::Trusted;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use stepback_core::diagnostic::{Diagnostic, Diagnostics, suggest};
use stepback_core::grants::{Grant, Policy};
use stepback_files::private::Sharing;
use stepback_provider::passwords::{without_types, without_values};

const FILE: &str = "stepback.toml";
const STATE: &str = ".stepback";
/// The environment that there always is.
const LOCAL: &str = "local";
/// What it is where nobody says otherwise.
const DEMO: Environment = Environment::Simulated { world: None };

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Authored {
    state: Option<PathBuf>,
    state_group: Option<toml::Spanned<String>>,
    secrets_key: Option<PathBuf>,
    default_environment: Option<toml::Spanned<String>>,
    environments: BTreeMap<String, environments::Authored>,
    plugins: BTreeMap<String, AuthoredPlugin>,
    secrets: BTreeMap<String, secrets::Authored>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthoredPlugin {
    path: Option<toml::Spanned<PathBuf>>,
    sha256: Option<toml::Spanned<String>>,
    grants: Vec<grants::Written>,
}

/// A plugin that the configuration names.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    /// Where it is, if it is not a path in the manifest itself.
    pub path: Option<PathBuf>,
    /// The one file that the grants are for.
    pub file: PathBuf,
    /// What its bytes must come to.
    pub sha256: Option<String>,
    pub grants: Vec<Grant>,
    /// What the command line grants to it by its name.
    pub granted_here: Vec<Grant>,
}

/// The configuration, checked.
#[derive(Debug)]
pub struct Config {
    pub state: State,
    pub environments: BTreeMap<String, Environment>,
    /// Where an operation runs if nobody says so.
    default_environment: Option<String>,
    pub plugins: BTreeMap<String, PluginConfig>,
    /// By the names that manifests and inputs call them.
    pub secrets: BTreeMap<String, Configured>,
    /// The file of the key of secrets, where it is not in the state directory.
    pub secrets_key: Option<PathBuf>,
    /// What the command line grants to plugins by their paths in its manifest.
    pub granted_here: BTreeMap<String, Vec<Grant>>,
    /// The file that keeps which plugins are trusted, beside the configuration's.
    pub trusted: Option<Trusted>,
    /// Whether a plugin that was not seen yet is trusted from now on.
    pub trusts_new: bool,
    /// What binds everybody, by the environment.
    pub policies: BTreeMap<String, Policy>,
}

impl Config {
    /// Find and read the configuration.
    pub fn load(global: &Global) -> Result<Self, CliError> {
        let (found, choice) = match &global.config {
            Some(path) => (Some(path.clone()), Choice::Named),
            None => (find_upwards(), Choice::Found),
        };
        let mut config = match &found {
            Some(path) => {
                ownership::must_be_obeyed(path, choice)?;
                read(path, choice)?
            }
            None => Config {
                state: State { dir: PathBuf::from(STATE), choice, sharing: Sharing::Alone },
                environments: BTreeMap::new(),
                default_environment: None,
                plugins: BTreeMap::new(),
                secrets: BTreeMap::new(),
                secrets_key: None,
                granted_here: BTreeMap::new(),
                policies: BTreeMap::new(),
                trusted: None,
                trusts_new: false,
            },
        };
        config.environments.entry(LOCAL.to_owned()).or_insert(DEMO);
        if let Some(state) = &global.state {
            config.state.dir = state.clone();
            config.state.choice = Choice::Named;
        }
        Ok(config)
    }

    /// The name that is given, or else `default_environment`, or else `local`: but not that where
    /// any other is configured, because whoever forgot to say `prod` would believe it was.
    pub fn chosen(&self, given: Option<&str>) -> Result<String, CliError> {
        if let Some(name) = given.or(self.default_environment.as_deref()) {
            return self.environment(name).map(|_| name.to_owned());
        }
        let others: Vec<&str> =
            self.environments.keys().map(String::as_str).filter(|name| *name != LOCAL).collect();
        if others.is_empty() {
            return Ok(LOCAL.to_owned());
        }
        let message = format!("which environment? There are {}, and {LOCAL}", others.join(", "));
        let help = "give it with `-e ENV`, or write `default_environment = \"ENV\"` at the top of \
                    stepback.toml";
        Err(CliError::usage(message, help))
    }

    /// The environments that there are.
    pub fn environment_names(&self) -> impl Iterator<Item = &str> {
        self.environments.keys().map(String::as_str)
    }

    /// Whether nothing is real there.
    pub fn is_simulated(&self, name: &str) -> bool {
        self.environments.get(name).is_some_and(Environment::is_simulated)
    }

    /// Say first, and at the end once more, that nothing was real.
    pub fn tell_if_simulated(&self, name: &str) {
        if self.is_simulated(name) {
            output::tell_simulated(name);
        }
    }

    /// The environment of this name.
    pub fn environment(&self, name: &str) -> Result<&Environment, CliError> {
        self.environments.get(name).ok_or_else(|| {
            let help = suggest(name, self.environments.keys().map(String::as_str));
            CliError::usage(format!("there is no environment `{name}`"), help)
        })
    }
}

fn find_upwards() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    // One that may not be looked at, or leads nowhere, is told when it is read, and is not none.
    let is_there = |path: &PathBuf| match path.symlink_metadata() {
        Err(error) => error.kind() != ErrorKind::NotFound,
        Ok(_) => true,
    };
    here.ancestors().map(|dir| dir.join(FILE)).find(is_there)
}

/// What a parser says, but for what it found where a reference to a secret belongs.
fn mistake_of(error: &toml::de::Error, text: &str, drawn: &str) -> Diagnostic {
    let message = without_types(error.message());
    // The parser has a text that it found in the place of something else in its own words.
    match error.span() {
        Some(span) if is_hidden(text, drawn, &span) => {
            Diagnostic::at(span, without_values(&message))
        }
        Some(span) => Diagnostic::at(span, message),
        None => Diagnostic::new(without_values(&message)),
    }
}

/// A mistake that tells nothing of what is stars in the place where it is drawn, or of a login.
fn without_hidden(mut mistake: Diagnostic, text: &str, drawn: &str) -> Diagnostic {
    let is_told = match &mistake.span {
        Some(span) => !is_hidden(text, drawn, span),
        None => !mistake.message.contains('@'),
    };
    if !is_told {
        mistake.message = without_foreign_words(&mistake.message);
        mistake.help = mistake.help.map(|help| without_foreign_words(&help));
    }
    mistake
}

/// A message with what it quotes left out from the first word on that is none of a
/// configuration's: what it quotes may have the quotes' own mark in it.
fn without_foreign_words(message: &str) -> String {
    let marks: Vec<usize> = message.match_indices('`').map(|(at, _)| at).collect();
    let is_foreign = |pair: &&[usize]| match pair {
        [begins, ends] => !is_known(&message[begins + 1..*ends]),
        _ => true,
    };
    let first = marks.chunks(2).find(is_foreign).map(|pair| pair[0]);
    match (first, marks.last()) {
        (Some(first), Some(last)) if first < *last => {
            format!("{}`…`{}", &message[..first], &message[last + 1..])
        }
        (Some(first), _) => format!("{}…", &message[..first]),
        (None, _) => message.to_owned(),
    }
}

fn read(path: &Path, choice: Choice) -> Result<Config, CliError> {
    let text = files::text(path, TEXT_BYTES_MAX)
        .map_err(|why| CliError::usage(why, "give another with `--config FILE`"))?;
    let name = path.display().to_string();
    // What was written in the place of a reference is no reference, and still a secret.
    let drawn = without_secrets(&text);
    let fail = |list: Vec<Diagnostic>| {
        let list = list.into_iter().map(|one| without_hidden(one, &text, &drawn)).collect();
        CliError::Mistakes(Diagnostics { name: name.clone(), text: drawn.clone(), list })
    };
    let authored: Authored =
        toml::from_str(&text).map_err(|error| fail(vec![mistake_of(&error, &text, &drawn)]))?;
    // Paths go to other programs, too, which are elsewhere.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // What is no file has no directory: it is as if it were in this one, and only found there.
    let here = (!is_in_a_directory(path)).then(|| std::path::absolute(FILE).unwrap_or_default());
    let choice = if here.is_some() { Choice::Found } else { choice };
    let whole = here.unwrap_or(whole);
    let base = whole.parent().unwrap_or(Path::new("/"));
    let mut found = vec![];
    for name in authored.environments.keys().filter(|name| !is_plain(name)) {
        let message = format!("`{}` is no name for an environment", name.escape_default());
        let help = "letters, digits, `-`, `_` and `.` make one; it names a directory, too";
        found.push(Diagnostic::new(message).help(help.to_owned()));
    }
    let checked = |(name, environment): (&String, &environments::Authored)| {
        (name.clone(), environment.check(base, &mut found))
    };
    let environments: BTreeMap<String, Environment> =
        authored.environments.iter().map(checked).collect();
    if let Some(named) = &authored.default_environment
        && !environments.contains_key(named.get_ref())
        && named.get_ref() != LOCAL
    {
        let message = format!("there is no environment `{}`", named.get_ref());
        let names = environments.keys().map(String::as_str).chain([LOCAL]);
        found.push(Diagnostic::at(named.span(), message).help(suggest(named.get_ref(), names)));
    }
    let mut policies = BTreeMap::new();
    for (name, environment) in &authored.environments {
        policies.insert(name.clone(), environment.policy(&text, &mut found));
    }
    let plugins = plugins(authored.plugins, base, &text, &mut found);
    let secrets = authored.secrets.into_iter();
    let secrets: BTreeMap<String, Configured> =
        secrets.map(|(name, secret)| (name, secret.check(base, &mut found))).collect();
    let sharing = sharing(authored.state_group.as_ref(), &mut found);
    if !found.is_empty() {
        return Err(fail(found));
    }
    let dir = base.join(authored.state.unwrap_or_else(|| PathBuf::from(STATE)));
    let state = State { dir, choice, sharing };
    let default_environment = authored.default_environment.map(toml::Spanned::into_inner);
    let granted_here = BTreeMap::new();
    Ok(Config {
        state,
        environments,
        default_environment,
        plugins,
        secrets,
        secrets_key: authored.secrets_key.map(|path| base.join(path)),
        granted_here,
        policies,
        trusted: Some(Trusted::beside(&whole, choice)),
        trusts_new: false,
    })
}

/// Whether a path is a file's in some directory, and no device, pipe, or descriptor by number.
fn is_in_a_directory(path: &Path) -> bool {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_descriptor = ["/dev/fd", "/dev/stdin", "/proc"].iter().any(|at| whole.starts_with(at));
    !is_descriptor && std::fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// For whom what is kept is.
fn sharing(group: Option<&toml::Spanned<String>>, found: &mut Vec<Diagnostic>) -> Sharing {
    let Some(group) = group else { return Sharing::Alone };
    ownership::group(group.get_ref()).unwrap_or_else(|why| {
        let help = "`getent group` lists those there are";
        found.push(Diagnostic::at(group.span(), why).help(help.to_owned()));
        Sharing::Alone
    })
}

/// Whether a name leads nowhere else as a directory's.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(is_plain) && !name.starts_with('.')
}

fn plugins(
    authored: BTreeMap<String, AuthoredPlugin>,
    base: &Path,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<String, PluginConfig> {
    let mut plugins: BTreeMap<String, PluginConfig> = BTreeMap::new();
    for (name, plugin) in authored {
        if let Some(other) = plugins.keys().find(|known| is_one_file(known, &name)) {
            let message = format!("`[plugins.{other:?}]` and `[plugins.{name:?}]` are one file");
            found.push(Diagnostic::new(message).help("write one table for it".to_owned()));
        }
        if let (Some(path), Some(_)) = (&plugin.path, builtins::bytes(&name)) {
            let (shown, given) = (path.get_ref().display(), path.span());
            let message =
                format!("the program has a plugin of its own called `{name}`, beside `{shown}`");
            let help = format!("give this one another name, such as `[plugins.my-{name}]`");
            found.push(Diagnostic::at(given, message).help(help));
        }
        let grants = grants::check(&plugin.grants, text, found);
        let sha256 = plugin.sha256.and_then(|sha256| digest(&sha256, found));
        let path = plugin.path.map(|path| base.join(path.into_inner()));
        let file = path.clone().unwrap_or_else(|| base.join(&name));
        let granted_here = vec![];
        plugins.insert(name, PluginConfig { path, file, sha256, grants, granted_here });
    }
    plugins
}

/// Whether two names of plugins are the path of one file: `./my.wasm` and `my.wasm`.
pub fn is_one_file(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.strip_prefix("./").unwrap_or(name).to_owned();
    plain(one) == plain(other)
}

/// A sha-256 as it is written, with `sha256:` in front or without.
fn digest(written: &toml::Spanned<String>, found: &mut Vec<Diagnostic>) -> Option<String> {
    let text = written.get_ref();
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Some(digits.to_ascii_lowercase());
    }
    let help = "it has 64 hex digits; `stepback plugin inspect FILE` tells it";
    let message = format!("`{}` is not a sha-256", text.escape_default());
    found.push(Diagnostic::at(written.span(), message).help(help));
    None
}

/// Read `--grant PLUGIN=INTERFACE,…` into the configuration.
pub fn add_grants(config: &mut Config, given: &[String]) -> Result<(), CliError> {
    for text in given {
        let Some((plugin, granted)) = text.split_once('=') else {
            return Err(CliError::usage(
                format!("`--grant {text}` is not PLUGIN=INTERFACES"),
                "such as `--grant ./my.wasm=ebs,docker`",
            ));
        };
        // What has a name of its own is granted to by that, and anything else as the manifest
        // writes it.
        let named = config.plugins.get_mut(plugin).filter(|known| known.path.is_some());
        let grants = match named {
            Some(known) => &mut known.granted_here,
            None => config.granted_here.entry(plugin.to_owned()).or_default(),
        };
        grants.extend(grants::given(granted)?);
    }
    Ok(())
}

impl PluginConfig {
    /// Whether its grants are for this file, however either path is written. A link is the file
    /// that it leads to.
    pub fn is_for(&self, file: &Path) -> bool {
        if let Ok(found) = std::fs::metadata(file) {
            return self.is_it(&found);
        }
        // One that is gone is known by where it was.
        let place = |path: &Path| {
            let dir = std::fs::canonicalize(path.parent()?).ok()?;
            Some(dir.join(path.file_name()?))
        };
        let own = place(&self.file);
        own.is_some() && own == place(file)
    }

    /// Whether its grants are for the file that was opened.
    pub fn is_it(&self, file: &Metadata) -> bool {
        let is_same = |own: Metadata| (own.dev(), own.ino()) == (file.dev(), file.ino());
        std::fs::metadata(&self.file).is_ok_and(is_same)
    }
}
