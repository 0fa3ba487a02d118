//! What an administrator does to a cluster: topics, their settings, access rules.

use crate::broker::{Broker, Door, FOLLOWER};
use crate::support::{PATIENCE, until, until_some};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use std::time::Duration;

/// How long one question may take.
const ASK: Duration = Duration::from_secs(10);

impl Broker {
    /// Makes a topic. Kafka itself would choose among all nodes, and a follower does not stay.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let here = &[self.node()][..];
        let replicas = vec![here; usize::try_from(partitions).unwrap()];
        self.make(NewTopic::new(name, partitions, TopicReplication::Variable(&replicas)), settings);
    }

    fn make<'a>(&self, mut topic: NewTopic<'a>, settings: &'a [(&str, &str)]) {
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let made =
            self.answered(&async |admin, options| admin.create_topics([&topic], options).await);
        let name = topic.name.to_owned();
        let again = Err((name.clone(), RDKafkaErrorCode::TopicAlreadyExists));
        assert!(made == [Ok(name)] || made == [again], "{made:?}");
        // A client that asks before that asks again in minutes only.
        let admin = self.admin();
        until("every partition of the topic is led", || {
            let known = admin.inner().fetch_metadata(Some(topic.name), PATIENCE).unwrap();
            let partitions = known.topics()[0].partitions();
            !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0)
        });
    }

    pub fn delete_topic(&self, name: &str) {
        let gone =
            self.answered(&async |admin, options| admin.delete_topics(&[name], options).await);
        // An answer may have been lost.
        let again = Err((name.to_owned(), RDKafkaErrorCode::UnknownTopicOrPartition));
        assert!(gone == [Ok(name.to_owned())] || gone == [again], "{gone:?}");
    }

    /// The topic has so many partitions more from now on.
    pub fn add_partitions(&self, topic: &str, before: usize, more: usize) {
        let here = &[self.node()][..];
        let replicas = vec![here; more];
        let more = [NewPartitions::new(topic, before + more).assign(&replicas)];
        let added =
            self.answered(&async |admin, options| admin.create_partitions(&more, options).await);
        let again = Err((topic.to_owned(), RDKafkaErrorCode::InvalidPartitions));
        assert!(added == [Ok(topic.to_owned())] || added == [again], "{added:?}");
    }

    /// The topic has this setting and no other.
    pub fn set_topic(&self, topic: &str, name: &str, value: &str) {
        let setting = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let set =
            self.answered(&async |admin, options| admin.alter_configs([&setting], options).await);
        assert!(set[0].is_ok(), "{topic}: {name} = {value}: {set:?}");
    }

    /// Adds or removes (`--add`, `--remove`) an access rule, in the words of Kafka's own command. What any
    /// rule names is closed to whomever no rule allows it.
    pub fn rule(&self, change: &str, rule: &[&str]) {
        let servers = self.servers(Door::Plain);
        let all = [&["--bootstrap-server", &servers, change, "--force"], rule].concat();
        self.tool("org.apache.kafka.tools.AclCommand", &all);
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let servers = self.servers(Door::Plain);
        ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
    }

    /// Asks until there is an answer. Any node may be asked, and a follower does not stay: so each time
    /// with a client that knows of none before, and none is waited for as long as it might take.
    fn answered<T>(
        &self,
        ask: &impl AsyncFn(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>,
    ) -> T {
        let options = AdminOptions::new().request_timeout(Some(ASK));
        until_some("the brokers answer an administrator", 2 * PATIENCE, || {
            wait_for(ask(&self.admin(), &options)).ok()
        })
    }

    /// Makes a topic of which the follower has a copy.
    pub fn topic_of_two(&self, name: &str, partitions: usize, settings: &[(&str, &str)]) {
        let pair = &[self.node(), FOLLOWER][..];
        let replicas = vec![pair; partitions];
        self.make(
            NewTopic::new(
                name,
                i32::try_from(partitions).unwrap(),
                TopicReplication::Variable(&replicas),
            ),
            settings,
        );
    }
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
