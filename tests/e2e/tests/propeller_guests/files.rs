//! Directories of the settings.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

/// What a guest says of each of these errands.
async fn errands(settings: &str, errands: &[&str]) -> Vec<String> {
    let outcome = run(&host(settings, None), GuestName::Files, "", errands).await;
    let said = text(&outcome);
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), errands.len(), "{said}");
    lines
}

fn directory(path: &Path, name: &str, writable: bool) -> String {
    format!("[[directories]]\npath = {path:?}\nname = {name:?}\nwritable = {writable}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filesystem_runs_in_a_directory_of_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), "content").unwrap();
    let settings = directory(folder.path(), "/data", true);
    let said = errands(
        &settings,
        &[
            "read /data/there",
            "write /data/new",
            "read /data/new",
            "make /data/folder",
            "write /data/folder/deep",
            "read /data/folder/../new",
            "rename /data/new /data/newer",
            "list /data",
            "remove /data/there",
            "list /data",
        ],
    )
    .await;
    assert_eq!(
        said,
        [
            "read /data/there: content",
            "write /data/new: written",
            "read /data/new: written",
            "make /data/folder: made",
            "write /data/folder/deep: written",
            "read /data/folder/../new: written",
            "rename /data/new /data/newer: renamed",
            "list /data: folder newer there",
            "remove /data/there: removed",
            "list /data: folder newer",
        ]
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("newer")).unwrap(),
        "written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_read_only_unless_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), "content").unwrap();
    let settings = format!(
        "[[directories]]\npath = {:?}\nname = \"/data\"",
        folder.path()
    );
    let said = errands(
        &settings,
        &[
            "read /data/there",
            "list /data",
            "write /data/new",
            "write /data/there",
            "make /data/folder",
            "remove /data/there",
            "rename /data/there /data/new",
            "link /data/there /data/new",
        ],
    )
    .await;
    assert_eq!(
        said[..2],
        ["read /data/there: content", "list /data: there"]
    );
    for line in &said[2..] {
        assert!(line.contains(": failed, "), "{line}");
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("there")).unwrap(),
        "content"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// `..`, absolute paths, links of both kinds, links in the middle of a path: nothing leads out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_of_a_directory() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "canary").unwrap();
    let folder = outside.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(folder.join("inner")).unwrap();
    fs::write(folder.join("there"), "content").unwrap();
    symlink("../secret", folder.join("up")).unwrap();
    symlink(outside.path().join("secret"), folder.join("absolute")).unwrap();
    symlink("..", folder.join("parent")).unwrap();
    symlink("/", folder.join("root")).unwrap();
    symlink("../../secret", folder.join("inner/further")).unwrap();
    symlink("/proc/self/environ", folder.join("environment")).unwrap();
    // One that stays inside leads where it says.
    symlink("there", folder.join("inside")).unwrap();
    let secret = outside.path().join("secret").display().to_string();
    let absolute = format!("read {secret}");
    let through_root = format!("read /data/root{secret}");
    let errand_list = [
        "read /data/../secret",
        "read /data/inner/../../secret",
        "read /data/up",
        "read /data/absolute",
        "read /data/parent/secret",
        "read /data/inner/further",
        "read /data/environment",
        "read /secret",
        "read secret",
        "read ../secret",
        "list /data/..",
        "list /data/parent",
        "list /",
        "list /data/root",
        "write /data/up",
        "write /data/parent/new",
        "write /data/../new",
        "make /data/../new",
        "rename /data/there /data/../there",
        "link /data/up /data/copy2",
        &absolute,
        &through_root,
    ];
    let settings = directory(&folder, "/data", true);
    for line in errands(&settings, &errand_list).await {
        // A hard link to a link is a link, and leads nowhere either.
        let harmless = line.starts_with("link /data/up ");
        assert!(line.contains(": failed, ") || harmless, "{line}");
        assert!(!line.contains("canary"), "{line}");
    }
    let said = errands(&settings, &["read /data/copy2", "read /data/inside"]).await;
    assert!(said[0].contains(": failed, "), "{}", said[0]);
    assert_eq!(said[1], "read /data/inside: content");
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "canary"
    );
    assert!(!outside.path().join("new").exists() && !outside.path().join("there").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_not_there_or_the_kernels_refuses_the_task() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("/proc/self", &link).unwrap();
    for path in [folder.path().join("missing"), link] {
        let executor = host(&directory(&path, "/data", false), None);
        let outcome = run(&executor, GuestName::Files, "", &["list /data"]).await;
        assert_eq!(code(&outcome), "host-failed");
        let words = outcome.error.unwrap().full_words();
        assert!(words.contains(&path.display().to_string()), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_settings_there_are_no_files() {
    let said = errands(
        "",
        &["list /", "read /etc/hostname", "write /tmp/new", "list ."],
    )
    .await;
    assert!(
        said.iter().all(|line| line.contains(": failed, ")),
        "{said:?}"
    );
}
