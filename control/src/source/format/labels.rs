//! Labels, properties, custom fields: what becomes a tag `key=value`.

use serde_json::Value;

/// The members of an object that have one value, as tags. What is empty says nothing.
pub(super) fn tags(object: &Value) -> Vec<String> {
    let members = object.as_object().into_iter().flatten();
    members.filter_map(|(key, value)| Some(format!("{key}={}", scalar(value)?))).collect()
}

/// A value that is one, as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        _ => None,
    }
}
