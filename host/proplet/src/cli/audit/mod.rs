//! `proplet audit`: logs of what hosts did, verified and shown.
//!
//! Whoever has the disk of a host has its log, and so may have changed it. `verify` tells; `show` shows what is there,
//! whether it holds or not, and says so. Neither needs a TEE, a network or the host.

mod claimed;
mod logs;

use proplet_audit::{
    Entry,
    verify::{Linked, Report, Verifier},
};
use proplet_jose::{jwk::PrivateKey, keyfile};
use proplet_types::{Code, text::line};
use serde_json::{Value, json};

use self::claimed::Claimed;
use super::{
    arguments::{AuditShow, AuditVerify},
    console::Console,
    error::CliError,
    files,
};

/// The report goes to standard output; what does not hold, to standard error, and is an error.
pub(super) fn verify(arguments: &AuditVerify, console: &mut Console<'_>) -> Result<(), CliError> {
    let mut claims = Vec::new();
    for path in &arguments.receipt {
        claims.extend(Claimed::read(path, console.stdin)?);
    }
    claims.extend(arguments.head.iter().copied().map(Claimed::head));
    let mut verifier = Verifier::new();
    for claim in &claims {
        verifier.look_for(claim.head);
    }
    for boot in &arguments.boot {
        verifier.only(boot.clone());
    }
    // Which key signs the receipts of each boot, as its log says.
    let mut keys = std::collections::BTreeMap::new();
    for log in logs::find(&arguments.logs)? {
        log.read(&mut verifier, arguments.exported, console.stdin, |entry| {
            if entry.kind == "host"
                && let Some(key) = entry.text("receipt_key")
            {
                // A boot says it once, before anything else: what comes later under its name is somebody else's word.
                keys.entry(entry.chain.clone())
                    .or_insert_with(|| key.to_owned());
            }
        })?;
    }
    let report = verifier.finish();
    if report.lines == 0 {
        // A check that found nothing to look at must not look like one that found nothing wrong.
        return Err(CliError::new(
            Code::NotVerified,
            if arguments.exported {
                "no line of an audit log is in what was read, or none of the boots that --boot names: give the text of \
                 the messages as they are, for instance what `journalctl --output cat` prints"
            } else {
                "no line of an audit log is in what was read: get the files from where the host wrote them"
            },
        ));
    }
    let refusals: Vec<_> = claims
        .iter()
        .filter_map(|claim| claim.refusal(&report, &keys))
        .collect();
    if console.json {
        console.value(&to_json(&report, &claims, &refusals))?;
    } else {
        console.text(&to_text(&report, &claims))?;
        for broken in &report.breaks {
            console.note(&line(&broken.to_string()));
        }
    }
    conclusion(&report, &refusals)
}

/// One line for each entry, or one JSON value in each line.
pub(super) fn show(arguments: &AuditShow, console: &mut Console<'_>) -> Result<(), CliError> {
    let key = match &arguments.key {
        None => None,
        Some(path) => {
            let file = files::read("key", path, files::MAX_KEY_BYTES)?;
            let key = keyfile::private_key(&file);
            Some(key.map_err(|error| CliError::input("key", path, error))?)
        }
    };
    let is_wanted = |entry: &Entry| {
        arguments
            .task
            .as_ref()
            .is_none_or(|task| entry.task.as_ref() == Some(task))
            && (arguments.kind.is_empty() || arguments.kind.contains(&entry.kind))
    };
    let mut verifier = Verifier::new();
    for boot in &arguments.boot {
        verifier.only(boot.clone());
    }
    let mut nothing = std::io::empty();
    let (stdin, mut console) = console.apart(&mut nothing);
    for log in logs::find(&arguments.logs)? {
        let mut shown = Ok(());
        log.read(&mut verifier, arguments.exported, stdin, |entry| {
            if shown.is_ok() && is_wanted(entry) {
                shown = show_entry(entry, key.as_ref(), &mut console);
            }
        })?;
        shown?;
    }
    let report = verifier.finish();
    if report.others > 0 && !console.json {
        console.note(&others(&report));
    }
    match report.is_whole() {
        true => Ok(()),
        false => Err(CliError::new(
            Code::NotVerified,
            "this log does not hold: `proplet audit verify` says where",
        )),
    }
}

fn show_entry(
    entry: &Entry,
    key: Option<&PrivateKey>,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let opened = match key {
        Some(key) => entry.open(key).map_err(|error| error.to_string()),
        None => Ok(None),
    };
    if console.json {
        let mut shown = json!({
            "chain": entry.chain,
            "seq": entry.seq,
            "hash": entry.hash,
            "kind": entry.kind,
            "task": entry.task,
            "code": entry.code,
            "about": entry.about,
            "sealed": entry.sealed.is_some(),
            "untrusted_time": entry.untrusted_time,
        });
        let more = match opened {
            Ok(Some(opened)) => Some(("opened", Value::Object(opened))),
            Ok(None) => None,
            Err(error) => Some(("not_opened", error.into())),
        };
        if let (Some((name, value)), Some(members)) = (more, shown.as_object_mut()) {
            members.insert(name.to_owned(), value);
        }
        return Ok(console.text(&shown.to_string())?);
    }
    let mut text = format!("{} {:<17}", entry.untrusted_time, entry.kind);
    if let Some(task) = &entry.task {
        text.push_str(&format!(" task={task}"));
    }
    if let Some(code) = &entry.code {
        text.push_str(&format!(" code={code}"));
    }
    let sealed = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => serde_json::Map::new(),
        Err(error) => [("not_opened".to_owned(), error.into())]
            .into_iter()
            .collect(),
    };
    for (name, value) in entry.about.iter().chain(&sealed) {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!(" {name}={value}"));
    }
    if entry.sealed.is_some() && key.is_none() {
        text.push_str(" (more is sealed: --key)");
    }
    Ok(console.text(&line(&text))?)
}

fn conclusion(report: &Report, refusals: &[String]) -> Result<(), CliError> {
    let breaks = (report.breaks.len() as u64).saturating_add(report.more_breaks);
    let mut wrong = refusals.to_vec();
    if breaks > 0 {
        wrong.insert(
            0,
            format!(
                "{breaks} lines do not hold, the first is {}",
                report
                    .breaks
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default()
            ),
        );
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(
            Code::NotVerified,
            format!(
                "{}; the log was changed, or is not whole: get it from where the host wrote it",
                wrong.join("; ")
            ),
        )),
    }
}

fn others(report: &Report) -> String {
    format!(
        "{} lines that are not of this log were passed over",
        report.others
    )
}

fn to_text(report: &Report, claims: &[Claimed]) -> String {
    let mut text = format!(
        "files     {}\nlines     {}\ntasks     {} whose chains end as the log says\n",
        report.files, report.lines, report.tasks
    );
    for boot in &report.boots {
        let mut row = format!(
            "boot      {} from {} (untrusted): {} entries, head {}",
            boot.name, boot.untrusted_begin, boot.entries, boot.head
        );
        if boot.begins_elsewhere {
            row.push_str("; begins in a file that is not here");
        }
        if !boot.stopped {
            row.push_str("; without a stop: it runs, crashed, or its end is not here");
        }
        if boot.open_tasks > 0 {
            row.push_str(&format!("; {} tasks without an end", boot.open_tasks));
        }
        text.push_str(&row);
        text.push('\n');
    }
    if report.lost > 0 {
        text.push_str(&format!(
            "lost      {} lines were never written, as the log says: its disk failed\n",
            report.lost
        ));
    }
    if report.others > 0 {
        text.push_str(&format!("others    {}\n", others(report)));
    }
    for place in &report.torn {
        text.push_str(&format!("torn      {place} was not written whole\n"));
    }
    for file in &report.absent {
        text.push_str(&format!("absent    {}, which the log names\n", line(file)));
    }
    for claim in claims {
        if let Some(found) = report.found.get(&claim.head) {
            let said = line(&claim.says);
            let led = match found.linked {
                Linked::Whole => "",
                Linked::Elsewhere => "; its chain begins in a file that is not here",
                Linked::Not => "; what led to it is not whole",
            };
            text.push_str(&format!("found     {said}: {}{led}\n", found.place));
        }
    }
    text
}

fn to_json(report: &Report, claims: &[Claimed], refusals: &[String]) -> Value {
    let boots = report.boots.iter().map(|boot| {
        json!({
            "name": boot.name,
            "untrusted_begin": boot.untrusted_begin,
            "begins_elsewhere": boot.begins_elsewhere,
            "entries": boot.entries,
            "head": boot.head,
            "stopped": boot.stopped,
            "open_tasks": boot.open_tasks,
        })
    });
    let place =
        |place: &proplet_audit::verify::Place| json!({"file": place.file, "line": place.line});
    let found = claims.iter().filter_map(|claim| {
        let found = report.found.get(&claim.head)?;
        Some(json!({
            "head": claim.head,
            "of": claim.says,
            "place": place(&found.place),
            "linked": match found.linked {
                Linked::Whole => "whole",
                Linked::Elsewhere => "elsewhere",
                Linked::Not => "not",
            },
            "kind": found.entry.kind,
            "task": found.entry.task,
        }))
    });
    json!({
        "verified": report.breaks.is_empty() && refusals.is_empty(),
        "files": report.files,
        "lines": report.lines,
        "others": report.others,
        "tasks": report.tasks,
        "lost": report.lost,
        "boots": boots.collect::<Vec<_>>(),
        "torn": report.torn.iter().map(place).collect::<Vec<_>>(),
        "absent": report.absent,
        "breaks": report.breaks.iter().map(|broken| json!({
            "file": broken.place.file,
            "line": broken.place.line,
            "message": broken.broken.to_string(),
        })).collect::<Vec<_>>(),
        "more_breaks": report.more_breaks,
        "found": found.collect::<Vec<_>>(),
        "refused": refusals,
    })
}
