//! Engines on the instances of a cloud: named one by one, or by a template over each instance.

use super::{Endpoint, Hosts};
use async_trait::async_trait;
use minijinja::{Environment, UndefinedBehavior, context, value::Serde};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use stepback_core::calls::Ec2Call;
use stepback_core::{Call, Failure, FailureClass};
use stepback_provider::Provider;

/// Where the engines of a cloud's instances listen.
pub struct TemplatedHosts {
    cloud: Arc<dyn Provider>,
    named: BTreeMap<String, Endpoint>,
    template: Option<String>,
}

impl TemplatedHosts {
    /// `template` is rendered with `instance`: what the cloud tells of it, such as
    /// `ssh://admin@{{ instance.private_ip }}`.
    pub fn new(
        cloud: Arc<dyn Provider>,
        named: BTreeMap<String, Endpoint>,
        template: Option<String>,
    ) -> Self {
        Self { cloud, named, template }
    }

    async fn rendered(&self, template: &str, instance: &str) -> Result<Endpoint, Failure> {
        let told =
            self.cloud.read(&Call::Ec2(Ec2Call::Describe { instance: instance.into() })).await?;
        match told["state"].as_str().unwrap_or("unknown") {
            "running" => {}
            "terminated" => return Err(stepback_provider::engines::gone(instance)),
            state => return Err(stepback_provider::engines::down(instance, state)),
        }
        render(template, &told).map_err(|why| {
            let message = format!("the Docker endpoint of {instance}: {why}");
            Failure::new(FailureClass::Precondition, message).with_code("bad-endpoint")
        })
    }
}

/// Render a template, and read what comes out.
///
/// # Errors
/// What the template asks for that the instance does not have, or no endpoint.
pub(crate) fn render(template: &str, instance: &Value) -> Result<Endpoint, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let has = without_nulls(instance);
    let rendered = environment.render_str(template, context! { instance => Serde(&has) });
    Endpoint::parse(&rendered.map_err(|error| format!("`{template}` fails: {error}"))?)
}

/// What an instance has: one without an address has null for it, which is no address.
fn without_nulls(instance: &Value) -> Value {
    match instance {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        other => other.clone(),
    }
}

#[async_trait]
impl Hosts for TemplatedHosts {
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, Failure> {
        if let Some(named) = self.named.get(instance) {
            return Ok(named.clone());
        }
        if let Some(template) = &self.template {
            return self.rendered(template, instance).await;
        }
        let message = format!(
            "no Docker Engine is known for {instance}: name it in the environment's \
             `docker.hosts`, or give `docker.endpoint`, such as \
             `ssh://admin@{{{{ instance.private_ip }}}}`"
        );
        Err(Failure::new(FailureClass::Precondition, message).with_code("no-endpoint"))
    }

    fn fixed(&self) -> Vec<String> {
        self.named.keys().cloned().collect()
    }

    fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_sees_the_instance() {
        let instance = json!({
            "id": "i-1", "private_ip": "10.0.1.11", "tags": { "Name": "db" }, "zone": null,
        });
        let table = [
            ("ssh://admin@{{ instance.private_ip }}", Ok("ssh://admin@10.0.1.11")),
            ("tcp://{{ instance.tags.Name }}.example.com:2376", Ok("tcp://db.example.com:2376")),
            ("tcp://{{ instance.zone }}:2376", Err("undefined")),
            // A name may have any word in it.
            ("tcp://none-{{ instance.tags.Name }}:2376", Ok("tcp://none-db:2376")),
            ("tcp://{{ instance.adress }}:2376", Err("undefined")),
            ("{{ instance.private_ip }}", Err("is not unix:///PATH")),
        ];
        for (template, wanted) in table {
            match (render(template, &instance), wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(found.to_string(), wanted),
                (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{template}: {why}"),
                (found, _) => panic!("{template}: {found:?}"),
            }
        }
    }
}
