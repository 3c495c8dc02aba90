//! Log lines as programs read them: one object of JSON each, gathered and written in one piece.
//!
//! To write a line by itself takes a call to the system, about as long as to answer a request.

use std::fmt::{self, Write as _};
use std::io::{self, Stdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// For how long lines are gathered: too short for anybody who reads them to notice.
const GATHER_FOR: Duration = Duration::from_millis(10);
/// With as many bytes waiting, whoever adds a line writes them all first. Nothing is dropped, and a reader who is slower
/// than we are slows us down.
const MAX_WAITING: usize = 256 * 1024;

/// Where lines go. Warnings and errors are written at once, with all that was there before them; the rest a moment
/// later, and by [`write_out`](Self::write_out) at the latest.
pub(crate) struct Lines<W = Stdout>(Arc<Shared<W>>);

struct Shared<W> {
    waiting: Mutex<Vec<u8>>,
    arrived: Condvar,
    /// The other end, and room for what is being written.
    out: Mutex<(W, Vec<u8>)>,
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: io::Write + Send + 'static> Lines<W> {
    /// Gathers lines for `out`, on a thread of its own.
    pub(crate) fn start(out: W) -> io::Result<Self> {
        let shared = Shared { waiting: Mutex::default(), arrived: Condvar::new(), out: Mutex::new((out, Vec::new())) };
        let lines = Self(Arc::new(shared));
        let theirs = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                theirs.0.wait();
                thread::sleep(GATHER_FOR);
                theirs.write_out();
            }
        })?;
        Ok(lines)
    }

    /// Writes all that waits. What cannot be written is lost, as it would be anywhere else.
    pub(crate) fn write_out(&self) {
        // Taken one after the other, so that nobody writes later lines before these.
        let mut out = lock(&self.0.out);
        let (out, lines) = &mut *out;
        std::mem::swap(lines, &mut *lock(&self.0.waiting));
        let _ = out.write_all(lines).and_then(|()| out.flush());
        lines.clear();
    }

    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = lock(&self.0.waiting);
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(line);
        let is_full = waiting.len() >= MAX_WAITING;
        drop(waiting);
        if is_urgent || is_full {
            self.write_out();
        } else if is_first {
            self.0.arrived.notify_one();
        }
    }
}

impl<W> Shared<W> {
    /// Returns when there is something to write.
    fn wait(&self) {
        let waiting = lock(&self.waiting);
        drop(self.arrived.wait_while(waiting, |waiting| waiting.is_empty()).unwrap_or_else(PoisonError::into_inner));
    }
}

/// A line is added whole or not at all, so a panic leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a, W: io::Write + Send + 'static> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Line<'a, W> {
        Line { lines: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a, W> {
        Line { lines: self, is_urgent: *event.level() <= Level::WARN }
    }
}

/// Takes one line, whole.
pub(crate) struct Line<'a, W> {
    lines: &'a Lines<W>,
    is_urgent: bool,
}

impl<W: io::Write + Send + 'static> io::Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as `{"timestamp":…,"level":…,` its fields `,"target":…}`.
pub(crate) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // What comes by way of the `log` crate says in its fields where it comes from.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        line.write_str(r#"{"timestamp":""#)?;
        SystemTime.format_time(&mut line)?;
        line.write_str(r#"","level":""#)?;
        line.write_str(metadata.level().as_str())?;
        line.write_char('"')?;
        let mut fields = Fields { line: &mut line, outcome: Ok(()) };
        event.record(&mut fields);
        fields.outcome?;
        line.write_str(r#","target":""#)?;
        Escaping(&mut line).write_str(metadata.target())?;
        line.write_str("\"}\n")
    }
}

/// Writes fields, each after a comma.
struct Fields<'l, 'w> {
    line: &'l mut Writer<'w>,
    outcome: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let put = || {
            // Names are of the program's own text and hold nothing that JSON minds.
            self.line.write_str(",\"")?;
            self.line.write_str(field.name())?;
            self.line.write_str("\":")?;
            value(self.line)
        };
        if self.outcome.is_ok() {
            self.outcome = put();
        }
    }

    fn put_text(&mut self, field: &Field, write: impl FnOnce(&mut Escaping<'_, '_>) -> fmt::Result) {
        self.put(field, |line| {
            line.write_str("\"")?;
            write(&mut Escaping(line))?;
            line.write_str("\"")
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, |text| write!(text, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, |text| text.write_str(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |line| write!(line, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |line| write!(line, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no other numbers.
        self.put(field, |line| if value.is_finite() { write!(line, "{value}") } else { line.write_str("null") });
    }
}

/// Writes the inside of a JSON string (RFC 8259 §7).
struct Escaping<'l, 'w>(&'l mut Writer<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What was written, write by write.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl Written {
        fn all(&self) -> Vec<String> {
            lock(&self.0).clone()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines that nobody writes until they are told to.
    fn untold() -> (Lines<Written>, Written) {
        let written = Written::default();
        let out = Mutex::new((written.clone(), Vec::new()));
        (Lines(Arc::new(Shared { waiting: Mutex::default(), arrived: Condvar::new(), out })), written)
    }

    fn log(lines: &Lines<Written>, what: impl FnOnce()) {
        let layer = tracing_subscriber::fmt::layer().event_format(Json).with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), what);
    }

    #[test]
    fn each_line_is_an_object_whatever_its_fields_are() {
        let (lines, written) = untold();
        log(&lines, || {
            tracing::info!(
                text = "a \"quoted\\ \n\t\u{1} ünï", number = 7_u64, negative = -7, yes = true, ratio = 0.5,
                endless = f64::INFINITY, ip = %"::1", debug = ?Some("x\ny"), error = &io::Error::other("oh \"no\"") as &dyn std::error::Error,
                "request {}", "\"1\""
            );
        });
        lines.write_out();
        let line = written.all().concat();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let mut object: Value = serde_json::from_str(&line).unwrap();
        let timestamp = object.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().parse::<domain::Timestamp>().is_ok(), "{timestamp}");
        assert_eq!(
            object,
            json!({
                "level": "INFO", "message": "request \"1\"", "text": "a \"quoted\\ \n\t\u{1} ünï", "number": 7,
                "negative": -7, "yes": true, "ratio": 0.5, "endless": null, "ip": "::1", "debug": "Some(\"x\\ny\")",
                "error": "oh \"no\"", "target": "afd::log_lines::tests",
            })
        );
    }

    #[test]
    fn lines_are_gathered_and_a_warning_is_written_at_once_behind_them() {
        let (lines, written) = untold();
        log(&lines, || {
            tracing::info!("first");
            tracing::info!("second");
            assert_eq!(written.all(), [""; 0]);
            tracing::warn!("third");
        });
        let [write] = &written.all()[..] else { panic!("{:?}", written.all()) };
        let messages = write.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].clone());
        assert_eq!(messages.collect::<Vec<_>>(), ["first", "second", "third"]);
    }

    #[test]
    fn so_many_that_they_do_not_fit_are_written_by_whoever_adds_to_them() {
        let (lines, written) = untold();
        let line = "x".repeat(MAX_WAITING / 4);
        for _ in 0..3 {
            lines.add(line.as_bytes(), false);
        }
        assert_eq!(written.all().len(), 0);
        lines.add(line.as_bytes(), false);
        assert_eq!(written.all().concat().len(), MAX_WAITING);
    }

    #[test]
    fn of_many_threads_lines_none_is_lost_torn_or_out_of_its_threads_order() {
        let written = Written::default();
        let lines = Lines::start(written.clone()).unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let lines = &lines;
                scope.spawn(move || {
                    for i in 0..5_000 {
                        lines.add(format!("{thread} {i}\n").as_bytes(), i % 1_000 == 999);
                    }
                });
            }
        });
        lines.write_out();
        let all = written.all().concat();
        for thread in 0..8 {
            let mine = all.lines().filter_map(|line| line.strip_prefix(&format!("{thread} ")));
            assert!(mine.map(|i| i.parse::<u32>().unwrap()).eq(0..5_000), "thread {thread}");
        }
    }
}
