//! Owns how often a page is told to have its user authenticate again: once per demand, and never in a
//! loop (STEP-5, STEP-9). Must not know: who demands it, how the user authenticates.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::ports::Standing;
use crate::{clock::UnixTime, protocol::StepUp};

/// What a route demands of the user's authentication, and may let its upstream demand.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct StepUpRule {
    /// Demanded before the upstream is asked.
    pub demand: Option<StepUp>,
    /// Whether the page hears of the upstream's own demands (STEP-9).
    pub relay: bool,
    /// The `acr_values` an upstream may ask for; empty if any.
    pub acr_values: Vec<String>,
}

/// What the user must have authorized in detail (RAR-7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationRule {
    /// The `type` that must have been granted.
    pub kind: String,
    /// What a page has its user authorize to that end; none if every login asks for it.
    pub template: Option<String>,
}

/// Something that a login may bring and this one did not.
pub trait Demand: Clone + PartialEq {
    /// Whether a session has it at the time `at`.
    fn met_by(&self, standing: &Standing<'_>, at: UnixTime) -> bool;
}

impl Demand for StepUp {
    fn met_by(&self, standing: &Standing<'_>, at: UnixTime) -> bool {
        Self::met_by(self, &standing.authentication, at)
    }
}

impl Demand for AuthorizationRule {
    fn met_by(&self, standing: &Standing<'_>, _: UnixTime) -> bool {
        standing.details.is_some_and(|details| details.has_type(&self.kind))
    }
}

/// Seconds in which a login because of a demand comes to its end or is given up.
const ATTEMPT: i64 = 600;
/// Seconds between two different demands.
const PAUSE: i64 = 5;
/// Different demands within [`ATTEMPT`].
const MOST_DEMANDS: usize = 4;
/// Users and routes looked after at once; beyond, the one longest ago is forgotten.
const MOST_PLACES: usize = 4096;

/// What becomes of a demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// The page is told.
    Asked,
    /// The page is told again: other calls of the same page run into the same demand.
    Repeated,
    /// Too many different demands in too short a time.
    Limited,
    /// The user has authenticated because of this demand, and it still stands: either the
    /// authorization server did not do as asked, or the upstream is not content with what it asked for.
    Exhausted,
}

impl Ruling {
    /// Whether the page is told.
    pub const fn tells(self) -> bool {
        matches!(self, Self::Asked | Self::Repeated)
    }

    /// Stable name for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Repeated => "repeated",
            Self::Limited => "limited",
            Self::Exhausted => "exhausted",
        }
    }
}

/// One demand that a page was told of.
#[derive(Debug)]
struct Asked<D> {
    demand: D,
    session: String,
    at: UnixTime,
    /// Whether a login met it since.
    met: bool,
    /// How often it was met and then lost again.
    lost: usize,
}

/// Who was told of what. In memory only: after a restart a page may be told once more.
#[derive(Debug)]
pub struct StepUps<D>(Mutex<HashMap<Place, Vec<Asked<D>>>>);

impl<D> Default for StepUps<D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A user and a route. A login makes a new session, so the session alone would forget what for.
type Place = (String, String);

impl<D: Demand> StepUps<D> {
    /// Rules on `demand`, made of `standing` on `route` at `now`.
    pub fn rule(&self, route: &str, standing: &Standing<'_>, demand: &D, now: UnixTime) -> Ruling {
        let place = (standing.person.unwrap_or(standing.session).to_owned(), route.to_owned());
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MOST_PLACES && !places.contains_key(&place) {
            make_room(&mut places, now);
        }
        let asked = places.entry(place).or_default();
        asked.retain(|asked| is_recent(asked, now));
        if let Some(before) = asked.iter_mut().find(|asked| asked.demand == *demand) {
            let again = standing.session != before.session && standing.began >= before.at;
            if !again {
                return Ruling::Repeated;
            }
            let delivered = demand.met_by(standing, standing.began);
            let unmet = !demand.met_by(standing, now);
            // A login for something else may take away what an earlier one brought, and that one this:
            // asked for again, but not for ever.
            let lost = before.met && before.lost < MOST_DEMANDS;
            if !(unmet && (delivered || lost)) {
                return Ruling::Exhausted;
            }
            if !delivered {
                before.lost += 1;
            }
            before.met = false;
            before.at = now;
            standing.session.clone_into(&mut before.session);
            return Ruling::Asked;
        }
        let in_a_row = asked.iter().any(|asked| now.since(asked.at) < PAUSE);
        if in_a_row || asked.len() >= MOST_DEMANDS {
            return Ruling::Limited;
        }
        let session = standing.session.to_owned();
        asked.push(Asked { demand: demand.clone(), session, at: now, met: false, lost: 0 });
        Ruling::Asked
    }

    /// Takes note that `standing` meets a `demand` of `route` itself.
    pub fn met(&self, route: &str, standing: &Standing<'_>, demand: &D) {
        let place = (standing.person.unwrap_or(standing.session).to_owned(), route.to_owned());
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = places.get_mut(&place).into_iter().flatten();
        for asked in asked.filter(|asked| asked.demand == *demand) {
            asked.met = true;
        }
    }
}

fn is_recent<D>(asked: &Asked<D>, now: UnixTime) -> bool {
    now.since(asked.at) < ATTEMPT
}

fn make_room<D>(places: &mut HashMap<Place, Vec<Asked<D>>>, now: UnixTime) {
    places.retain(|_, asked| asked.iter().any(|asked| is_recent(asked, now)));
    if places.len() < MOST_PLACES {
        return;
    }
    let last = |asked: &Vec<Asked<D>>| asked.iter().map(|asked| asked.at).max();
    let oldest = places.iter().min_by_key(|(_, asked)| last(asked)).map(|(place, _)| place.clone());
    if let Some(oldest) = oldest {
        places.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Authentication;

    const START: UnixTime = UnixTime::new(1_700_000_000);

    fn acr(value: &str) -> StepUp {
        StepUp { acr_values: vec![value.to_owned()], ..StepUp::default() }
    }

    fn age(max_age: u32) -> StepUp {
        StepUp { max_age: Some(max_age), ..StepUp::default() }
    }

    /// A session of the one user that began `began` seconds after the start.
    fn session(name: &'static str, began: i64, acr: Option<&'static str>) -> Standing<'static> {
        let began = START.plus(began);
        let authentication = Authentication { acr, auth_time: Some(began) };
        Standing { session: name, person: Some("alice"), began, authentication, details: None }
    }

    struct Rig(StepUps<StepUp>);

    impl Rig {
        fn new() -> Self {
            Self(StepUps::default())
        }

        fn rule(&self, standing: &Standing<'_>, demand: &StepUp, at: i64) -> Ruling {
            self.0.rule("/api", standing, demand, START.plus(at))
        }
    }

    /// A page makes many calls at once.
    #[test]
    fn one_demand_of_one_session_is_told_as_often_as_it_is_met() {
        let rig = Rig::new();
        let low = session("low", 0, None);
        assert_eq!(rig.rule(&low, &acr("a"), 10), Ruling::Asked);
        for at in [10, 11, 16, 609] {
            assert_eq!(rig.rule(&low, &acr("a"), at), Ruling::Repeated);
        }
        assert_eq!(rig.rule(&low, &acr("a"), 610), Ruling::Asked, "the attempt was given up");
        // Another session of the user that was there before has not authenticated because of it.
        assert_eq!(rig.rule(&session("older", 609, None), &acr("a"), 611), Ruling::Repeated);
    }

    /// STEP-5: one attempt only.
    #[test]
    fn a_login_that_brought_nothing_is_not_asked_for_again() {
        let rig = Rig::new();
        rig.rule(&session("low", 0, None), &acr("a"), 10);
        // Began in the very second in which the page was told.
        let same = session("second", 10, Some("b"));
        assert_eq!(rig.rule(&same, &acr("a"), 11), Ruling::Exhausted);
        assert_eq!(rig.rule(&same, &acr("a"), 609), Ruling::Exhausted);
        assert_eq!(rig.rule(&session("third", 30, None), &acr("a"), 40), Ruling::Exhausted);
        // Somebody else, and another route, have nothing to do with it.
        let other = Standing { person: Some("bob"), ..same };
        assert_eq!(rig.rule(&other, &acr("a"), 12), Ruling::Asked);
        let elsewhere = rig.0.rule("/other", &same, &acr("a"), START.plus(12));
        assert_eq!(elsewhere, Ruling::Asked);
        assert_eq!(rig.rule(&same, &acr("a"), 610), Ruling::Asked, "a new attempt, later");
    }

    /// STEP-5: an upstream that is not content with what it asked for.
    #[test]
    fn a_demand_that_is_met_and_made_again_is_not_told() {
        let rig = Rig::new();
        rig.rule(&session("low", 0, None), &acr("a"), 10);
        let high = session("high", 20, Some("a"));
        assert_eq!(rig.rule(&high, &acr("a"), 21), Ruling::Exhausted);
        let nothing = StepUp::default();
        let rig = Rig::new();
        assert_eq!(rig.rule(&high, &nothing, 30), Ruling::Asked);
        assert_eq!(rig.rule(&session("next", 31, None), &nothing, 32), Ruling::Exhausted);
    }

    #[test]
    fn an_authentication_that_was_fresh_and_has_aged_may_be_asked_for_again() {
        let rig = Rig::new();
        rig.rule(&session("old", -500, None), &age(300), 0);
        let fresh = session("fresh", 5, None);
        assert_eq!(rig.rule(&fresh, &age(300), 305), Ruling::Exhausted, "still fresh enough");
        assert_eq!(rig.rule(&fresh, &age(300), 306), Ruling::Asked);
        assert_eq!(rig.rule(&fresh, &age(300), 307), Ruling::Repeated);
        // The authorization server let the user in without asking.
        let stale = Standing {
            authentication: Authentication { acr: None, auth_time: Some(START) },
            ..session("stale", 310, None)
        };
        assert_eq!(rig.rule(&stale, &age(300), 311), Ruling::Exhausted);
    }

    /// STEP-5: one login for one thing, the next for another, and the first is wanted again.
    #[test]
    fn what_a_login_brought_and_another_took_away_may_be_asked_for_again() {
        let rig = Rig::new();
        let demand = acr("a");
        let low = |name, began| session(name, began, None);
        assert_eq!(rig.rule(&low("low", 0), &demand, 1), Ruling::Asked);
        let turns: [(&'static str, &'static str); MOST_DEMANDS] =
            [("h1", "l1"), ("h2", "l2"), ("h3", "l3"), ("h4", "l4")];
        for (turn, (high, lost)) in (1..).zip(turns) {
            let at = turn * 100;
            rig.0.met("/api", &session(high, at, Some("a")), &demand);
            assert_eq!(rig.rule(&low(lost, at + 1), &demand, at + 2), Ruling::Asked, "{turn}");
            let again = rig.rule(&low("next", at + 3), &demand, at + 4);
            assert_eq!(again, Ruling::Exhausted, "that login brought nothing");
        }
        rig.0.met("/api", &session("h5", 500, Some("a")), &demand);
        assert_eq!(rig.rule(&low("l5", 501), &demand, 502), Ruling::Exhausted, "not for ever");
        // Another route's, and another user's, say nothing of this one.
        let rig = Rig::new();
        rig.rule(&low("low", 0), &demand, 1);
        rig.0.met("/other", &session("h", 2, Some("a")), &demand);
        let other = Standing { person: Some("bob"), ..session("h", 2, Some("a")) };
        rig.0.met("/api", &other, &demand);
        assert_eq!(rig.rule(&low("l", 3), &demand, 4), Ruling::Exhausted);
    }

    /// STEP-9: an upstream that floods.
    #[test]
    fn different_demands_are_told_seldom_and_a_few_times() {
        let rig = Rig::new();
        let low = session("low", 0, None);
        assert_eq!(rig.rule(&low, &age(1), 10), Ruling::Asked);
        assert_eq!(rig.rule(&low, &age(2), 10), Ruling::Limited);
        assert_eq!(rig.rule(&low, &age(2), 14), Ruling::Limited);
        assert_eq!(rig.rule(&low, &age(1), 14), Ruling::Repeated);
        for (demand, at) in [(2, 15), (3, 20), (4, 25)] {
            assert_eq!(rig.rule(&low, &age(demand), at), Ruling::Asked);
        }
        assert_eq!(rig.rule(&low, &age(5), 609), Ruling::Limited);
        assert_eq!(rig.rule(&low, &age(5), 610), Ruling::Asked, "the first is forgotten");
    }

    /// Without a known user there is nothing to connect two sessions by.
    #[test]
    fn sessions_of_nobody_are_apart() {
        let rig = Rig::new();
        let nobody = |name, began| Standing { person: None, ..session(name, began, None) };
        assert_eq!(rig.rule(&nobody("one", 0), &acr("a"), 10), Ruling::Asked);
        assert_eq!(rig.rule(&nobody("two", 20), &acr("a"), 20), Ruling::Asked);
    }

    #[test]
    fn memory_is_bounded_and_forgets_what_is_longest_ago() {
        let rig = Rig::new();
        let names: Vec<String> = (0..=MOST_PLACES).map(|n| n.to_string()).collect();
        let of = |n: usize| Standing { person: Some(&names[n]), ..session("s", 0, None) };
        let second = |n: usize| i64::from(n > 0);
        for n in 0..=MOST_PLACES {
            assert_eq!(rig.rule(&of(n), &acr("a"), second(n)), Ruling::Asked);
        }
        assert_eq!(rig.0.0.lock().unwrap().len(), MOST_PLACES);
        assert_eq!(rig.rule(&of(MOST_PLACES), &acr("a"), 2), Ruling::Repeated);
        assert_eq!(rig.rule(&of(0), &acr("a"), 2), Ruling::Asked, "it was the oldest");
        // What is over makes room by itself.
        rig.rule(&Standing { person: Some("new"), ..of(0) }, &acr("a"), 700);
        assert_eq!(rig.0.0.lock().unwrap().len(), 1);
    }
}
