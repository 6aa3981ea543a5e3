//! Files that are turned over, removed, left by an earlier boot, and shared with nobody.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::verify::Broken;

#[tokio::test]
async fn files_are_turned_over_and_hang_together() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let audit = open(options(Place::Folder {
        path: path.clone(),
        max_file_bytes: 2000,
        max_bytes: None,
    }))
    .await;
    let long = audit.begin("long");
    for n in 0..20 {
        let task = audit.begin(&n.to_string());
        task.record(Event::Accepted { encrypted: false });
        long.record(result(&n.to_string()));
        task.end(None);
    }
    long.end(None);
    audit.flush().await.unwrap();
    let found = files(&path);
    assert!(found.len() > 5, "{}", found.len());
    for (name, text) in &found[1..] {
        assert!(text.len() < 3000, "{name}");
        let first = Entry::parse(text.lines().next().unwrap().as_bytes()).unwrap();
        assert_eq!(
            (first.kind.as_str(), first.number("lost")),
            ("file", Some(0))
        );
    }
    let report = verified(&found, &[]);
    assert_eq!((report.breaks, report.tasks), (Vec::new(), 21));
    // Without the first ones it still holds, and says so; without one in between it does not.
    let rest = verified(&found[2..], &[]);
    assert_eq!(rest.breaks, []);
    assert!(rest.boots[0].begins_elsewhere);
    let without = [&found[..2], &found[3..]].concat();
    assert!(matches!(
        verified(&without, &[]).breaks[0].broken,
        Broken::Missing { .. }
    ));
}

#[tokio::test]
async fn the_oldest_files_go_and_the_log_says_so() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let limited = || {
        options(Place::Folder {
            path: path.clone(),
            max_file_bytes: 2000,
            max_bytes: Some(8000),
        })
    };
    let audit = open(limited()).await;
    for n in 0..60 {
        audit.record(Event::TaskInterrupted {
            task: n.to_string(),
        });
        audit.flush().await.unwrap();
    }
    let found = files(&path);
    let bytes: usize = found.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes <= 8000 + 1000, "{bytes}");
    assert_ne!(found[0].0, crate::disk::name(1));
    let report = verified(&found, &[audit.head()]);
    assert!(report.is_whole() && report.boots[0].begins_elsewhere);
    let removed = entries(&found)
        .into_iter()
        .filter(|entry| entry.kind == "file-removed");
    for entry in removed {
        assert!(
            found
                .iter()
                .all(|(name, _)| Some(name.as_str()) != entry.text("file"))
        );
        assert!(entry.number("bytes").unwrap() > 1000);
    }
    assert_eq!(audit.health().borrow().state, State::Good);
}

#[tokio::test]
async fn as_many_files_are_kept_as_fit() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let limited = |max_file_bytes, max_bytes| {
        options(Place::Folder {
            path: path.clone(),
            max_file_bytes,
            max_bytes: Some(max_bytes),
        })
    };
    let write = async |audit: &Audit| {
        for n in 0..40 {
            audit.record(Event::TaskInterrupted {
                task: n.to_string(),
            });
            audit.flush().await.unwrap();
        }
        // What the last one had removed.
        audit.flush().await.unwrap();
    };
    // The line that makes a file full stands in it, and it is kept all the same.
    for files_kept in [2, 4] {
        let audit = open(limited(2000, files_kept * 2000)).await;
        write(&audit).await;
        let found = files(&path);
        assert_eq!(found.len() as u64, files_kept);
        let done = &found[..found.len() - 1];
        assert!(done.iter().all(|(_, text)| text.len() > 2000));
        assert!(verified(&found, &[]).is_whole());
        drop(audit);
    }
    // Longer ones count in full, as those of a boot with other settings.
    let name = crate::disk::name(1000);
    let long = 2000 + 2 * crate::entry::MAX_LINE_BYTES;
    fs::write(path.join(&name), "x".repeat(long)).unwrap();
    let audit = open(limited(2000, 20_000)).await;
    write(&audit).await;
    assert!(files(&path).iter().all(|(found, _)| *found != name));
}

#[tokio::test]
async fn a_boot_says_how_the_one_before_ended() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let first = open(options(folder(&path))).await;
    let running = first.begin("running");
    running.record(Event::Accepted { encrypted: true });
    first.flush().await.unwrap();
    // As a kill would leave it: the end of the task is not written, and a line is torn.
    let file = path.join(crate::disk::name(1));
    let mut before = fs::read_to_string(&file).unwrap();
    running.end(None);
    drop((running, first));
    before.push_str("{\"chain\":\"to");
    fs::write(&file, &before).unwrap();

    let second = open(options(folder(&path))).await;
    second.record(Event::TaskInterrupted {
        task: "running".to_owned(),
    });
    second.flush().await.unwrap();
    let found = files(&path);
    let report = verified(&found, &[]);
    assert_eq!(report.breaks, []);
    assert_eq!((report.torn.len(), report.torn[0].line), (1, 4));
    assert_eq!(
        (report.boots[0].open_tasks, report.boots[0].stopped),
        (1, false)
    );
    let earlier = &entries(&found[1..])[1];
    assert_eq!(earlier.kind, "earlier-log");
    assert_eq!(earlier.text("file"), Some(found[0].0.as_str()));
    assert_eq!(earlier.about["torn"], true);

    // Whoever cuts more off afterwards is found out, and so is who takes the file away.
    let mut cut = found.clone();
    let whole = cut[0].1.rfind('\n').unwrap();
    let end = cut[0].1[..whole].rfind('\n').unwrap();
    cut[0].1.truncate(end + 1);
    assert!(matches!(
        verified(&cut, &[]).breaks[0].broken,
        Broken::EarlierEnd { .. }
    ));
    assert_eq!(verified(&found[1..], &[]).absent, [found[0].0.clone()]);
    assert_eq!(report.absent, [""; 0]);
}

#[tokio::test]
async fn two_do_not_share_a_folder_and_others_do_not_write_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("audit");
    let first = open(options(folder(&path))).await;
    let (_second, opening) = Audit::open(options(folder(&path))).unwrap();
    let error = opening.done().await.unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    drop(first);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o757)).unwrap();
    let (_third, opening) = Audit::open(options(folder(&path))).unwrap();
    let error = opening.done().await.unwrap_err();
    assert!(matches!(error, OpenError::Shared { .. }), "{error}");
}
