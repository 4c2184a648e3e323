//! Effects on Docker volumes and images.

use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::stamps::labels;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{RemoveImageOptions, RemoveVolumeOptions};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use stepback_core::FailureClass;
use stepback_provider::EffectContext;

impl Engine {
    /// Create a volume. Docker answers success for a name that exists and keeps its old options
    /// (*VolumeCreate*), so they are looked at first: whoever asks for others would mount another
    /// device than it means.
    pub(super) async fn create_volume(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
        context: &EffectContext,
    ) -> Answer<Value> {
        let what = self.name_of("Docker volume", name);
        if let Some(old) = self.find_volume(name).await? {
            return match self.raw_options_of(&old) == *options {
                true => Ok(self.volume_shown(&old)),
                false => {
                    let message = format!("{what} has other options");
                    Err(RequestError::no(FailureClass::Refused, "409", message))
                }
            };
        }
        let option = |(key, value): (&String, &String)| match key.as_str() {
            "device" => (key.clone(), self.on_host(value)),
            _ => (key.clone(), value.clone()),
        };
        let options: HashMap<String, String> = options.iter().map(option).collect();
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            driver_opts: Some(options),
            labels: Some(labels(context)),
            ..Default::default()
        };
        let made = self.asked(&what, self.client.create_volume(request)).await?;
        Ok(self.volume_shown(&made))
    }

    pub(super) async fn remove_volume(&self, name: &str) -> Answer<Value> {
        let what = self.name_of("Docker volume", name);
        let options = None::<RemoveVolumeOptions>;
        self.asked(&what, self.client.remove_volume(name, options)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn remove_image(&self, image: &str) -> Answer<Value> {
        let what = self.name_of("image", image);
        let options = None::<RemoveImageOptions>;
        self.asked(&what, self.client.remove_image(image, options, None)).await?;
        Ok(Value::Null)
    }
}
