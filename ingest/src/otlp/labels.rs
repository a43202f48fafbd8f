//! Loki's index labels of a resource (api.md 10.5).
//!
//! Source: Loki 3.7 `pkg/loghttp/push/otlp.go`, with its default `otlp_config` and service name
//! discovery. All other attributes are structured metadata, which queries make from the stream.

use std::borrow::Cow;

use model::{AttributesRef, Labels, LabelsBuilder, Reason, Value, value_to_json};

use super::values::{Caps, Fault, too_large};

/// Resource attributes that become index labels, with the labels' names.
const INDEX_LABELS: [(&str, &str); 18] = [
    ("service.name", "service_name"),
    ("service.namespace", "service_namespace"),
    ("service.instance.id", "service_instance_id"),
    ("deployment.environment", "deployment_environment"),
    ("deployment.environment.name", "deployment_environment_name"),
    ("cloud.region", "cloud_region"),
    ("cloud.availability_zone", "cloud_availability_zone"),
    ("k8s.cluster.name", "k8s_cluster_name"),
    ("k8s.namespace.name", "k8s_namespace_name"),
    ("k8s.pod.name", "k8s_pod_name"),
    ("k8s.container.name", "k8s_container_name"),
    ("container.name", "container_name"),
    ("k8s.replicaset.name", "k8s_replicaset_name"),
    ("k8s.deployment.name", "k8s_deployment_name"),
    ("k8s.statefulset.name", "k8s_statefulset_name"),
    ("k8s.daemonset.name", "k8s_daemonset_name"),
    ("k8s.cronjob.name", "k8s_cronjob_name"),
    ("k8s.job.name", "k8s_job_name"),
];

/// Index labels that can stand in for a missing service name (Loki's list, as far as a resource can
/// have them as labels).
const SERVICE_NAME_STAND_INS: [&str; 3] = ["container_name", "k8s_container_name", "k8s_job_name"];

const SERVICE_NAME: &str = "service_name";
const UNKNOWN_SERVICE: &str = "unknown_service";

/// The labels of a stream of log records that come from this resource.
pub(super) fn of_resource(resource: AttributesRef<'_>, caps: &Caps) -> Result<Labels, Fault> {
    let mut builder = LabelsBuilder::default();
    let mut service: Option<Cow<'_, str>> = None;
    let mut stand_in: Option<Cow<'_, str>> = None;
    for (key, value) in resource.iter() {
        let Some(&(_, label)) = INDEX_LABELS.iter().find(|(attribute, _)| *attribute == key) else {
            continue;
        };
        let value = as_text(value);
        if value.len() > caps.label_value_bytes_max {
            return Err(too_large(
                Reason::LabelValueTooLong,
                "a resource attribute that is an index label is too many bytes long",
                (value.len(), caps.label_value_bytes_max),
                "max_label_value_bytes",
            ));
        }
        builder.push(label, &value);
        if value.is_empty() {
            continue;
        }
        if label == SERVICE_NAME {
            service.get_or_insert(value);
        } else if SERVICE_NAME_STAND_INS.contains(&label) {
            stand_in.get_or_insert(value);
        }
    }
    if service.is_none() {
        builder.push(SERVICE_NAME, stand_in.as_deref().unwrap_or(UNKNOWN_SERVICE));
    }
    Ok(builder.finish())
}

/// A value as Loki writes it into a label.
fn as_text(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Str(text) => Cow::Borrowed(text),
        Value::Empty => Cow::Borrowed(""),
        Value::Bytes(_) => Cow::Owned(value_to_json(value).trim_matches('"').to_owned()),
        other => Cow::Owned(value_to_json(other)),
    }
}
