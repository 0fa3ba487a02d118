//! What to do about a record that Kafka did not take?
//!
//! [`Failure`] says in our own words what librdkafka reported; [`Failure::verdict`] decides.
//! When several records fail together the verdict that needs a hand outweighs the one that
//! passes by itself: behind one refused record librdkafka purges all the others, and their
//! reports say nothing about the cause.
//!
//! It deliberately does not know how a verdict is carried out, nor librdkafka's codes.

use crate::status::Cause;

/// What to do where nothing is known but that no answer came.
pub const LOOK: &str = "look at the brokers and the way to them";

/// Why a record was not delivered. The text follows the topic's and the record's names: what is
/// wrong, and which hand is needed if it lasts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("Kafka did not answer in time; {LOOK}")]
    TimedOut,
    /// Taken out of librdkafka's queue, by us or behind a fatal error: it was not refused.
    #[error("it was taken back before Kafka had it; look at the brokers' logs")]
    Purged,
    #[error("the producer cannot go on ({0}); look at the brokers' logs")]
    Fatal(String),
    #[error("the topic does not exist; create it in Kafka")]
    UnknownTopic,
    #[error("this box's user may not write to the topic; grant it Write on the topic")]
    TopicDenied,
    /// Old brokers ask every idempotent producer for it.
    #[error(
        "this box's user lacks a right to the cluster as a whole; grant it IdempotentWrite on \
         the cluster, or, from Kafka 3.0 on, Write on the topic"
    )]
    ClusterDenied,
    /// Of the topic that the offsets of transactions belong to.
    #[error("this box's user may not read the topic; grant it Read on the topic")]
    ProgressDenied,
    #[error(
        "this box's user may not commit offsets, as exactly-once delivery does; grant it Read on the \
         groups that begin with waystation-"
    )]
    GroupDenied,
    #[error(
        "this box's user may not use transactions; grant it Write on the transactional ids that begin \
         with waystation-"
    )]
    TransactionsDenied,
    /// Rarely, by a coordinator that lost its memory.
    #[error(
        "another producer has taken over this spool's transactions, as another box with a copy of \
         this one's spool does (or the brokers gave up some that took too long, over a slow link); stop \
         one of the two, and give it an empty spool"
    )]
    Fenced,
    #[error(
        "the brokers take no transaction of this length; lower transaction.timeout.ms under [kafka], or \
         raise transaction.max.timeout.ms of the brokers"
    )]
    TransactionTooLong,
    #[error("the login was refused; check the user and its credentials under [kafka]")]
    LoginRefused,
    #[error(
        "the topic takes no message of this size; raise its max.message.bytes (and message.max.bytes under [kafka])"
    )]
    TooLarge,
    #[error("the broker calls it invalid ({0}); look for the reason in the broker's log")]
    Invalid(String),
    /// It is none of Kafka's business: it was kept to be looked at.
    #[error("it is no message ({0})")]
    NoMessage(String),
    #[error(
        "the broker refuses its timestamp; compare this box's clock with the broker's, and the \
         topic's message.timestamp settings"
    )]
    BadTimestamp,
    /// They come back by themselves, or somebody brings them back.
    #[error(
        "too few of its replicas are in sync for its min.insync.replicas; bring back the brokers that \
         are away"
    )]
    TooFewReplicas,
    #[error("{0}; look at the brokers' logs")]
    Other(String),
}

/// What to do with a record that Kafka did not take, from the mildest to the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It passes by itself: send it again, in order.
    Resend,
    /// The producer itself is unusable: build a new one and resend from the watermark.
    Rebuild,
    /// This record may never be taken: set it aside, then go on.
    DeadLetter,
    /// Its topic cannot take records until somebody acts: set the topic aside, go on with
    /// the others.
    Hold,
    /// No record can be taken until somebody acts: stop sending, keep everything, say so.
    Pause,
}

impl Failure {
    /// What to do.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::TimedOut | Self::Purged | Self::TooFewReplicas | Self::Other(_) => {
                Verdict::Resend
            }
            Self::Fatal(_) | Self::Fenced => Verdict::Rebuild,
            Self::TooLarge | Self::Invalid(_) | Self::NoMessage(_) | Self::BadTimestamp => {
                Verdict::DeadLetter
            }
            Self::UnknownTopic | Self::TopicDenied => Verdict::Hold,
            Self::ClusterDenied
            | Self::LoginRefused
            | Self::ProgressDenied
            | Self::GroupDenied
            | Self::TransactionsDenied
            | Self::TransactionTooLong => Verdict::Pause,
        }
    }

    /// Whether a broker said so: then it is there, whatever was heard of it before.
    pub fn is_an_answer(&self) -> bool {
        matches!(
            self,
            Self::UnknownTopic
                | Self::TopicDenied
                | Self::ClusterDenied
                | Self::BadTimestamp
                | Self::TooFewReplicas
                | Self::ProgressDenied
                | Self::GroupDenied
                | Self::TransactionsDenied
                | Self::TransactionTooLong
                | Self::Fenced
        )
    }

    /// Where an operator has to look, if anywhere in particular.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::UnknownTopic => Some(Cause::Topic),
            Self::TopicDenied
            | Self::ClusterDenied
            | Self::ProgressDenied
            | Self::GroupDenied
            | Self::TransactionsDenied => Some(Cause::Authorization),
            Self::LoginRefused => Some(Cause::Login),
            Self::BadTimestamp => Some(Cause::Clock),
            Self::TimedOut => Some(Cause::Network),
            // The record's own fault, or nobody knows whose: the text says all there is.
            Self::Purged
            | Self::Fatal(_)
            | Self::TooLarge
            | Self::Invalid(_)
            | Self::NoMessage(_)
            | Self::TooFewReplicas
            | Self::Fenced
            | Self::TransactionTooLong
            | Self::Other(_) => None,
        }
    }
}

impl Verdict {
    /// Whether it waits for somebody to act, outside this box.
    pub fn needs_a_hand(self) -> bool {
        matches!(self, Self::DeadLetter | Self::Hold | Self::Pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_outweighs_what_was_only_purged_behind_it() {
        let together = [Failure::Purged, Failure::TopicDenied, Failure::Fatal("gap".into())];
        let worst = together.iter().max_by_key(|failure| failure.verdict());
        assert_eq!(worst, Some(&Failure::TopicDenied));
    }

    #[test]
    fn what_passes_by_itself_asks_for_no_hand() {
        for failure in [Failure::TimedOut, Failure::Purged, Failure::Fatal(String::new())] {
            assert!(!failure.verdict().needs_a_hand(), "{failure:?}");
        }
        for failure in [Failure::UnknownTopic, Failure::TooLarge, Failure::LoginRefused] {
            assert!(failure.verdict().needs_a_hand(), "{failure:?}");
        }
    }

    #[test]
    fn everything_that_needs_a_hand_in_the_cluster_names_where_to_look() {
        for failure in [
            Failure::UnknownTopic,
            Failure::TopicDenied,
            Failure::ClusterDenied,
            Failure::LoginRefused,
            Failure::BadTimestamp,
            Failure::ProgressDenied,
            Failure::GroupDenied,
            Failure::TransactionsDenied,
        ] {
            assert!(failure.cause().is_some(), "{failure:?}");
        }
    }

    #[test]
    fn what_is_the_records_own_fault_points_to_no_place_in_the_cluster() {
        for failure in [Failure::TooLarge, Failure::Invalid("bad".into())] {
            assert_eq!(failure.cause(), None, "{failure:?}");
        }
    }
}
