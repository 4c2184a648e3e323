//! Pulling an image from its registry, or from a mirror where the registry fails or stalls.
//!
//! Sources are tried in order: the registry, then its mirrors. What each says the image's digest
//! is must be the same everywhere; a mirror that has something else is not pulled from.

use super::DockerSettings;
use super::connect::Engine;
use super::credentials::{Credentials, without_credentials, without_login};
use super::errors::{Answer, RequestError, told};
use super::shapes::digest_of;
use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use futures_util::future::select_ok;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;
use stepback_core::image::ImageName;
use stepback_core::{Failure, FailureClass};
use stepback_provider::EffectContext;
use stepback_provider::endpoint::is_loopback;

/// How long a registry may take to tell a digest.
const DIGEST_MS_MAX: u64 = 10_000;
/// How long a registry may take to say before an operation that it would not let its host pull;
/// one that takes longer may still do so.
const CHECK_MS_MAX: u64 = 5_000;

/// How a registry is used.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Registries that hold the same images, tried in order.
    pub mirrors: Vec<String>,
    /// For this registry alone: those of a mirror are under its own name.
    pub credentials: Option<Credentials>,
}

/// The registry, then its mirrors.
fn sources<'a>(name: &'a ImageName, settings: &'a DockerSettings) -> Vec<&'a str> {
    let own = settings.registries.get(&name.registry);
    let mirrors = own.into_iter().flat_map(|own| &own.mirrors).map(String::as_str);
    std::iter::once(name.registry.as_str()).chain(mirrors).collect()
}

/// Whether every source of an image says that this host may not pull it. One that can't be asked
/// now may let it later, so only a definite no counts.
///
/// # Errors
/// `denied`, or a precondition where no source has it, with what the last one said.
pub(super) async fn check(
    engine: &Engine,
    image: &str,
    settings: &DockerSettings,
) -> Result<(), Failure> {
    let name = ImageName::of(image);
    let mut last = None;
    for source in sources(&name, settings) {
        let reference = name.at(source);
        let login = credentials(settings, source);
        let is_given = login.is_some();
        let asked = engine.client.inspect_registry_image(&reference, login);
        let limit = Duration::from_millis(CHECK_MS_MAX);
        let Ok(Err(error)) = engine.clock.timeout(limit, asked).await else { return Ok(()) };
        let error = without_login(error, settings, source);
        let told = told(error, &format!("pulling {reference} on {}", engine.host));
        let mut failure = without_credentials(told, settings, source).failure;
        match failure.class {
            // Registries answer so too where they let nobody in (Docker docs, *ImageCreate*, 404).
            FailureClass::Denied => {
                let advice = login_advice(source, is_given);
                failure.message = format!("{}; {advice}", failure.message.trim_end());
            }
            // An engine asks its own mirror first for Docker Hub's images, and goes on from there.
            FailureClass::Precondition if source != "docker.io" => {}
            _ => return Ok(()),
        }
        last = Some(failure);
    }
    last.map_or(Ok(()), Err)
}

/// What to do about a registry that lets nobody in, or not this one.
pub(super) fn login_advice(registry: &str, is_given: bool) -> String {
    let table = format!("the environment's table `registries.\"{registry}\"`");
    match is_given {
        true => format!("check `username` and `password` in {table}"),
        false => format!("give `username` and `password` (`env:NAME`, `file:PATH`) in {table}"),
    }
}

/// Pull from the first source that delivers.
pub(super) async fn pull(
    engine: &Engine,
    image: &str,
    settings: &DockerSettings,
    context: &EffectContext,
) -> Answer<Value> {
    let name = ImageName::of(image);
    let sources = sources(&name, settings);
    // One source needs no comparing.
    let digests = match sources.len() {
        1 => HashMap::new(),
        _ => digests(engine, &name, &sources, settings).await,
    };
    let wanted = sources.iter().find_map(|source| digests.get(*source)).cloned();
    let mut last = None;
    for (tried, source) in sources.iter().enumerate() {
        let say = |text: String| context.notes.warn(format!("{image}: {text}"));
        if let (Some(wanted), Some(other)) = (&wanted, digests.get(*source))
            && wanted != other
        {
            say(format!("{source} has another image ({other}, not {wanted}); it is not used"));
            let message = format!("{image}: {source} has {other}, not {wanted}");
            last = Some(RequestError::no(FailureClass::Refused, "digest-mismatch", message));
            continue;
        }
        let pulled = from_source(engine, image, &name, source, settings, context).await;
        match pulled.map_err(|told| without_credentials(told, settings, source)) {
            Ok(digest) => {
                if tried > 0 {
                    say(format!("pulled from the mirror {source}"));
                }
                if tried > 0 && is_unverified(&name, &digests) {
                    say(unverified(&name, source, &digest));
                }
                return Ok(json!({ "reference": image, "digest": digest }));
            }
            Err(why) if context.cancel.is_cancelled() => return Err(why),
            Err(why) => {
                if tried + 1 < sources.len() {
                    let next = sources[tried + 1];
                    say(format!("{source} failed ({}); trying {next}", why.failure.message));
                }
                last = Some(why);
            }
        }
    }
    Err(last.unwrap_or_else(|| RequestError::unknown(format!("{image} has no source"))))
}

/// Whether nobody but a mirror says that what it has is the image: its registry can't tell its
/// digest, and it is not pinned by one, which the engine would check.
fn is_unverified(name: &ImageName, digests: &HashMap<String, String>) -> bool {
    !name.version.starts_with('@') && !digests.contains_key(&name.registry)
}

fn unverified(name: &ImageName, mirror: &str, digest: &str) -> String {
    format!(
        "this image is unverified: {} can't tell its digest now, and {mirror} could have another \
         ({digest}); a name pinned by digest, `NAME@sha256:…`, is checked",
        name.registry
    )
}

/// The digest that the image has where it is pulled from, if anybody can be asked.
pub(super) async fn digest(
    engine: &Engine,
    image: &str,
    settings: &DockerSettings,
) -> Option<String> {
    let name = ImageName::of(image);
    let sources = sources(&name, settings);
    let digests = digests(engine, &name, &sources, settings).await;
    sources.iter().find_map(|source| digests.get(*source)).cloned()
}

/// What each source says the digest is; one that does not say is left out.
async fn digests(
    engine: &Engine,
    name: &ImageName,
    sources: &[&str],
    settings: &DockerSettings,
) -> HashMap<String, String> {
    let asked = sources.iter().map(|source| async move {
        let reference = name.at(source);
        let by_engine = Box::pin(digest_by_engine(engine, &reference, source, settings));
        let from_here = Box::pin(digest_from_here(&reference, source, settings));
        let either = select_ok([by_engine as Asking<'_>, from_here]);
        let limit = Duration::from_millis(DIGEST_MS_MAX);
        let answer = engine.clock.timeout(limit, either).await;
        let (digest, _) = answer.ok()?.ok()?;
        Some(((*source).to_owned(), digest))
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<String, ()>> + Send + 'a>>;

/// The engine knows its registries, but asks for more than the digest: it needs the image's
/// configuration too, which is a blob (*DistributionInspect*).
async fn digest_by_engine(
    engine: &Engine,
    reference: &str,
    source: &str,
    settings: &DockerSettings,
) -> Result<String, ()> {
    let login = credentials(settings, source);
    let told = engine.client.inspect_registry_image(reference, login).await.map_err(|_| ())?;
    told.descriptor.digest.ok_or(())
}

/// From here a registry that serves manifests and no blobs answers too, if it can be reached
/// (OCI Distribution Specification, *Checking if content exists in the registry*).
async fn digest_from_here(
    reference: &str,
    source: &str,
    settings: &DockerSettings,
) -> Result<String, ()> {
    let reference = reference.parse::<Reference>().map_err(|_| ())?;
    let login = settings.registries.get(source).and_then(|own| own.credentials.as_ref());
    let login = login.map_or(RegistryAuth::Anonymous, Credentials::as_auth);
    client_for(source).fetch_manifest_digest(&reference, &login).await.map_err(|_| ())
}

/// A client of this machine for one registry.
fn client_for(registry: &str) -> Client {
    super::tls::choose_cryptography();
    let protocol = match is_loopback(registry) {
        // As engines do it (Docker docs, *dockerd*, *Insecure registries*).
        true => ClientProtocol::HttpsExcept(vec![registry.to_owned()]),
        false => ClientProtocol::Https,
    };
    Client::new(ClientConfig { protocol, ..ClientConfig::default() })
}

/// Whether a registry takes these credentials, as seen from here. With tokens that is told when
/// one is asked for; without, by any request, such as one for an image that is not there
/// (Distribution documentation, *Token Authentication Specification*; RFC 7617).
pub(super) async fn takes(registry: &str, login: &Credentials) -> Result<bool, String> {
    let (client, own, login) = (client_for(registry), login, login.as_auth());
    let nothing = format!("{registry}/stepback/none:none");
    let nothing = nothing.parse::<Reference>().map_err(|error| error.to_string())?;
    let is_no = |error: &OciDistributionError| {
        use OciDistributionError::{AuthenticationFailure, UnauthorizedError};
        matches!(error, AuthenticationFailure(_) | UnauthorizedError { .. })
    };
    match client.auth(&nothing, &login, RegistryOperation::Pull).await {
        Ok(Some(_)) => return Ok(true),
        Ok(None) => {}
        Err(error) if is_no(&error) => return Ok(false),
        Err(error) => return Err(own.taken_out_of(&super::errors::causes(&error).join(": "))),
    }
    let asked = client.fetch_manifest_digest(&nothing, &login).await;
    Ok(!asked.is_err_and(|error| is_no(&error)))
}

fn credentials(settings: &DockerSettings, source: &str) -> Option<DockerCredentials> {
    let own = settings.registries.get(source)?.credentials.as_ref()?;
    Some(DockerCredentials {
        username: Some(own.username.clone()),
        password: Some(own.password.clone()),
        serveraddress: Some(source.to_owned()),
        ..Default::default()
    })
}

impl Engine {
    /// Make a name mean the image of this digest, or id, that the engine has. Most engines keep one
    /// that lost its name until it is pruned (Docker docs, *docker image prune*).
    pub(super) async fn tag(&self, image: &str, digest: &str) -> Answer<Value> {
        let what = self.name_of("image", image);
        let options = ListImagesOptionsBuilder::new().all(true).build();
        let all = self.client.list_images(Some(options));
        let has = |found: &ImageSummary| {
            let digests = found.repo_digests.iter().filter_map(|one| one.split_once('@'));
            found.id == digest || digests.into_iter().any(|(_, one)| one == digest)
        };
        let found = self.asked(&what, all).await?.into_iter().find(has);
        let Some(found) = found else {
            let message = format!("{} has no image {digest}, which {what} is to be", self.host);
            return Err(RequestError::no(FailureClass::Precondition, "404", message));
        };
        self.name_it(&found.id, image).await?;
        Ok(Value::Null)
    }

    async fn name_it(&self, known_as: &str, image: &str) -> Answer<()> {
        let what = self.name_of("image", image);
        let version = ImageName::of(image).version;
        let Some(tag) = version.strip_prefix(':') else { return Ok(()) };
        let repo = image.strip_suffix(&version).unwrap_or(image);
        let options = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
        self.asked(&what, self.client.tag_image(known_as, Some(options))).await
    }
}

/// Pull from one source, and give the image its own name; answers its digest.
async fn from_source(
    engine: &Engine,
    image: &str,
    name: &ImageName,
    source: &str,
    settings: &DockerSettings,
    context: &EffectContext,
) -> Answer<String> {
    let reference = match source == name.registry {
        true => image.to_owned(),
        false => name.at(source),
    };
    let options = CreateImageOptionsBuilder::new().from_image(&reference).build();
    let login = credentials(settings, source);
    let what = format!("pulling {reference} on {}", engine.host);
    let (client, heard) = engine.streaming(&what)?;
    let mut steps = Box::pin(client.create_image(Some(options), None, login));
    let stall = Duration::from_millis(settings.stall_ms);
    let mut progress = Progress::default();
    let mut moved_at = engine.clock.now();
    loop {
        let until = moved_at.after(progress.limit(stall));
        let step = tokio::select! {
            () = context.cancel.cancelled() => {
                return Err(RequestError::unknown(format!("{what} was ended")));
            }
            step = engine.clock.timeout_at(until, steps.next()) => step,
        };
        match step {
            Err(_) => {
                let limit = progress.limit(stall);
                let message = format!("{what} stalled: nothing was heard of it for {limit:?}");
                return Err(RequestError::no(FailureClass::Transient, "stalled", message));
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                // Before anything else is taken out, which could leave a part of it.
                let error = without_login(error, settings, source);
                return Err(heard.told(error, &what));
            }
            Ok(Some(Ok(info))) => {
                heard.taken();
                if progress.note(&info, context) {
                    moved_at = engine.clock.now();
                }
            }
        }
    }
    let found = engine.find_image(&reference).await?;
    let Some(found) = found else {
        return Err(RequestError::no(
            FailureClass::Refused,
            "404",
            format!("{what}: it is not there"),
        ));
    };
    if source != name.registry {
        engine.name_it(&reference, image).await?;
    }
    Ok(digest_of(&found, &reference))
}

/// How many times longer than an arrival unpacking may be silent.
const UNPACKING: u32 = 20;

/// A layer goes by the beginning of its digest, and the pull itself by the image's tag or nothing.
fn is_layer(id: &str) -> bool {
    id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit())
}

/// How far each layer is.
#[derive(Default)]
struct Progress {
    layers: HashMap<String, (String, i64)>,
}

impl Progress {
    /// How long it may be silent. What has arrived is unpacked, and nothing is told of a large
    /// layer meanwhile; another source would only send it again.
    fn limit(&self, stall: Duration) -> Duration {
        let is_one = |status: &str, of: &[&str]| of.iter().any(|word| status.starts_with(word));
        let (waits, done) =
            (["Download complete", "Verifying", "Extracting"], ["Pull complete", "Already exists"]);
        let layers = self.layers.iter().filter(|(id, _)| is_layer(id));
        let all: Vec<&str> = layers.map(|(_, (status, _))| status.as_str()).collect();
        let unpacks = all.iter().any(|status| is_one(status, &waits))
            && all.iter().all(|status| is_one(status, &waits) || is_one(status, &done));
        if unpacks { stall * UNPACKING } else { stall }
    }

    /// Take note of what the engine says; whether anything moved.
    fn note(&mut self, info: &CreateImageInfo, context: &EffectContext) -> bool {
        let (id, status) = (info.id.clone().unwrap_or_default(), info.status.clone());
        let status = status.unwrap_or_default();
        let detail = info.progress_detail.as_ref();
        let (current, total) = (detail.and_then(|d| d.current), detail.and_then(|d| d.total));
        // The engine counts the seconds down until its next try; that is not progress.
        if status.starts_with("Retrying") {
            return false;
        }
        let now = (status.clone(), current.unwrap_or_default());
        if self.layers.insert(id.clone(), now.clone()).as_ref() == Some(&now) {
            return false;
        }
        let text = format!("{id} {status}").trim().to_owned();
        match current {
            Some(done) => {
                let total = total.and_then(|total| u64::try_from(total).ok());
                context.notes.progress(text, u64::try_from(done).unwrap_or_default(), total);
            }
            None => context.notes.info(text),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_may_be_unpacked_in_silence() {
        let (one, other) = ("0123456789ab", "ba9876543210");
        let table = [
            (&[][..], false),
            (&[("16", "Pulling from library/postgres")], false),
            (&[(one, "Downloading"), (other, "Extracting")], false),
            (&[("16", "Pulling"), (one, "Download complete"), (other, "Already exists")], true),
            (&[(one, "Extracting"), (other, "Pull complete")], true),
            (&[(one, "Waiting"), (other, "Pull complete")], false),
            (&[(one, "Already exists"), (other, "Pull complete")], false),
        ];
        for (layers, unpacks) in table {
            let layer = |(id, status): &(&str, &str)| ((*id).to_owned(), ((*status).to_owned(), 0));
            let progress = Progress { layers: layers.iter().map(layer).collect() };
            let stall = Duration::from_secs(30);
            assert_eq!(progress.limit(stall) > stall, unpacks, "{layers:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = Credentials { username: "ann".into(), password: "s3cret".into() };
        assert!(!format!("{shown:?}").contains("s3cret"));
    }

    #[test]
    fn a_mirrors_word_alone_verifies_nothing_but_a_pinned_name() {
        let digests = |all: &[&str]| -> HashMap<String, String> {
            all.iter().map(|name| ((*name).to_owned(), "sha256:0".to_owned())).collect()
        };
        let (tag, pinned) = (ImageName::of("quay.io/a/b:1"), ImageName::of("quay.io/a/b@sha256:0"));
        assert!(is_unverified(&tag, &digests(&["mirror.example"])));
        assert!(!is_unverified(&tag, &digests(&["quay.io", "mirror.example"])));
        assert!(!is_unverified(&pinned, &digests(&["mirror.example"])));
        let said = unverified(&tag, "mirror.example", "sha256:0");
        assert!(said.contains("unverified: quay.io can't tell"), "{said}");
    }
}
