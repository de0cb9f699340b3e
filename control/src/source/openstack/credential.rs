//! Who asks: a credential of `clouds.yaml`, or of the `OS_*` environment, as every OpenStack client takes them.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::secret::only_ours;
use super::super::{SourceError, file};

/// A file of clouds is no larger.
const LARGEST: u64 = 1 << 20;
/// Fields that must not be shown, and a file with one must be ours alone.
const SECRETS: [&str; 3] = ["password", "application_credential_secret", "token"];

/// A credential, and where it is for. Shown it has no secret.
#[derive(Clone)]
pub struct Credential {
    /// Where it comes from, for messages.
    pub from: String,
    /// Keystone.
    pub auth_url: reqwest::Url,
    /// The region of the endpoints; none: any.
    pub region: Option<String>,
    /// `public`, `internal`, `admin`.
    pub interface: String,
    /// Certificates that are believed, beside those of the system.
    pub cacert: Option<PathBuf>,
    /// The `auth` of a request for a token (Identity API v3).
    pub(super) request: Value,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential of {} for {}", self.from, self.auth_url)
    }
}

/// One cloud as `clouds.yaml` has it.
#[derive(Default, Deserialize)]
struct Cloud {
    #[serde(default)]
    auth: Auth,
    region_name: Option<String>,
    interface: Option<String>,
    endpoint_type: Option<String>,
    cacert: Option<PathBuf>,
    verify: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Auth {
    auth_url: Option<String>,
    username: Option<String>,
    user_id: Option<String>,
    password: Option<String>,
    user_domain_name: Option<String>,
    user_domain_id: Option<String>,
    project_name: Option<String>,
    project_id: Option<String>,
    project_domain_name: Option<String>,
    project_domain_id: Option<String>,
    domain_name: Option<String>,
    domain_id: Option<String>,
    system_scope: Option<String>,
    application_credential_id: Option<String>,
    application_credential_name: Option<String>,
    application_credential_secret: Option<String>,
}

impl Credential {
    /// What of it nobody may see.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let places = ["/identity/password/user/password", "/identity/application_credential/secret"];
        places.into_iter().filter_map(|place| self.request.pointer(place)?.as_str())
    }

    /// The credential of a cloud by its name, or that of the environment.
    pub fn find(cloud: Option<&str>, clouds_file: Option<&Path>) -> Result<Credential, SourceError> {
        let set = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
        let cloud = cloud.map(str::to_owned).or_else(|| set("OS_CLOUD"));
        match cloud {
            Some(cloud) => Credential::of_cloud(&cloud, clouds_file.map(Path::to_owned)),
            None if clouds_file.is_some() => Err(wrong("clouds_file: which of its clouds? name one by cloud = \"NAME\"".to_owned())),
            None => Credential::of_environment(set),
        }
    }

    fn of_cloud(cloud: &str, path: Option<PathBuf>) -> Result<Credential, SourceError> {
        let path = match path.or_else(|| env::var_os("OS_CLIENT_CONFIG_FILE").map(PathBuf::from)) {
            Some(path) => path,
            None => usual_places().into_iter().find(|path| path.is_file()).ok_or_else(|| {
                let places: Vec<String> = usual_places().iter().map(|path| path.display().to_string()).collect();
                wrong(format!("cloud {cloud:?}: there is no clouds.yaml; looked for {}", places.join(", ")))
            })?,
        };
        let shown = path.display().to_string();
        let mut clouds = clouds(&path)?;
        let known: Vec<String> = clouds.keys().map(|known| format!("{known:?}")).collect();
        let mut settings =
            clouds.remove(cloud).ok_or_else(|| wrong(format!("{shown}: there is no cloud {cloud:?}, only {}", known.join(", "))))?;
        // What stands in secure.yaml beside it goes before.
        let secure = path.with_file_name("secure.yaml");
        if secure.is_file()
            && let Some(more) = self::clouds(&secure)?.remove(cloud)
        {
            overlay(&mut settings, more);
        }
        // The parser would quote what it does not like.
        let settings: Cloud = serde_json::from_value(settings)
            .map_err(|_| wrong(format!("{shown}: cloud {cloud:?}: a field is not as clouds.yaml has it: texts, and a map \"auth\"")))?;
        settings.credential(format!("cloud {cloud:?} of {shown}"))
    }

    fn of_environment(set: impl Fn(&str) -> Option<String>) -> Result<Credential, SourceError> {
        let settings = Cloud {
            auth: Auth {
                auth_url: set("OS_AUTH_URL"),
                username: set("OS_USERNAME"),
                user_id: set("OS_USER_ID"),
                password: set("OS_PASSWORD"),
                user_domain_name: set("OS_USER_DOMAIN_NAME"),
                user_domain_id: set("OS_USER_DOMAIN_ID"),
                project_name: set("OS_PROJECT_NAME"),
                project_id: set("OS_PROJECT_ID"),
                project_domain_name: set("OS_PROJECT_DOMAIN_NAME"),
                project_domain_id: set("OS_PROJECT_DOMAIN_ID"),
                domain_name: set("OS_DOMAIN_NAME"),
                domain_id: set("OS_DOMAIN_ID"),
                system_scope: set("OS_SYSTEM_SCOPE"),
                application_credential_id: set("OS_APPLICATION_CREDENTIAL_ID"),
                application_credential_name: set("OS_APPLICATION_CREDENTIAL_NAME"),
                application_credential_secret: set("OS_APPLICATION_CREDENTIAL_SECRET"),
            },
            region_name: set("OS_REGION_NAME"),
            interface: set("OS_INTERFACE"),
            endpoint_type: None,
            cacert: set("OS_CACERT").map(PathBuf::from),
            verify: None,
        };
        if settings.auth.auth_url.is_none() {
            return Err(wrong("no credential: name a cloud of clouds.yaml (cloud = \"NAME\", --cloud NAME, OS_CLOUD), or set OS_AUTH_URL and the others of an openrc file".to_owned()));
        }
        settings.credential("the environment (OS_*)".to_owned())
    }
}

fn wrong(why: String) -> SourceError {
    SourceError::Configuration(why)
}

fn usual_places() -> Vec<PathBuf> {
    let home = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")));
    let folders = [Some(PathBuf::from(".")), home.map(|home| home.join("openstack")), Some("/etc/openstack".into())];
    folders.into_iter().flatten().map(|folder| folder.join("clouds.yaml")).collect()
}

/// The clouds of a file. One with a secret that others may read is refused.
fn clouds(path: &Path) -> Result<BTreeMap<String, Value>, SourceError> {
    #[derive(Deserialize)]
    struct File {
        clouds: BTreeMap<String, Value>,
    }
    let bytes = file::read(path, LARGEST)?;
    let broken = || wrong(format!("{}: found something else, allowed: YAML with a map \"clouds\"", path.display()));
    let text = str::from_utf8(&bytes).map_err(|_| broken())?;
    // What the parser says of a mistake may quote a secret.
    let file: File = serde_saphyr::from_str(text).map_err(|_| broken())?;
    let holds = |cloud: &Value| SECRETS.iter().any(|secret| cloud.pointer(&format!("/auth/{secret}")).is_some());
    if file.clouds.values().any(holds) {
        only_ours(path)?;
    }
    Ok(file.clouds)
}

/// What is in both is taken from the second.
fn overlay(first: &mut Value, second: Value) {
    match (first, second) {
        (Value::Object(first), Value::Object(second)) => {
            for (key, value) in second {
                overlay(first.entry(key).or_insert(Value::Null), value);
            }
        }
        (first, second) => *first = second,
    }
}

impl Cloud {
    fn credential(self, from: String) -> Result<Credential, SourceError> {
        let missing = |what: &str| wrong(format!("{from}: {what} is missing"));
        let Cloud { auth, region_name, interface, endpoint_type, cacert, verify } = self;
        if verify == Some(false) {
            return Err(wrong(format!("{from}: verify = false is not supported: name the certificate by cacert")));
        }
        let text = auth.auth_url.clone().ok_or_else(|| missing("auth_url"))?;
        // A version may stand at its end, or not.
        let text = text.trim_end_matches('/').trim_end_matches("/v3").to_owned() + "/v3/";
        let auth_url: reqwest::Url = text.parse().map_err(|_| wrong(format!("{from}: auth_url is no URL")))?;
        if !["http", "https"].contains(&auth_url.scheme()) || !auth_url.username().is_empty() || auth_url.password().is_some() {
            return Err(wrong(format!("{from}: auth_url: allowed: http://HOST... or https://HOST..., without a user")));
        }
        let interface = interface.or(endpoint_type).unwrap_or_else(|| "public".to_owned());
        let interface = interface.trim_end_matches("URL").to_owned();
        let request = auth.request(missing)?;
        Ok(Credential { from, auth_url, region: region_name, interface, cacert, request })
    }
}

impl Auth {
    /// The `auth` of a request for a token (Identity API v3, "Password authentication", "Authenticating with an application credential").
    fn request(self, missing: impl Fn(&str) -> SourceError) -> Result<Value, SourceError> {
        let object = |pairs: Vec<(&str, Option<Value>)>| -> Value {
            pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
        };
        let domain = |id: Option<String>, name: Option<String>| match (id, name) {
            (Some(id), _) => object(vec![("id", Some(id.into()))]),
            (None, Some(name)) => object(vec![("name", Some(name.into()))]),
            (None, None) => object(vec![("id", Some("default".into()))]),
        };
        let user = |id: Option<String>, name: Option<String>, domain: Value| match id {
            Some(id) => vec![("id", Some(Value::from(id)))],
            None => vec![("name", name.map(Value::from)), ("domain", Some(domain))],
        };
        let user_domain = domain(self.user_domain_id, self.user_domain_name);
        let (user_id, username) = (self.user_id, self.username);
        if let Some(secret) = self.application_credential_secret {
            let secret = Some(Value::from(secret));
            let credential = match (self.application_credential_id, self.application_credential_name) {
                (Some(id), _) => object(vec![("id", Some(id.into())), ("secret", secret)]),
                (None, Some(name)) if user_id.is_some() || username.is_some() => {
                    let user = object(user(user_id, username, user_domain));
                    object(vec![("name", Some(name.into())), ("secret", secret), ("user", Some(user))])
                }
                (None, Some(_)) => {
                    return Err(missing("the user of the application credential (username, or its application_credential_id)"));
                }
                (None, None) => return Err(missing("application_credential_id")),
            };
            let identity = serde_json::json!({"methods": ["application_credential"], "application_credential": credential});
            return Ok(serde_json::json!({ "identity": identity }));
        }
        let password = self.password.ok_or_else(|| missing("password (or application_credential_secret)"))?;
        if user_id.is_none() && username.is_none() {
            return Err(missing("username"));
        }
        let mut user = user(user_id, username, user_domain);
        user.push(("password", Some(password.into())));
        let identity = serde_json::json!({"methods": ["password"], "password": {"user": object(user)}});
        let project_domain = domain(self.project_domain_id, self.project_domain_name);
        let scope = match (self.system_scope, self.project_id, self.project_name, self.domain_id.is_some() || self.domain_name.is_some()) {
            (Some(_), ..) => serde_json::json!({"system": {"all": true}}),
            (None, Some(id), ..) => serde_json::json!({"project": {"id": id}}),
            (None, None, Some(name), _) => serde_json::json!({"project": {"name": name, "domain": project_domain}}),
            (None, None, None, true) => serde_json::json!({"domain": domain(self.domain_id, self.domain_name)}),
            (None, None, None, false) => return Err(missing("project_name (or system_scope)")),
        };
        Ok(serde_json::json!({ "identity": identity, "scope": scope }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, cloud: &str, mode: u32) -> Result<Credential, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clouds.yaml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Credential::of_cloud(cloud, Some(path.clone())).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    const LAB: &str = "clouds:\n  lab:\n    region_name: RegionOne\n    auth:\n      auth_url: http://127.0.0.1:5000/v3\n      username: monitor\n      password: hunter2\n      project_name: admin\n      user_domain_id: default\n      project_domain_name: Default\n";

    #[test]
    fn password_of_clouds_yaml_becomes_the_request_that_keystone_wants() {
        let lab = read(LAB, "lab", 0o600).unwrap();
        assert_eq!(
            (lab.auth_url.as_str(), lab.region.as_deref(), lab.interface.as_str()),
            ("http://127.0.0.1:5000/v3/", Some("RegionOne"), "public")
        );
        assert_eq!(
            lab.request,
            serde_json::json!({
                "identity": {"methods": ["password"], "password": {"user": {"name": "monitor", "domain": {"id": "default"}, "password": "hunter2"}}},
                "scope": {"project": {"name": "admin", "domain": {"name": "Default"}}},
            })
        );
        assert!(!format!("{lab:?}").contains("hunter2"));
    }

    #[test]
    fn application_credential_has_no_scope_of_its_own() {
        let text = "clouds:\n  lab:\n    auth_type: v3applicationcredential\n    interface: internal\n    auth:\n      auth_url: https://cloud/identity\n      application_credential_id: abc\n      application_credential_secret: hunter2\n";
        let lab = read(text, "lab", 0o600).unwrap();
        assert_eq!((lab.auth_url.as_str(), lab.interface.as_str()), ("https://cloud/identity/v3/", "internal"));
        let identity =
            serde_json::json!({"methods": ["application_credential"], "application_credential": {"id": "abc", "secret": "hunter2"}});
        assert_eq!(lab.request, serde_json::json!({ "identity": identity }));
    }

    #[test]
    fn secrets_may_stand_beside_it_in_a_file_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secure) = (folder.path().join("clouds.yaml"), folder.path().join("secure.yaml"));
        std::fs::write(&path, LAB.replace("      password: hunter2\n", "")).unwrap();
        std::fs::write(&secure, "clouds:\n  lab:\n    auth:\n      password: hunter2\n").unwrap();
        std::fs::set_permissions(&secure, std::fs::Permissions::from_mode(0o600)).unwrap();
        let lab = Credential::of_cloud("lab", Some(path.clone())).unwrap();
        assert_eq!(lab.request.pointer("/identity/password/user/password").unwrap(), "hunter2");
        std::fs::set_permissions(&secure, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Credential::of_cloud("lab", Some(path)).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn what_is_wrong_is_said_and_the_secret_is_not() {
        let said = |text: &str| read(text, "lab", 0o600).unwrap_err();
        assert!(read(LAB, "lab", 0o640).unwrap_err().contains("chmod 600 FILE"));
        assert_eq!(read(LAB, "lap", 0o600).unwrap_err(), "FILE: there is no cloud \"lap\", only \"lab\"");
        assert_eq!(said(&LAB.replace("      username: monitor\n", "")), "cloud \"lab\" of FILE: username is missing");
        assert_eq!(
            said(&LAB.replace("      project_name: admin\n", "")),
            "cloud \"lab\" of FILE: project_name (or system_scope) is missing"
        );
        for bad in [
            LAB.replace("username: monitor", "username: [hunter2"),
            LAB.replace("      auth_url", "   auth_url"),
            "hunter2".to_owned(),
            LAB.replace("username: monitor", "username: {a: hunter2}"),
        ] {
            let said = said(&bad);
            assert!(said.contains("FILE") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn environment_is_that_of_an_openrc_file() {
        let set = |name: &str| {
            let value = match name {
                "OS_AUTH_URL" => "http://keystone:5000",
                "OS_USERNAME" => "monitor",
                "OS_PASSWORD" => "hunter2",
                "OS_SYSTEM_SCOPE" => "all",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let credential = Credential::of_environment(set).unwrap();
        assert_eq!(credential.auth_url.as_str(), "http://keystone:5000/v3/");
        assert_eq!(credential.request.pointer("/scope/system/all").unwrap(), true);
        assert!(Credential::of_environment(|_| None).unwrap_err().to_string().contains("OS_AUTH_URL"));
    }
}
