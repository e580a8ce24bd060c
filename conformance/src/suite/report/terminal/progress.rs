//! The runner's live line: how far it is, what runs, how long it may take yet. Redrawn in place on a
//! terminal; elsewhere lines now and then. It must not know what modules do.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{Style, duration, one_line, rough};
use crate::suite::verdict::Verdict;

/// Runs of up to so many modules get a line for each where nothing can be redrawn; longer ones get
/// ten, and one for each failure.
const LINE_EACH: usize = 40;

/// Progress of a run, written to the standard error stream. Shared by reference.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    style: Style,
    state: Mutex<State>,
}

impl Progress {
    /// For a run of so many modules that begins now.
    pub fn new(total: usize) -> Self {
        let stream = io::stderr();
        let mut style = Style::of(&stream);
        // A dumb terminal cannot clear a line.
        if !stream.is_terminal() || std::env::var("TERM").is_ok_and(|name| name == "dumb") {
            style.width = None;
        }
        Self { began: Instant::now(), style, state: Mutex::new(State::new(total)) }
    }

    /// What a module is expected to take, until the first ones have ended and say it themselves.
    #[must_use]
    pub fn expecting(self, seconds: f64) -> Self {
        self.change(|state| state.expected = Some(seconds));
        self
    }

    /// How many modules run side by side; the most seen so far if not said.
    #[must_use]
    pub fn parallel(self, modules: usize) -> Self {
        self.change(|state| state.parallel = Some(modules));
        self
    }

    /// A module has begun.
    pub fn started(&self, id: &str) {
        self.change(|state| state.started(id));
        self.redraw();
    }

    /// A module has ended.
    pub fn finished(&self, id: &str, verdict: Verdict, seconds: f64) {
        let line = self.change(|state| state.finished(id, verdict, seconds, self.elapsed()));
        if self.style.width.is_some() {
            self.redraw();
        } else if let Some(line) = line {
            say(&format!("{line}\n"));
        }
    }

    /// Draws the line again: the time has gone on. Nothing where nothing can be redrawn.
    pub fn redraw(&self) {
        if let Some(width) = self.style.width {
            let line = self.change(|state| state.line(self.elapsed(), width, &self.style));
            say(&format!("\r{line}\x1b[K"));
        }
    }

    /// Takes the line away, so that what follows has the terminal for itself.
    pub fn clear(&self) {
        if self.style.width.is_some() {
            say("\r\x1b[K");
        }
    }

    fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A stream that is gone is no reason to end the run.
fn say(text: &str) {
    let mut stream = io::stderr().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}

#[derive(Debug)]
struct State {
    total: usize,
    done: usize,
    failed: usize,
    seconds: f64,
    running: Vec<String>,
    most: usize,
    expected: Option<f64>,
    parallel: Option<usize>,
}

impl State {
    const fn new(total: usize) -> Self {
        Self {
            total,
            done: 0,
            failed: 0,
            seconds: 0.0,
            running: Vec::new(),
            most: 1,
            expected: None,
            parallel: None,
        }
    }

    fn started(&mut self, id: &str) {
        self.running.push(id.to_owned());
        self.most = self.most.max(self.running.len());
    }

    /// Counts, and gives the line to write where nothing can be redrawn.
    fn finished(
        &mut self,
        id: &str,
        verdict: Verdict,
        seconds: f64,
        elapsed: f64,
    ) -> Option<String> {
        if let Some(at) = self.running.iter().position(|running| running == id) {
            self.running.remove(at);
        }
        let tenth = |done: usize| (done * 10).checked_div(self.total);
        let before = tenth(self.done);
        self.done += 1;
        let step = tenth(self.done) != before;
        self.seconds += seconds;
        self.failed += usize::from(verdict == Verdict::Failed);
        let each = self.total <= LINE_EACH || verdict == Verdict::Failed;
        if each {
            let (id, seconds) = (one_line(id, true), duration(seconds));
            return Some(format!("{}: {verdict}  {id}  {seconds}", self.counts()));
        }
        step.then(|| format!("{}{}", self.counts(), self.times(elapsed)))
    }

    /// Modules to come × what one takes on average / how many run side by side.
    fn seconds_left(&self) -> Option<f64> {
        let mean = match self.done {
            0 => self.expected?,
            done => self.seconds / f64::from(u32::try_from(done).ok()?),
        };
        let left = f64::from(u32::try_from(self.total.saturating_sub(self.done)).ok()?);
        let parallel = self.parallel.unwrap_or(self.most).max(1);
        Some(left * mean / f64::from(u32::try_from(parallel).ok()?))
    }

    fn counts(&self) -> String {
        let mut counts = format!("{}/{} modules", self.done, self.total);
        if self.failed > 0 {
            let _ = write!(counts, ", {} failed", self.failed);
        }
        counts
    }

    fn times(&self, elapsed: f64) -> String {
        let mut times = format!(", {}", duration(elapsed));
        if let Some(left) = self.seconds_left().filter(|_| self.done < self.total) {
            let _ = write!(times, ", about {} left", rough(left));
        }
        times
    }

    /// The live line: it never fills the last column, where some terminals would begin a new one.
    fn line(&self, elapsed: f64, width: usize, style: &Style) -> String {
        let mut line = format!("{}{}", self.counts(), self.times(elapsed));
        if !self.running.is_empty() {
            let running: Vec<_> = self.running.iter().map(|id| short(id)).collect();
            let _ = write!(line, " | {}", style.line(&running.join(" ")));
        }
        let line = style.cut(&line, width.saturating_sub(1));
        if self.failed > 0 { style.paint(Verdict::Failed, &line) } else { line.into_owned() }
    }
}

/// The part of an id that tells it from others: those of the official suite begin alike.
fn short(id: &str) -> &str {
    id.split_once("-client-test-").map_or(id, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_duration_to_go_by_no_time_is_promised() {
        let mut state = State::new(4);
        assert_eq!(state.seconds_left(), None);
        assert_eq!(state.line(0.0, 80, &Style::default()), "0/4 modules, 0.0 s");
        state.expected = Some(3.0);
        assert_eq!(state.seconds_left(), Some(12.0));
    }

    #[test]
    fn the_time_left_follows_the_mean_and_how_many_run_side_by_side() {
        let mut state = State::new(12);
        state.started("a");
        state.started("b");
        state.finished("a", Verdict::Passed, 2.0, 2.0);
        state.finished("b", Verdict::Passed, 4.0, 4.0);
        assert_eq!(state.seconds_left(), Some(15.0), "10 x 3 s / 2");
        state.parallel = Some(5);
        assert_eq!(state.seconds_left(), Some(6.0));
    }

    #[test]
    fn the_live_line_names_what_runs_and_never_fills_the_line() {
        let mut state = State::new(30);
        state.started("fapi2-security-profile-final-client-test-happy-path");
        state.started("first");
        state.started("second\x1b[2J");
        state.finished("first", Verdict::Failed, 2.0, 2.0);
        let style = Style::default();
        assert_eq!(
            state.line(65.0, 120, &style),
            "1/30 modules, 1 failed, 1 min 05 s, about 20 s left | happy-path second\\u{1b}[2J"
        );
        assert_eq!(state.line(65.0, 20, &style), "1/30 modules, 1 ...");
        let style = Style { colour: true, unicode: true, ..Style::default() };
        assert_eq!(state.line(65.0, 20, &style), "\x1b[1;31m1/30 modules, 1 fa…\x1b[0m");
    }

    #[test]
    fn a_log_gets_a_line_for_each_module_of_a_short_run() {
        let mut state = State::new(2);
        assert_eq!(
            state.finished("a", Verdict::Passed, 1.0, 1.0).as_deref(),
            Some("1/2 modules: PASSED  a  1.0 s")
        );
    }

    #[test]
    fn a_log_of_a_long_run_gets_ten_lines_and_each_failure() {
        let mut state = State::new(100);
        let mut lines: Vec<String> = Vec::new();
        for number in 1..=100 {
            let verdict = if number == 55 { Verdict::Failed } else { Verdict::Passed };
            lines.extend(state.finished(&format!("m{number}"), verdict, 1.0, 10.0));
        }
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "10/100 modules, 10.0 s, about 1 min 30 s left");
        assert_eq!(lines[5], "55/100 modules, 1 failed: FAILED  m55  1.0 s");
        assert_eq!(lines[10], "100/100 modules, 1 failed, 10.0 s");
    }
}
