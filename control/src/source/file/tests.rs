use super::*;

fn settings(path: &Path) -> FileSettings {
    let text = format!("name = \"lab\"\npath = {:?}\nformat = \"prometheus\"\nnetwork = \"blue\"", path.to_str().unwrap());
    toml::from_str(&text).unwrap()
}

fn target(address: &str) -> String {
    format!("[{{\"targets\":[\"{address}:9100\"]}}]")
}

#[tokio::test]
async fn a_file_is_read_again_each_time_and_an_error_leaves_what_was_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("targets.json");
    let mut file = File::new(settings(&path)).unwrap();
    assert!(file.list(&mut |_| {}).await.unwrap_err().to_string().contains("No such file"), "it need not be there yet");
    assert_eq!(file.known(), None);
    std::fs::write(&path, target("10.0.0.1")).unwrap();
    let first = file.list(&mut |_| {}).await.unwrap();
    assert_eq!(file.list(&mut |_| {}).await.unwrap(), first, "the same bytes are the same list");
    std::fs::write(&path, target("10.0.0.2")).unwrap();
    let second = file.list(&mut |_| {}).await.unwrap();
    assert_eq!(second.hosts[0].id, "blue/10.0.0.2");
    for bad in ["", "[", "[]", "{}"] {
        std::fs::write(&path, bad).unwrap();
        assert!(file.list(&mut |_| {}).await.is_err(), "{bad}");
        assert_eq!(file.known(), Some(second.clone()), "{bad}");
    }
    assert_eq!(file.name(), "lab");
}

#[tokio::test]
async fn what_is_no_plain_file_or_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = File::new(settings(directory.path())).unwrap().list(&mut |_| {}).await.unwrap_err().to_string();
    assert!(error.ends_with("found no plain file, allowed: a plain file"), "{error}");
    let path = directory.path().join("targets.json");
    std::fs::write(&path, target("10.0.0.1")).unwrap();
    let mut settings = settings(&path);
    settings.max_bytes = 10;
    let error = File::new(settings).unwrap().list(&mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("more than 10 bytes") && error.contains("max_bytes"), "{error}");
}

#[test]
fn settings_that_nobody_knows_are_refused() {
    let known = "name = \"a\"\npath = \"b\"\nformat = \"neutron\"\ndevice_owner = [\"compute:*\", \"network:*\"]\n[networks]\nx = \"y\"\n";
    assert!(toml::from_str::<FileSettings>(known).is_ok());
    assert!(toml::from_str::<FileSettings>(&format!("netwrok = \"x\"\n{known}")).is_err());
}
