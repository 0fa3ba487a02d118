//! Which routes have been seen, and how many of their records were delivered since last asked?
//!
//! A slot of the window has no room for a route's names, so each gets a small number at its
//! first record. A box has a handful of routes; the list is searched from front to back.
//! It deliberately does not know what a delivery is.

use crate::record::Route;
use std::sync::Arc;

/// The routes, each with the deliveries that were not yet passed on.
#[derive(Debug, Default)]
pub struct Routes {
    seen: Vec<(Arc<Route>, u64)>,
    last: u16,
}

impl Routes {
    /// The number of this route; `u16::MAX` for those beyond the first 65,535.
    pub fn number(&mut self, route: &Arc<Route>) -> u16 {
        // Neighbours mostly came by the same route.
        if self.seen.get(usize::from(self.last)).is_some_and(|(seen, _)| Arc::ptr_eq(seen, route)) {
            return self.last;
        }
        let at = self.seen.iter().position(|(seen, _)| seen == route).unwrap_or_else(|| {
            self.seen.push((Arc::clone(route), 0));
            self.seen.len() - 1
        });
        // Each block brings its own table: the newest pointer is the one to meet again.
        self.seen[at].0 = Arc::clone(route);
        self.last = u16::try_from(at).unwrap_or(u16::MAX);
        self.last
    }

    /// The route of this number.
    pub fn get(&self, number: u16) -> Option<&Arc<Route>> {
        self.seen.get(usize::from(number)).map(|(route, _)| route)
    }

    /// A topic that records were sent to.
    pub fn some_topic(&self) -> Option<&str> {
        self.get(self.last).map(|route| route.topic.as_str())
    }

    /// One more record of this route was delivered.
    pub fn count(&mut self, number: u16) {
        if let Some((_, count)) = self.seen.get_mut(usize::from(number)) {
            *count += 1;
        }
    }

    /// Passes on what was counted since the last call.
    pub fn pass_on(&mut self, mut to: impl FnMut(&Arc<Route>, u64)) {
        for (route, count) in self.seen.iter_mut().filter(|(_, count)| *count > 0) {
            to(route, std::mem::take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_its_number_whichever_block_it_comes_from() {
        let route = |topic: &str| Arc::new(Route { path: "/p".into(), topic: topic.into() });
        let mut routes = Routes::default();
        let numbers: Vec<_> = ["a", "b", "a", "a", "b"].map(|t| routes.number(&route(t))).into();
        assert_eq!(numbers, [0, 1, 0, 0, 1]);
        routes.count(1);
        routes.count(1);
        let mut passed = Vec::new();
        routes.pass_on(|route, count| passed.push((route.topic.clone(), count)));
        routes.pass_on(|route, count| passed.push((route.topic.clone(), count)));
        assert_eq!(passed, [("b".to_owned(), 2)]);
        assert_eq!(routes.some_topic(), Some("b"));
    }
}
