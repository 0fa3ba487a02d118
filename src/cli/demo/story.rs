//! The story of half a minute: what happens when, and what is there to say about it?
//!
//! Pure: seconds and sights go in, acts and notes come out. It deliberately knows nothing
//! of how Kafka is taken away or a process is killed.

/// What the demo does to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    TakeKafkaAway,
    KillCollector,
    ReturnKafka,
    /// Compare what was acknowledged by now with what arrives.
    Judge,
}

/// Seconds from the start.
const ACTS: [(u64, Act); 4] =
    [(8, Act::TakeKafkaAway), (14, Act::KillCollector), (20, Act::ReturnKafka), (26, Act::Judge)];
/// For so many seconds a line says that vehicles are posting.
const OPENING: u64 = 3;

/// What a line says beside its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    Posting,
    KafkaTaken,
    KafkaAway,
    Killed,
    Restarting,
    /// The new process answers, and its books say so many records.
    Back {
        accepted: u64,
    },
    KafkaReturns,
    Draining,
    Drained,
    Nothing,
}

/// What the collector said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub accepted: u64,
    pub spooled: u64,
}

/// Where the story stands.
#[derive(Debug)]
pub struct Story {
    calm: bool,
    next: usize,
    /// A spool below this is as good as empty while vehicles post.
    shallow: u64,
    kafka: Kafka,
    /// Killed, and its successor has not answered yet.
    down: bool,
}

/// How Kafka and the spool stand by the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kafka {
    There,
    Away,
    /// There again, with a backlog to take.
    Draining,
}

impl Story {
    /// `calm` leaves out the outage and the kill. `rate` is that of the vehicles, a second.
    pub fn new(calm: bool, rate: u64) -> Self {
        Self { calm, next: 0, shallow: rate / 4 + 10, kafka: Kafka::There, down: false }
    }

    /// The next act that is due by `second`, each once and in order, even when seconds
    /// were skipped.
    pub fn due(&mut self, second: u64) -> Option<Act> {
        loop {
            let (_, act) = *ACTS.get(self.next).filter(|(due, _)| *due <= second)?;
            self.next += 1;
            if self.calm && act != Act::Judge {
                continue;
            }
            match act {
                Act::TakeKafkaAway => self.kafka = Kafka::Away,
                Act::KillCollector => self.down = true,
                Act::ReturnKafka => self.kafka = Kafka::Draining,
                Act::Judge => {}
            }
            return Some(act);
        }
    }

    /// Whether Kafka is away by the story.
    pub fn kafka_is_away(&self) -> bool {
        self.kafka == Kafka::Away
    }

    /// Whether the collector was killed and its successor has not answered yet.
    pub fn collector_is_down(&self) -> bool {
        self.down
    }

    /// What to say in this second, after its act, if any; `seen` is what the collector
    /// answers, if it does.
    pub fn note(&mut self, second: u64, acted: Option<Act>, seen: Option<Seen>) -> Note {
        match acted {
            Some(Act::TakeKafkaAway) => return Note::KafkaTaken,
            Some(Act::KillCollector) => return Note::Killed,
            Some(Act::ReturnKafka) => return Note::KafkaReturns,
            Some(Act::Judge) | None => {}
        }
        if self.down {
            let Some(Seen { accepted, .. }) = seen else { return Note::Restarting };
            self.down = false;
            return Note::Back { accepted };
        }
        match self.kafka {
            Kafka::Away => Note::KafkaAway,
            Kafka::Draining if seen.is_none_or(|seen| seen.spooled > self.shallow) => {
                Note::Draining
            }
            Kafka::Draining => {
                self.kafka = Kafka::There;
                Note::Drained
            }
            Kafka::There if second <= OPENING => Note::Posting,
            Kafka::There => Note::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(spooled: u64) -> Seen {
        Seen { accepted: 9_000, spooled }
    }

    /// The notes of a story whose collector answers one second after the kill, and whose
    /// spool is drained two seconds after Kafka's return.
    fn notes(calm: bool) -> Vec<(u64, Note)> {
        let mut story = Story::new(calm, 800);
        let mut notes = Vec::new();
        for second in 1..=30 {
            let acted = story.due(second);
            let deep = (8..22).contains(&second) && !calm;
            let answer = (second != 14).then(|| seen(if deep { 5_000 } else { 12 }));
            let note = story.note(second, acted, answer);
            if notes.last().is_none_or(|(_, last)| *last != note) {
                notes.push((second, note));
            }
        }
        notes
    }

    #[test]
    fn the_story_is_told_in_order() {
        let expected = [
            (1, Note::Posting),
            (4, Note::Nothing),
            (8, Note::KafkaTaken),
            (9, Note::KafkaAway),
            (14, Note::Killed),
            (15, Note::Back { accepted: 9_000 }),
            (16, Note::KafkaAway),
            (20, Note::KafkaReturns),
            (21, Note::Draining),
            (22, Note::Drained),
            (23, Note::Nothing),
        ];
        assert_eq!(notes(false), expected);
    }

    #[test]
    fn a_calm_story_has_no_outage_and_no_kill_but_a_verdict() {
        assert_eq!(notes(true), [(1, Note::Posting), (4, Note::Nothing)]);
        let mut story = Story::new(true, 800);
        assert_eq!(story.due(25), None);
        assert_eq!(story.due(26), Some(Act::Judge));
        assert_eq!(story.due(27), None);
    }

    #[test]
    fn acts_that_were_slept_through_come_one_by_one() {
        let mut story = Story::new(false, 800);
        let acts: Vec<_> = std::iter::from_fn(|| story.due(100)).collect();
        assert_eq!(acts, ACTS.map(|(_, act)| act));
    }

    #[test]
    fn a_collector_that_stays_down_is_said_to_restart() {
        let mut story = Story::new(false, 800);
        while story.due(14).is_some() {}
        assert_eq!(story.note(15, None, None), Note::Restarting);
        assert!(story.collector_is_down());
        assert_eq!(story.note(16, None, Some(seen(0))), Note::Back { accepted: 9_000 });
        assert!(!story.collector_is_down() && story.kafka_is_away());
    }
}
