//! Does one broker let this box in: is its name known, does it listen, does TLS come about, is the
//! login taken?
//!
//! The name and the connection are tried by our own hand, since librdkafka's texts for them come
//! late and name one address of several; TLS and the login by a client of librdkafka's that knows
//! this one broker.
//!
//! It deliberately knows no topic, and not who waits for its answer.

use super::advice::{BOOTSTRAP, advice, unknown};
use super::kafka::{Asker, Node};
use super::kerberos;
use super::link::Trouble;
use super::obstacle::Obstacle;
use super::settings;
use super::step::{Finding, Step};
use super::verdict::{Failure, LOOK};
use crate::status::Cause;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// As librdkafka has it.
const PORT: u16 = 9092;
/// How long the client is served between two looks.
const SLICE: Duration = Duration::from_millis(50);

/// A broker by one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// One that the operator wrote.
    Written(String),
    /// One that the cluster tells of.
    Told(Node),
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(address) => f.write_str(address),
            Self::Told(Node { id, address }) => write!(f, "{address} (broker {id})"),
        }
    }
}

impl Broker {
    /// For librdkafka.
    pub fn address(&self) -> &str {
        match self {
            Self::Written(address) | Self::Told(Node { address, .. }) => address,
        }
    }

    fn right(&self, says: &str) -> Step {
        Step::right(format!("{self}: {says}"))
    }

    fn away(&self, says: &str) -> Step {
        Step::away(format!("{self}: {says}"))
    }

    /// It did not answer in time.
    pub fn silent(&self) -> Step {
        Step::failed(&self.to_string(), &Failure::TimedOut)
    }

    /// Nothing came back from the look-up of its name, or this.
    pub fn unknown(&self, error: &dyn fmt::Display) -> Step {
        let stands_in = match self {
            Self::Written(_) => BOOTSTRAP,
            Self::Told(_) => "the brokers' advertised.listeners",
        };
        self.away(&format!("{} ({error})", unknown(split(self.address()).0, stands_in)))
    }
}

/// Tells each step up to the first that is wrong; the client by which the last one was found, if it
/// came so far: its end may take a while. Only the look-up of the name may last longer than until then.
pub fn knock(
    broker: &Broker,
    kafka: &BTreeMap<String, String>,
    until: Instant,
    mut tell: impl FnMut(Step),
) -> Option<Asker> {
    if let Err(wrong) = find(broker, kafka, until, &mut tell) {
        tell(wrong);
        return None;
    }
    let asker = match Asker::new(&only(broker, kafka)) {
        Ok(asker) => asker,
        Err(error) => {
            tell(broker.away(&Obstacle::of(kafka, &error).says));
            return None;
        }
    };
    match enter(&asker, kafka, until) {
        Ok(()) => entered(broker, kafka, None).into_iter().for_each(tell),
        Err(None) => tell(broker.silent()),
        Err(Some(trouble)) => {
            entered(broker, kafka, Some(trouble.cause)).into_iter().for_each(&mut tell);
            let says = format!("{broker}: {}", why(&trouble, kafka));
            tell(Step { finding: Finding::of(trouble.cause), says });
        }
    }
    Some(asker)
}

/// Finds its name and an address at which it listens; the error is the step that is wrong.
fn find(
    broker: &Broker,
    kafka: &BTreeMap<String, String>,
    until: Instant,
    tell: &mut impl FnMut(Step),
) -> Result<(), Step> {
    let (host, port) = split(broker.address());
    let addresses = resolve(host, port, kafka).map_err(|error| broker.unknown(&error))?;
    if host.parse::<IpAddr>().is_err() {
        let all: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        tell(broker.right(&format!("the name is known: {}", all.join(", "))));
    }
    let address = connect(&addresses, until)
        .map_err(|tried| broker.away(&format!("{} at {tried}; {LOOK}", Cause::Network.says())))?;
    tell(broker.right(&format!("{address} listens")));
    Ok(())
}

/// What is wrong, and what the text says about a setting or a person's work; without that, the text.
fn why(trouble: &Trouble, kafka: &BTreeMap<String, String>) -> String {
    let says = trouble.cause.says();
    match advice(&trouble.text, kafka) {
        Some(advice) => format!("{says}: {advice}"),
        None => format!("{says}: {}", trouble.text.trim_end().replace(char::is_control, " ")),
    }
}

/// The steps inside the connection that went well before something of this cause did not.
fn entered(broker: &Broker, kafka: &BTreeMap<String, String>, wrong: Option<Cause>) -> Vec<Step> {
    let set = |name: &str| kafka.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let protocol = kerberos::protocol(kafka);
    let (tls, login) = (protocol.ends_with("ssl"), protocol.starts_with("sasl"));
    let mut steps = Vec::new();
    let mut right = |says: &str| steps.push(broker.right(says));
    if tls && matches!(wrong, None | Some(Cause::Login | Cause::Authorization)) {
        right("TLS is right");
    }
    if wrong.is_none() && login {
        let mechanism = kerberos::mechanism(kafka);
        let by_kerberos = mechanism == kerberos::MECHANISM;
        let user = if by_kerberos { kerberos::PRINCIPAL } else { "sasl.username" };
        let user = set(user).map(|user| format!(" of {user}")).unwrap_or_default();
        right(&format!("the login{user} by {mechanism} is taken"));
    }
    if wrong.is_none() && !tls && !login {
        right("Kafka answers");
    }
    steps
}

/// The properties of a client that knows this one broker and will not produce.
fn only(broker: &Broker, kafka: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut only = kafka.clone();
    settings::with_brokers(&mut only, &[broker.address()]);
    // Otherwise it would take a producer's number.
    only.remove("enable.gapless.guarantee");
    only.insert("enable.idempotence".to_owned(), "false".to_owned());
    only
}

/// Waits until the broker has answered; otherwise what went wrong, if anything was told.
fn enter(
    asker: &Asker,
    kafka: &BTreeMap<String, String>,
    until: Instant,
) -> Result<(), Option<Trouble>> {
    let mut newest = None;
    loop {
        let troubles = asker.serve(SLICE);
        if asker.is_in() {
            return Ok(());
        }
        for trouble in troubles.into_iter().filter(|trouble| !trouble.all_down) {
            // What belongs to the network may pass, or be of one address of several.
            let passes = trouble.cause == Cause::Network && advice(&trouble.text, kafka).is_none();
            newest = Some(trouble);
            if !passes {
                return Err(newest);
            }
        }
        if Instant::now() >= until {
            return Err(newest);
        }
    }
}

/// The first address that takes a connection; otherwise what was tried.
fn connect(addresses: &[SocketAddr], until: Instant) -> Result<SocketAddr, String> {
    let mut tried = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        // Each of those that are left gets its share.
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = (left / others).max(SLICE);
        match TcpStream::connect_timeout(address, share) {
            Ok(_) => return Ok(*address),
            Err(error) => tried.push(format!("{address} ({error})")),
        }
    }
    Err(tried.join(", "))
}

/// The addresses of a name, of the kinds that librdkafka is to use.
fn resolve(host: &str, port: u16, kafka: &BTreeMap<String, String>) -> io::Result<Vec<SocketAddr>> {
    let family = kafka.get("broker.address.family").map_or("any", String::as_str);
    let wanted = |address: &SocketAddr| match family {
        "v4" => address.is_ipv4(),
        "v6" => address.is_ipv6(),
        _ => true,
    };
    let mut all: Vec<_> = (host, port).to_socket_addrs()?.filter(wanted).collect();
    all.dedup();
    if all.is_empty() {
        return Err(io::Error::other(format!("it has no address of the family {family}")));
    }
    Ok(all)
}

/// Host and port as librdkafka reads them: `[protocol://]host[:port]`, IPv6 in brackets where there
/// is a port.
fn split(written: &str) -> (&str, u16) {
    let address = written.split_once("://").map_or(written, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => (host, port),
        _ => (address, ""),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (host, port.parse().unwrap_or(PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(set: &[(&str, &str)]) -> BTreeMap<String, String> {
        set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_address_is_read_as_librdkafka_reads_it() {
        for (written, host, port) in [
            ("kafka-1", "kafka-1", 9092),
            ("kafka-1:6667", "kafka-1", 6667),
            ("SASL_SSL://kafka-1:6667", "kafka-1", 6667),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("::1", "::1", 9092),
            ("[::1]", "::1", 9092),
            ("[::1]:6667", "::1", 6667),
        ] {
            assert_eq!(split(written), (host, port), "{written}");
        }
    }

    #[test]
    fn a_name_that_is_not_known_is_to_be_corrected_where_it_stands() {
        // No resolver asks anybody for a name with so long a part.
        let name = "x".repeat(64);
        let address = || format!("{name}:1");
        let soon = Instant::now() + Duration::from_secs(1);
        let told = Broker::Told(Node { id: 2, address: address() });
        for (broker, where_) in [
            (Broker::Written(address()), "correct bootstrap.servers or the DNS"),
            (told, "correct the brokers' advertised.listeners or the DNS"),
        ] {
            let mut steps = Vec::new();
            let client = knock(&broker, &BTreeMap::new(), soon, |step| steps.push(step));
            assert!(client.is_none());
            assert_eq!(steps.len(), 1, "{steps:?}");
            assert_eq!(steps[0].finding, Finding::Away);
            let says = &steps[0].says;
            assert!(says.starts_with(&format!("{broker}: the name of {name} is")));
            assert!(says.contains(where_), "{says}");
        }
    }

    #[test]
    fn only_the_wanted_family_of_addresses_is_tried() {
        let v6 = properties(&[("broker.address.family", "v6")]);
        let error = resolve("127.0.0.1", 1, &v6).unwrap_err();
        assert!(error.to_string().contains("of the family v6"), "{error}");
        assert_eq!(resolve("127.0.0.1", 1, &BTreeMap::new()).unwrap().len(), 1);
    }

    #[test]
    fn what_went_well_before_is_told() {
        let broker = Broker::Written("k:1".to_owned());
        let scram = properties(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "depot"),
        ]);
        let says = |kafka: &BTreeMap<String, String>, wrong: Option<Cause>| -> Vec<String> {
            entered(&broker, kafka, wrong).into_iter().map(|step| step.says).collect()
        };
        let all = ["k:1: TLS is right", "k:1: the login of depot by SCRAM-SHA-512 is taken"];
        assert_eq!(says(&scram, None), all);
        assert_eq!(says(&scram, Some(Cause::Login)), all[..1]);
        assert!(says(&scram, Some(Cause::Tls)).is_empty());
        assert!(says(&scram, Some(Cause::Network)).is_empty());
        assert_eq!(says(&BTreeMap::new(), None), ["k:1: Kafka answers"]);
    }
}
