//! Where an engine listens, and the connection to it.

use super::errors::{Answer, RequestError, told};
use super::leftovers::{HelperGuard, Leftovers};
use super::tls::{self, Tls};
use super::transport::{self, Heard, To};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker as Client};
use futures_util::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_provider::endpoint::Endpoint;
use stepback_provider::turn::Turns;
use tokio::io::AsyncWrite;
use tokio::sync::Mutex;

/// How long an engine may take to answer, in seconds, where nothing else is said.
pub(super) const ANSWER_S_MAX: u64 = 120;
/// How long a first answer may take, which is less than a check may.
const CONNECT_MS_MAX: u64 = 25_000;
/// Volume options of mounts as they are used here came with Docker 20.10 (Docker docs, *Engine API
/// version history*).
const API_OLDEST: (usize, usize) = (1, 41);

/// The helper that stays on a host, and the connection to it.
pub(super) struct Resident {
    pub(super) input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(super) output: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    pub(super) heard: Heard,
    /// What it said since the last answer's end.
    pub(super) said: Vec<u8>,
    pub(super) asked: u64,
    pub(super) has_ended: bool,
    /// It ends with its connection, where the engine lives to see it.
    pub(super) _made: HelperGuard,
}

/// One engine, connected.
#[derive(Clone)]
pub(super) struct Engine {
    /// The instance it runs on.
    pub(super) host: String,
    pub(super) endpoint: Endpoint,
    to: To,
    /// Where the host shows devices.
    pub(super) device_dir: String,
    pub(super) client: Client,
    pub(super) clock: Clock,
    /// Whose turn it is to choose a port there.
    pub(super) turns: Arc<Turns>,
    /// The helper that stays there, once it was needed.
    pub(super) resident: Arc<Mutex<Option<Resident>>>,
    /// The helpers that this program made there and may have left.
    pub(super) leftovers: Arc<Leftovers>,
}

impl Engine {
    pub(super) async fn connect(
        host: &str,
        endpoint: Endpoint,
        device_dir: String,
        tls: Option<&Tls>,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let what = format!("the Docker Engine of {host} at {endpoint}");
        let to = way(&endpoint, tls, clock)?;
        let client = transport::client(to.clone(), None, ANSWER_S_MAX, API_DEFAULT_VERSION);
        let client = client.map_err(|error| told(error, &what).failure)?;
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let client = match clock.timeout(limit, client.negotiate_version()).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                let told = refused(error, &what, &endpoint, tls);
                if let (Endpoint::Tcp(at), Some(tls), true) = (&endpoint, tls, told.is_unknown())
                    && let Ok(Some(alert)) = clock.timeout(limit, tls.objection(at)).await
                {
                    return Err(tls::refused(&alert, &what));
                }
                return Err(told.failure);
            }
            Err(_) => {
                let look = match &endpoint {
                    Endpoint::Unix(_) => {
                        "its dockerd takes connections and hangs: look at it there"
                    }
                    Endpoint::Tcp(_) | Endpoint::Ssh(_) => {
                        "check its address, the network and its firewall, and whether its dockerd \
                         hangs"
                    }
                };
                let message = format!("{what} does not answer in {limit:?}: {look}");
                return Err(Failure::new(FailureClass::Transient, message).with_code("no-answer"));
            }
        };
        let ClientVersion { major_version, minor_version } = client.client_version();
        if (major_version, minor_version) < API_OLDEST {
            let message = format!(
                "{what} speaks API {major_version}.{minor_version}; Stepback needs {}.{} (Docker \
                 20.10) or newer: upgrade it",
                API_OLDEST.0, API_OLDEST.1
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("api-too-old"));
        }
        let (host, clock) = (host.to_owned(), clock.clone());
        let (resident, leftovers) = <(Arc<_>, Arc<_>)>::default();
        let turns = Arc::new(Turns::at(std::iter::once(&endpoint), clock.clone()));
        Ok(Self { host, endpoint, to, device_dir, client, clock, turns, resident, leftovers })
    }

    /// A client for one stream alone, none of whose messages is longer than it may be; each that
    /// is taken is to be told.
    pub(super) fn streaming(&self, what: &str) -> Answer<(Client, Heard)> {
        let heard = Heard::default();
        let version = self.client.client_version();
        let client =
            transport::client(self.to.clone(), Some(heard.clone()), ANSWER_S_MAX, &version);
        Ok((client.map_err(|error| told(error, what))?, heard))
    }

    /// What it says of itself.
    pub(super) async fn version(&self) -> Result<String, Failure> {
        let what = format!("the Docker Engine of {} at {}", self.host, self.endpoint);
        let said = self.client.version().await.map_err(|error| told(error, &what).failure)?;
        let version = said.version.unwrap_or_default();
        let api = said.api_version.unwrap_or_default();
        Ok(format!("Docker {version}, API {api}"))
    }

    /// The engine's own id, which it keeps for its life, and that of its network `none`: before
    /// Docker 23 all engines of one machine have the one id, from `/etc/docker/key.json` (two of
    /// 20.10 were asked), and the network each makes for itself, once for a data-root.
    pub(super) async fn id(&self) -> Option<String> {
        let id = self.client.info().await.ok()?.id?;
        let none = self.client.inspect_network("none", None::<InspectNetworkOptions>).await;
        match none {
            Ok(none) => Some(none.id.map_or(id.clone(), |network| format!("{id}/{network}"))),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Some(id),
            Err(_) => None,
        }
    }

    pub(super) fn name_of(&self, kind: &str, name: &str) -> String {
        format!("{kind} `{name}` on {}", self.host)
    }

    /// An option as the host understands it: devices are named as EC2 names them.
    pub(super) fn on_host(&self, device: &str) -> String {
        self.swap_dir(device, super::DEVICE_DIR, &self.device_dir)
    }

    pub(super) fn as_named(&self, device: &str) -> String {
        self.swap_dir(device, &self.device_dir, super::DEVICE_DIR)
    }

    fn swap_dir(&self, device: &str, from: &str, to: &str) -> String {
        match device.strip_prefix(from).and_then(|rest| rest.strip_prefix('/')) {
            Some(name) => format!("{to}/{name}"),
            None => device.to_owned(),
        }
    }

    /// Where the host shows an EBS volume that is attached to it (Amazon EBS User Guide, *Amazon
    /// EBS volumes and NVMe*).
    pub(super) fn device_of(&self, volume: &str) -> String {
        let id = volume.replace('-', "");
        format!("{}/nvme-Amazon_Elastic_Block_Store_{id}", self.device_dir)
    }

    /// The same as a path below `/dev`. Elsewhere the devices of this very machine show up, as
    /// links that only it can follow.
    pub(super) fn device_on_host(&self, volume: &str) -> Option<String> {
        let device = self.device_of(volume);
        match device.starts_with("/dev/") {
            true => Some(device),
            false => Some(std::fs::canonicalize(device).ok()?.display().to_string()),
        }
    }

    /// The containers that run.
    pub(super) async fn running(&self) -> Answer<Vec<ContainerSummary>> {
        let what = format!("the containers on {}", self.host);
        let options = ListContainersOptionsBuilder::new().build();
        self.asked(&what, self.client.list_containers(Some(options))).await
    }

    /// The answer to a question, which changes nothing whatever status it has.
    pub(super) async fn looked<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Answer<T> {
        self.asked(what, answer).await.map_err(|told| match told.has_status() {
            true => RequestError::from(told.failure),
            false => told,
        })
    }

    pub(super) async fn asked<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Answer<T> {
        answer.await.map_err(|error| told(error, what))
    }
}

/// The way to an endpoint.
///
/// # Errors
/// The certificates can't be used.
fn way(endpoint: &Endpoint, tls: Option<&Tls>, clock: &Clock) -> Result<To, Failure> {
    Ok(match (endpoint, tls) {
        (Endpoint::Unix(path), _) => To::Unix(path.clone()),
        (Endpoint::Tcp(at), None) => To::Tcp(at.clone()),
        (Endpoint::Tcp(at), Some(tls)) => {
            tls::choose_cryptography();
            To::Tls(at.clone(), tls.config()?)
        }
        (Endpoint::Ssh(to), _) => To::Ssh(to.clone(), clock.clone()),
    })
}

/// Why the first request failed, with what to do where the endpoint tells more than the error.
fn refused(error: Error, what: &str, endpoint: &Endpoint, tls: Option<&Tls>) -> RequestError {
    // A server with TLS that is talked to without answers so in plain HTTP (Go, *net/http*).
    let is_bad_request = matches!(error, Error::DockerResponseServerError { status_code: 400, .. });
    let mut told = told(error, what);
    if is_bad_request && matches!(endpoint, Endpoint::Tcp(_)) && tls.is_none() {
        let message = told.failure.message.trim_end().trim_end_matches('.');
        told.failure.message =
            format!("{message}: give it `tls` in the environment's `docker` table");
    }
    told
}
