//! What the command line prints; the only module that writes to the standard streams.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is this module's job"
)]

use std::io::{IsTerminal, Write};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};
use serde::Serialize;

use crate::config::Problems;

/// Prints one line of a result.
pub(super) fn line(text: &str) {
    // A reader that went away (`| head`) is no error worth a message.
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string(value).expect("every view has a form in JSON"));
}

/// Prints a remark for people, apart from the result.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error.
pub(super) fn error(text: &str) {
    note(&format!("error: {text}"));
}

/// True when a person reads what [`note`] prints.
pub(super) fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints everything that is wrong with a configuration, each with its line.
pub(super) fn problems(problems: &Problems) {
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme);
    for problem in &problems.0 {
        error(&problem.to_string());
        let Some(location) = problem.location.as_ref().filter(|at| !at.is_set()) else {
            continue;
        };
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), location.span.clone());
        let diagnostic = MietteDiagnostic::new(problem.message.clone()).with_label(label);
        let source = NamedSource::new(&*location.source, location.text.to_string());
        let report = miette::Report::new(diagnostic).with_source_code(source);
        let mut text = String::new();
        if handler.render_report(&mut text, report.as_ref()).is_ok() {
            // The message stands above already; what follows it is the excerpt.
            let excerpt = text.lines().skip_while(|line| !line.contains('╭'));
            excerpt.for_each(note);
        }
    }
    if problems.0.len() > 1 {
        error(&format!("{} problems", problems.0.len()));
    }
}

/// Prints rows under a header, in columns as wide as their widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let format_row = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<_> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    line(&format_row(&mut header.iter().copied()));
    for row in rows {
        line(&format_row(&mut row.iter().map(String::as_str)));
    }
}
