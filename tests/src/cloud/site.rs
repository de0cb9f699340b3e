//! A cloud that `cargo xtask cloud up` brought up: what is where, and requests to it as its owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use rollcall_control::source::openstack::OpenStackSettings;

/// A cloud, and a token of its administrator.
pub struct Site {
    folder: PathBuf,
    facts: Value,
    client: reqwest::Client,
    token: String,
}

impl Site {
    /// Reads `cloud.json`.
    pub async fn open(described: &Path) -> Result<Site> {
        let text = fs::read_to_string(described).with_context(|| format!("no cloud is up: cannot read {}", described.display()))?;
        let facts: Value = serde_json::from_str(&text)?;
        let folder = described.parent().context("a file in a folder")?.to_owned();
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut site = Site { folder, facts, client, token: String::new() };
        site.login().await?;
        Ok(site)
    }

    async fn login(&mut self) -> Result<()> {
        let password = fs::read_to_string(self.text("/accounts/admin/password_file")?)?;
        let domain = json!({"id": "default"});
        let user = json!({"name": "admin", "domain": domain, "password": password.trim()});
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": {"name": "admin", "domain": domain}}}});
        let answer = self.client.post(format!("{}/auth/tokens", self.text("/auth_url")?)).json(&body).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "no token for admin: {}", answer.status());
        self.token = answer.headers().get("X-Subject-Token").context("a token")?.to_str()?.to_owned();
        Ok(())
    }

    /// A fact by its place in `cloud.json`.
    pub fn text(&self, place: &str) -> Result<&str> {
        self.facts.pointer(place).and_then(Value::as_str).with_context(|| format!("cloud.json has no {place}"))
    }

    /// How many there are of something.
    pub fn count(&self, what: &str) -> Result<u64> {
        self.facts.pointer(&format!("/counts/{what}")).and_then(Value::as_u64).with_context(|| format!("cloud.json counts no {what}"))
    }

    /// Where its `clouds.yaml` is.
    pub fn clouds_file(&self) -> Result<PathBuf> {
        Ok(self.text("/clouds_yaml")?.into())
    }

    /// As the account of the least rights is asked. Its servers were made a moment ago; here they count as old.
    pub fn settings(&self, cloud: &str) -> Result<OpenStackSettings> {
        let settings = OpenStackSettings::new("cloud", Some(cloud.to_owned()), Some(self.clouds_file()?));
        Ok(OpenStackSettings { grace: Duration::ZERO, ..settings })
    }

    /// A request to one of its services (`network`, `compute`, `identity`) as its administrator. The answer may be empty.
    pub async fn call(&self, method: Method, service: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let url = format!("{}{path}", self.text(&format!("/endpoints/{service}"))?);
        let mut request = self.client.request(method.clone(), url).header("X-Auth-Token", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, bytes) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
        Ok(if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? })
    }

    /// What nova-compute would do to a server; what it says of it.
    pub fn server(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(self.text("/commands/server")?);
        let output = command.args(words).stdin(Stdio::null()).output().context("cannot run the cloud's `server`")?;
        let said: Value = serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        match said.get("error") {
            Some(error) => bail!("server {words:?}: {error}"),
            None => Ok(said),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
